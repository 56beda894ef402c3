//! What is done inside a lab host: exactly what an administrator does on a real one. (What a lab takes along from this
//! machine, such as name servers and certificates, is in `steps.rs`.)

use super::{Lab, network};
use crate::config::Config;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::{Host, Observer, files, nspawn};
use crate::paths;
use crate::plan::event::{Event, Sink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where our program is, inside.
const PROGRAM: &str = "/usr/local/bin/gpucloud-install";
/// How long a cloud may take after a boot.
const HEALTHY_LIMIT: Duration = Duration::from_secs(600);

/// A running lab host.
pub struct Inside<'a> {
    host: &'a Host,
    lab: &'a Lab,
}

impl<'a> Inside<'a> {
    /// Of this lab.
    pub fn new(host: &'a Host, lab: &'a Lab) -> Self {
        Self { host, lab }
    }

    fn real(&self, path: &str) -> PathBuf {
        self.lab.root().join(path.trim_start_matches('/'))
    }

    /// `command` as it runs inside, with this machine's proxies.
    pub fn program<S: AsRef<str>>(&self, command: &[S]) -> crate::host::Result<Command> {
        let program = nspawn::program(self.host, self.lab.name.as_str(), command)?;
        Ok(network::proxies(self.lab).into_iter().fold(program, |program, (name, value)| program.env(name, value)))
    }

    /// Copies this program in.
    pub fn take_program(&self) -> Result<(), Failure> {
        Ok(files::copy(self.host, Path::new("/proc/self/exe"), &self.real(PROGRAM), 0o755)?)
    }

    /// Whether there is an answer file.
    pub fn has_answers(&self) -> bool {
        files::exists(self.host, self.real(paths::ANSWERS))
    }

    /// The answers.
    pub fn answers(&self) -> Result<Config, Failure> {
        Config::load(self.host, &self.real(paths::ANSWERS))
    }

    /// Changes the answers.
    pub fn change_answers(&self, change: impl FnOnce(Config) -> Result<Config, Failure>) -> Result<(), Failure> {
        let text = change(self.answers()?)?.render();
        Ok(files::write(self.host, &self.real(paths::ANSWERS), text.as_bytes(), 0o644, None)?)
    }

    /// Runs a program inside.
    pub fn run(&self, command: &[&str]) -> Result<(), Failure> {
        Ok(self.program(command)?.run(self.host)?)
    }

    /// `apply`, shown in `display`.
    pub fn apply(&self, display: Arc<dyn Sink>, jobs: u16) -> Result<(), Failure> {
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
        Err(self.told_from_inside(said, u8::try_from(code).unwrap_or(1)))
    }

    fn told_from_inside(&self, failure: Failure, status: u8) -> Failure {
        let name = &self.lab.name;
        let next = match status {
            // Refused, or wrong answers (README, "Exit status"): going on alone does not help.
            2 | 3 => {
                format!("{}; then: gpucloud-install lab up --name {name}", failure.next)
            }
            _ => format!("gpucloud-install lab up --name {name} goes on; lab shell {name} looks inside"),
        };
        Failure { what: format!("inside lab {name}: {}", failure.what), next, ..failure }.with(Ending::Passed(status))
    }

    /// Waits until the cloud inside is healthy; `false` when there is no complete one.
    pub fn wait_healthy(&self) -> Result<bool, Failure> {
        if !files::exists(self.host, self.real(paths::APPLIED)) {
            return Ok(false);
        }
        let status = self.program(&["gpucloud-install", "status"])?;
        let healthy =
            self.host.wait_until("a healthy cloud in the lab", HEALTHY_LIMIT, Duration::from_millis(500), || {
                Ok(status.output(self.host)?.status.success())
            });
        healthy.map(|()| true).map_err(|error| {
            let next = format!("gpucloud-install lab status {}", self.lab.name);
            Failure { next, ..Failure::from(error) }
        })
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
