//! The native engine: OpenStack's release packages from PyPI, locked version by version, in one virtual environment;
//! database, queue, OVN and libvirt from the distribution; units of our own.
//!
//! ```text
//! services    the table: every process with its unit, ports, files and probe
//! prepare     accounts, secrets, directories, configuration
//! packages    download, then database | network | compute (dpkg is one lock)
//! python      uv, virtual environment, byte code
//! foundation  MariaDB, RabbitMQ, memcached, databases
//! switch      Open vSwitch, OVN, br-ex
//! schemas     tables of the services, Keystone's keys
//! control     Keystone and its catalog, APIs
//! compute     libvirt, nova-compute, agents, consoles
//! lvm         the volume group, where volumes are wanted
//! volumes     Cinder's rows of the table, iSCSI, cinder-volume
//! dashboard   Horizon
//! ```
//!
//! The host's address may change, its name in the cloud may not (`engine/hypervisor.rs`): a file that holds the address
//! takes it from `host_address` of the template's values, and stands in the `inputs` of the services that read it; then
//! a move rewrites it and restarts them.

mod compute;
mod control;
mod dashboard;
mod foundation;
pub mod lvm;
mod packages;
mod prepare;
mod python;
mod rows;
mod schemas;
pub mod services;
mod switch;
mod volumes;

use super::probe::Prober;
use super::service::Service;
use super::settings::Setting;
use super::{Engine, EngineInput, Entrance, Holdings, base, holdings};
use crate::action::Action;
use crate::action::file::File;
use crate::action::unit::{Enabled, Started};
use crate::cloud::clouds;
use crate::cloud::session::{Login, SharedSession};
use crate::config::secrets::Secrets;
use crate::config::{Config, Virt};
use crate::content::Content;
use crate::engine::hypervisor;
use crate::facts::reach::ToDownload;
use crate::facts::{Facts, kvm::Kvm};
use crate::failure::Failure;
use crate::finding::{Described, Finding};
use crate::host::Host;
use crate::host::ovs::Datapath;
use crate::paths::VOLUME_GROUP;
use crate::plan::{Role, Step};
use crate::systems;
use crate::template::{Templates, Values};
use serde_json::json;
use std::sync::Arc;

/// The account of all services that need no root.
const ACCOUNT: &str = "gpucloud";
/// Where the virtual environment is.
const VENV: &str = "/opt/gpucloud/venv";
const SECRETS: &[&str] = &[
    "admin",
    "cinder_db",
    "cinder_service",
    "classroom",
    "demo",
    "glance_db",
    "glance_service",
    "horizon",
    "keystone_db",
    "metadata_proxy",
    "neutron_db",
    "neutron_service",
    "nova_db",
    "nova_service",
    "placement_db",
    "placement_service",
    "rabbit",
];

/// The native engine.
pub struct Native;

/// What the rooms of the engine make their steps from.
struct Recipe<'a> {
    config: &'a Config,
    facts: &'a Facts,
    secrets: &'a Secrets,
    settings: &'a [Setting],
    services: Vec<Service>,
    /// One login for the whole recipe.
    session: SharedSession,
    prober: Arc<Prober>,
    templates: Templates,
    values: Values,
}

impl Engine for Native {
    fn checks(&self) -> &'static [Described] {
        &[Described { id: "python", description: "the system's Python is one that OpenStack is locked for" }]
    }

    fn suits(&self, facts: &Facts) -> Vec<Finding> {
        vec![python_finding(facts.software.python.as_deref())]
    }

    fn secrets(&self) -> &'static [&'static str] {
        SECRETS
    }

    fn steps(&self, order: &EngineInput) -> Result<Vec<Step>, Failure> {
        let recipe = Recipe::new(order)?;
        let mut steps = prepare::steps(order, &recipe)?;
        steps.extend(packages::steps(&recipe));
        steps.extend(python::steps(&recipe));
        steps.extend(foundation::steps(&recipe)?);
        steps.extend(switch::steps(&recipe));
        steps.extend(schemas::steps(&recipe)?);
        steps.extend(control::steps(&recipe)?);
        steps.extend(compute::steps(&recipe)?);
        steps.extend(lvm::steps(&recipe)?);
        steps.extend(volumes::steps(&recipe)?);
        steps.extend(dashboard::steps(&recipe)?);
        Ok(steps)
    }

    fn finish(&self, order: &EngineInput, behind: &[&str]) -> Result<Step, Failure> {
        let recipe = Recipe::new(order)?;
        let mut last = vec!["start-compute", "discover-hosts"];
        last.extend(order.config.cloud.dashboard.then_some("start-dashboard"));
        last.push("byte-code");
        if order.config.volumes.are_wanted() {
            last.extend([volumes::CONTROL, volumes::HOST]);
        }
        let tidy = Some(packages::tidy());
        let last = [&last, behind].concat();
        base::finish(order, &recipe.templates, &recipe.services, &recipe.prober, &last, tidy)
    }

    fn bridge_step(&self) -> &'static str {
        switch::STEP
    }

    fn own_services(&self, config: &Config) -> Vec<Service> {
        services::table(config)
    }

    fn entrance(&self) -> Entrance {
        Entrance { admin: clouds::ADMINISTRATORS[0], user: "gpucloud-demo", user_secret: "demo", stands: |_| true }
    }

    fn downloads(&self, _: &Host, _: &Config) -> Vec<ToDownload> {
        Vec::new()
    }

    fn has_volumes(&self, config: &Config) -> bool {
        config.volumes.are_wanted()
    }

    fn login(&self, config: &Config, secrets: &Secrets) -> Option<Login> {
        let password = secrets.get("admin")?.clone();
        let keystone = format!("http://{}:5000/v3", config.host.address);
        Some(Login::admin(keystone, config.cloud.region.as_str(), password).paced(config.host.pace))
    }

    fn prober(&self, order: &EngineInput) -> Prober {
        Prober::of(order).with_queue(foundation::QUEUE_USER, order.secrets.get("rabbit").cloned())
    }

    fn holdings(&self, host: &Host, our_packages: &[String]) -> Holdings {
        holdings::of_databases(host, our_packages, &foundation::database_names())
    }

    fn farewell(&self, config: &Config) -> Vec<String> {
        let address = config.host.address;
        let mut lines = Vec::new();
        if config.cloud.dashboard {
            lines.push(format!("Dashboard   http://{address}:{}/dashboard/", services::DASHBOARD_PORT));
            lines.push("Log in as   admin, with the password under `admin` in /etc/gpucloud/secrets.toml".into());
        }
        lines.push("Client      openstack --os-cloud gpucloud service list".into());
        lines
    }
}

fn python_finding(version: Option<&str>) -> Finding {
    let id = "python";
    let numbers = |version: &str| {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    match version {
        None => Finding::warn(id, "python3 is not installed yet", "it is installed with the packages"),
        Some(version) if systems::PYTHONS.contains(&numbers(version)) => Finding::pass(id, format!("Python {version}")),
        Some(version) => Finding::stop(
            id,
            format!("Python {version} is not one of 3.11, 3.12, 3.13"),
            format!("use one of: {}", systems::names(|system| system.native)),
        ),
    }
}

/// How guests are run on this machine, with these answers: "kvm" or "qemu".
pub fn virt_type(config: &Config, facts: &Facts) -> &'static str {
    let works = match config.compute.virt {
        Virt::Kvm => true,
        Virt::Qemu => false,
        Virt::Auto => *facts.kvm == Kvm::Works,
    };
    if works { "kvm" } else { "qemu" }
}

impl<'a> Recipe<'a> {
    fn new(order: &EngineInput<'a>) -> Result<Self, Failure> {
        let config = order.config;
        let session = order.admin.cloned().ok_or_else(|| Failure::bug("there is no secret called admin"))?;
        Ok(Self {
            config,
            prober: Arc::new(Native.prober(order)),
            session,
            facts: order.facts,
            secrets: order.secrets,
            settings: order.settings,
            services: services::table(config),
            templates: Templates::new(order.secrets)?,
            values: Values::from([
                ("host_address".into(), json!(config.host.address)),
                ("host_pace".into(), json!(config.host.pace)),
                ("host_name".into(), json!(config.host.name)),
                ("hypervisor_name".into(), json!(hypervisor::name(order.host, config, order.facts)?)),
                ("region".into(), json!(config.cloud.region)),
                ("virt_type".into(), json!(virt_type(config, order.facts))),
                ("workers".into(), json!(config.cloud.workers)),
                ("project".into(), json!(config.resources.project)),
                ("volumes".into(), json!(config.volumes.are_wanted())),
                ("volume_group".into(), json!(VOLUME_GROUP)),
                ("volumes_wiped".into(), json!(config.volumes.wipe)),
            ]),
        })
    }

    fn datapath(&self) -> Datapath {
        self.facts.os.datapath()
    }

    fn render(&self, name: &str) -> Result<Content, Failure> {
        self.templates.render(name, &self.values)
    }

    fn render_with(&self, name: &str, more: &[(&str, serde_json::Value)]) -> Result<Content, Failure> {
        let mut values = self.values.clone();
        values.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.templates.render(name, &values)
    }

    /// A file for everybody, from the template at its own path.
    fn public_file(&self, path: &str) -> Result<File, Failure> {
        Ok(File::new(path, self.render(path.trim_start_matches('/'))?))
    }

    /// A file with secrets, for the services' account.
    fn secret_file(&self, path: &str) -> Result<File, Failure> {
        Ok(self.public_file(path)?.access(0o640, "root", ACCOUNT))
    }

    fn service(&self, id: &str) -> Result<&Service, Failure> {
        let found = self.services.iter().find(|service| service.id == id);
        found.ok_or_else(|| Failure::bug(format!("no service is called {id}")))
    }

    /// Unit file (when it is ours), enabled, started, answering.
    fn start(&self, id: &str) -> Result<Vec<Box<dyn Action>>, Failure> {
        let service = self.service(id)?;
        let mut actions: Vec<Box<dyn Action>> = Vec::new();
        let mut inputs = service.inputs.clone();
        if service.unit_file.as_ref().is_some_and(|file| file.exec.starts_with(VENV)) {
            // New packages: what runs still has the old ones in memory.
            inputs.push(python::packages_stamp());
        }
        inputs.extend(schemas::stamp_of(id));
        if service.unit_file.is_some() {
            let path = format!("/etc/systemd/system/{}", service.unit);
            actions.push(Box::new(File::new(&path, self.unit_text(service)?)));
            inputs.push(path.into());
        }
        actions.push(Box::new(Enabled { unit: service.unit.clone() }));
        let (prober, asked) = (self.prober.clone(), service.clone());
        let ready = move |host: &Host| prober.ask_alone(host, &asked);
        actions.push(Box::new(Started::new(&service.unit).reading(inputs).until(service.time_limit, ready)));
        Ok(actions)
    }

    fn unit_text(&self, service: &Service) -> Result<Content, Failure> {
        let file =
            service.unit_file.as_ref().ok_or_else(|| Failure::bug(format!("{} has no unit file", service.id)))?;
        let after: Vec<&str> =
            service.after.iter().filter_map(|id| super::service::unit_of(&self.services, id)).collect();
        self.render_with(
            "etc/systemd/system/gpucloud-SERVICE.service",
            &[
                ("unit", json!(service.unit)),
                ("description", json!(file.description)),
                ("exec", json!(file.exec)),
                ("user", json!(file.user)),
                ("kind", json!(file.kind)),
                ("kill_mode", json!(file.kill_mode)),
                ("after", json!(after)),
                ("dump", json!(schemas::dump_of(service.id))),
                ("wants", json!(if service.role == Role::Compute { after } else { Vec::new() })),
            ],
        )
    }
}
