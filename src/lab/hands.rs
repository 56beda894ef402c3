//! What differs between kinds of lab once they are made: how a host is started, entered, stopped.

use super::{Kind, Lab, RUNNING};
use crate::host::command::Command;
use crate::host::nspawn::{self, Container};
use crate::host::qemu::{self, Begin, Machine};
use crate::host::ssh::Login;
use crate::host::{Error, Host, Result, files};
use std::time::Duration;

/// How long a virtual machine may take to boot on a processor of its own; a whole cloud takes its time.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
/// How long it may take to shut down: libvirt waits for guests that do not listen.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// The hands for one host.
pub trait Hands: Send + Sync {
    /// Whether it runs.
    fn is_running(&self, host: &Host) -> bool;
    /// Whether it runs and does nothing, since a kill left it so: [`Hands::start`] lets it go on.
    fn is_left_paused(&self, host: &Host) -> Result<bool>;
    /// Starts it; it boots in the background.
    fn start(&self, host: &Host) -> Result<()>;
    /// Waits until programs can be run in it.
    fn wait_open(&self, host: &Host) -> Result<()>;
    /// `words` as a program inside, with these variables; with a terminal where it has one here.
    fn program(&self, host: &Host, words: &[String], env: &[(String, String)], terminal: bool) -> Result<Command>;
    /// Shuts it down politely; kills it when that takes too long. Not running is fine.
    fn shut_down(&self, host: &Host) -> Result<()>;
    /// Ends it at once, like a power cut. Not running is fine.
    fn cut(&self, host: &Host) -> Result<()>;
}

/// Those for this lab.
pub fn of(lab: &Lab) -> Box<dyn Hands> {
    match &lab.kind {
        Kind::Container => Box::new(lab.container()),
        Kind::Vm(vm) => Box::new(Virtual { machine: lab.machine(vm), login: lab.login(), pace: vm.pace() }),
    }
}

/// Waits until everything that a boot starts has been started.
pub fn wait_booted(host: &Host, lab: &Lab) -> Result<()> {
    let hands = of(lab);
    hands.wait_open(host)?;
    let question = ["systemctl", "is-system-running", "--wait"].map(str::to_owned);
    let limit = BOOT_LIMIT * lab.pace();
    host.wait_until(&format!("the boot of lab {}", lab.name), limit, POLL, || {
        // It answers when all is started; before systemd itself can be asked, at once.
        let answer = hands.program(host, &question, &[], false).and_then(|asked| asked.limit(limit).output(host));
        // "degraded": one unit failed, in a container usually one that it cannot have.
        let is_booted = |said: &[u8]| matches!(String::from_utf8_lossy(said).trim(), "running" | "degraded");
        answer.map(|output| is_booted(&output.stdout)).or_else(|error| still_boots(host, &*hands, error).map(|_| false))
    })
}

/// What failed may work later, as long as the host runs: what it said.
fn still_boots(host: &Host, hands: &dyn Hands, error: Error) -> Result<String> {
    match error {
        Error::Stopped => Err(error),
        Error::Failed { ref tail, .. } if hands.is_running(host) && !tail.is_empty() => Ok(tail.clone()),
        other if hands.is_running(host) => Ok(other.to_string()),
        other => Err(other),
    }
}

impl Hands for Container {
    fn is_running(&self, host: &Host) -> bool {
        nspawn::is_running(host, &self.name)
    }

    fn is_left_paused(&self, _: &Host) -> Result<bool> {
        Ok(false)
    }

    fn start(&self, host: &Host) -> Result<()> {
        nspawn::start(host, self)
    }

    fn wait_open(&self, _: &Host) -> Result<()> {
        Ok(())
    }

    fn program(&self, host: &Host, words: &[String], env: &[(String, String)], _: bool) -> Result<Command> {
        let program = nspawn::program(host, &self.name, words)?;
        Ok(env.iter().fold(program, |program, (name, value)| program.env(name, value)))
    }

    fn shut_down(&self, host: &Host) -> Result<()> {
        nspawn::shut_down(host, &self.name)
    }

    fn cut(&self, host: &Host) -> Result<()> {
        nspawn::stop(host, &self.name)
    }
}

/// A virtual machine, entered by SSH.
struct Virtual {
    machine: Machine,
    login: Login,
    pace: u32,
}

impl Hands for Virtual {
    fn is_running(&self, host: &Host) -> bool {
        qemu::is_running(host, &self.machine)
    }

    fn is_left_paused(&self, host: &Host) -> Result<bool> {
        qemu::is_left_paused(host, &self.machine)
    }

    /// Goes on where a snapshot's state says so, once.
    fn start(&self, host: &Host) -> Result<()> {
        self.login.close(host)?;
        let state = self.machine.dir.join(RUNNING);
        if !files::exists(host, &state) {
            return qemu::start(host, &self.machine, Begin::Boot);
        }
        qemu::start(host, &self.machine, Begin::SavedState)?;
        files::remove(host, &state)?;
        qemu::forget_state(host, &self.machine)
    }

    fn wait_open(&self, host: &Host) -> Result<()> {
        let limit = BOOT_LIMIT * self.pace;
        host.wait_while("the login to the lab", limit, POLL, || match self.login.open(host) {
            Ok(()) => Ok(None),
            Err(error) => still_boots(host, self, error).map(Some),
        })
    }

    fn program(&self, host: &Host, words: &[String], env: &[(String, String)], terminal: bool) -> Result<Command> {
        self.login.open(host)?;
        Ok(self.login.program(words, env, terminal))
    }

    fn shut_down(&self, host: &Host) -> Result<()> {
        if !self.is_running(host) {
            return Ok(());
        }
        let words = ["systemctl", "poweroff"].map(str::to_owned);
        // The connection breaks while the host goes down: its exit status says nothing.
        if let Ok(program) = self.program(host, &words, &[], false) {
            let _ = program.output(host);
        }
        match host.wait_until("the shutdown", SHUTDOWN_LIMIT * self.pace, POLL, || Ok(!self.is_running(host))) {
            Ok(()) | Err(Error::TimedOut { .. }) => self.cut(host),
            other => other,
        }
    }

    fn cut(&self, host: &Host) -> Result<()> {
        qemu::cut(host, &self.machine)?;
        self.login.close(host)
    }
}
