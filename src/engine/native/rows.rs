//! The kinds of row in the service table: a service of the distribution, an API that uWSGI serves, a worker of the virtual
//! environment. The rows themselves: `services.rs`, and `lvm.rs` and `volumes.rs` where there are volumes.

use super::{ACCOUNT, VENV};
use crate::engine::service::{Layer, Listen, Probe, Scope, Service, UnitFile};
use crate::plan::Role;
use std::path::PathBuf;
use std::time::Duration;

/// How long a service of ours may take to start. Ten instances coming back, or emulation, make minutes of seconds.
pub(super) const OUR_LIMIT: Duration = Duration::from_secs(300);

/// An API that uWSGI serves: name, description, catalog type, port, configuration.
pub struct Api {
    /// Service id and name of the uWSGI file.
    pub id: &'static str,
    /// In words.
    pub description: &'static str,
    /// Type in the catalog.
    pub service: Option<&'static str>,
    /// TCP port.
    pub port: u16,
    /// Python module and callable.
    pub module: &'static str,
    /// Configuration it reads, drop-in directories included.
    pub reads: &'static [&'static str],
    /// What it starts after.
    pub after: &'static [&'static str],
    /// Its layer.
    pub layer: Layer,
    /// Directories that it writes to.
    pub stores: &'static [&'static str],
}

/// A service of the distribution.
pub(super) fn theirs(id: &'static str, unit: &str, layer: Layer, role: Role, probe: Probe) -> Service {
    Service {
        id,
        role,
        unit: unit.to_owned(),
        layer,
        after: &[],
        inputs: Vec::new(),
        listens: Vec::new(),
        stores: &[],
        probe,
        time_limit: OUR_LIMIT,
        unit_file: None,
    }
}

pub(super) fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

pub(super) fn loopback(port: u16, purpose: &'static str) -> Listen {
    Listen { scope: Scope::Loopback, port, purpose }
}

/// The row of an API.
pub(super) fn api(api: &Api) -> Service {
    let uwsgi = format!("/etc/gpucloud/uwsgi/{}.ini", api.id);
    let mut inputs = paths(api.reads);
    inputs.push(PathBuf::from(&uwsgi));
    Service {
        id: api.id,
        role: Role::Control,
        unit: format!("gpucloud-{}.service", api.id),
        layer: api.layer,
        after: api.after,
        inputs,
        listens: vec![Listen { scope: Scope::Host, port: api.port, purpose: "API" }],
        stores: api.stores,
        probe: Probe::Api { port: api.port, path: "/", service: api.service },
        time_limit: OUR_LIMIT,
        unit_file: Some(UnitFile {
            description: api.description.to_owned(),
            exec: format!("{VENV}/bin/uwsgi --ini {uwsgi}"),
            user: ACCOUNT,
            kind: "notify",
            kill_mode: "mixed",
        }),
    }
}

/// A worker of ours: a program of the virtual environment with its arguments.
pub(super) struct Worker {
    pub(super) id: &'static str,
    pub(super) description: &'static str,
    pub(super) command: &'static str,
    pub(super) notifies: bool,
    pub(super) reads: &'static [&'static str],
    pub(super) after: &'static [&'static str],
}

/// The row of a worker.
pub(super) fn worker(w: &Worker) -> Service {
    Service {
        id: w.id,
        role: Role::Control,
        unit: format!("gpucloud-{}.service", w.id),
        layer: Layer::Control,
        after: w.after,
        inputs: paths(w.reads),
        listens: Vec::new(),
        stores: &[],
        probe: Probe::Active,
        time_limit: OUR_LIMIT,
        unit_file: Some(UnitFile {
            description: w.description.to_owned(),
            exec: format!("{VENV}/bin/{}", w.command),
            user: ACCOUNT,
            kind: if w.notifies { "notify" } else { "simple" },
            kill_mode: "mixed",
        }),
    }
}

/// The two services that set up machines and links run as root, which spares sudo and rootwrap; what they started
/// must survive their restart.
pub(super) fn as_root(service: Service, probe: Probe) -> Service {
    let unit_file = service.unit_file.map(|file| UnitFile { user: "root", kill_mode: "process", ..file });
    Service { role: Role::Compute, layer: Layer::Compute, probe, unit_file, ..service }
}
