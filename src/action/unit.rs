//! systemd units: enabled at boot, and running with their present configuration.
//!
//! Whether a running unit is stale follows from state, not from being told: at its start the hash of its inputs, its
//! unit file among them, is noted in `/run`. A run that was killed between writing a file and restarting its unit is
//! followed by one that restarts it. systemd's own `NeedDaemonReload` says nothing of a unit: since version 255 it is
//! yes for every unit from the moment that any other was enabled without a reload (systemd pull request 29347,
//! `unit_file_state_outdated`).

use super::{Action, ActionId, Applied, Checked, History, Lifetime, Originals, Undo};
use crate::complaint::Complaint;
use crate::host::{Error, Host, Result, files, systemd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the hash of a unit's inputs at its start is noted.
const STARTED: &str = "/run/gpucloud/started";
/// How often a starting service is asked whether it answers.
const POLL: Duration = Duration::from_millis(150);
/// How many times it is asked before systemd is asked whether it failed.
const LOOKS_PER_UNIT_STATUS: u32 = 10;
/// How long one that runs may be silent before it is restarted.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the unit's journal that an error carries.
const EVIDENCE_LINES: u32 = 15;

/// With this begins what is pending of a service that runs, and does not work.
pub const WAIT: &str = "wait until";

/// Enable a unit at boot.
#[derive(Debug, Clone)]
pub struct Enabled {
    /// "gpucloud-keystone.service".
    pub unit: String,
}

impl Action for Enabled {
    fn id(&self) -> ActionId {
        ActionId::new("unit", &self.unit)
    }

    fn describe(&self) -> String {
        format!("Enable {}", self.unit)
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let status = systemd::unit(host, &self.unit)?;
        Ok(match status.load.as_str() {
            "masked" => Checked::needed("unmask and enable at boot"),
            _ => Checked::done_if(status.is_enabled(), "enable at boot"),
        })
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.unit)
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let status = systemd::unit(host, &self.unit)?;
        let (enabled, active) = (status.is_enabled(), status.is_active());
        Ok(Undo::Unit { name: self.unit.clone(), enabled, active })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        if systemd::unit(host, &self.unit)?.load == "masked" {
            systemd::unmask(host, &self.unit)?;
        }
        systemd::enable(host, &self.unit)?;
        Ok(Applied::Done)
    }
}

/// Keep a unit of a package that we brought from starting at boot. It goes with its package: nothing to take back. One
/// that runs is somebody's own, and is left alone: a package that we bring starts nothing.
#[derive(Debug, Clone)]
pub struct Disabled {
    /// "haproxy.service".
    pub unit: String,
}

impl Action for Disabled {
    fn id(&self) -> ActionId {
        ActionId::new("disabled", &self.unit)
    }

    fn describe(&self) -> String {
        format!("Disable {}", self.unit)
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let status = systemd::unit(host, &self.unit)?;
        Ok(match status.load.as_str() {
            "not-found" => Checked::Later("when its package is installed".into()),
            _ => Checked::done_if(status.file != "enabled" || status.is_active(), "do not start at boot"),
        })
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.unit)
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        systemd::disable(host, &self.unit)?;
        Ok(Applied::Done)
    }
}

/// Says whether a service answers, or why not.
pub type Ready = Box<dyn Fn(&Host) -> std::result::Result<(), Complaint> + Send + Sync>;

/// Run a unit with its present configuration, and wait until it answers.
pub struct Started {
    unit: String,
    inputs: Vec<PathBuf>,
    ready: Option<Ready>,
    limit: Duration,
    only_up: bool,
}

impl Started {
    /// A unit without inputs of its own.
    pub fn new(unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), inputs: Vec::new(), ready: None, limit: Duration::from_secs(300), only_up: false }
    }

    /// Files that it reads only at its start.
    pub fn reading(mut self, inputs: Vec<PathBuf>) -> Self {
        self.inputs = inputs;
        self
    }

    /// How to see that it answers, and how long that may take.
    pub fn until(
        mut self,
        limit: Duration,
        ready: impl Fn(&Host) -> std::result::Result<(), Complaint> + Send + Sync + 'static,
    ) -> Self {
        self.limit = limit;
        self.ready = Some(Box::new(ready));
        self
    }

    /// All that counts is that it answers, with whatever configuration: one that runs and is silent is restarted, once.
    pub fn only_up(mut self) -> Self {
        self.only_up = true;
        self
    }

    fn note(&self) -> PathBuf {
        Path::new(STARTED).join(&self.unit)
    }

    fn answer(&self, host: &Host) -> std::result::Result<(), Complaint> {
        self.ready.as_ref().map_or(Ok(()), |ready| ready(host))
    }

    /// Why it must be restarted, if so.
    fn stale(&self, host: &Host, status: &systemd::UnitStatus) -> Result<bool> {
        if self.only_up {
            return Ok(false);
        }
        match files::read_text(host, self.note())? {
            Some(noted) => Ok(noted != inputs_hash(host, &self.inputs)?),
            None => Ok(changed_since_start(host, &self.inputs, status)),
        }
    }

    fn explain(&self, host: &Host, error: Error) -> Error {
        match error {
            // The cause is plain, and it is not the unit.
            Error::Stopped | Error::Room(_) => error,
            other => {
                let said = other.evidence().map(|said| format!("{said}\n")).unwrap_or_default();
                Error::Failed {
                    command: format!("start {}", self.unit),
                    status: other.to_string(),
                    tail: said + &systemd::last_lines(host, &self.unit, EVIDENCE_LINES),
                }
            }
        }
    }

    /// What no start can mend (a full disk) is said before one is tried.
    fn refuse_in_vain(&self, host: &Host) -> Result<()> {
        match self.answer(host) {
            Err(complaint) if !complaint.wait && complaint.grave => Err(complaint.into()),
            _ => Ok(()),
        }
    }

    fn wait_for_start(&self, host: &Host) -> Result<()> {
        let what = format!("the start of {}", self.unit);
        let started = || Ok(systemd::unit(host, &self.unit)?.active != "activating");
        host.wait_until(&what, self.limit, POLL, started).map_err(|e| self.explain(host, e))
    }

    fn wait(&self, host: &Host, limit: Duration) -> Result<()> {
        let mut last = String::new();
        let mut looks = 0_u32;
        host.wait_until(&format!("{} answering", self.unit), limit, POLL, || {
            let complaint = match self.answer(host) {
                Err(complaint) if complaint.grave => complaint,
                _ => return Ok(true),
            };
            last = complaint.to_string();
            looks += 1;
            // Asking systemd costs a process: not at every look.
            let dead = || {
                looks.is_multiple_of(LOOKS_PER_UNIT_STATUS)
                    && systemd::unit(host, &self.unit).is_ok_and(|s| s.active == "failed")
            };
            if !complaint.wait {
                return Err(complaint.into());
            }
            if dead() {
                return Err(Error::protocol(format!("start {}", self.unit), "it failed"));
            }
            Ok(false)
        })
        .map_err(|error| match error {
            Error::TimedOut { what, seconds } => Error::TimedOut { what: format!("{what} ({last})"), seconds },
            other => other,
        })
    }
}

impl Action for Started {
    fn id(&self) -> ActionId {
        ActionId::new("started", &self.unit)
    }

    fn describe(&self) -> String {
        format!("Start {}", self.unit)
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::Runtime
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let status = systemd::unit(host, &self.unit)?;
        if !status.is_active() {
            return Ok(Checked::needed(format!(
                "start; it is {}",
                if status.active.is_empty() { "unknown" } else { &status.active }
            )));
        }
        if self.stale(host, &status)? {
            return Ok(Checked::needed("restart: its configuration is newer than its start"));
        }
        Ok(match self.answer(host) {
            Err(reason) if reason.grave => Checked::needed(format!("{WAIT} it answers; now: {reason}")),
            _ => Checked::Done,
        })
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.unit)
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        let hash = inputs_hash(host, &self.inputs)?;
        let mut status = systemd::unit(host, &self.unit)?;
        if status.needs_reload || status.load != "loaded" {
            systemd::daemon_reload(host)?;
            status = systemd::unit(host, &self.unit)?;
        }
        let stale = status.is_active() && self.stale(host, &status)?;
        if !status.is_active() && status.active != "activating" {
            self.refuse_in_vain(host)?;
            if status.active == "failed" {
                systemd::reset_failed(host, &self.unit)?;
            }
            systemd::start(host, &self.unit).map_err(|e| self.explain(host, e))?;
        } else if stale {
            systemd::restart(host, &self.unit).map_err(|e| self.explain(host, e))?;
        }
        status = systemd::unit(host, &self.unit)?;
        if status.active == "activating" {
            // Somebody else (a run that was killed) began the start, and no job of ours waits for its end.
            self.wait_for_start(host)?;
            status = systemd::unit(host, &self.unit)?;
        }
        if status.is_active() && !self.only_up {
            files::write_volatile(host, &self.note(), hash.as_bytes(), 0o644)?;
        }
        if self.only_up {
            match self.wait(host, PATIENCE) {
                Err(Error::TimedOut { .. }) => systemd::restart(host, &self.unit).map_err(|e| self.explain(host, e))?,
                answered => return answered.map(|()| Applied::Done).map_err(|e| self.explain(host, e)),
            }
        }
        self.wait(host, self.limit).map_err(|e| self.explain(host, e))?;
        Ok(Applied::Done)
    }

    fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }
}

/// One hash over the content of all `inputs`; a directory counts with its files.
fn inputs_hash(host: &Host, inputs: &[PathBuf]) -> Result<String> {
    let mut all = Vec::new();
    for path in expanded(host, inputs)? {
        all.extend_from_slice(path.to_string_lossy().as_bytes());
        all.extend_from_slice(files::hash(&files::read(host, &path)?.unwrap_or_default()).as_bytes());
    }
    Ok(files::hash(&all))
}

fn expanded(host: &Host, inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in inputs {
        if files::status(host, path)?.is_some_and(|status| status.is_dir) {
            paths.extend(files::list(host, path)?.into_iter().map(|name| path.join(name)));
        } else {
            paths.push(path.clone());
        }
    }
    Ok(paths)
}

/// For a unit that systemd started by itself (at boot): is one of its inputs younger than that start?
fn changed_since_start(host: &Host, inputs: &[PathBuf], status: &systemd::UnitStatus) -> bool {
    let age = systemd::monotonic_seconds() - status.started_at;
    let young = |path: &PathBuf| {
        let changed = files::modified(host, path);
        changed.and_then(|time| time.elapsed().ok()).is_some_and(|elapsed| elapsed.as_secs_f64() < age)
    };
    expanded(host, inputs).is_ok_and(|paths| paths.iter().any(young))
}
