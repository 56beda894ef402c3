//! Files and directories: read, written atomically, compared, removed.
//!
//! Every path goes through `place.rs`: root follows no link that another account can have made, and what belongs to a
//! directory that stands for a host stays inside it.
//!
//! Invariant: a file is replaced by rename of a complete, synced temporary file in the same directory, so that a
//! reader, or a machine after a power cut, sees the old content or the new one and nothing between.

mod lock;
pub mod place;
mod removal;
#[cfg(test)]
mod tests;

pub use lock::{Lock, lock, lock_within, try_lock, try_lock_shared};
pub use removal::{remove, remove_empty_dir, remove_empty_tree, remove_tree};

use super::accounts::{self, Owner};
use super::{Error, Host, Result};
use nix::fcntl::OFlag;
use place::Place;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Names the temporary file beside the one that is written; left-overs of a power cut are recognised by it.
const TEMPORARY_SUFFIX: &str = ".gpucloud-new";

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| place::failed(doing, path, source)
}

fn missing_is_none<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

fn place_of(host: &Host, path: &Path) -> Result<Place> {
    Place::of(host, path).map_err(io("reach", path))
}

/// The content of a file, or `None` where there is none.
pub fn read(host: &Host, path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(mut file) = open(host, path)? else { return Ok(None) };
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(io("read", path))?;
    Ok(Some(content))
}

/// The first `limit` bytes of a file, or `None` where there is none.
pub fn read_at_most(host: &Host, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(host, path)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content).map_err(io("read", path))?;
    Ok(Some(content))
}

/// The content of a text file (invalid UTF-8 replaced), or `None` where there is none.
pub fn read_text(host: &Host, path: impl AsRef<Path>) -> Result<Option<String>> {
    let bytes = read(host, path.as_ref())?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

/// A file that is open for reading, or `None` where there is none: for what is too long to be held as a whole.
///
/// # Errors
/// It may not be read, or is no file: a pipe could keep its reader for ever.
pub fn open(host: &Host, path: impl AsRef<Path>) -> Result<Option<File>> {
    let path = path.as_ref();
    missing_is_none(Place::behind(host, path).and_then(|place| place.open_file())).map_err(io("read", path))
}

/// An empty file without a name, to be written and read: it goes with the last program that has it open.
///
/// # Errors
/// The directory is not there, or cannot be written to.
pub fn unnamed(host: &Host, directory: &Path) -> Result<File> {
    // Many may be made at once.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("unnamed-{}-{number}{TEMPORARY_SUFFIX}", std::process::id()));
    let made = Place::of(host, &path).and_then(|place| {
        let _ = place.unlink();
        let file = place.open(OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        place.unlink()?;
        Ok(file)
    });
    made.map_err(io("make", &path))
}

/// A file that is open for writing behind its end, made with these permissions where it is missing.
pub fn open_to_append(host: &Host, path: &Path, mode: u32) -> Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
    Place::behind(host, path).and_then(|place| place.open(flags, mode)).map_err(io("open", path))
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
    /// Bytes.
    pub size: u64,
    /// When its content was changed last, where the filesystem can tell.
    pub modified: Option<SystemTime>,
}

impl Status {
    fn of(file: &File) -> std::io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            is_dir: meta.is_dir(),
            link: if meta.is_symlink() { Some(place::target_of(file)?) } else { None },
            mode: meta.mode() & 0o7777,
            owner: Owner { uid: meta.uid(), gid: meta.gid() },
            size: meta.size(),
            modified: meta.modified().ok(),
        })
    }
}

/// What is at `path` (a link is not followed), or `None`.
pub fn status(host: &Host, path: &Path) -> Result<Option<Status>> {
    let found = Place::of(host, path).and_then(|place| Status::of(&place.look()?));
    missing_is_none(found).map_err(io("look at", path))
}

/// What `path` leads to, or `None`.
fn look_behind(host: &Host, path: &Path) -> Result<Option<File>> {
    let found = Place::behind(host, path).and_then(|place| place.open(OFlag::O_PATH, 0));
    missing_is_none(found).map_err(io("look at", path))
}

/// The directory at `path`, or the one that a link there points to; `None` where there is neither.
pub fn directory_status(host: &Host, path: &Path) -> Result<Option<Status>> {
    let Some(found) = look_behind(host, path)? else { return Ok(None) };
    Ok(Some(Status::of(&found).map_err(io("look at", path))?).filter(|status| status.is_dir))
}

/// Whether the way to `path` leads over a link that root does not follow: what lies there is somebody's own.
pub fn is_behind_a_foreign_link(host: &Host, path: &Path) -> bool {
    matches!(status(host, path), Err(Error::Link { .. }))
}

/// Whether anything is at `path`, be it a link that leads nowhere. What cannot be reached is not there.
pub fn exists(host: &Host, path: impl AsRef<Path>) -> bool {
    Place::of(host, path.as_ref()).and_then(|place| place.look()).is_ok()
}

/// Whether there is something to which `path` leads.
pub fn leads_somewhere(host: &Host, path: impl AsRef<Path>) -> bool {
    matches!(look_behind(host, path.as_ref()), Ok(Some(_)))
}

/// When the content of what `path` leads to was changed last; `None` where it cannot be told.
pub fn modified(host: &Host, path: impl AsRef<Path>) -> Option<SystemTime> {
    look_behind(host, path.as_ref()).ok()??.metadata().and_then(|meta| meta.modified()).ok()
}

/// The filesystem below a directory, or below the first one above it that is there.
pub fn filesystem(host: &Host, path: &Path) -> Result<nix::sys::statvfs::Statvfs> {
    let found = path.ancestors().find_map(|directory| look_behind(host, directory).ok().flatten());
    let found = found.ok_or_else(|| io("measure", path)(ErrorKind::NotFound.into()))?;
    nix::sys::statvfs::fstatvfs(&found).map_err(|errno| io("measure", path)(errno.into()))
}

/// The names in a directory, sorted; empty where there is no such directory.
pub fn list(host: &Host, path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let directory = Place::behind(host, path).and_then(|place| place.open_directory());
    let Some(directory) = missing_is_none(directory).map_err(io("list", path))? else { return Ok(Vec::new()) };
    let entries = fs::read_dir(place::by_number(&directory)).map_err(io("list", path))?;
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// SHA-256 of some bytes, as lower-case hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
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
    let place = place_of(host, path)?;
    let temporary = place.beside(TEMPORARY_SUFFIX);
    let filled = fill(&temporary, content, mode, owner).and_then(|file| file.sync_all());
    filled.map_err(io("write", path))?;
    host.write_point()?;
    temporary.rename(&place).map_err(io("replace", path))?;
    place.sync_directory().map_err(io("sync the directory of", path))?;
    host.write_point()
}

/// The same where nothing needs to outlive a power cut: below `/run`, and records that a run begins with.
pub fn write_volatile(host: &Host, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    make_parents(host, path)?;
    host.write_point()?;
    let place = place_of(host, path)?;
    let temporary = place.beside(TEMPORARY_SUFFIX);
    fill(&temporary, content, mode, None).map_err(io("write", path))?;
    temporary.rename(&place).map_err(io("replace", path))?;
    host.write_point()
}

/// The path with `suffix` behind its name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The temporary file beside `path`, which [`write`] makes and [`remove`] takes away.
pub fn temporary_for(path: &Path) -> PathBuf {
    sibling(path, TEMPORARY_SUFFIX)
}

fn fill(temporary: &Place, content: &[u8], mode: u32, owner: Option<Owner>) -> std::io::Result<File> {
    let _ = temporary.unlink();
    let mut file = temporary.open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
    file.write_all(content)?;
    give(&file, mode, owner)?;
    Ok(file)
}

/// Gives an open file or directory its owner, and then its permissions: with another owner it loses some.
fn give(file: &File, mode: u32, owner: Option<Owner>) -> std::io::Result<()> {
    if let Some(Owner { uid, gid }) = owner {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
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
    match place_of(host, path)?.make_directory() {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(io("make directory", path)(e)),
        _ => {}
    }
    set_permissions(host, path, mode, owner)
}

/// Gives a directory these permissions and this owner.
pub fn set_permissions(host: &Host, path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    let directory = Place::behind(host, path).and_then(|place| place.open_directory());
    let directory = directory.map_err(io("open directory", path))?;
    give(&directory, mode, owner).map_err(io("set owner and permissions of", path))
}

/// Makes a symbolic link in one piece, replacing what file or link was there.
pub fn make_link(host: &Host, path: &Path, target: &Path) -> Result<()> {
    make_parents(host, path)?;
    host.write_point()?;
    let place = place_of(host, path)?;
    let temporary = place.beside(TEMPORARY_SUFFIX);
    let _ = temporary.unlink();
    temporary.make_link(target).map_err(io("link", path))?;
    temporary.rename(&place).map_err(io("replace", path))?;
    host.write_point()
}

/// Brings a file that a program wrote at `temporary` onto the disk, and then to `path` in one piece.
pub fn put_in_place(host: &Host, temporary: &Path, path: &Path) -> Result<()> {
    host.write_point()?;
    let (from, place) = (place_of(host, temporary)?, place_of(host, path)?);
    from.open_file().and_then(|file| file.sync_all()).map_err(io("sync", temporary))?;
    from.rename(&place).map_err(io("replace", path))?;
    place.sync_directory().map_err(io("sync the directory of", path))?;
    host.write_point()
}

/// Brings the name of `path` onto the disk: a new file may be synced, and its name lost by a power cut.
pub fn sync_parent(host: &Host, path: &Path) -> Result<()> {
    place_of(host, path)?.sync_directory().map_err(io("sync the directory of", path))
}

/// Bytes that root can still write below a directory.
pub fn free_bytes(host: &Host, directory: &Path) -> Result<u64> {
    let filesystem = filesystem(host, directory)?;
    Ok(filesystem.blocks_available() * filesystem.fragment_size())
}

/// Gives what is at `from` another name on the same filesystem.
pub fn rename(host: &Host, from: &Path, to: &Path) -> Result<()> {
    host.write_point()?;
    place_of(host, from)?.rename(&place_of(host, to)?).map_err(io("rename", from))?;
    host.write_point()
}

/// Adds `bytes` to the end of a file (0600), all or nothing, and waits until they are on the disk when `sync`.
pub fn append(host: &Host, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    host.write_point()?;
    let mut file = open_to_append(host, path, 0o600)?;
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

/// Sets a value of the kernel's, below /proc or /sys: a file that is written where it is, and cannot be replaced.
pub fn set(host: &Host, path: &Path, value: &str) -> Result<()> {
    host.write_point()?;
    let file = Place::behind(host, path).and_then(|place| place.open(OFlag::O_WRONLY, 0));
    file.and_then(|mut file| file.write_all(value.as_bytes())).map_err(io("set", path))
}

/// Cuts a file off after `length` bytes, or makes it that long: what comes to it takes no room on the disk.
pub fn truncate(host: &Host, path: &Path, length: u64) -> Result<()> {
    host.write_point()?;
    let file = Place::behind(host, path).and_then(|place| place.open(OFlag::O_WRONLY, 0)).map_err(io("open", path))?;
    file.set_len(length).and_then(|()| file.sync_all()).map_err(io("cut", path))
}

/// A file of the running system, copied.
pub fn copy(host: &Host, from: &Path, path: &Path, mode: u32) -> Result<()> {
    let content = read(&Host::live(), from)?.ok_or_else(|| io("read", from)(ErrorKind::NotFound.into()))?;
    write(host, path, &content, mode, None)
}

/// The owner called `user:group` on this host; `None` in a directory that only stands for a host.
pub fn owner(host: &Host, user: &str, group: &str) -> Result<Option<Owner>> {
    if host.is_live() { accounts::owner(user, group).map(Some) } else { Ok(None) }
}
