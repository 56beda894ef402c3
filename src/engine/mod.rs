//! Engines: how OpenStack gets onto the host. Everything after it (network, GPUs, classroom, recovery) is the
//! same code for all of them, and asks only this trait.
//!
//! Another engine is a folder beside `native/` that implements [`Engine`], its line in [`engine`], its name in
//! `config/mod.rs` (`EngineName`), and where it has answers of its own a file like `config/devstack.rs`. Templates
//! belong to their path on the host, not to an engine.

pub mod ask;
pub mod base;
pub mod devstack;
mod error;
pub mod holdings;
pub mod hypervisor;
pub mod native;
pub mod openvswitch;
pub mod pace;
pub mod packages;
pub mod portal;
pub mod probe;
pub mod service;
pub mod settings;
pub mod tunnel;
pub mod uv;

pub use error::EngineError;

use crate::cloud::SharedSession;
use crate::cloud::session::Login;
use crate::config::secrets::Secrets;
use crate::config::{Config, EngineName};
use crate::facts::Facts;
use crate::facts::reach::ToDownload;
use crate::failure::Failure;
use crate::finding::{Described, Finding};
use crate::host::Host;
use crate::plan::Step;
use probe::Prober;
use service::Service;
use settings::Setting;

/// What users have in a cloud, and so what an uninstall would destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holdings {
    /// Nothing.
    Nothing,
    /// These: "2 instances".
    Some(Vec<String>),
    /// It cannot be told, for this reason. Counts as something.
    Unknown(String),
}

impl Holdings {
    /// What two engines say together.
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Holdings::Unknown(why), _) | (_, Holdings::Unknown(why)) => Holdings::Unknown(why),
            (Holdings::Nothing, other) => other,
            (one, Holdings::Nothing) => one,
            (one, Holdings::Some(more)) => one.and(more),
        }
    }

    /// These too.
    pub fn and(self, more: Vec<String>) -> Self {
        match self {
            Holdings::Nothing => Holdings::Some(more),
            Holdings::Some(mut all) => {
                all.extend(more);
                Holdings::Some(all)
            }
            unknown => unknown,
        }
    }
}

/// How to get into a cloud that stands.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    /// The administrator, as clouds.yaml calls that.
    pub admin: &'static str,
    /// The user of the declared project, as clouds.yaml calls that.
    pub user: &'static str,
    /// Which secret is that user's password.
    pub user_secret: &'static str,
    /// Whether what answers now is the cloud that the plan ends with: stack.sh makes it anew.
    pub stands: fn(&Host) -> bool,
}

/// What an engine works from.
pub struct EngineInput<'a> {
    /// Its hands.
    pub host: &'a Host,
    /// The answers.
    pub config: &'a Config,
    /// The machine.
    pub facts: &'a Facts,
    /// All secrets that [`Engine::secrets`] named.
    pub secrets: &'a Secrets,
    /// The administrator's session, where the password is known.
    pub admin: Option<&'a SharedSession>,
    /// What the rooms need in the services' configuration.
    pub settings: &'a [Setting],
    /// Whether what users have may be destroyed.
    pub may_lose: bool,
}

/// A way to install OpenStack.
pub trait Engine: Send + Sync {
    /// What [`Engine::suits`] looks at.
    fn checks(&self) -> &'static [Described];

    /// Whether this machine suits it.
    fn suits(&self, facts: &Facts) -> Vec<Finding>;

    /// Names of the secrets that it needs.
    fn secrets(&self) -> &'static [&'static str];

    /// Everything that installs it, in an order that works one by one; but for the last step.
    ///
    /// # Errors
    /// Only our own mistakes: a template that does not render.
    fn steps(&self, order: &EngineInput) -> Result<Vec<Step>, Failure>;

    /// The last step, behind which the cloud is complete and healthy; it waits for the steps `behind` of other rooms
    /// too.
    ///
    /// # Errors
    /// The same.
    fn finish(&self, order: &EngineInput, behind: &[&str]) -> Result<Step, Failure>;

    /// The step (by name) after which the external bridge is there.
    fn bridge_step(&self) -> &'static str;

    /// Its own part of the service table.
    fn own_services(&self, config: &Config) -> Vec<Service>;

    /// The service table.
    fn services(&self, config: &Config) -> Vec<Service> {
        self.own_services(config).into_iter().chain(portal::row(config)).chain(tunnel::row(config)).collect()
    }

    /// What the cloud is called, and by what one gets into it.
    fn entrance(&self) -> Entrance;

    /// Whether a cloud with these answers has volumes.
    fn has_volumes(&self, config: &Config) -> bool;

    /// How the administrator logs in.
    fn login(&self, config: &Config, secrets: &Secrets) -> Option<Login>;

    /// What has to be downloaded beside the packages of the distribution and of Python.
    fn downloads(&self, host: &Host, config: &Config) -> Vec<ToDownload>;

    /// What asks the probes of the service table.
    fn prober(&self, order: &EngineInput) -> Prober;

    /// What users have in the cloud, or keep in one of `our_packages` (a database of their own): what an uninstall,
    /// which removes those packages, would destroy.
    fn holdings(&self, host: &Host, our_packages: &[String]) -> Holdings;

    /// What a person is told at the end: addresses, how to log in.
    fn farewell(&self, config: &Config) -> Vec<String>;
}

/// The engine of this name.
pub fn engine(name: EngineName) -> Box<dyn Engine> {
    match name {
        EngineName::Native => Box::new(native::Native),
        EngineName::Devstack => Box::new(devstack::Devstack),
    }
}
