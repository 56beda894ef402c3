//! stack.sh itself: in a unit of its own, as its account. Terminal closed, SSH lost, installer killed: it goes on, and
//! the next apply attaches to it again.

use super::{DATABASES, LOG, OUTPUT, SUMMARY, failures, leaves, progress};
use crate::action::undo::Leaves;
use crate::action::undo::Stacked;
use crate::action::undo::Undo;
use crate::action::{self, Action, ActionId, Applied, Checked, History, Originals, WhenOrphaned};
use crate::engine::devstack::unstack::{self, ACCOUNT, HOME, PACKAGES_ADDED, UNIT};
use crate::engine::{EngineError, Holdings, holdings};
use crate::finding::Finding;
use crate::host::{Error, Host, Result, files, packages, systemd};
use crate::paths;
use ipnet::Ipv4Net;
use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::time::{Duration, Instant};

/// It completed here: its logs may be removed by anybody.
const COMPLETE: &str = "/var/lib/gpucloud/devstack/complete";
/// Packages that were here before the stack.sh that runs, one a line.
const PACKAGES_BEFORE: &str = "/var/lib/gpucloud/devstack/packages-before";
/// How long its last line may take from its filter into the summary.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(5);
/// How often its summary is looked at.
const POLL: Duration = Duration::from_secs(1);
/// How often a cause that may pass is given another try.
const RETRIES: u32 = 2;
const RETRY_PAUSE: Duration = Duration::from_secs(20);
/// How much of its log is searched for the cause of a failure.
const SEARCHED: u64 = 512 * 1024;
/// In how much of it the newest line is looked for.
const WINDOW: u64 = 4096;
/// How long a run took where its phases were measured: before anything is known of this machine.
const USUAL: Duration = Duration::from_secs(640);

/// Run stack.sh.
#[derive(Debug, Clone)]
pub struct StackRun {
    /// Whether it is run on a system that it does not know.
    pub force: bool,
    /// Whether instances of users may be lost.
    pub may_lose: bool,
    /// The cloud's external network.
    pub range: Ipv4Net,
}

impl StackRun {
    fn start(&self, host: &Host) -> Result<()> {
        // An older run's must not be taken for this one's.
        for path in [SUMMARY, LOG] {
            files::remove(host, Path::new(path))?;
        }
        systemd::reset_failed(host, UNIT)?;
        // Where units of an earlier try run, starting them does nothing, and old processes face new databases.
        unstack::stop_units(host)?;
        let known: Vec<String> = packages::known(host)?.into_iter().collect();
        files::write(host, Path::new(PACKAGES_BEFORE), known.join("\n").as_bytes(), 0o600, None)?;
        let mut options = vec![
            format!("--uid={ACCOUNT}"),
            format!("--gid={ACCOUNT}"),
            format!("--working-directory={HOME}/devstack"),
            format!("--setenv=HOME={HOME}"),
            format!("--setenv=USER={ACCOUNT}"),
            format!("--setenv=LOGNAME={ACCOUNT}"),
            // Proxies, as the run itself has them; they may hold passwords.
            format!("--property=EnvironmentFile=-{}", paths::ENVIRONMENT),
            // bash echoes passwords before it has a log of its own, and DevStack prints one at its end.
            format!("--property=StandardOutput=append:{OUTPUT}"),
            "--property=StandardError=inherit".into(),
            // Its filter writes the last line after it has ended.
            "--property=KillMode=process".into(),
        ];
        options.extend(self.force.then(|| "--setenv=FORCE=yes".into()));
        systemd::start_transient(host, UNIT, &options, &[format!("{HOME}/devstack/stack.sh")])
    }

    /// Before its end no user can have anything in it: another try loses nothing.
    fn run_with_retries(&self, host: &Host) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.run_once(host) {
                Err(error) if error.may_pass() && tries < RETRIES => {
                    tries += 1;
                    host.warn(&format!("{error}: trying again"));
                    std::thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn run_once(&self, host: &Host) -> Result<()> {
        if !is_running(host)? && !is_complete(host)? {
            self.start(host)?;
        }
        follow(host)?;
        let complete = host.wait_until("the last line of stack.sh", LAST_LINE_LIMIT, POLL, || is_complete(host));
        note_packages(host)?;
        match complete {
            Err(Error::TimedOut { .. }) => Err(explained(host)),
            result => result,
        }
    }
}

/// Whether stack.sh has completed here once.
pub fn has_completed(host: &Host) -> bool {
    files::exists(host, COMPLETE)
}

/// When stack.sh ended; now, where it never did: what lies in the clones by then is its own.
pub(super) fn completed_at(host: &Host) -> SystemTime {
    files::modified(host, COMPLETE).unwrap_or_else(SystemTime::now)
}

/// Whether stack.sh runs now.
pub fn is_running(host: &Host) -> Result<bool> {
    Ok(matches!(systemd::unit(host, UNIT)?.active.as_str(), "active" | "activating" | "deactivating"))
}

fn summary(host: &Host) -> Result<progress::Progress> {
    Ok(progress::read(&files::read_text(host, newest(host, Path::new(SUMMARY)))?.unwrap_or_default()))
}

/// stack.sh names its logs by their time, and a link leads to the newest. That link is its account's to make: only what
/// lies beside it is read.
fn newest(host: &Host, path: &Path) -> PathBuf {
    let link = files::status(host, path).ok().flatten().and_then(|status| status.link);
    let name = link.as_deref().and_then(Path::file_name);
    name.map_or_else(|| path.to_owned(), |name| path.with_file_name(name))
}

fn is_complete(host: &Host) -> Result<bool> {
    Ok(summary(host)?.complete)
}

/// Shows how far it is, until it ends. A stop request leaves it alone: it goes on.
fn follow(host: &Host) -> Result<()> {
    let begun = Instant::now();
    let mut shown = String::new();
    while is_running(host)? {
        host.go_on()?;
        let now = summary(host)?;
        host.progress(now.percent, 100, &format!("{}, {}", now.phase, remaining(begun.elapsed(), now.percent)));
        let line = newest_line(host);
        if line != shown {
            host.line(&line);
            shown = line;
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// By the time that the phases so far took; an attached run is younger than it is.
fn remaining(elapsed: Duration, percent: u64) -> String {
    let known = percent >= 10;
    let whole = if known { elapsed.as_secs() * 100 / percent } else { USUAL.as_secs() };
    let left = whole.max(USUAL.as_secs()).saturating_sub(whole * percent / 100);
    format!("about {} min left", left.div_ceil(60).max(1))
}

/// The newest line of its log, without reading all of it: bash echoes some fifty thousand.
fn newest_line(host: &Host) -> String {
    let end = tail(host, Path::new(LOG), WINDOW);
    end.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

/// Its failure in words: by its log, and by what it printed where it failed before it had a log.
fn explained(host: &Host) -> Error {
    let log = tail(host, Path::new(LOG), SEARCHED) + &tail(host, Path::new(OUTPUT), SEARCHED);
    let failure = failures::explain(&log, LOG);
    EngineError::Stack(failures::StackFailure { evidence: host.mask(&failure.evidence), ..failure }).into()
}

/// The last bytes of a file, as text; nothing where it is not there.
fn tail(host: &Host, path: &Path, bytes: u64) -> String {
    let Ok(Some(mut file)) = files::open(host, newest(host, path)) else { return String::new() };
    let mut read = || -> std::io::Result<Vec<u8>> {
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(end.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    };
    read().map(|text| String::from_utf8_lossy(&text).into_owned() + "\n").unwrap_or_default()
}

impl Action for StackRun {
    fn id(&self) -> ActionId {
        ActionId::new("devstack", "stack.sh")
    }

    fn describe(&self) -> String {
        "Run stack.sh".into()
    }

    fn when_orphaned(&self) -> WhenOrphaned {
        WhenOrphaned::Keep
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        if is_running(host)? {
            return Ok(Checked::needed("go on watching stack.sh, which runs"));
        }
        if has_completed(host) {
            return Ok(Checked::Done);
        }
        if is_complete(host)? {
            return Ok(Checked::needed("note that stack.sh has completed"));
        }
        let held = match holdings::of_databases(host, &[], DATABASES) {
            Holdings::Nothing => return Ok(Checked::needed("run: about 10 to 20 minutes")),
            Holdings::Some(held) => held.join(", "),
            Holdings::Unknown(why) => format!("unknown: {why}"),
        };
        if self.may_lose {
            return Ok(Checked::needed(format!("run, and lose what users have ({held})")));
        }
        let what = format!("stack.sh drops every database, and users have something here: {held}");
        let next = "gpucloud-install apply --and-lose-all-instances";
        Ok(Checked::Blocked(Finding::stop("devstack", what, next)))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let permissions = action::packages::permissions(host, leaves::CHANGED_PERMISSIONS)?;
        let leaves = Leaves { permissions, ..action::packages::not_there_yet(host, &leaves::all())? };
        Ok(Undo::Devstack(Stacked { range: self.range, leaves }))
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        let begins = !is_running(host)? && !is_complete(host)?;
        if begins && holdings::of_databases(host, &[], DATABASES) != Holdings::Nothing {
            leaves::save_away(host)?;
            // On a cloud that runs, stack.sh drops the databases and then fails.
            unstack::unstack(host);
        }
        self.run_with_retries(host)?;
        files::write(host, Path::new(COMPLETE), b"", 0o644, None)?;
        Ok(Applied::Done)
    }
}

/// Adds what a stack.sh that has ended brought to the list of what `uninstall` takes. What came between two tries is
/// the administrator's.
fn note_packages(host: &Host) -> Result<()> {
    let all = brought(host)?;
    files::write(host, Path::new(PACKAGES_ADDED), all.join("\n").as_bytes(), 0o600, None)?;
    files::remove(host, Path::new(PACKAGES_BEFORE))
}

/// Packages that stack.sh brought, the one that runs included.
pub fn brought(host: &Host) -> Result<Vec<String>> {
    let mut all: BTreeSet<String> = unstack::packages_added(host)?.into_iter().flatten().collect();
    if let Some(before) = files::read_text(host, PACKAGES_BEFORE)? {
        let before: HashSet<&str> = before.lines().collect();
        all.extend(packages::known(host)?.into_iter().filter(|name| !before.contains(name.as_str())));
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_only_beside_the_link_that_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let log = Path::new(LOG);
        let newest = files::sibling(log, ".1");
        for (path, text) in [(newest.as_path(), "beside"), (Path::new("/etc/secret"), "elsewhere")] {
            files::write(&host, path, text.as_bytes(), 0o600, None).unwrap();
        }
        for (target, read) in [(newest.as_path(), "beside\n"), (Path::new("../../../../etc/secret"), "")] {
            files::make_link(&host, log, target).unwrap();
            assert_eq!(tail(&host, log, 100), read, "{}", target.display());
        }
    }
}
