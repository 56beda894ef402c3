//! One file for each subcommand: what the administrator typed becomes calls into the rooms.
//!
//! A new subcommand is a file here, a variant in `cli.rs` and its arm in [`run`]'s dispatch. Its exit status is one of
//! `exit.rs`; what it prints goes through `ui/`.

mod apply;
mod bare;
mod doctor;
mod init;
mod inventory;
mod lab;
mod mirror;
mod network;
mod plan;
mod recover;
mod status;
mod uninstall;

use crate::cli::{Cli, Command, Global};
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::journal::Journal;
use crate::plan::runner::Outcome;
use crate::run::worker::{self, Work};
use crate::ui::Ui;
use std::path::{Path, PathBuf};

/// What every command gets.
pub struct Session {
    /// The machine that is meant.
    pub host: Host,
    /// How to talk.
    pub ui: Ui,
    /// Options of every command.
    pub global: Global,
}

/// Does what was typed; returns the exit status.
pub fn run(cli: Cli) -> ExitStatus {
    // The shell that called may be stricter than the services that read our files.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let host = cli.global.sysroot.as_ref().map_or_else(Host::live, Host::at);
    let mut session = Session { host, ui: Ui::new(&cli.global), global: cli.global };
    if session.host.is_live() {
        // A run in its own unit has another working directory.
        session.global.config = absolute(&session.global.config);
    }
    let (name, result) = dispatch(&session, cli.command);
    result.unwrap_or_else(|failure| {
        if !failure.what.is_empty() {
            session.ui.failure(name, &failure);
        }
        failure.status
    })
}

fn dispatch(session: &Session, command: Option<Command>) -> (&'static str, Result<ExitStatus, Failure>) {
    match command {
        None => ("install", bare::run(session)),
        Some(Command::Init(options)) => ("init", init::run(session, &options)),
        Some(Command::Plan(options)) => ("plan", plan::run(session, &options)),
        Some(Command::Apply(options)) => ("apply", apply::run(session, &options)),
        Some(Command::Status) => ("status", status::run(session)),
        Some(Command::Doctor) => ("doctor", doctor::run(session)),
        Some(Command::Recover) => ("recover", recover::run(session)),
        Some(Command::Uninstall(options)) => ("uninstall", uninstall::run(session, &options)),
        Some(Command::Network(options)) => ("network", network::run(session, &options)),
        Some(Command::Inventory) => ("inventory", inventory::run(session)),
        Some(Command::Mirror(options)) => ("mirror", mirror::run(session, &options)),
        Some(Command::Lab(options)) => ("lab", lab::run(session, options)),
    }
}

impl Session {
    /// Fails where changing something was asked for on a captured tree.
    fn require_live(&self) -> Result<(), Failure> {
        if self.host.is_live() {
            return Ok(());
        }
        let what = "nothing can be applied with --sysroot: it is only a captured tree";
        Err(Failure::usage(what, "leave --sysroot out, or use plan and inventory"))
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
        let work = Work { what, journal, jobs: self.global.jobs, sinks: vec![self.ui.display()] };
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
