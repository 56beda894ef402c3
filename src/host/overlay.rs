//! Overlays: a directory that shows another one, and keeps apart what is changed in it (kernel documentation,
//! filesystems/overlayfs.rst). It stands for a copy of a whole root file system, and costs nothing to make.
//!
//! Invariant: what lies below is not changed while an overlay shows it; the kernel leaves open what is seen then.

use super::{Error, Host, Result, files};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the last processes that were in an overlay may take to end.
const IN_USE_LIMIT: Duration = Duration::from_secs(10);

/// What an overlay is made of. The directories must not have a comma or a colon in their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// What is shown where nothing was changed.
    pub below: PathBuf,
    /// What was changed.
    pub changes: PathBuf,
    /// The kernel's own, on the file system of `changes`.
    pub work: PathBuf,
    /// Where it is seen.
    pub shown: PathBuf,
}

impl Overlay {
    /// Shows it, with what was changed before; one that is shown already is left alone.
    ///
    /// # Errors
    /// The kernel, or the file system below, cannot do it.
    pub fn mount(&self, host: &Host) -> Result<()> {
        if is_mounted(host, &self.shown)? {
            return Ok(());
        }
        for dir in [&self.changes, &self.work, &self.shown] {
            files::make_parents(host, dir)?;
            files::make_dir(host, dir, 0o755, None)?;
        }
        let real = |path: &Path| host.real(path).display().to_string();
        let (below, changes, work) = (real(&self.below), real(&self.changes), real(&self.work));
        // Without redirect_dir a directory from below cannot be renamed (EXDEV), which dpkg does.
        let options = format!("lowerdir={below},upperdir={changes},workdir={work},redirect_dir=on,index=off");
        let flags = MsFlags::empty();
        mount(Some("overlay"), &host.real(&self.shown), Some("overlay"), flags, Some(options.as_str()))
            .map_err(|errno| io("lay an overlay over", &self.below, errno))
    }
}

/// Whether something is mounted at `shown`.
pub fn is_mounted(host: &Host, shown: &Path) -> Result<bool> {
    let mounts = procfs::process::Process::myself().and_then(|process| process.mountinfo());
    let mounts = mounts.map_err(|error| Error::protocol("read the mounts of this process", error))?;
    Ok(mounts.0.iter().any(|mount| mount.mount_point == host.real(shown)))
}

/// Takes an overlay away, once nobody uses it; its changes stay. One that is not there is fine.
pub fn unmount(host: &Host, shown: &Path) -> Result<()> {
    if !is_mounted(host, shown)? {
        return Ok(());
    }
    let what = format!("nobody to use {}", shown.display());
    host.wait_until(&what, IN_USE_LIMIT, Duration::from_millis(100), || match umount(&host.real(shown)) {
        Ok(()) => Ok(true),
        Err(Errno::EBUSY) => Ok(false),
        Err(errno) => Err(io("unmount", shown, errno)),
    })
}

/// Whether overlays can be made in `dir`: one is made, a directory from below renamed in it, and taken away. A kernel
/// may lack them, and a file system may be no place for one (another overlay, as in an application container).
pub fn works(host: &Host, dir: &Path) -> bool {
    let trial = dir.join("overlay-trial");
    let tried = try_in(host, &trial).is_ok();
    let cleared = unmount(host, &trial.join("shown")).and_then(|()| files::remove_tree(host, &trial));
    tried && cleared.is_ok()
}

fn try_in(host: &Host, trial: &Path) -> Result<()> {
    let [below, changes, work, shown] = ["below", "changes", "work", "shown"].map(|name| trial.join(name));
    files::make_parents(host, &below.join("one/file"))?;
    files::write_volatile(host, &below.join("one/file"), b"", 0o644)?;
    let overlay = Overlay { below, changes, work, shown };
    overlay.mount(host)?;
    files::rename(host, &overlay.shown.join("one"), &overlay.shown.join("two"))
}

fn io(doing: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Io { doing, path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root and a kernel that can: elsewhere nothing is left behind, and the answer is no.
    #[test]
    fn what_is_changed_is_kept_apart_and_a_trial_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let can = works(&host, Path::new("/labs"));
        assert!(!files::exists(&host, "/labs/overlay-trial"));
        if !can {
            return;
        }
        let [below, changes, work, shown] = ["/below", "/changes", "/work", "/shown"].map(PathBuf::from);
        files::write(&host, &below.join("file"), b"old", 0o644, None).unwrap();
        let overlay = Overlay { below, changes, work, shown };
        for text in ["new", "newer"] {
            overlay.mount(&host).unwrap();
            files::write(&host, &overlay.shown.join("file"), text.as_bytes(), 0o644, None).unwrap();
            unmount(&host, &overlay.shown).unwrap();
            unmount(&host, &overlay.shown).unwrap();
        }
        let text = |dir: &Path| files::read_text(&host, dir.join("file")).unwrap();
        assert_eq!(text(&overlay.below).as_deref(), Some("old"));
        assert_eq!(text(&overlay.changes).as_deref(), Some("newer"));
        assert_eq!(text(&overlay.shown), None);
    }
}
