//! Locks on files: flock(2), given back by the kernel when their holder ends, however it ends.
//!
//! A lock file is root's alone (0600), also one that an older release left open to all: who can open one can lock it,
//! and so keep everybody else out.

use super::place::Place;
use super::{File, OFlag, io, make_parents};
use crate::host::{Error, Host, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that is held until it is dropped.
pub type Lock = Flock<File>;

/// How often a lock is tried that another process has.
const POLL: Duration = Duration::from_millis(20);

/// Waits for an exclusive lock on a file; it and the directories above it are made where they are missing.
pub fn lock(host: &Host, path: &Path) -> Result<Lock> {
    make_parents(host, path)?;
    let file = open_lock(host, path)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io("lock", path)(errno.into()))
}

/// The same, for at most `limit`; `what` says what is waited for.
///
/// # Errors
/// [`Error::TimedOut`] naming `what`; a stop request ends the wait.
pub fn lock_within(host: &Host, path: &Path, what: &str, limit: Duration) -> Result<Lock> {
    make_parents(host, path)?;
    let (mut file, mut locked) = (Some(open_lock(host, path)?), None);
    host.wait_until(what, limit, POLL, || {
        let Some(open) = file.take() else { return Ok(locked.is_some()) };
        match attempt(open, FlockArg::LockExclusiveNonblock, path)? {
            Ok(lock) => locked = Some(lock),
            Err(open) => file = Some(open),
        }
        Ok(locked.is_some())
    })?;
    locked.ok_or_else(|| Error::TimedOut { what: what.to_owned(), seconds: limit.as_secs() })
}

/// An exclusive lock on a file, which is made where it is missing; `None` where others have it for longer than
/// `patience`.
pub fn try_lock(host: &Host, path: &Path, patience: Duration) -> Result<Option<Lock>> {
    let mut file = open_lock(host, path)?;
    let end = Instant::now() + patience;
    loop {
        file = match attempt(file, FlockArg::LockExclusiveNonblock, path)? {
            Ok(lock) => return Ok(Some(lock)),
            Err(_) if Instant::now() >= end => return Ok(None),
            Err(file) => file,
        };
        std::thread::sleep(POLL);
    }
}

/// A lock that others may have at the same time; `None` where somebody has an exclusive one.
pub fn try_lock_shared(host: &Host, path: &Path) -> Result<Option<Lock>> {
    Ok(attempt(open_lock(host, path)?, FlockArg::LockSharedNonblock, path)?.ok())
}

/// One attempt: the lock, or the file again where another has it.
fn attempt(file: File, how: FlockArg, path: &Path) -> Result<std::result::Result<Lock, File>> {
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Ok(lock)),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Err(file)),
        Err((_, errno)) => Err(io("lock", path)(errno.into())),
    }
}

fn open_lock(host: &Host, path: &Path) -> Result<File> {
    let place = Place::behind(host, path);
    let file = place.and_then(|place| place.open(OFlag::O_RDWR | OFlag::O_CREAT, 0o600)).map_err(io("open", path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io("set the permissions of", path))?;
    Ok(file)
}
