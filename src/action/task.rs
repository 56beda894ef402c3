//! Work that no narrower kind describes: something to do, with a probe that says whether it is done.

use super::{Action, ActionId, Applied, Checked, Lifetime, Originals, Past, Undo, WhenOrphaned};
use crate::host::{Host, Result, boot_id, files};
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
        let probe = move |host: &Host| match files::read_text(host, &stamp)? {
            Some(noted) if noted.lines().next() == Some(version.as_str()) && is_on_disk(host, &stamp)? => also(host),
            _ => match also(host)? {
                Checked::Done => Ok(Checked::needed("run")),
                other => Ok(other),
            },
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

/// Work that cannot simply be repeated after having been killed inside.
pub struct Restartable<W, C> {
    /// Does it.
    pub work: W,
    /// Clears what a try left that was cut off.
    pub clear: C,
    /// When to clear.
    pub clears: Clears,
}

/// When a try that was cut off is cleared before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clears {
    /// While the work was never complete: afterwards it carries data. The work itself brings that onto the disk.
    BeforeFirstSuccess,
    /// Always, also where a power cut may have torn what was complete: it can be made again.
    Always,
}

impl<W, C> Restartable<W, C>
where
    W: Fn(&Host) -> Result<()> + Send + Sync + 'static,
    C: Fn(&Host) -> Result<()> + Send + Sync + 'static,
{
    /// Work that notes its beginning beside the stamp of `id`.
    pub fn noting(self, id: &ActionId) -> impl Fn(&Host) -> Result<()> + Send + Sync + 'static {
        let stamp = stamp_path(id);
        let begun = begun_path(&stamp);
        move |host: &Host| {
            if was_cut_off(host, &stamp, self.clears)? {
                host.warn("an earlier try was cut off in the middle: beginning anew");
                (self.clear)(host)?;
            }
            files::write(host, &begun, b"", 0o644, None)?;
            (self.work)(host)
        }
    }
}

fn was_cut_off(host: &Host, stamp: &Path, clears: Clears) -> Result<bool> {
    let (begun, complete) = (files::exists(host, begun_path(stamp)), files::exists(host, stamp));
    Ok(match clears {
        Clears::BeforeFirstSuccess => begun && !complete,
        Clears::Always => begun || (complete && !is_on_disk(host, stamp)?),
    })
}

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
    let modified = |path: &Path| std::fs::metadata(host.real(path)).and_then(|meta| meta.modified()).ok();
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

    fn check(&self, host: &Host, _past: &Past) -> Result<Checked> {
        (self.probe)(host)
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(self.undo.clone())
    }

    /// What it made at the path that its undo removes.
    fn left(&self, host: &Host) -> Result<Option<String>> {
        let Some(path) = self.undo.place() else { return Ok(None) };
        Ok(files::read(host, path)?.map(|content| files::hash(&content)))
    }

    fn apply(&self, host: &Host, _past: &Past) -> Result<Applied> {
        (self.work)(host)
    }

    fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    fn changes(&self) -> Option<&Path> {
        self.changes.as_deref()
    }
}
