//! A run: the worker does it in a unit of its own and writes its events to a file; terminals only watch that file.

pub mod watch;
pub mod worker;

use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::{Host, systemd};
use std::path::Path;

/// The unit in which a run works.
pub const UNIT: &str = "gpucloud-run.service";
/// The events of the present or last run since boot.
pub const EVENTS: &str = "/run/gpucloud/events.jsonl";
/// One log for each run that changed something.
pub const LOGS: &str = "/var/log/gpucloud";

/// Whether a run is going on in its unit.
pub fn is_going_on(host: &Host) -> bool {
    systemd::is_booted(host)
        && systemd::unit(host, UNIT).is_ok_and(|status| matches!(status.active.as_str(), "active" | "activating"))
}

/// Starts a run in its unit: it outlives the terminal, and is killed as a whole.
pub fn start(host: &Host, config: &Path, jobs: u16) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new("cannot tell where this program is", e.to_string(), "start it by its full path"))?;
    // Events of an older run must not be taken for this one's.
    let _ = std::fs::remove_file(host.real(EVENTS));
    let environment =
        ["http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "SUDO_USER"];
    let passed =
        environment.iter().filter(|name| std::env::var_os(name).is_some()).map(|name| format!("--setenv={name}"));
    Command::new("systemd-run")
        .args([
            "--quiet",
            "--collect",
            &format!("--unit={UNIT}"),
            "--property=KillMode=control-group",
            "--property=TimeoutStopSec=120",
        ])
        .args(passed)
        .arg("--")
        .arg(program.display().to_string())
        .args(["--config", &config.display().to_string(), "--jobs", &jobs.to_string(), "--yes", "apply", "--worker"])
        .run(host)
        .map_err(|error| Failure { status: ExitStatus::Failed, ..error.into() })
}

/// Asks a run to stop at the next safe point.
pub fn stop(host: &Host) -> Result<(), Failure> {
    Ok(systemd::stop(host, UNIT)?)
}
