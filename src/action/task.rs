//! Work that no narrower kind describes: something to do, with a probe that says whether it is done.

use super::{Action, ActionId, Applied, Checked, History, Lifetime, Originals, Undo, WhenOrphaned};
use crate::host::{Error, Host, Result, boot_id, files};
use crate::paths::STAMPS;
use std::path::{Path, PathBuf};

/// Looks whether the work is done.
pub type Probe = Box<dyn Fn(&Host) -> Result<Checked> + Send + Sync>;
/// Does the work.
pub type Work = Box<dyn Fn(&Host) -> Result<Applied> + Send + Sync>;

/// A piece of work.
pub struct Task {
    id: ActionId,
    description: String,
    probe: Probe,
    work: Work,
    undo: Undo,
    lifetime: Lifetime,
    when_orphaned: WhenOrphaned,
    inputs: Vec<PathBuf>,
    changes: Option<PathBuf>,
    live: bool,
}

impl Task {
    /// Work that leaves nothing to take back.
    pub fn new(
        id: ActionId,
        description: impl Into<String>,
        probe: impl Fn(&Host) -> Result<Checked> + Send + Sync + 'static,
        work: impl Fn(&Host) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            description: description.into(),
            probe: Box::new(probe),
            work: Box::new(move |host| work(host).map(|()| Applied::Done)),
            undo: Undo::Nothing,
            lifetime: Lifetime::Installed,
            when_orphaned: WhenOrphaned::Undo,
            inputs: Vec::new(),
            changes: None,
            live: false,
        }
    }

    /// How it is taken back.
    pub fn undone_by(mut self, undo: Undo) -> Self {
        self.undo = undo;
        self
    }

    /// Stays until `uninstall` when the answers no longer want it.
    pub fn kept_when_orphaned(mut self) -> Self {
        self.when_orphaned = WhenOrphaned::Keep;
        self
    }

    /// Never journalled; repeated whenever the probe says so.
    pub fn at_runtime(mut self) -> Self {
        self.lifetime = Lifetime::Runtime;
        self
    }

    /// Its probe asks the running system: databases, daemons, APIs.
    pub fn asking_the_running_system(mut self) -> Self {
        self.live = true;
        self
    }

    /// Files whose change makes it needed again.
    pub fn depending_on(mut self, inputs: Vec<PathBuf>) -> Self {
        self.inputs = inputs;
        self
    }

    /// The directory that it fills, for what depends on that.
    pub fn filling(mut self, path: impl Into<PathBuf>) -> Self {
        self.changes = Some(path.into());
        self
    }

    /// Done once for each `version` (a lock file's hash): a stamp remembers it, and `also` must hold, so that damage
    /// behind the stamp's back is seen.
    pub fn once(
        id: ActionId,
        description: impl Into<String>,
        version: &str,
        also: impl Fn(&Host) -> Result<Checked> + Send + Sync + 'static,
        work: impl Fn(&Host) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let (stamp, version) = (stamp_path(&id), version.to_owned());
        let (stamp_again, version_again) = (stamp.clone(), version.clone());
        let probe = move |host: &Host| match also(host)? {
            Checked::Done => Ok(Checked::done_if(is_complete(host, &stamp, &version)?, "run")),
            other => Ok(other),
        };
        let work = move |host: &Host| {
            work(host)?;
            // Some versions are hashes of passwords.
            files::write(host, &stamp_again, stamp_text(host, &version_again).as_bytes(), 0o600, None)?;
            files::remove(host, &begun_path(&stamp_again))
        };
        let changes = Some(stamp_path(&id));
        Self { changes, ..Self::new(id, description, probe, work) }
    }
}

/// Whether the work for this version is done and on the disk, and no try for another one began behind it.
fn is_complete(host: &Host, stamp: &Path, version: &str) -> Result<bool> {
    let right = version_of(host, stamp)?.as_deref() == Some(version);
    Ok(right && is_on_disk(host, stamp)? && !is_cut_off(host, stamp)?)
}

/// Work that cannot simply be repeated after having been killed inside.
pub struct Restartable<R, W> {
    /// Makes ready for another try whatever stands.
    pub ready: R,
    /// Does it.
    pub work: W,
}

/// What earlier tries left, before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// Half of it, by a first try that was cut off: it never was complete.
    Half,
    /// What an earlier version made, whole.
    Whole,
    /// What was whole, and may have been torn by a power cut.
    Torn,
    /// What an earlier version made, half changed by a later try that was cut off.
    HalfChanged,
}

impl<R, W> Restartable<R, W>
where
    R: Fn(&Host, Standing) -> Result<()> + Send + Sync + 'static,
    W: Fn(&Host) -> Result<()> + Send + Sync + 'static,
{
    /// Work for `version` that notes its beginning beside the stamp of `id`: for [`Task::once`] with these two.
    pub fn noting(self, id: &ActionId, version: &str) -> impl Fn(&Host) -> Result<()> + Send + Sync + 'static {
        let (stamp, version) = (stamp_path(id), version.to_owned());
        move |host: &Host| {
            let standing = standing(host, &stamp)?;
            if matches!(standing, Standing::Half | Standing::HalfChanged) {
                host.warn("an earlier try was cut off in the middle: beginning anew");
            }
            (self.ready)(host, standing)?;
            // A repetition of what is stamped already must not be taken for complete when it is cut off.
            let again = version_of(host, &stamp)?.as_ref() == Some(&version);
            let note = if again { format!("again {version}") } else { version.clone() };
            files::write(host, &begun_path(&stamp), note.as_bytes(), 0o600, None)?;
            (self.work)(host)
        }
    }
}

fn standing(host: &Host, stamp: &Path) -> Result<Standing> {
    Ok(match (files::exists(host, stamp), is_cut_off(host, stamp)?) {
        (false, false) => Standing::Nothing,
        (false, true) => Standing::Half,
        (true, true) => Standing::HalfChanged,
        (true, false) if is_on_disk(host, stamp)? => Standing::Whole,
        (true, false) => Standing::Torn,
    })
}

/// Whether a try began and did not come to its end. One that was killed between its stamp and the removal of its note
/// did.
fn is_cut_off(host: &Host, stamp: &Path) -> Result<bool> {
    let begun = files::read_text(host, begun_path(stamp))?;
    Ok(begun.is_some() && begun != version_of(host, stamp)?)
}

fn version_of(host: &Host, stamp: &Path) -> Result<Option<String>> {
    let text = files::read_text(host, stamp)?;
    Ok(text.map(|text| text.lines().next().unwrap_or_default().to_owned()))
}

/// Holds the version of the try.
fn begun_path(stamp: &Path) -> PathBuf {
    stamp.with_extension("begun")
}

/// Newer than every stamp whose work is surely on the disk.
const SYNCED: &str = "/var/lib/gpucloud/stamps/synced";

/// A stamp is: version, the boot in which the work was done, and when: work that was repeated leaves another one.
fn stamp_text(host: &Host, version: &str) -> String {
    format!("{version}\n{}\n{}\n", boot_id(host), jiff::Timestamp::now())
}

/// Whether the work behind a stamp outlived a power cut: done in this boot, or before the disk was last synced.
fn is_on_disk(host: &Host, stamp: &Path) -> Result<bool> {
    let text = files::read_text(host, stamp)?.unwrap_or_default();
    Ok(!modified_after_sync(host, stamp) || text.lines().nth(1) == Some(boot_id(host).as_str()))
}

/// Brings everything that was stamped onto the disk: the end of `what`. (A sync behind each piece of work would hold
/// the installation up for half a minute.)
pub fn sync(what: &str) -> Task {
    let probe = |host: &Host| {
        let mut late = Vec::new();
        for name in files::list(host, STAMPS)? {
            let stamp = Path::new(STAMPS).join(name);
            if stamp != Path::new(SYNCED) && modified_after_sync(host, &stamp) {
                late.push(stamp);
            }
        }
        Ok(Checked::done_if(late.is_empty() && files::exists(host, SYNCED), "write everything to the disk"))
    };
    let work = |host: &Host| {
        nix::unistd::sync();
        files::write(host, Path::new(SYNCED), b"", 0o644, None)
    };
    Task::new(ActionId::new("sync", what), "Write everything to the disk", probe, work).at_runtime()
}

fn modified_after_sync(host: &Host, stamp: &Path) -> bool {
    let modified = |path: &Path| files::modified(host, path);
    modified(stamp).zip(modified(Path::new(SYNCED))).is_none_or(|(stamp, synced)| stamp > synced)
}

/// Where it is noted that the task of this id was done.
pub fn stamp_path(id: &ActionId) -> PathBuf {
    Path::new(STAMPS).join(id.to_string().replace(['/', ':'], "-"))
}

impl Action for Task {
    fn id(&self) -> ActionId {
        self.id.clone()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn when_orphaned(&self) -> WhenOrphaned {
        self.when_orphaned
    }

    fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    fn asks_the_running_system(&self) -> bool {
        self.live
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        (self.probe)(host)
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(self.undo.clone())
    }

    /// What it made at the path that its undo removes.
    fn left(&self, host: &Host) -> Result<Option<String>> {
        let Some(path) = self.undo.place().filter(|path| !files::is_behind_a_foreign_link(host, path)) else {
            return Ok(None);
        };
        match files::read(host, path) {
            // In a home on another machine root is nobody.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
            content => Ok(content?.map(|content| files::hash(&content))),
        }
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        (self.work)(host)
    }

    fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    fn changes(&self) -> Option<&Path> {
        self.changes.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Error;
    use std::sync::{Arc, Mutex};

    type Seen = Arc<Mutex<Vec<Standing>>>;

    fn machine() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        boot(&host, "boot-1");
        (dir, host)
    }

    fn boot(host: &Host, id: &str) {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        files::write(host, path, id.as_bytes(), 0o644, None).unwrap();
    }

    fn id() -> ActionId {
        ActionId::new("schema", "x")
    }

    /// Work for `version` that is killed inside where told, and what it finds standing.
    fn work(version: &str, killed: bool, seen: &Seen) -> Task {
        let seen = seen.clone();
        let ready = move |_: &Host, standing| {
            seen.lock().unwrap().push(standing);
            Ok(())
        };
        let work = move |_: &Host| if killed { Err(Error::Stopped) } else { Ok(()) };
        let work = Restartable { ready, work }.noting(&id(), version);
        Task::once(id(), "x", version, |_| Ok(Checked::Done), work)
    }

    fn is_needed(host: &Host, task: &Task) -> bool {
        task.check(host, &History::default()).unwrap() != Checked::Done
    }

    /// Tries each in turn, where it is needed.
    fn tries(host: &Host, all: &[(&str, bool)]) -> Vec<Standing> {
        let seen = Seen::default();
        for (version, killed) in all {
            let task = work(version, *killed, &seen);
            if is_needed(host, &task) {
                let _ = task.apply(host, &History::default());
            }
        }
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    #[test]
    fn a_try_is_told_what_those_before_it_left() {
        use Standing::{Half, HalfChanged, Nothing, Whole};
        let (_dir, host) = machine();
        let all = [("1", true), ("1", false), ("1", false), ("2", true), ("2", true), ("2", false), ("3", false)];
        assert_eq!(tries(&host, &all), [Nothing, Half, Whole, HalfChanged, HalfChanged, Whole]);
    }

    #[test]
    fn an_older_program_mends_what_a_newer_one_left_half_changed() {
        use Standing::{HalfChanged, Nothing, Whole};
        let (_dir, host) = machine();
        assert_eq!(tries(&host, &[("1", false), ("2", true), ("1", false)]), [Nothing, Whole, HalfChanged]);
    }

    #[test]
    fn a_kill_behind_the_stamp_leaves_nothing_half_changed() {
        let (_dir, host) = machine();
        tries(&host, &[("1", false)]);
        files::write(&host, &begun_path(&stamp_path(&id())), b"1", 0o600, None).unwrap();
        assert!(!is_needed(&host, &work("1", false, &Seen::default())));
        assert_eq!(tries(&host, &[("2", false)]), [Standing::Whole]);
    }

    #[test]
    fn what_was_not_synced_before_a_power_cut_may_be_torn() {
        let (_dir, host) = machine();
        tries(&host, &[("1", false)]);
        boot(&host, "boot-2");
        assert_eq!(tries(&host, &[("1", false)]), [Standing::Torn]);
    }
}
