//! systemd: what it says of a unit, and the verbs we need of it.
//!
//! Only `systemctl show` properties are parsed (stable `KEY=value` lines), no human output. What makes systemd look at
//! its unit files (enable, disable, mask, reload) is done one at a time: `enable` is two calls, a change of links and a
//! reload, and another thread would see what lies between.

use super::command::Command;
use super::{Error, Host, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Held while unit files are changed or read.
static UNIT_FILES: Mutex<()> = Mutex::new(());

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UnitStatus {
    /// "loaded", "not-found", "masked", "bad-setting".
    pub load: String,
    /// "active", "inactive", "failed", "activating", "deactivating".
    pub active: String,
    /// "enabled", "disabled", "static", "masked", "" when there is no file.
    pub file: String,
    /// Whether the files changed since systemd read them.
    pub needs_reload: bool,
    /// Seconds of the monotonic clock at which its last start began; 0 when it never was started.
    pub started_at: f64,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
}

impl UnitStatus {
    /// Whether it runs (or did its work, for a oneshot unit).
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// Whether it starts at boot.
    pub fn is_enabled(&self) -> bool {
        matches!(self.file.as_str(), "enabled" | "enabled-runtime" | "alias" | "static" | "generated")
    }
}

const PROPERTIES: &str =
    "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,InactiveExitTimestampMonotonic,NRestarts";

/// Whether systemd is PID 1 here (its own test: <https://www.freedesktop.org/software/systemd/man/sd_booted.html>).
pub fn is_booted(host: &Host) -> bool {
    super::files::exists(host, "/run/systemd/system")
}

/// What systemd says of each of `units`, in that order.
pub fn status(host: &Host, units: &[&str]) -> Result<Vec<UnitStatus>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let text = systemctl().args(["show", "--property", PROPERTIES]).args(units.iter().copied()).read(host)?;
    Ok(text.split("\n\n").map(parse).collect())
}

/// What systemd says of one unit.
pub fn unit(host: &Host, unit: &str) -> Result<UnitStatus> {
    if let Some(status) = host.snapshot().and_then(|snapshot| snapshot.unit(unit)) {
        return Ok(status.clone());
    }
    Ok(status(host, &[unit])?.into_iter().next().unwrap_or_default())
}

fn parse(block: &str) -> UnitStatus {
    let fields: HashMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let text = |key: &str| fields.get(key).copied().unwrap_or_default().to_owned();
    UnitStatus {
        load: text("LoadState"),
        active: text("ActiveState"),
        file: text("UnitFileState"),
        needs_reload: text("NeedDaemonReload") == "yes",
        started_at: text("InactiveExitTimestampMonotonic").parse::<f64>().unwrap_or(0.0) / 1e6,
        restarts: text("NRestarts").parse().unwrap_or(0),
    }
}

fn systemctl() -> Command {
    Command::new("systemctl").arg("--no-ask-password")
}

/// One of those that change or read unit files.
fn with_unit_files(host: &Host, command: &Command) -> Result<()> {
    let _alone = UNIT_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    command.run(host)
}

/// Makes systemd read unit files again.
pub fn daemon_reload(host: &Host) -> Result<()> {
    with_unit_files(host, &systemctl().arg("daemon-reload"))
}

/// Enables a unit at boot.
pub fn enable(host: &Host, unit: &str) -> Result<()> {
    with_unit_files(host, &systemctl().args(["enable", "--quiet", unit]))
}

/// Takes the mask off a unit.
pub fn unmask(host: &Host, unit: &str) -> Result<()> {
    with_unit_files(host, &systemctl().args(["unmask", "--quiet", unit]))
}

/// Disables a unit at boot.
pub fn disable(host: &Host, unit: &str) -> Result<()> {
    with_unit_files(host, &systemctl().args(["disable", "--quiet", unit]))
}

/// Starts a unit and waits for it.
pub fn start(host: &Host, unit: &str) -> Result<()> {
    beside_triggered(host, unit, || loaded(host, systemctl().args(["start", unit])))
}

/// Restarts a unit and waits for it.
pub fn restart(host: &Host, unit: &str) -> Result<()> {
    beside_triggered(host, unit, || loaded(host, systemctl().args(["restart", unit])))
}

/// A socket is not started while its service runs ("Socket service ... already active, refusing"): the service is
/// stopped meanwhile. Guests outlive a stop of libvirtd.
fn beside_triggered(host: &Host, unit: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if !unit.ends_with(".socket") {
        return work();
    }
    let triggered = systemctl().args(["show", "--property=Triggers", "--value", unit]).read(host)?;
    let services: Vec<&str> = triggered.split_whitespace().collect();
    let running: Vec<&str> = services
        .iter()
        .zip(status(host, &services)?)
        .filter_map(|(service, status)| status.is_active().then_some(*service))
        .collect();
    // A drop-in of the service alone makes its socket no older.
    daemon_reload(host)?;
    running.iter().try_for_each(|service| stop(host, service))?;
    work()?;
    running.iter().try_for_each(|service| start(host, service))
}

/// `command`, once more where another step's reload came between a file of the unit and this command: systemd then
/// calls the unit one that "failed to load properly" (seen with 257: "Device or resource busy").
fn loaded(host: &Host, command: Command) -> Result<()> {
    match command.run(host) {
        Err(Error::Failed { tail, .. }) if tail.contains("reload service manager") => {
            daemon_reload(host)?;
            command.run(host)
        }
        result => result,
    }
}

/// Stops a unit and waits for it; one that does not exist is fine.
pub fn stop(host: &Host, name: &str) -> Result<()> {
    let status = unit(host, name)?;
    if status.load == "not-found" && status.active == "inactive" {
        return Ok(());
    }
    systemctl().args(["stop", name]).run(host)
}

/// Stops all of `units` that there are, at once, and waits for them.
pub fn stop_all(host: &Host, units: &[&str]) -> Result<()> {
    let statuses = status(host, units)?;
    let there: Vec<&str> =
        units.iter().zip(statuses).filter(|(_, status)| status.load != "not-found").map(|(unit, _)| *unit).collect();
    if there.is_empty() { Ok(()) } else { systemctl().arg("stop").args(there).run(host) }
}

/// Begins to stop a unit, and does not wait.
pub fn begin_to_stop(host: &Host, name: &str) -> Result<()> {
    systemctl().args(["stop", "--no-block", name]).run(host)
}

/// Starts a program in a unit of its own, which outlives this one. `options` are those of systemd-run(1).
pub fn start_transient(host: &Host, unit: &str, options: &[String], program: &[String]) -> Result<()> {
    let command = Command::new("systemd-run").args(["--quiet", &format!("--unit={unit}")]);
    command.args(options.iter().cloned()).arg("--").args(program.iter().cloned()).run(host)
}

/// Stops a unit that is gone once it ended; one that is gone is fine.
pub fn stop_transient(host: &Host, name: &str) -> Result<()> {
    of_a_loaded_unit(host, &systemctl().args(["stop", name]))
}

/// Forgets that a unit failed, so that the next start is not refused; one that is gone is fine.
pub fn reset_failed(host: &Host, unit: &str) -> Result<()> {
    of_a_loaded_unit(host, &systemctl().args(["reset-failed", unit]))
}

fn of_a_loaded_unit(host: &Host, command: &Command) -> Result<()> {
    match command.clone().quiet().run(host) {
        Err(Error::Failed { tail, .. }) if tail.contains("not loaded") => Ok(()),
        result => result,
    }
}

/// The last lines a unit wrote to the journal, for an error page.
pub fn last_lines(host: &Host, unit: &str, lines: u32) -> String {
    Command::new("journalctl")
        .args(["--no-pager", "--quiet", "--output=cat", "--lines", &lines.to_string(), "--unit", unit])
        .read(host)
        .map(|text| host.mask(text.trim()))
        .unwrap_or_default()
}

/// What a unit wrote to the journal since then, in seconds since 1970: its last lines.
pub fn lines_since(host: &Host, unit: &str, since: f64) -> String {
    Command::new("journalctl")
        .args(["--no-pager", "--quiet", "--output=cat", "--lines=300", "--unit", unit])
        .arg(format!("--since=@{since:.0}"))
        .quiet()
        .read(host)
        .map(|text| host.mask(text.trim()))
        .unwrap_or_default()
}

/// Seconds of the monotonic clock, which [`UnitStatus::started_at`] uses.
pub fn monotonic_seconds() -> f64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_output_is_read_by_property() {
        let status = parse(
            "Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nInactiveExitTimestampMonotonic=2500000\nNRestarts=2",
        );
        assert!(status.is_active() && status.is_enabled() && !status.needs_reload);
        assert_eq!((status.started_at, status.restarts), (2.5, 2));
    }
}
