//! What is written down of a change of the network that could cut this machine off: below /run, since the change lives
//! in memory too. (For what Open vSwitch keeps on the disk, see `keep.rs`.)
//!
//! ```text
//! pending.json    the change waits for a yes; whoever finds it without its timer takes it back
//! standing.json   a run has brought this about, and nobody has noted its answers yet
//! ```
//!
//! A yes is one rename, from the first name to the second: a kill leaves the one or the other. Both are changed under
//! the lock alone, which goes with the process that holds it.

use super::live::Ownership;
use super::state::{Change, NetworkState};
use super::witness::Witness;
use crate::host::{Error, Host, Result, files};
use crate::paths::APPLIED;
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where it lies, and the lock.
pub const DIRECTORY: &str = "/run/gpucloud/network";
/// How long one waits for another change: the limit of its slowest hand.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
/// What is waited for.
const OTHER: &str = "the end of another change of the network";

/// A state that a run has brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The state.
    pub state: NetworkState,
    /// What of it is the cloud's.
    pub owned: Ownership,
    /// The hash of the noted answers before which it goes; other answers that are noted end it.
    pub instead_of: Option<String>,
}

/// A change that waits for a yes, or got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What takes it back, in order.
    pub back: Vec<Change>,
    /// Who answered before.
    pub witnesses: Vec<Witness>,
    /// Whether the run that made it waits for the yes, and notes its answers itself.
    pub awaited: bool,
    /// What it brings about.
    pub standing: Standing,
}

/// Held while the network is changed.
pub type Lock = Flock<File>;

/// The files, in their directory.
#[derive(Debug, Clone)]
pub struct Records {
    host: Host,
    directory: PathBuf,
}

impl Records {
    /// Those below `directory`.
    pub fn new(host: &Host, directory: impl Into<PathBuf>) -> Self {
        Self { host: host.clone(), directory: directory.into() }
    }

    /// One change at a time, and no look of the timer in between.
    ///
    /// # Errors
    /// Somebody else has it and does not end.
    pub fn lock(&self) -> Result<Lock> {
        files::lock_within(&self.host, &self.directory.join("lock"), OTHER, LOCK_LIMIT)
    }

    fn pending_path(&self) -> PathBuf {
        self.directory.join("pending.json")
    }

    fn standing_path(&self) -> PathBuf {
        self.directory.join("standing.json")
    }

    /// The change that waits for a yes, if one does.
    pub fn pending(&self) -> Result<Option<Pending>> {
        self.read(&self.pending_path())
    }

    /// The state that a run has brought about, as long as no other answers were noted. One that another release wrote,
    /// and this one cannot read, counts for nothing.
    pub fn standing(&self) -> Result<Option<Standing>> {
        let read = self.read(&self.standing_path()).inspect_err(|error| self.host.warn(&error.to_string()));
        let Ok(Some(Pending { standing, .. })) = read else { return Ok(None) };
        let noted = noted_answers(&self.host)?;
        Ok(Some(standing).filter(|standing| standing.instead_of == noted))
    }

    fn read(&self, path: &Path) -> Result<Option<Pending>> {
        let Some(text) = files::read_text(&self.host, path)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::protocol(format!("read {}", path.display()), error))
    }

    /// Before a change: writes down what takes it back.
    pub fn note(&self, _lock: &Lock, pending: &Pending) -> Result<()> {
        self.write(&self.pending_path(), pending)
    }

    /// A change that needed nobody's yes was made.
    pub fn note_standing(&self, _lock: &Lock, standing: Standing) -> Result<()> {
        let made = Pending { back: Vec::new(), witnesses: Vec::new(), awaited: false, standing };
        self.write(&self.standing_path(), &made)
    }

    fn write(&self, path: &Path, pending: &Pending) -> Result<()> {
        let text = serde_json::to_vec(pending).map_err(|error| Error::protocol("note the way back", error))?;
        files::write_volatile(&self.host, path, &text, 0o600)
    }

    /// Somebody said yes: what waited stands.
    pub fn confirm(&self, _lock: &Lock) -> Result<()> {
        files::rename(&self.host, &self.pending_path(), &self.standing_path())
    }

    /// What waited was taken back; what stood before it stands again.
    pub fn forget_pending(&self) -> Result<()> {
        files::remove(&self.host, &self.pending_path())
    }

    /// What stood until other answers were noted is no longer read.
    pub fn forget_ended(&self, _lock: &Lock) -> Result<()> {
        let path = self.standing_path();
        let has_ended = files::exists(&self.host, &path) && self.standing()?.is_none();
        if has_ended { files::remove(&self.host, &path) } else { Ok(()) }
    }

    /// Nothing waits or stands any more.
    pub fn forget_all(&self, _lock: &Lock) -> Result<()> {
        self.forget_pending()?;
        files::remove(&self.host, &self.standing_path())
    }
}

/// The hash of the answers of the last complete apply; `None` where there was none.
pub fn noted_answers(host: &Host) -> Result<Option<String>> {
    Ok(files::read(host, Path::new(APPLIED))?.map(|bytes| files::hash(&bytes)))
}
