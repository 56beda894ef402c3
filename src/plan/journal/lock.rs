//! Who may work with a journal. A run holds its lock for itself; what must only not meet a run (`recover`) holds it
//! together with others. The file is root's alone: who can open a file can lock it, and would keep all runs away.

use super::JournalError;
use crate::host::{Host, files};
use std::path::Path;
use std::time::Duration;

/// Held by a run, beside the journal.
pub(super) const LOCK: &str = "journal.lock";
/// How long somebody who only looks may be in a run's way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lock on a journal, until it is dropped.
#[derive(Debug)]
pub struct JournalLock(#[expect(dead_code, reason = "held, never used")] files::Lock);

impl JournalLock {
    /// For a run.
    ///
    /// # Errors
    /// Another run, or what must not meet one, is at work.
    pub fn exclusive(host: &Host, dir: &Path) -> Result<Self, JournalError> {
        use std::io::Write;
        let path = dir.join(LOCK);
        let mut lock = files::try_lock(host, &path, PATIENCE)?.ok_or_else(|| busy(host, &path))?;
        // What is written there is for people only.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "process {}", std::process::id()));
        Ok(Self(lock))
    }

    /// Whether a run could have it now.
    ///
    /// # Errors
    /// Another run, or what must not meet one, is at work.
    pub fn refuse_busy(host: &Host, dir: &Path) -> Result<(), JournalError> {
        let path = dir.join(LOCK);
        files::try_lock(host, &path, PATIENCE)?.map(drop).ok_or_else(|| busy(host, &path))
    }

    /// For what only must not meet a run.
    ///
    /// # Errors
    /// A run is at work.
    pub fn shared(host: &Host, dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK);
        files::try_lock_shared(host, &path)?.map(Self).ok_or_else(|| busy(host, &path))
    }
}

fn busy(host: &Host, path: &Path) -> JournalError {
    JournalError::Busy { holder: files::read_text(host, path).ok().flatten().filter(|text| !text.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        std::fs::create_dir(dir.path().join("j")).unwrap();
        (dir, host)
    }

    #[test]
    fn a_lock_is_roots_alone_also_one_that_was_open_to_all() {
        let (dir, host) = directory();
        let file = dir.path().join("j/journal.lock");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let _lock = JournalLock::exclusive(&host, Path::new("/j")).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn lookers_do_not_keep_each_other_away_but_a_run_keeps_them_away() {
        let (_dir, host) = directory();
        let (one, two) = (JournalLock::shared(&host, Path::new("/j")), JournalLock::shared(&host, Path::new("/j")));
        assert!(one.is_ok() && two.is_ok());
        drop((one, two));
        let _run = JournalLock::exclusive(&host, Path::new("/j")).unwrap();
        assert!(matches!(JournalLock::shared(&host, Path::new("/j")), Err(JournalError::Busy { .. })));
    }

    #[test]
    fn a_run_waits_for_one_who_looks_for_a_moment() {
        let (_dir, host) = directory();
        let look = JournalLock::shared(&host, Path::new("/j")).unwrap();
        let looks = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(look);
        });
        assert!(JournalLock::exclusive(&host, Path::new("/j")).is_ok(), "a look made a run fail");
        looks.join().unwrap();
    }
}
