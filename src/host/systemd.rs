//! systemd: what it says of a unit, and the verbs we need of it.
//!
//! Only `systemctl show` properties are parsed (stable `KEY=value` lines), no human output.

use super::command::Command;
use super::{Error, Host, Result};
use std::collections::HashMap;

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

/// Makes systemd read unit files again.
pub fn daemon_reload(host: &Host) -> Result<()> {
    systemctl().arg("daemon-reload").run(host)
}

/// Enables a unit at boot.
pub fn enable(host: &Host, unit: &str) -> Result<()> {
    systemctl().args(["enable", "--quiet", unit]).run(host)
}

/// Takes the mask off a unit.
pub fn unmask(host: &Host, unit: &str) -> Result<()> {
    systemctl().args(["unmask", "--quiet", unit]).run(host)
}

/// Disables a unit at boot.
pub fn disable(host: &Host, unit: &str) -> Result<()> {
    systemctl().args(["disable", "--quiet", unit]).run(host)
}

/// Starts units and waits for them.
pub fn start(host: &Host, units: &[&str]) -> Result<()> {
    loaded(host, systemctl().arg("start").args(units.iter().copied()))
}

/// Restarts a unit and waits for it.
pub fn restart(host: &Host, unit: &str) -> Result<()> {
    loaded(host, systemctl().args(["restart", unit]))
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
