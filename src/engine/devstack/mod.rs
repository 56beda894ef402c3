//! The DevStack engine: clones, local.conf, stack.sh in a unit of its own, and what it leaves made to last.
//!
//! ```text
//! services      the table: every unit that DevStack makes, with order and probe
//! prepare       tools, account, sudo, local.conf, drop-ins for the units
//! repositories  clones in parallel, each at its pinned commit
//! stack         stack.sh: start, attach, progress, success
//! progress      how far it is, from its summary (pure)
//! mirror        bare repositories in a folder, for machines that reach no Git host
//! local_conf    lines for the services' configuration, in local.conf and in a cloud that stands
//! saved         files that stack.sh edits: what was there before, and how it left them
//! unstack       taking back what stack.sh made
//! failures      why it failed, from its log (pure)
//! leaves        what it leaves, for `unstack.rs`, which takes it back
//! ```

pub mod failures;
mod leaves;
mod local_conf;
pub mod mirror;
mod prepare;
mod progress;
mod repositories;
pub mod saved;
pub mod services;
pub mod stack;
pub mod unstack;

use super::native::virt_type;
use super::probe::Prober;
use super::service::{Service, by_unit};
use super::settings::{Conf, Setting, keys_of};
use super::{Engine, EngineInput, Entrance, Holdings, base, holdings, uv};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::ini::IniKeys;
use crate::action::unit::{Enabled, Started};
use crate::cloud::clouds;
use crate::cloud::session::Login;
use crate::config::Config;
use crate::config::devstack::Extra;
use crate::config::secrets::Secrets;
use crate::content::Content;
use crate::engine::devstack::unstack::SWITCH_UNIT;
use crate::engine::hypervisor;
use crate::facts::Facts;
use crate::facts::reach::ToDownload;
use crate::failure::Failure;
use crate::finding::{Described, Finding};
use crate::host::Host;
use crate::host::ovs::Datapath;
use crate::plan::{Hold, Step};
use crate::template::{Templates, Values};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// What stack.sh is told.
const LOCAL_CONF: &str = "/opt/stack/devstack/local.conf";
/// Closed to others: what bash echoes into the logs has passwords in it.
const CLOSED_LOGS: &str = "/opt/stack/logs";
/// What stack.sh prints before it has a log, and at its end.
const OUTPUT: &str = "/opt/stack/logs/stack.sh.out";
/// Logs of stack.sh, which opens this directory to everybody.
const LOGS: &str = "/opt/stack/logs/stack";
/// A link to the newest log.
const LOG: &str = "/opt/stack/logs/stack/stack.sh.log";
/// A link to its summary.
const SUMMARY: &str = "/opt/stack/logs/stack/stack.sh.log.summary";
/// The databases that DevStack makes.
const DATABASES: &[&str] =
    &["keystone", "placement", "glance", "nova_api", "nova_cell0", "nova_cell1", "neutron", "cinder", "heat", "stats"];
/// The account of all services in the queue.
const QUEUE_USER: &str = "stackrabbit";
/// The step behind which the cloud is there.
const STEP: &str = "stack";
/// Below this DevStack's own services leave nothing for a guest (docs.openstack.org/devstack).
const MEMORY_NEEDED: u64 = 7 << 30;

/// The DevStack engine.
pub struct Devstack;

/// What the rooms of the engine make their steps from.
struct Recipe<'a> {
    host: &'a Host,
    config: &'a Config,
    facts: &'a Facts,
    services: Vec<Service>,
    settings: Vec<Setting>,
    prober: Arc<Prober>,
    templates: Templates,
    values: Values,
}

impl Engine for Devstack {
    fn checks(&self) -> &'static [Described] {
        &[Described { id: "devstack-memory", description: "DevStack has the memory that it needs" }]
    }

    fn suits(&self, facts: &Facts) -> Vec<Finding> {
        if facts.hardware.memory >= MEMORY_NEEDED {
            return Vec::new();
        }
        vec![Finding::stop("devstack-memory", "DevStack needs 8 GiB of memory", "engine = \"native\" needs less")]
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["admin", "classroom", "database", "rabbit", "service", "swift_hash"]
    }

    fn steps(&self, order: &EngineInput) -> Result<Vec<Step>, Failure> {
        let recipe = Recipe::new(order)?;
        let mut steps = vec![base::prepare(order)?];
        steps.extend(prepare::steps(&recipe)?);
        let clones = repositories::steps(&recipe)?;
        let at = steps.iter().position(|step| step.id.to_string() == prepare::LAST).unwrap_or(steps.len());
        steps.splice(at..at, clones);
        steps.push(recipe.stack(order)?);
        steps.push(prepare::close());
        steps.push(recipe.settings());
        steps.push(recipe.units());
        if order.config.classroom.enabled {
            // stack.sh has brought Python's venv.
            let uv = Step::new(uv::STEP, "Install uv").after(&[STEP]);
            steps.push(uv.with(Directory::new("/opt/gpucloud")).with(uv::installed()));
        }
        Ok(steps)
    }

    fn finish(&self, order: &EngineInput, behind: &[&str]) -> Result<Step, Failure> {
        let recipe = Recipe::new(order)?;
        let mut behind = [&["units"], behind].concat();
        behind.extend(order.config.classroom.enabled.then_some(uv::STEP));
        base::finish(order, &recipe.templates, &recipe.services, &recipe.prober, &behind, None)
    }

    fn bridge_step(&self) -> &'static str {
        STEP
    }

    fn own_services(&self, config: &Config) -> Vec<Service> {
        services::table(config)
    }

    /// As stack.sh writes clouds.yaml; all its users have one password.
    fn entrance(&self) -> Entrance {
        Entrance {
            admin: clouds::ADMINISTRATORS[1],
            user: "devstack",
            user_secret: "admin",
            stands: stack::has_completed,
        }
    }

    /// The repositories; git itself tells of what is missing there.
    fn downloads(&self, host: &Host, config: &Config) -> Vec<ToDownload> {
        let base = &config.cloud.git_base;
        let is_asked = base.url().starts_with("http") && !stack::has_completed(host);
        let wanted = ToDownload { purpose: REPOSITORIES.into(), url: base.url().to_owned(), is_file: false };
        if is_asked { vec![wanted] } else { Vec::new() }
    }

    fn has_volumes(&self, config: &Config) -> bool {
        config.devstack.services.contains(&Extra::Cinder)
    }

    fn login(&self, config: &Config, secrets: &Secrets) -> Option<Login> {
        let password = secrets.get("admin")?.clone();
        let url = format!("http://{}/identity/v3", config.host.address);
        Some(Login::admin(url, config.cloud.region.as_str(), password).paced(config.host.pace))
    }

    fn prober(&self, order: &EngineInput) -> Prober {
        Prober::of(order).with_queue(QUEUE_USER, order.secrets.get("rabbit").cloned())
    }

    fn holdings(&self, host: &Host, our_packages: &[String]) -> Holdings {
        let held = holdings::of_databases(host, our_packages, DATABASES);
        // Its clones are there to be worked on.
        match repositories::worked_in(host) {
            Ok(work) if work.is_empty() => held,
            Ok(work) => held.and(work),
            Err(error) => Holdings::Unknown(error.to_string()),
        }
    }

    fn farewell(&self, config: &Config) -> Vec<String> {
        let address = config.host.address;
        let mut lines = Vec::new();
        if config.cloud.dashboard {
            lines.push(format!("Dashboard   http://{address}/dashboard/"));
            lines.push("Log in as   admin, with the password under `admin` in /etc/gpucloud/secrets.toml".into());
        }
        lines.push("Client      openstack --os-cloud devstack-admin service list".into());
        lines
    }
}

/// What is downloaded from `cloud.git_base`.
pub const REPOSITORIES: &str = "repositories (cloud.git_base)";

/// Where the drop-in of a unit of DevStack's lies.
fn drop_in(service: &Service) -> PathBuf {
    format!("/etc/systemd/system/{}.d/gpucloud.conf", service.unit).into()
}

impl<'a> Recipe<'a> {
    fn new(order: &EngineInput<'a>) -> Result<Self, Failure> {
        let config = order.config;
        Ok(Self {
            host: order.host,
            config,
            facts: order.facts,
            services: services::table(config),
            settings: local_conf::settings(order),
            prober: Arc::new(Devstack.prober(order)),
            templates: Templates::new(order.secrets)?,
            values: Values::from([
                ("host_address".into(), json!(config.host.address)),
                ("hypervisor_name".into(), json!(hypervisor::name(order.host, config, order.facts)?)),
                ("region".into(), json!(config.cloud.region)),
                ("virt_type".into(), json!(virt_type(config, order.facts))),
                ("workers".into(), json!(config.cloud.workers)),
            ]),
        })
    }

    fn datapath(&self) -> Datapath {
        self.facts.os.datapath()
    }

    fn file(&self, path: &str) -> Result<File, Failure> {
        Ok(File::new(path, self.templates.render(path.trim_start_matches('/'), &self.values)?))
    }

    fn render_with(&self, name: &str, more: &[(&str, serde_json::Value)]) -> Result<Content, Failure> {
        let mut values = self.values.clone();
        values.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.templates.render(name, &values)
    }

    fn stack(&self, order: &EngineInput) -> Result<Step, Failure> {
        let mut after: Vec<String> = repositories::names(self).into_iter().map(repositories::step_name).collect();
        after.extend([prepare::LAST, prepare::NAMES, "originals", "order", "account"].map(str::to_owned));
        after.extend((self.datapath() == Datapath::Netdev).then(|| "switch".to_owned()));
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        let run = stack::StackRun {
            force: order.config.devstack.force,
            may_lose: order.may_lose,
            range: order.config.network.range,
        };
        Ok(Step::new(STEP, "Run stack.sh").after(&after).holding(Hold::Packages).with(run))
    }

    /// Configuration of a cloud that stands; stack.sh has done it for a new one.
    fn settings(&self) -> Step {
        let mut step = Step::new("settings", "Set what the services are told").after(&[STEP]);
        for conf in Conf::ALL {
            let keys = keys_of(&self.settings, conf);
            for path in local_conf::paths(conf).into_iter().filter(|_| !keys.is_empty()) {
                step = step.with(IniKeys { path, keys: keys.clone() });
            }
        }
        step
    }

    /// Everything of the table enabled, running and answering; but for what was started before stack.sh.
    fn units(&self) -> Step {
        let mut step = Step::new("units", "See that every unit runs").after(&["settings", prepare::CLOSED]);
        let early = |service: &&Service| self.datapath() == Datapath::Netdev && service.unit == SWITCH_UNIT;
        for service in by_unit(&self.services).filter(|service| !early(service)) {
            let (prober, asked) = (self.prober.clone(), service.clone());
            let ready = move |host: &Host| prober.ask_alone(host, &asked);
            let mut inputs = service.inputs.clone();
            inputs.extend(services::is_devstacks(service).then(|| drop_in(service)));
            step = step
                .with(Enabled { unit: service.unit.clone() })
                .with(Started::new(&service.unit).reading(inputs).until(service.time_limit, ready));
        }
        step
    }
}
