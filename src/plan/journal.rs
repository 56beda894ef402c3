//! The journal: what was changed and what was there before, written ahead of each change.
//!
//! JSON lines, appended; intents are on the disk before their change begins. A torn last line (power cut) is dropped.
//! Contents lie as blobs beside it, never inside. A journal of a newer schema is refused and left alone; an older one
//! is brought forward line by line (`record.rs`). Who may write is in `lock.rs`.

mod lock;
mod record;

pub use lock::JournalLock;
pub use record::{ActionState, Entry, Record, SCHEMA};

use crate::action::{ActionId, History, Lifetime, Originals, Undo, WhenOrphaned};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{self, Host, boot_id, files};
use record::migrate;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where the journal of an installation lies.
pub const DIRECTORY: &str = crate::paths::STATE;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another run works on it.
    #[error("another gpucloud-install is at work here{}", .holder.as_deref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Busy {
        /// "process 812".
        holder: Option<String>,
    },
    /// A newer release wrote it.
    #[error("{path} was written by gpucloud-install {version} with schema {found}; this release knows schema {SCHEMA}")]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Release that wrote it.
        version: String,
        /// Its schema.
        found: u32,
    },
    /// A line in the middle cannot be read.
    #[error("{path}, line {line}, cannot be read: {cause}")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// The file itself.
    #[error(transparent)]
    Host(#[from] host::Error),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let next = match &error {
            JournalError::Busy { .. } => "wait for it, or watch it with: gpucloud-install apply",
            JournalError::Newer { .. } => "use that release or a newer one: nothing was changed",
            JournalError::Damaged { .. } => {
                "put the file back from a backup, or move it away; without it uninstall cannot restore what was"
            }
            JournalError::Host(_) => "",
        };
        match error {
            JournalError::Host(error) => error.into(),
            error => Self::new(error.to_string(), "", next).with(Ending::Refused),
        }
    }
}

/// The journal, read into memory; open for writing when it holds the lock.
pub struct Journal {
    host: Host,
    dir: PathBuf,
    order: Vec<ActionId>,
    entries: HashMap<ActionId, Entry>,
    runs: Vec<String>,
    /// What was left at each path, also by changes that are taken back.
    left_at: HashMap<PathBuf, Vec<String>>,
    schema: u64,
    lock: Option<JournalLock>,
}

impl Journal {
    /// Reads the journal in `dir`, without the right to write.
    pub fn read(host: &Host, dir: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let mut journal = Self {
            host: host.clone(),
            dir: dir.into(),
            order: Vec::new(),
            entries: HashMap::new(),
            runs: Vec::new(),
            left_at: HashMap::new(),
            schema: 0,
            lock: None,
        };
        let bytes = files::read(host, &journal.path())?.unwrap_or_default();
        journal.fold_all(&bytes)?;
        Ok(journal)
    }

    /// Opens the journal in `dir` for a run of `what`, making it where there is none. The lock is held until drop.
    pub fn open(host: &Host, dir: impl Into<PathBuf>, what: &str) -> Result<Self, JournalError> {
        let dir = dir.into();
        files::make_parents(host, &dir)?;
        if !files::exists(host, &dir) {
            files::make_dir(host, &dir, 0o755, None)?;
        }
        let lock = JournalLock::exclusive(host, &dir)?;
        let mut journal = Self::read(host, dir)?;
        journal.lock = Some(lock);
        journal.drop_torn_line()?;
        let at = jiff::Timestamp::now().to_string();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let run = Record::Run { schema: SCHEMA, version, boot_id: boot_id(host), at, what: what.to_owned() };
        let is_new = !files::exists(host, journal.path());
        journal.append(&[run], is_new)?;
        if is_new {
            // Records that are on the disk, of a file whose name is not, would be lost with it.
            files::sync_parent(host, &journal.path())?;
        }
        Ok(journal)
    }

    /// Keeps runs away from the journal in `dir` until it is dropped; `None` where there is no journal.
    ///
    /// # Errors
    /// A run is at work.
    pub fn keep_runs_away(host: &Host, dir: impl AsRef<Path>) -> Result<Option<JournalLock>, JournalError> {
        let dir = dir.as_ref();
        if files::exists(host, dir) { JournalLock::shared(host, dir).map(Some) } else { Ok(None) }
    }

    /// Fails while a run works on the journal in `dir`, or something that a run must not meet.
    pub fn refuse_busy(host: &Host, dir: impl AsRef<Path>) -> Result<(), JournalError> {
        let dir = dir.as_ref();
        if files::exists(host, dir) { JournalLock::refuse_busy(host, dir) } else { Ok(()) }
    }

    /// The journal's file.
    pub fn path(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    /// Where replaced contents lie.
    pub fn originals(&self) -> Originals {
        Originals::new(&self.host, self.dir.join("blobs"))
    }

    /// What is known of an action. What was left at its path counts whoever left it: a program that we ran may have
    /// edited what another change of ours remembers.
    pub fn history(&self, id: &ActionId) -> History {
        let mut history = self.entries.get(id).map(|entry| entry.history.clone()).unwrap_or_default();
        let left = history.undo.as_ref().and_then(Undo::place).and_then(|path| self.left_at.get(path));
        for fingerprint in
            left.into_iter().flatten().filter(|left| !history.fingerprints.contains(left)).collect::<Vec<_>>()
        {
            history.fingerprints.push(fingerprint.clone());
        }
        history
    }

    /// Whether an intent says nothing new: what takes the change back, and what we leave, stand there already.
    pub fn knows(&self, record: &Record) -> bool {
        let Record::Intent { id, undo, fingerprint, .. } = record else { return false };
        // One that was killed inside may not have reached the disk.
        let Some(Entry { history, state: ActionState::Done, .. }) = self.entry(id) else { return false };
        history.undo.as_ref() == Some(undo)
            && fingerprint.as_ref().is_none_or(|ours| history.fingerprints.contains(ours))
    }

    /// How far an action is, if it was begun.
    pub fn entry(&self, id: &ActionId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Everything that is not undone, in the order in which it was begun.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&ActionId, &Entry)> {
        self.order.iter().filter_map(|id| self.entries.get(id).map(|entry| (id, entry)))
    }

    /// Whether nothing is left to undo.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the runs were, in their order: "apply", "uninstall".
    pub fn runs(&self) -> &[String] {
        &self.runs
    }

    /// Writes records; with `sync` they are on the disk when this returns.
    pub fn append(&mut self, records: &[Record], sync: bool) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for record in records {
            let line = serde_json::to_string(record).map_err(|e| host::Error::protocol("write a journal record", e))?;
            text.push_str(&line);
            text.push('\n');
        }
        files::append(&self.host, &self.path(), text.as_bytes(), sync)?;
        records.iter().cloned().for_each(|record| self.fold(record));
        Ok(())
    }

    /// Waits until everything that was written is on the disk.
    pub fn sync(&self) -> Result<(), JournalError> {
        Ok(files::append(&self.host, &self.path(), b"", true)?)
    }

    /// Removes journal and blobs: the end of an uninstall.
    pub fn remove(self) -> Result<(), JournalError> {
        // A journal without its blobs could restore nothing.
        files::remove(&self.host, &self.path())?;
        files::remove_tree(&self.host, &self.dir.join("blobs"))?;
        files::remove(&self.host, &self.dir.join(lock::LOCK))?;
        Ok(())
    }

    fn fold_all(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let text = String::from_utf8_lossy(bytes);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (n, line) in whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let path = self.path();
            let damaged = |cause: String| JournalError::Damaged { path: path.clone(), line: n + 1, cause };
            let value: serde_json::Value = serde_json::from_str(line).map_err(|e| damaged(e.to_string()))?;
            self.refuse_newer(&value)?;
            self.schema = value.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(self.schema);
            let record = serde_json::from_value(migrate(value, self.schema)).map_err(|e| damaged(e.to_string()))?;
            self.fold(record);
        }
        Ok(())
    }

    fn refuse_newer(&self, value: &serde_json::Value) -> Result<(), JournalError> {
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(SCHEMA) => Err(JournalError::Newer {
                path: self.path(),
                version: value.get("version").and_then(|v| v.as_str()).unwrap_or("of unknown version").to_owned(),
                found: found as u32,
            }),
            _ => Ok(()),
        }
    }

    fn fold(&mut self, record: Record) {
        match record {
            Record::Run { what, .. } => self.runs.push(what),
            Record::Intent { id, undo, lifetime, when_orphaned, fingerprint } => {
                self.fold_intent(id, undo, lifetime, when_orphaned, fingerprint);
            }
            Record::Done { id, fingerprint } => self.fold_done(&id, fingerprint),
            Record::AwaitsBoot { id, boot_id } => self.set_state(&id, ActionState::AwaitsBoot(boot_id)),
            Record::Failed { id, why } => self.set_state(&id, ActionState::Failed(why)),
            Record::Undone { id } | Record::Kept { id, .. } => {
                self.entries.remove(&id);
                self.order.retain(|other| *other != id);
            }
        }
    }

    fn fold_intent(
        &mut self,
        id: ActionId,
        undo: Undo,
        lifetime: Lifetime,
        when_orphaned: WhenOrphaned,
        fingerprint: Option<String>,
    ) {
        let mut history = self.entries.get(&id).map(|entry| entry.history.clone()).unwrap_or_default();
        history.undo = Some(undo);
        let entry = Entry { history, lifetime, when_orphaned, state: ActionState::Intended };
        if self.entries.insert(id.clone(), entry).is_none() {
            self.order.push(id.clone());
        }
        self.note_left(&id, fingerprint);
    }

    fn fold_done(&mut self, id: &ActionId, fingerprint: Option<String>) {
        self.set_state(id, ActionState::Done);
        self.note_left(id, fingerprint);
    }

    fn note_left(&mut self, id: &ActionId, fingerprint: Option<String>) {
        let (Some(entry), Some(fingerprint)) = (self.entries.get_mut(id), fingerprint) else { return };
        if let Some(path) = entry.history.undo.as_ref().and_then(Undo::place) {
            self.left_at.entry(path.to_owned()).or_default().push(fingerprint.clone());
        }
        if !entry.history.fingerprints.contains(&fingerprint) {
            entry.history.fingerprints.push(fingerprint);
        }
    }

    fn set_state(&mut self, id: &ActionId, state: ActionState) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.state = state;
        }
    }

    fn drop_torn_line(&self) -> Result<(), JournalError> {
        let bytes = files::read(&self.host, &self.path())?.unwrap_or_default();
        if bytes.last().is_none_or(|last| *last == b'\n') {
            return Ok(());
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(files::truncate(&self.host, &self.path(), whole as u64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(id: &str, path: &str) -> Record {
        Record::Intent {
            id: ActionId::new("file", id),
            undo: Undo::Path { path: path.into(), original: crate::action::originals::Original::Absent, made: vec![] },
            lifetime: Lifetime::Installed,
            when_orphaned: WhenOrphaned::Undo,
            fingerprint: Some("aa".into()),
        }
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "/j", "apply").unwrap();
        journal.append(&[intent("a", "/a")], true).unwrap();
        drop(journal);
        files::append(&host, Path::new("/j/journal.jsonl"), br#"{"record":"done","id":"fi"#, false).unwrap();
        let mut journal = Journal::open(&host, "/j", "apply").unwrap();
        journal.append(&[intent("b", "/b")], true).unwrap();
        drop(journal);
        let journal = Journal::read(&host, "/j").unwrap();
        assert_eq!(journal.entries().count(), 2);
    }

    #[test]
    fn a_newer_journal_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let line = br#"{"record":"run","schema":99,"version":"9.0","boot_id":"x","at":"t","what":"apply"}
"#;
        files::write(&host, Path::new("/j/journal.jsonl"), line, 0o600, None).unwrap();
        let error = Journal::open(&host, "/j", "apply").err().unwrap();
        assert!(error.to_string().contains("9.0"), "{error}");
        assert_eq!(files::read(&host, Path::new("/j/journal.jsonl")).unwrap().unwrap(), line);
    }

    #[test]
    fn only_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let _first = Journal::open(&host, "/j", "apply").unwrap();
        assert!(matches!(Journal::open(&host, "/j", "apply"), Err(JournalError::Busy { .. })));
    }

    #[test]
    fn the_first_original_wins_and_fingerprints_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "/j", "apply").unwrap();
        journal.append(&[intent("a", "/a")], true).unwrap();
        let Record::Intent { id, undo, lifetime, when_orphaned, .. } = intent("a", "/a") else { panic!() };
        let again = Record::Intent { id: id.clone(), undo, lifetime, when_orphaned, fingerprint: Some("bb".into()) };
        journal.append(&[again], true).unwrap();
        assert_eq!(journal.history(&id).fingerprints, ["aa", "bb"]);
        assert_eq!(journal.entries().count(), 1);
    }
}
