//! Where a path leads: the one way in which files are reached.
//!
//! A path is taken apart once, into an open directory and a name in it. Whatever is done, is done to that name in that
//! directory: nobody can put something else in its place between the look and the deed.
//!
//! * On the running system links lead where they lead, as long as only root can have made them. From the first directory
//!   on that another account can write, none is followed (openat2(2), RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH): with one,
//!   that account would choose which file of the machine root reads or writes.
//! * Of a directory that stands for a host, the kernel takes that directory for the root: what links lead to, absolute
//!   ones too, lies inside it (RESOLVE_IN_ROOT).
//!
//! openat2 came with Linux 5.6; each system that is supported has a newer one. Where there is none (an old kernel, a
//! container whose filter of system calls does not know it), every look at a file fails and says so.

use super::super::{Error, Host, accounts};
use nix::errno::Errno;
use nix::fcntl::{self, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, getegid, geteuid};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Error as IoError, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// How many links one path may lead through: the kernel's own limit (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// How often a path is tried anew: the kernel gives up on a `..` while anything is renamed (openat2(2), EAGAIN).
const TRIES: usize = 1000;

/// A name in an open directory.
pub(super) struct Place {
    directory: Rc<File>,
    name: PathBuf,
    /// How the name is followed where it is a link.
    resolve: ResolveFlag,
}

impl Place {
    /// `path` itself, where it is a link too.
    pub(super) fn of(host: &Host, path: &Path) -> Result<Self> {
        let names = names(path);
        if host.is_live() {
            return Walk::from_root(names)?.to(End::Itself);
        }
        beneath(&root(host)?, &names, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// What `path` leads to, where it is a link.
    pub(super) fn behind(host: &Host, path: &Path) -> Result<Self> {
        let names = names(path);
        if host.is_live() {
            return Walk::from_root(names)?.to(End::Behind);
        }
        let name = [OsString::from(".")].into_iter().chain(names).collect();
        Ok(Self { directory: Rc::new(root(host)?), name, resolve: ResolveFlag::RESOLVE_IN_ROOT })
    }

    /// Another name in the same directory: this one with `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        Self { directory: self.directory.clone(), name: super::sibling(&self.name, suffix), resolve: self.resolve }
    }

    /// What is there: a link itself, not what it leads to. It can be looked at, not read.
    pub(super) fn look(&self) -> Result<File> {
        self.open(OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
    }

    /// Opens it; a file that O_CREAT makes gets the permissions `mode`.
    pub(super) fn open(&self, flags: OFlag, mode: u32) -> Result<File> {
        // A pipe or a terminal that somebody put there could keep us for ever.
        let at_once = match flags.contains(OFlag::O_PATH) || self.is_magic() {
            true => OFlag::empty(),
            false => OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
        };
        open(&self.directory, &self.name, flags | at_once, mode, self.resolve)
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self) -> Result<File> {
        let file = self.open(OFlag::O_RDONLY, 0)?;
        let kind = file.metadata()?.file_type();
        match kind.is_file() || self.is_magic() {
            true => Ok(file),
            false if kind.is_dir() => Err(Errno::EISDIR.into()),
            false => Err(IoError::other("it is no file")),
        }
    }

    /// Whether the kernel follows it: a link of its own below /proc.
    fn is_magic(&self) -> bool {
        self.resolve.is_empty()
    }

    /// Opens a directory for reading.
    pub(super) fn open_directory(&self) -> Result<File> {
        self.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
    }

    /// Makes a directory 0700 there.
    pub(super) fn make_directory(&self) -> Result<()> {
        Ok(nix::sys::stat::mkdirat(&*self.directory, &self.name, Mode::S_IRWXU)?)
    }

    /// Makes a link there.
    pub(super) fn make_link(&self, target: &Path) -> Result<()> {
        Ok(nix::unistd::symlinkat(target, &*self.directory, &self.name)?)
    }

    /// Gives it another name, in place of what has that one.
    pub(super) fn rename(&self, to: &Self) -> Result<()> {
        Ok(fcntl::renameat(&*self.directory, &self.name, &*to.directory, &to.name)?)
    }

    /// Removes a file or a link.
    pub(super) fn unlink(&self) -> Result<()> {
        Ok(nix::unistd::unlinkat(&*self.directory, &self.name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self) -> Result<()> {
        Ok(nix::unistd::unlinkat(&*self.directory, &self.name, UnlinkatFlags::RemoveDir)?)
    }

    /// Waits until the names in its directory are on the disk.
    pub(super) fn sync_directory(&self) -> Result<()> {
        let here = Self { directory: self.directory.clone(), name: ".".into(), resolve: self.resolve };
        here.open_directory()?.sync_all()
    }

    /// A path to it for the standard library, by the number of the open directory: links of the name are followed.
    pub(super) fn by_number(&self) -> PathBuf {
        by_number(&self.directory).join(&self.name)
    }
}

/// A path to an open file or directory, whatever its name is by now (proc_pid_fd(5)).
pub(super) fn by_number(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where a link that is open points to.
pub(super) fn target_of(link: &File) -> Result<PathBuf> {
    Ok(fcntl::readlinkat(link, "")?.into())
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// The directory that stands for the host.
fn root(host: &Host) -> Result<File> {
    let open = fcntl::open(&host.real("/"), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    Ok(open?.into())
}

fn open(directory: &File, name: &Path, flags: OFlag, mode: u32, resolve: ResolveFlag) -> Result<File> {
    let mode = Mode::from_bits_truncate(mode);
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    let mut answers = (0..TRIES).map(|_| fcntl::openat2(directory, name, how));
    match answers.find(|answer| !matches!(answer, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN)) {
        Err(Errno::ELOOP) if resolve.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) => Err(refusal(directory, name)),
        answer => Ok(answer?.into()),
    }
}

/// How links are treated where others can make them.
fn no_links() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS
}

/// The last of `names` in the directory to which the others lead from `directory`.
fn beneath(directory: &File, names: &VecDeque<OsString>, resolve: ResolveFlag) -> Result<Place> {
    let own = names.len() - usize::from(names.back().is_some_and(|name| name != ".."));
    let parents: PathBuf = [OsStr::new(".")].into_iter().chain(names.range(..own).map(AsRef::as_ref)).collect();
    let name = names.get(own).map_or_else(|| ".".into(), PathBuf::from);
    let directory = Rc::new(open(directory, &parents, OFlag::O_PATH | OFlag::O_DIRECTORY, 0, resolve)?);
    Ok(Place { directory, name, resolve: no_links() })
}

/// Whether a path means a link, or what it leads to.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Itself,
    Behind,
}

/// A way through the running system, one directory after the other.
struct Walk {
    here: File,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn from_root(ahead: VecDeque<OsString>) -> Result<Self> {
        Ok(Self { here: root(&Host::live())?, ahead, links: 0 })
    }

    /// Goes on as long as only root can have made what lies ahead; the kernel does the rest, and follows no link.
    fn to(mut self, end: End) -> Result<Place> {
        while !self.ends_here(end)? {
            let is_at_the_end = self.is_at_the_end();
            let Some(name) = self.ahead.pop_front() else { break };
            let next = open(&self.here, Path::new(&name), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0, ResolveFlag::empty());
            let is_link = next.as_ref().is_ok_and(|next| next.metadata().is_ok_and(|meta| meta.is_symlink()));
            if is_at_the_end && is_link && is_proc(&self.here)? {
                return Ok(Place { directory: Rc::new(self.here), name: name.into(), resolve: ResolveFlag::empty() });
            }
            if is_at_the_end && !is_link {
                self.ahead.push_front(name);
                break;
            }
            if is_link { self.turn(&target_of(&next?)?)? } else { self.here = next? }
        }
        beneath(&self.here, &self.ahead, no_links())
    }

    fn ends_here(&self, end: End) -> Result<bool> {
        Ok(end == End::Itself && self.is_at_the_end() || others_can_write(&self.here)?)
    }

    fn is_at_the_end(&self) -> bool {
        self.ahead.len() == 1 && self.ahead[0] != ".."
    }

    /// What a link stands for lies ahead.
    fn turn(&mut self, target: &Path) -> Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        if target.is_absolute() {
            self.here = root(&Host::live())?;
        }
        names(target).into_iter().rev().for_each(|name| self.ahead.push_front(name));
        Ok(())
    }
}

/// Whether another account than root, and than the one that this program runs as, can put a link into a directory.
fn others_can_write(directory: &File) -> Result<bool> {
    let meta = directory.metadata()?;
    let own = |id: u32, ours: u32| id == 0 || id == ours;
    let by_owner = !own(meta.uid(), geteuid().as_raw());
    let by_group = meta.mode() & 0o020 != 0 && (!own(meta.gid(), getegid().as_raw()) || has_access_list(directory));
    Ok(by_owner || by_group || meta.mode() & 0o002 != 0)
}

/// With an access list, the permissions of the group are the most that the list gives to anybody in it (acl(5)).
fn has_access_list(directory: &File) -> bool {
    rustix::fs::getxattr_query(by_number(directory), "system.posix_acl_access").is_ok()
}

/// Links of the kernel's own, such as /proc/self/exe, lead to what no path names (proc(5)).
fn is_proc(directory: &File) -> Result<bool> {
    use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
    Ok(fstatfs(directory)?.filesystem_type() == PROC_SUPER_MAGIC)
}

/// A link in the way, where others than root can make links.
#[derive(Debug, thiserror::Error)]
#[error("{} is a link, and others than root can make links there", link.display())]
pub struct LinkInTheWay {
    link: PathBuf,
    target: PathBuf,
    owner: u32,
}

impl LinkInTheWay {
    /// Where it leads, and whose it is.
    pub fn evidence(&self) -> String {
        let (link, target) = (self.link.display(), self.target.display());
        format!("{link} -> {target} (made by {})", accounts::name_of(self.owner))
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        let link = self.link.display();
        format!("ls -ld {link}; put what it leads to in its place, or name that instead; then the same command again")
    }
}

/// Names the first link on the way from `directory` to `name`.
fn refusal(directory: &File, name: &Path) -> IoError {
    match first_link(directory, name) {
        Ok(Some(refused)) => IoError::other(refused),
        // It is gone by now: a race with whoever made it.
        _ => Errno::ELOOP.into(),
    }
}

fn first_link(directory: &File, path: &Path) -> Result<Option<LinkInTheWay>> {
    let mut here = directory.try_clone()?;
    for name in path.components() {
        let next = open(&here, name.as_ref(), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0, ResolveFlag::empty())?;
        let meta = next.metadata()?;
        if meta.is_symlink() {
            let link = std::fs::read_link(by_number(&here))?.join(name);
            return Ok(Some(LinkInTheWay { link, target: target_of(&next)?, owner: meta.uid() }));
        }
        here = next;
    }
    Ok(None)
}

/// An error of an operation on `path`, in words: a link that was in the way, or what the kernel says.
pub(super) fn failed(doing: &'static str, path: &Path, source: IoError) -> Error {
    match source.downcast::<LinkInTheWay>() {
        Ok(link) => Error::Link { doing, path: path.to_owned(), link: Box::new(link) },
        Err(source) => Error::Io { doing, path: path.to_owned(), source },
    }
}
