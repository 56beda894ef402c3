//! A run: the worker does it in a unit of its own and writes its events to a file; terminals only watch that file.

pub mod watch;
pub mod worker;

use crate::cli::CONFIG_VARIABLE;
use crate::exit::ExitStatus;
use crate::facts::reach;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::{Host, files, systemd};
use std::path::Path;

/// The unit in which a run works.
pub const UNIT: &str = "gpucloud-run.service";
/// The events of the present or last run since boot.
pub const EVENTS: &str = "/run/gpucloud/events.jsonl";
/// What the run, and its continuation after a boot, need of the environment in which it was asked for.
pub const ENVIRONMENT: &str = "/var/lib/gpucloud/run.environment";
/// Held while a run is being started: two terminals may ask at once.
const START_LOCK: &str = "/run/gpucloud/start.lock";
/// One log for each run that changed something.
pub const LOGS: &str = "/var/log/gpucloud";

/// Whether a run is going on in its unit.
pub fn is_going_on(host: &Host) -> bool {
    let going =
        |status: systemd::UnitStatus| matches!(status.active.as_str(), "active" | "activating" | "deactivating");
    systemd::is_booted(host) && systemd::unit(host, UNIT).is_ok_and(going)
}

/// Starts a run in its unit: it outlives the terminal, and is killed as a whole. One that another terminal has started
/// meanwhile is as good.
pub fn start(host: &Host, config: &Path, jobs: u16) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new("cannot tell where this program is", e.to_string(), "start it by its full path"))?;
    let _lock = files::lock(host, Path::new(START_LOCK))?;
    if is_going_on(host) {
        return Ok(());
    }
    // Events of an older run must not be taken for this one's.
    files::remove(host, Path::new(EVENTS))?;
    files::write(host, Path::new(ENVIRONMENT), passed_on(config).as_bytes(), 0o600, None)?;
    Command::new("systemd-run")
        .args([
            "--quiet",
            "--collect",
            &format!("--unit={UNIT}"),
            "--property=KillMode=control-group",
            "--property=TimeoutStopSec=120",
            &format!("--property=EnvironmentFile={ENVIRONMENT}"),
            "--",
        ])
        .arg(program.display().to_string())
        .args(["--jobs", &jobs.to_string(), "--yes", "apply", "--worker"])
        .run(host)
        .map_err(|error| Failure { status: ExitStatus::Failed, ..error.into() })
}

/// What the run needs of this terminal's environment, for a file that only root may read: proxies have passwords.
/// (systemd.exec(5), "EnvironmentFile")
fn passed_on(config: &Path) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let names = reach::DOWNLOAD_VARIABLES.iter().chain(&["SUDO_USER"]);
    let set = names.filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let set = set.chain([(CONFIG_VARIABLE, config.display().to_string())]);
    set.map(|(name, value)| format!("{name}=\"{}\"\n", quoted(&value))).collect()
}

/// Asks a run to stop at the next safe point.
pub fn stop(host: &Host) -> Result<(), Failure> {
    Ok(systemd::stop(host, UNIT)?)
}
