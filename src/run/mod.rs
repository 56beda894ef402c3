//! A run: the worker does it in a unit of its own and writes its events to a file; terminals only watch that file.
//!
//! What a run, and its continuation after a boot, take along of the terminal that asked for it (the answer file,
//! proxies) is chosen here, in [`passed_on`].

pub mod watch;
pub mod worker;

use crate::ending::Ending;
use crate::facts::reach;
use crate::failure::Failure;
use crate::host::{Host, UNCUT_LIMIT, files, systemd};
use crate::paths::{ANSWERS_VARIABLE, ENVIRONMENT};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The unit in which a run works.
pub const UNIT: &str = "gpucloud-run.service";
/// The events of the present or last `apply` since boot.
pub const EVENTS: &str = "/run/gpucloud/events.jsonl";
/// How long a run may take to come to a safe point, before systemd kills all of it: what must not be cut comes to its
/// end first ([`Host::to_its_end`]), other programs are ended within seconds, and what was only for the run is taken
/// back.
const STOP_LIMIT: Duration = Duration::from_secs(UNCUT_LIMIT.as_secs() + 60);
/// How long a run that was killed may take to be gone.
const KILLED_LIMIT: Duration = Duration::from_secs(10);
/// How long another terminal may take to start a run: systemd may wait for MariaDB first.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Held while a run is being started: two terminals may ask at once.
const START_LOCK: &str = "/run/gpucloud/start.lock";

/// Where the events of a run of `what` go: each has a file of its own, or who watches one would be told of another.
fn events_of(what: &str) -> PathBuf {
    if what == "apply" {
        EVENTS.into()
    } else {
        format!("/run/gpucloud/{}-events.jsonl", what.replace(' ', "-")).into()
    }
}

/// Whether a run is going on in its unit. One that is about to end is waited for a moment; one that was asked to stop,
/// and has work to bring to its end first, goes on.
pub fn is_going_on(host: &Host) -> bool {
    let mut state = state(host);
    let end = Instant::now() + KILLED_LIMIT;
    while state == "deactivating" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        state = self::state(host);
    }
    matches!(state.as_str(), "active" | "activating" | "deactivating")
}

/// What systemd calls the state of the run's unit; empty where there is no systemd.
fn state(host: &Host) -> String {
    let asked = systemd::is_booted(host).then(|| systemd::unit(host, UNIT).ok()).flatten();
    asked.map(|status| status.active).unwrap_or_default()
}

/// Starts a run in its unit: it outlives the terminal. A stop request reaches the worker alone (`KillMode=mixed`),
/// which ends its programs or lets them come to their end; a shutdown stops MariaDB behind it, since a migration may
/// have to end first. One that another terminal has started meanwhile is as good.
pub fn start(host: &Host, config: &Path, jobs: u16, may_lose: bool) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new("cannot tell where this program is", e.to_string(), "start it by its full path"))?;
    let _lock = files::lock_within(host, Path::new(START_LOCK), "the start of a run by another terminal", START_LIMIT)?;
    if is_going_on(host) {
        return Ok(());
    }
    // Events of an older run must not be taken for this one's.
    files::remove(host, Path::new(EVENTS))?;
    files::write(host, Path::new(ENVIRONMENT), passed_on(config).as_bytes(), 0o600, None)?;
    let options = [
        "--collect".to_owned(),
        "--property=KillMode=mixed".to_owned(),
        "--property=After=mariadb.service".to_owned(),
        format!("--property=TimeoutStopSec={}", STOP_LIMIT.as_secs()),
        format!("--property=EnvironmentFile={ENVIRONMENT}"),
    ];
    let words = [&program.display().to_string(), "--jobs", &jobs.to_string(), "--yes", "apply", "--worker"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend(may_lose.then(|| "--and-lose-all-instances".to_owned()));
    systemd::start_transient(host, UNIT, &options, &words)
        .map_err(|error| Failure { ending: Ending::Failed, ..error.into() })
}

/// What the run needs of this terminal's environment, for a file that only root may read: proxies have passwords.
/// (systemd.exec(5), "EnvironmentFile")
fn passed_on(config: &Path) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let names = reach::DOWNLOAD_VARIABLES.iter().chain(&["SUDO_USER"]);
    let set = names.filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let set = set.chain([(ANSWERS_VARIABLE, config.display().to_string())]);
    set.map(|(name, value)| format!("{name}=\"{}\"\n", quoted(&value))).collect()
}

/// Asks a run to stop at the next safe point; its events tell when it does.
pub fn stop(host: &Host) -> Result<(), Failure> {
    Ok(systemd::begin_to_stop(host, UNIT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_an_apply_is_not_told_of_anything_else() {
        assert_eq!(events_of("apply"), Path::new(EVENTS));
        let others = ["uninstall", "recover", "mirror", "network", "lab up"].map(events_of);
        assert!(others.iter().all(|path| path != Path::new(EVENTS)));
        assert_eq!(others.iter().collect::<std::collections::HashSet<_>>().len(), others.len());
    }
}
