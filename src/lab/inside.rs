//! What is done inside a lab host: exactly what an administrator does on a real one.

use super::Lab;
use crate::config::{Config, DEFAULT_PATH};
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::host::{Host, Observer, files, nspawn};
use crate::plan::event::{Event, Sink};
use crate::run::watch::Summary;
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

    /// Copies this program in.
    pub fn take_program(&self) -> Result<(), Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::new("cannot tell where this program is", e.to_string(), ""))?;
        Ok(files::copy(self.host, &program, &self.real(PROGRAM), 0o755)?)
    }

    /// Whether there is an answer file.
    pub fn has_answers(&self) -> bool {
        files::exists(self.host, self.real(DEFAULT_PATH))
    }

    /// The answers.
    pub fn answers(&self) -> Result<Config, Failure> {
        Config::load(self.host, &self.real(DEFAULT_PATH))
    }

    /// Takes over the answers in `path`, but for what belongs to the host itself.
    pub fn take_answers(&self, path: &Path) -> Result<(), Failure> {
        let own = self.answers()?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let config = Config { host: own.host, ..Config::load(self.host, &path)? };
        Ok(files::write(self.host, &self.real(DEFAULT_PATH), config.render().as_bytes(), 0o644, None)?)
    }

    /// Runs a program inside.
    pub fn run(&self, command: &[&str]) -> Result<(), Failure> {
        Ok(nspawn::program(self.host, self.lab.name.as_str(), command)?.run(self.host)?)
    }

    /// `apply`, shown in `display`.
    pub fn apply(&self, display: Arc<dyn Sink>, jobs: u16) -> Result<(), Failure> {
        let relay = Arc::new(Relay { display, summary: Mutex::default() });
        let host = self.host.observed(relay.clone());
        let jobs = jobs.to_string();
        let command = ["gpucloud-install", "--progress", "json", "--yes", "--jobs", &jobs, "apply"];
        let result = nspawn::program(&host, self.lab.name.as_str(), &command)?.run(&host);
        let summary = relay.summary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (summary.failures.into_iter().next(), result) {
            (Some(failure), _) => Err(self.told_from_inside(failure)),
            (None, Err(error)) => Err(self.told_from_inside(error.into())),
            (None, Ok(())) => Ok(()),
        }
    }

    fn told_from_inside(&self, failure: Failure) -> Failure {
        let next = format!(
            "gpucloud-install lab up --name {} goes on; lab shell {} looks inside",
            self.lab.name, self.lab.name
        );
        Failure { what: format!("inside lab {}: {}", self.lab.name, failure.what), next, ..failure }
            .with(ExitStatus::Midway)
    }

    /// Waits until the cloud inside is healthy; `false` when there is no complete one.
    pub fn wait_healthy(&self) -> Result<bool, Failure> {
        if !files::exists(self.host, self.real(crate::config::APPLIED_PATH)) {
            return Ok(false);
        }
        let status = nspawn::program(self.host, self.lab.name.as_str(), &["gpucloud-install", "status"])?;
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

/// Turns the JSON lines of a run inside into events here.
struct Relay {
    display: Arc<dyn Sink>,
    summary: Mutex<Summary>,
}

impl Observer for Relay {
    fn line(&self, text: &str) {
        if let Ok(event) = serde_json::from_str::<Event>(text) {
            self.summary.lock().unwrap_or_else(PoisonError::into_inner).add(&event);
            self.display.event(&event);
        }
    }

    fn progress(&self, _done: u64, _total: u64, _what: &str) {}

    fn warning(&self, _text: &str) {}
}
