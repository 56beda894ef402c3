//! Files and directories: read, written atomically, compared, removed.
//!
//! Invariant: a file is replaced by rename of a complete, synced temporary file in the same directory, so that a
//! reader, or a machine after a power cut, sees the old content or the new one and nothing between.

use super::users::{self, Owner};
use super::{Error, Host, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names the temporary file beside the one that is written; left-overs of a power cut are recognised by it.
const TEMPORARY_SUFFIX: &str = ".gpucloud-new";
/// How often a lock is tried that another process has.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Names a directory that is being removed.
const DOOMED_SUFFIX: &str = ".gpucloud-removed";

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

fn missing_is_none<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The content of a file, or `None` where there is none.
pub fn read(host: &Host, path: &Path) -> Result<Option<Vec<u8>>> {
    missing_is_none(fs::read(host.real(path))).map_err(io("read", path))
}

/// The content of a text file (invalid UTF-8 replaced), or `None` where there is none.
pub fn read_text(host: &Host, path: impl AsRef<Path>) -> Result<Option<String>> {
    let bytes = read(host, path.as_ref())?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

/// What is at a path: kind, permissions, owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Where it points to, for a symbolic link.
    pub link: Option<PathBuf>,
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Numeric owner and group.
    pub owner: Owner,
}

/// What is at `path` (a link is not followed), or `None`.
pub fn status(host: &Host, path: &Path) -> Result<Option<Status>> {
    let real = host.real(path);
    let Some(meta) = missing_is_none(fs::symlink_metadata(&real)).map_err(io("look at", path))? else {
        return Ok(None);
    };
    let link = if meta.is_symlink() { Some(fs::read_link(&real).map_err(io("read link", path))?) } else { None };
    Ok(Some(Status {
        is_dir: meta.is_dir(),
        link,
        mode: meta.mode() & 0o7777,
        owner: Owner { uid: meta.uid(), gid: meta.gid() },
    }))
}

/// The directory at `path`, or the one that a link there points to; `None` where there is neither.
pub fn directory_status(host: &Host, path: &Path) -> Result<Option<Status>> {
    let meta = missing_is_none(fs::metadata(host.real(path))).map_err(io("look at", path))?;
    Ok(meta.filter(fs::Metadata::is_dir).map(|meta| Status {
        is_dir: true,
        link: None,
        mode: meta.mode() & 0o7777,
        owner: Owner { uid: meta.uid(), gid: meta.gid() },
    }))
}

/// Whether anything is at `path`.
pub fn exists(host: &Host, path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(host.real(path)).is_ok()
}

/// The names in a directory, sorted; empty where there is no such directory.
pub fn list(host: &Host, path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let Some(entries) = missing_is_none(fs::read_dir(host.real(path))).map_err(io("list", path))? else {
        return Ok(Vec::new());
    };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// SHA-256 of some bytes, as lower-case hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Those of the directories above `path` that do not exist, the outermost first.
pub fn missing_parents(host: &Host, path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path
        .ancestors()
        .skip(1)
        .take_while(|dir| !dir.as_os_str().is_empty() && !exists(host, dir))
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

/// Writes a file in one piece: temporary file, permissions, owner, sync, rename, sync of the directory.
/// Directories above it are made, 0755.
pub fn write(host: &Host, path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> Result<()> {
    make_parents(host, path)?;
    host.write_point()?;
    let real = host.real(path);
    let temporary = temporary_for(&real);
    write_temporary(&temporary, content, mode, owner).map_err(io("write", path))?;
    host.write_point()?;
    fs::rename(&temporary, &real).map_err(io("replace", path))?;
    sync_directory_of(&real).map_err(io("sync the directory of", path))?;
    host.write_point()
}

/// The same where nothing needs to outlive a power cut: below `/run`, and records that a run begins with.
pub fn write_volatile(host: &Host, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    make_parents(host, path)?;
    host.write_point()?;
    let real = host.real(path);
    let temporary = temporary_for(&real);
    fill_temporary(&temporary, content, mode, None).map_err(io("write", path))?;
    fs::rename(&temporary, &real).map_err(io("replace", path))?;
    host.write_point()
}

fn temporary_for(real: &Path) -> PathBuf {
    sibling(real, TEMPORARY_SUFFIX)
}

/// The path with `suffix` behind its name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_temporary(path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> std::io::Result<()> {
    fill_temporary(path, content, mode, owner)?.sync_all()
}

fn fill_temporary(path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> std::io::Result<fs::File> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if let Some(Owner { uid, gid }) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Brings the name of `path` onto the disk: a new file may be synced, and its name lost by a power cut.
pub fn sync_parent(host: &Host, path: &Path) -> Result<()> {
    sync_directory_of(&host.real(path)).map_err(io("sync the directory of", path))
}

fn sync_directory_of(real: &Path) -> std::io::Result<()> {
    match real.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes the directories above `path`, 0755.
pub fn make_parents(host: &Host, path: &Path) -> Result<()> {
    for dir in missing_parents(host, path) {
        make_dir(host, &dir, 0o755, None)?;
    }
    Ok(())
}

/// Makes one directory, or gives an existing one these permissions and this owner.
pub fn make_dir(host: &Host, path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    host.write_point()?;
    let real = host.real(path);
    match fs::create_dir(&real) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(io("make directory", path)(e)),
        _ => {}
    }
    set_permissions(host, path, mode, owner)
}

/// Gives a directory these permissions and this owner. A link to one is followed where only root could have made it.
pub fn set_permissions(host: &Host, path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    let dir = open_dir(host, path).map_err(io("open directory", path))?;
    if let Some(Owner { uid, gid }) = owner {
        std::os::unix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(io("give away", path))?;
    }
    dir.set_permissions(fs::Permissions::from_mode(mode)).map_err(io("set the permissions of", path))
}

/// A service could put a link into its own directory, and be given what it points to.
fn open_dir(host: &Host, path: &Path) -> std::io::Result<fs::File> {
    use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
    let real = host.real(path);
    let follow = is_below_root_owned(&real, host)?;
    fs::OpenOptions::new().read(true).custom_flags(O_DIRECTORY | if follow { 0 } else { O_NOFOLLOW }).open(real)
}

fn is_below_root_owned(real: &Path, host: &Host) -> std::io::Result<bool> {
    Ok(!host.is_live() || fs::metadata(real.parent().unwrap_or(real))?.uid() == 0)
}

/// Makes a symbolic link in one piece, replacing what file or link was there.
pub fn make_link(host: &Host, path: &Path, target: &Path) -> Result<()> {
    make_parents(host, path)?;
    host.write_point()?;
    let real = host.real(path);
    let temporary = temporary_for(&real);
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary).map_err(io("link", path))?;
    fs::rename(&temporary, &real).map_err(io("replace", path))?;
    host.write_point()
}

/// Brings a file that a program wrote at `temporary` onto the disk, and then to `path` in one piece.
pub fn put_in_place(host: &Host, temporary: &Path, path: &Path) -> Result<()> {
    host.write_point()?;
    let (from, real) = (host.real(temporary), host.real(path));
    fs::File::open(&from).and_then(|file| file.sync_all()).map_err(io("sync", temporary))?;
    fs::rename(&from, &real).map_err(io("replace", path))?;
    sync_parent(host, path)?;
    host.write_point()
}

/// Bytes that root can still write below a directory that exists.
pub fn free_bytes(host: &Host, directory: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(&host.real(directory));
    let stat = stat.map_err(|errno| io("measure", directory)(errno.into()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Gives what is at `from` another name on the same filesystem.
pub fn rename(host: &Host, from: &Path, to: &Path) -> Result<()> {
    host.write_point()?;
    fs::rename(host.real(from), host.real(to)).map_err(io("rename", from))?;
    host.write_point()
}

/// Removes a file or link, and what a power cut left beside it; nothing there is fine.
pub fn remove(host: &Host, path: &Path) -> Result<()> {
    host.write_point()?;
    let real = host.real(path);
    let _ = fs::remove_file(temporary_for(&real));
    missing_is_none(fs::remove_file(&real)).map_err(io("remove", path))?;
    host.write_point()
}

/// Removes a directory with all that is in it; nothing there is fine. It is renamed first: a kill in the middle leaves no
/// half of it under its name.
///
/// # Errors
/// Something is mounted inside: that may not be ours.
pub fn remove_tree(host: &Host, path: &Path) -> Result<()> {
    refuse_mounts(host, path)?;
    host.write_point()?;
    let real = host.real(path);
    let doomed = sibling(&real, DOOMED_SUFFIX);
    remove_all(&doomed).map_err(io("remove", path))?;
    host.write_point()?;
    if real.is_dir() && !real.is_symlink() {
        missing_is_none(fs::rename(&real, &doomed)).map_err(io("rename", path))?;
        host.write_point()?;
        remove_all(&doomed).map_err(io("remove", path))?;
    } else {
        remove_all(&real).map_err(io("remove", path))?;
    }
    host.write_point()
}

fn remove_all(real: &Path) -> std::io::Result<()> {
    let Some(meta) = missing_is_none(fs::symlink_metadata(real))? else { return Ok(()) };
    missing_is_none(if meta.is_dir() { fs::remove_dir_all(real) } else { fs::remove_file(real) }).map(drop)
}

fn refuse_mounts(host: &Host, path: &Path) -> Result<()> {
    if !host.is_live() {
        return Ok(());
    }
    let mounts = procfs::process::Process::myself().and_then(|process| process.mountinfo());
    let mounts = mounts.map_err(|error| Error::protocol("read the mounts of this process", error))?;
    match mounts.0.iter().find(|mount| mount.mount_point.starts_with(path)) {
        None => Ok(()),
        Some(mount) => {
            let what = format!("remove {}", path.display());
            Err(Error::protocol(what, format!("{} is mounted inside: unmount it", mount.mount_point.display())))
        }
    }
}

/// Removes a directory if nothing is in it; returns whether it is gone.
pub fn remove_empty_dir(host: &Host, path: &Path) -> Result<bool> {
    host.write_point()?;
    match fs::remove_dir(host.real(path)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(io("remove directory", path)(e)),
    }
}

/// Removes a directory if nothing but empty directories is in it; returns whether it is gone.
pub fn remove_empty_tree(host: &Host, path: &Path) -> Result<bool> {
    for name in list(host, path)? {
        let inner = path.join(name);
        if status(host, &inner)?.is_some_and(|status| status.is_dir) {
            remove_empty_tree(host, &inner)?;
        }
    }
    remove_empty_dir(host, path)
}

/// Adds `bytes` to the end of a file (0600), all or nothing, and waits until they are on the disk when `sync`.
pub fn append(host: &Host, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    host.write_point()?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(host.real(path)).map_err(io("open", path))?;
    let length = file.metadata().map_err(io("look at", path))?.len();
    if let Err(error) = file.write_all(bytes) {
        // A full disk took half of it: what comes later must not continue that line.
        let _ = file.set_len(length);
        return Err(io("write", path)(error));
    }
    if sync {
        file.sync_data().map_err(io("sync", path))?;
    }
    host.write_point()
}

/// Cuts a file off after `length` bytes.
pub fn truncate(host: &Host, path: &Path, length: u64) -> Result<()> {
    host.write_point()?;
    let file = fs::OpenOptions::new().write(true).open(host.real(path)).map_err(io("open", path))?;
    file.set_len(length).and_then(|()| file.sync_all()).map_err(io("cut", path))
}

/// A file that somebody else may still read, copied with its permissions (used for the binary itself).
pub fn copy(host: &Host, from: &Path, path: &Path, mode: u32) -> Result<()> {
    let content = fs::read(from).map_err(io("read", from))?;
    write(host, path, &content, mode, None)
}

/// Waits for an exclusive lock on a file (0600, made where it is missing); held until dropped.
pub fn lock(host: &Host, path: &Path) -> Result<Flock<fs::File>> {
    make_parents(host, path)?;
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(host.real(path));
    let file = file.map_err(io("open", path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io("lock", path)(errno.into()))
}

/// The same, for at most `limit`; `what` says what is waited for.
///
/// # Errors
/// [`Error::TimedOut`] naming `what`; a stop request ends the wait.
pub fn lock_within(host: &Host, path: &Path, what: &str, limit: Duration) -> Result<Flock<fs::File>> {
    make_parents(host, path)?;
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(host.real(path));
    let (mut file, mut locked) = (Some(file.map_err(io("open", path))?), None);
    host.wait_until(what, limit, LOCK_POLL, || {
        let Some(open) = file.take() else { return Ok(locked.is_some()) };
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => locked = Some(lock),
            Err((open, Errno::EWOULDBLOCK)) => file = Some(open),
            Err((_, errno)) => return Err(io("lock", path)(errno.into())),
        }
        Ok(locked.is_some())
    })?;
    locked.ok_or_else(|| Error::TimedOut { what: what.to_owned(), seconds: limit.as_secs() })
}

/// The owner called `user:group` on this host; `None` in a directory that only stands for a host.
pub fn owner(host: &Host, user: &str, group: &str) -> Result<Option<Owner>> {
    if host.is_live() { users::owner(user, group).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let path = Path::new("/etc/a/b.conf");
        write(&host, path, b"one", 0o640, None).unwrap();
        write(&host, path, b"two", 0o600, None).unwrap();
        assert_eq!(read(&host, path).unwrap().unwrap(), b"two");
        assert_eq!(status(&host, path).unwrap().unwrap().mode, 0o600);
        assert_eq!(list(&host, "/etc/a").unwrap(), ["b.conf"]);
    }

    #[test]
    fn a_lock_that_another_has_is_waited_for_in_vain_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let path = Path::new("/run/lock");
        let tried = || lock_within(&host, path, "the end of the other", Duration::from_millis(100));
        let first = tried().unwrap();
        let error = tried().unwrap_err();
        assert_eq!(error.to_string(), "the end of the other did not happen within 0 s");
        drop(first);
        tried().unwrap();
    }

    #[test]
    fn missing_parents_are_named_outermost_first() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let missing = missing_parents(&host, Path::new("/a/b/c"));
        assert_eq!(missing, [Path::new("/a"), Path::new("/a/b")]);
    }
}
