//! Cinder: its rows of the service table, what it is configured by, and what hands volumes out to the hypervisor beside
//! it: iSCSI over loopback, by tgt, which needs no module of the kernel and no Python of the distribution.

use super::lvm;
use super::rows::{Api, Worker, loopback, paths, theirs, worker};
use super::{ACCOUNT, Recipe};
use crate::action::directory::Directory;
use crate::action::unit::{Enabled, Started};
use crate::engine::service::{Layer, Probe, Service, UnitFile};
use crate::failure::Failure;
use crate::plan::{Role, Step};

/// The step that starts API and scheduler.
pub(super) const CONTROL: &str = "start-volumes";
/// The step that starts what is beside the disks.
pub(super) const HOST: &str = "start-volume-host";
/// Data directories of the services' account.
pub(super) const DATA: &[&str] = &["/var/lib/cinder", "/var/lib/cinder/lock"];
/// Where the administrator's own lines go.
pub(super) const DROP_INS: &[&str] = &["/etc/cinder/cinder.conf.d"];
/// Configuration with secrets in it.
pub(super) const SECRET_FILES: &[&str] = &["/etc/cinder/cinder.conf"];

/// What cinder-volume alone reads.
const VOLUME_CONF: &str = "/etc/cinder/cinder-volume.conf";
/// Which targets tgt has: those that Cinder notes.
const TARGETS: &str = "/etc/tgt/conf.d/gpucloud.conf";
/// Where tgt is told to listen on loopback, and when to start.
const TARGET_DROP_IN: &str = "/etc/systemd/system/tgt.service.d/gpucloud.conf";
/// Lets go of attached volumes at a shutdown.
const LOGOUT: &str = "gpucloud-volumes-logout.service";
const CINDER: &[&str] = &["/etc/cinder/cinder.conf", "/etc/cinder/cinder.conf.d"];

/// Its API.
pub(super) static API: Api = Api {
    id: "cinder-api",
    description: "Cinder, the volume API",
    service: Some("block-storage"),
    port: 8776,
    module: "cinder.wsgi.api:application",
    reads: CINDER,
    after: &["mariadb", "memcached", "rabbitmq", "keystone"],
    layer: Layer::Control,
    stores: &["/var/lib/cinder"],
};

/// The rows beside its API.
pub(super) fn rows() -> Vec<Service> {
    let target = Service {
        inputs: paths(&[TARGET_DROP_IN]),
        listens: vec![loopback(3260, "iSCSI")],
        ..theirs("iscsi-target", "tgt.service", Layer::Foundation, Role::Compute, Probe::Port(3260))
    };
    let initiator = theirs("iscsi-initiator", "iscsid.service", Layer::Foundation, Role::Compute, Probe::Active);
    vec![lvm::row(), target, initiator, scheduler(), volume()]
}

fn scheduler() -> Service {
    let scheduler = Worker {
        id: "cinder-scheduler",
        description: "Cinder, the scheduler",
        command: "cinder-scheduler --config-file /etc/cinder/cinder.conf --config-dir /etc/cinder/cinder.conf.d",
        notifies: true,
        reads: CINDER,
        after: &["mariadb", "rabbitmq"],
    };
    Service { probe: Probe::Volumes("cinder-scheduler"), ..worker(&scheduler) }
}

/// It makes and removes logical volumes: root, which spares sudo and rootwrap. What it starts has an end and goes with
/// it.
fn volume() -> Service {
    let volume = Worker {
        id: "cinder-volume",
        description: "Cinder, the volumes of this machine",
        command: "cinder-volume --config-file /etc/cinder/cinder.conf --config-file /etc/cinder/cinder-volume.conf --config-dir /etc/cinder/cinder.conf.d",
        notifies: true,
        reads: &["/etc/cinder/cinder.conf", VOLUME_CONF, "/etc/cinder/cinder.conf.d"],
        after: &["mariadb", "rabbitmq", "volume-group", "iscsi-target", "cinder-scheduler"],
    };
    let service = worker(&volume);
    let unit_file = service.unit_file.map(|file| UnitFile { user: "root", ..file });
    let (role, layer, probe) = (Role::Compute, Layer::Compute, Probe::Volumes("cinder-volume"));
    Service { role, layer, probe, unit_file, stores: &["/var/lib/cinder"], ..service }
}

pub(super) fn steps(recipe: &Recipe) -> Result<Vec<Step>, Failure> {
    if !recipe.config.volumes.are_wanted() {
        return Ok(Vec::new());
    }
    Ok(vec![
        Step::new(HOST, "Hand volumes out to the hypervisor")
            .after(&[lvm::STEP, CONTROL])
            .on_compute()
            .with(Directory::new("/var/lib/cinder/volume-locks").access(0o700, "root", "root"))
            .with(recipe.public_file(VOLUME_CONF)?.access(0o640, "root", ACCOUNT))
            .with(recipe.public_file(TARGETS)?)
            .with(recipe.public_file(TARGET_DROP_IN)?)
            .with_all(recipe.start("iscsi-target")?)
            .with_all(recipe.start("iscsi-initiator")?)
            .with(recipe.public_file(&format!("/etc/systemd/system/{LOGOUT}"))?)
            .with(Enabled { unit: LOGOUT.into() })
            .with(Started::new(LOGOUT))
            .with_all(recipe.start("cinder-volume")?),
    ])
}
