//! What is done inside a lab host: exactly what an administrator does on a real one. (What a lab takes along from this
//! machine, such as name servers and certificates, is in `steps.rs`.)

use super::hands::{self, Hands};
use super::{Kind, Lab, LabError, network, signals};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::{Host, Observer, files};
use crate::paths;
use crate::plan::event::{Event, Sink};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where our program is, inside.
const PROGRAM: &str = "/usr/local/bin/gpucloud-install";
/// How long a cloud may take after a boot.
const HEALTHY_LIMIT: Duration = Duration::from_secs(600);

/// A running lab host.
pub struct Inside<'a> {
    host: Host,
    lab: &'a Lab,
    hands: Box<dyn Hands>,
}

impl<'a> Inside<'a> {
    /// Of this lab: whatever is waited for may take as long as it takes there.
    pub fn new(host: &Host, lab: &'a Lab) -> Self {
        Self { host: host.paced(lab.pace()), lab, hands: hands::of(lab) }
    }

    /// The lab that it is.
    pub fn lab(&self) -> &Lab {
        self.lab
    }

    fn program_with<S: AsRef<str>>(&self, command: &[S], terminal: bool) -> crate::host::Result<Command> {
        let words: Vec<String> = command.iter().map(|word| word.as_ref().to_owned()).collect();
        self.hands.program(&self.host, &words, &network::proxies(self.lab), terminal)
    }

    /// `command` as it runs inside, with this machine's proxies.
    pub fn program<S: AsRef<str>>(&self, command: &[S]) -> crate::host::Result<Command> {
        self.program_with(command, false)
    }

    /// Runs `command` inside in place of this program: its input, its outputs, its terminal, its signals. Its exit status,
    /// 128 + n for signal n.
    pub fn exec(&self, command: &[String]) -> Result<i32, LabError> {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        match self.lab.kind {
            Kind::Vm(_) if !terminal => signals::passing(&self.host, |words| self.program(words), command),
            _ => Ok(self.program_with(command, terminal)?.interactive(&self.host)?),
        }
    }

    fn read(&self, path: &str) -> Result<Option<String>, LabError> {
        if self.lab.kind == Kind::Container {
            return Ok(files::read_text(&self.host, self.lab.real(path))?);
        }
        let read = self.program(&["cat", path])?.output(&self.host)?;
        Ok(read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned()))
    }

    fn write(&self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Result<(), LabError> {
        if self.lab.kind == Kind::Container {
            return Ok(files::write(&self.host, &self.lab.real(path), &content.into(), mode, None)?);
        }
        let script = "umask 077; cat >\"$1.new\" && chmod \"$2\" \"$1.new\" && mv \"$1.new\" \"$1\"";
        let words = ["sh", "-c", script, "sh", path, &format!("{mode:o}")].map(str::to_owned);
        Ok(self.program(&words)?.stdin(content).run(&self.host)?)
    }

    /// Copies this program in, unless it is there.
    pub fn take_program(&self) -> Result<(), LabError> {
        let own = Path::new("/proc/self/exe");
        if self.lab.kind == Kind::Container {
            return Ok(files::copy(&self.host, own, &self.lab.real(PROGRAM), 0o755)?);
        }
        let program = files::read(&Host::live(), own)?.unwrap_or_default();
        let there = self.program(&["sha256sum", PROGRAM])?.output(&self.host)?;
        if String::from_utf8_lossy(&there.stdout).starts_with(&files::hash(&program)) {
            return Ok(());
        }
        self.write(PROGRAM, program, 0o755)
    }

    /// Whether there is an answer file.
    pub fn has_answers(&self) -> Result<bool, LabError> {
        Ok(self.read(paths::ANSWERS)?.is_some())
    }

    /// The answers.
    pub fn answers(&self) -> Result<Config, LabError> {
        let text = self.read(paths::ANSWERS)?.unwrap_or_default();
        Ok(Config::parse(&text, Path::new(paths::ANSWERS))?)
    }

    /// Changes the answers.
    pub fn change_answers(&self, change: impl FnOnce(Config) -> Result<Config, Failure>) -> Result<(), LabError> {
        let text = change(self.answers()?)?.render();
        self.write(paths::ANSWERS, text, 0o644)
    }

    /// Runs a program inside.
    pub fn run(&self, command: &[&str]) -> Result<(), LabError> {
        Ok(self.program(command)?.run(&self.host)?)
    }

    /// `apply`, shown in `display`.
    pub fn apply(&self, display: Arc<dyn Sink>, jobs: u16) -> Result<(), LabError> {
        let relay = Arc::new(Relay { display, failure: Mutex::default() });
        let host = self.host.observed(relay.clone());
        let jobs = jobs.to_string();
        let command = ["gpucloud-install", "--json", "--progress", "json", "--yes", "--jobs", &jobs, "apply"];
        let code = self.program(&command)?.exit_code(&host)?;
        if code == 0 {
            return Ok(());
        }
        let said = relay.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said = said.unwrap_or_else(|| Failure::new("the installation ended without a word", "", ""));
        let (name, status) = (self.lab.name.to_string(), u8::try_from(code).unwrap_or(1));
        Err(LabError::Inside { name, failure: Box::new(said), status })
    }

    /// Gives it this machine's time: what was restored goes on at the time when it was saved.
    pub fn set_clock(&self) -> Result<(), LabError> {
        if self.lab.kind == Kind::Container {
            return Ok(());
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.run(&["date", "--utc", "--set", &format!("@{now}")])
    }

    /// Waits until the cloud inside is healthy; `false` when there is no complete one.
    pub fn wait_healthy(&self) -> Result<bool, LabError> {
        if self.read(paths::APPLIED)?.is_none() {
            return Ok(false);
        }
        let status = self.program(&["gpucloud-install", "status"])?;
        let healthy =
            self.host.wait_until("a healthy cloud in the lab", HEALTHY_LIMIT, Duration::from_millis(500), || {
                Ok(status.output(&self.host)?.status.success())
            });
        let unhealthy = |source| LabError::Unhealthy { name: self.lab.name.to_string(), source };
        healthy.map(|()| true).map_err(unhealthy)
    }
}

/// Turns the JSON lines of a run inside into events here, and keeps the error of its last document.
struct Relay {
    display: Arc<dyn Sink>,
    failure: Mutex<Option<Failure>>,
}

/// A document that ends with an error.
#[derive(serde::Deserialize)]
struct Document {
    error: Failure,
}

impl Observer for Relay {
    fn line(&self, text: &str) {
        if let Ok(event) = serde_json::from_str::<Event>(text) {
            self.display.event(&event);
        } else if let Ok(document) = serde_json::from_str::<Document>(text) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.error);
        }
    }

    fn progress(&self, _done: u64, _total: u64, _what: &str) {}

    fn warning(&self, _text: &str) {}
}
