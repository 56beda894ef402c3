//! One file for each subcommand: what the administrator typed becomes calls into the rooms.
//!
//! A new subcommand is a file here, a variant in `cli.rs` and its arm in [`run`]'s dispatch. Its exit status is one of
//! [`exit`]; what it prints goes through `ui/`.

mod apply;
mod completions;
mod doctor;
pub mod exit;
mod flavor;
mod gpu;
mod image;
mod init;
mod install;
mod instance;
mod inventory;
mod lab;
mod mirror;
mod network;
mod notebook;
mod plan;
mod portal;
mod quota;
mod recover;
mod run_as_host;
mod status;
mod tunnel;
mod uninstall;
mod volume;

use crate::cli::{Cli, Cloud, Command, Global};
use crate::cloud::{SharedSession, clouds};
use crate::config::EngineName;
use crate::ending::Ending;
use crate::engine::{Entrance, engine};
use crate::failure::Failure;
use crate::host::{Host, accounts};
use crate::installation::Installation;
use crate::plan::Plan;
use crate::plan::journal::Journal;
use crate::plan::runner::Outcome;
use crate::recovery::health;
use crate::run::worker::{self, Work};
use crate::ui::Ui;
use std::path::{Path, PathBuf};

/// What every command gets.
pub struct Invocation {
    /// The machine that is meant.
    pub host: Host,
    /// How to talk.
    pub ui: Ui,
    /// Options of every command.
    pub global: Global,
}

/// Does what was typed; returns the exit status.
pub fn run(cli: Cli) -> u8 {
    // The shell that called may be stricter than the services that read our files.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let host = cli.global.sysroot.as_ref().map_or_else(Host::live, Host::at);
    let mut invocation = Invocation { host, ui: Ui::new(&cli.global), global: cli.global };
    if invocation.host.is_live() {
        // A run in its own unit has another working directory.
        invocation.global.config = absolute(&invocation.global.config);
    }
    let (name, result) = dispatch(&invocation, cli.command);
    let explained = |failure: Failure| with_cause(&invocation, failure).or_next(name);
    exit::status(result.map_err(explained).unwrap_or_else(|failure| {
        if !failure.what.is_empty() {
            invocation.ui.failure(name, &failure);
        }
        failure.ending
    }))
}

/// Where an API did not answer, what is wrong below it: a queue that takes no message, a database that lets nobody in.
/// Only root can ask.
fn with_cause(invocation: &Invocation, failure: Failure) -> Failure {
    if !failure.unanswered || !invocation.host.is_live() || !accounts::is_root() {
        return failure;
    }
    let Ok(Some(installation)) = Installation::load_applied(&invocation.host) else { return failure };
    let Some((id, complaint)) = health::cause(&installation) else { return failure };
    let seen = [failure.evidence, format!("{id}: {complaint}")];
    let evidence = seen.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let next = if complaint.next.is_empty() { failure.next } else { complaint.next };
    Failure { evidence, next, ..failure }
}

fn dispatch(invocation: &Invocation, command: Option<Command>) -> (&'static str, Result<Ending, Failure>) {
    match command {
        None => ("install", install::run(invocation)),
        Some(Command::Init(options)) => ("init", init::run(invocation, &options)),
        Some(Command::Plan(options)) => ("plan", plan::run(invocation, &options)),
        Some(Command::Apply(options)) => ("apply", apply::run(invocation, &options)),
        Some(Command::Status) => ("status", status::run(invocation)),
        Some(Command::Doctor(options)) => ("doctor", doctor::run(invocation, &options)),
        Some(Command::Recover) => ("recover", recover::run(invocation)),
        Some(Command::Uninstall(options)) => ("uninstall", uninstall::run(invocation, &options)),
        Some(Command::Network(options)) => ("network", network::run(invocation, &options)),
        Some(Command::Gpu(options)) => ("gpu", gpu::run(invocation, &options)),
        Some(Command::Inventory(options)) => ("inventory", inventory::run(invocation, &options)),
        Some(Command::Mirror(options)) => ("mirror", mirror::run(invocation, &options)),
        Some(Command::Instance(options)) => ("instance", instance::run(invocation, &options)),
        Some(Command::Image(options)) => ("image", image::run(invocation, &options)),
        Some(Command::Volume(options)) => ("volume", volume::run(invocation, &options)),
        Some(Command::Flavor(options)) => ("flavor", flavor::run(invocation, &options)),
        Some(Command::Quota(options)) => ("quota", quota::run(invocation, &options)),
        Some(Command::Notebook(options)) => ("notebook", notebook::run(invocation, &options)),
        Some(Command::Portal(options)) => ("portal", portal::run(invocation, &options)),
        Some(Command::Tunnel(options)) => ("tunnel", tunnel::run(invocation, &options)),
        Some(Command::Completions(options)) => ("completions", Ok(completions::run(invocation, &options))),
        Some(Command::RunAsHost(options)) => ("run-as-host", run_as_host::run(&options)),
        Some(Command::Man(options)) => ("man", completions::man(invocation, &options)),
        Some(Command::Lab(options)) => ("lab", lab::run(invocation, options)),
    }
}

impl Invocation {
    /// Fails where changing something was asked for on a captured tree.
    fn require_live(&self) -> Result<(), Failure> {
        if self.host.is_live() {
            return Ok(());
        }
        let what = "nothing can be applied with --sysroot: it is only a captured tree";
        Err(Failure::usage(what, "leave --sysroot out, or use plan and inventory"))
    }

    /// A invocation with the cloud that was named, else with that of the declared project's user.
    fn user_cloud(&self, cloud: &Cloud) -> Result<SharedSession, Failure> {
        self.cloud(cloud, |entrance| entrance.user)
    }

    /// The same for what only the administrator may.
    fn admin_cloud(&self, cloud: &Cloud) -> Result<SharedSession, Failure> {
        self.cloud(cloud, |entrance| entrance.admin)
    }

    fn cloud(&self, cloud: &Cloud, of: impl Fn(Entrance) -> &'static str) -> Result<SharedSession, Failure> {
        self.require_live()?;
        let names: Vec<&str> = match &cloud.cloud {
            Some(name) => vec![name],
            None => EngineName::ALL.iter().map(|name| of(engine(*name).entrance())).collect(),
        };
        clouds::session(&self.host, &names)
    }

    /// The machine, with progress shown at the terminal.
    fn watched_host(&self) -> Host {
        self.host.observed(self.ui.observer())
    }

    /// Does a plan that leaves nothing to take back after a boot; `None` where nothing is pending.
    fn run_for_now(
        &self,
        host: &Host,
        what: &'static str,
        journal: &'static str,
        plan: impl Fn(&Journal) -> Result<Plan, Failure>,
    ) -> Result<Option<Outcome>, Failure> {
        if plan(&Journal::read(host, journal)?)?.pending() == 0 {
            return Ok(None);
        }
        let work = Work { what, journal, jobs: self.global.jobs, sinks: vec![self.ui.display()], goes_on: false };
        worker::work(host, work, plan).map(Some)
    }

    /// A yes to `question`, from --yes or from the person at the terminal, for whom Enter means `default`.
    ///
    /// # Errors
    /// There is no terminal to ask on, or the answer is no.
    fn consent(&self, question: &str, default: bool) -> Result<(), Failure> {
        if self.ui.asks_nothing() {
            return Ok(());
        }
        if !self.ui.is_interactive() {
            return Err(Failure::usage("there is no terminal to ask on", "add --yes"));
        }
        use crate::ui::prompt::{Answer, Prompter, Terminal};
        match Terminal::new().confirm(question, default)? {
            Answer::Given(true) => Ok(()),
            _ => Err(Failure::declined()),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
