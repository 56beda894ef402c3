//! Initial file systems: a tree of files as an archive that the kernel unpacks when it boots. The one place that uses the
//! `cpio` crate.

use super::{Error, Host, Result, files};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Everything below `root` as an archive at `target`, as the kernel reads it (docs.kernel.org, "initramfs buffer format").
/// All of it belongs to root.
pub fn pack(host: &Host, root: &Path, target: &Path) -> Result<()> {
    let failed = |source| Error::Io { doing: "pack", path: root.to_owned(), source };
    let mut archive = Vec::new();
    for (number, path) in below(host, root)?.into_iter().enumerate() {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let (mode, content) = entry(host, &path)?;
        let entry = cpio::newc::Builder::new(&name).ino(number as u32 + 1).mode(mode);
        let size = u32::try_from(content.len()).map_err(|e| Error::protocol("pack an initial file system", e))?;
        let mut writer = entry.write(&mut archive, size);
        writer.write_all(&content).and_then(|()| writer.finish().map(drop)).map_err(failed)?;
    }
    cpio::newc::trailer(&mut archive).map_err(failed)?;
    files::write(host, target, &archive, 0o644, None)
}

/// Kind and permissions of what is at a path, as inode(7) has them, and its content: of a link, where it points to.
fn entry(host: &Host, path: &Path) -> Result<(u32, Vec<u8>)> {
    use nix::libc::{S_IFDIR, S_IFLNK, S_IFREG};
    let Some(status) = files::status(host, path)? else {
        return Err(Error::protocol("pack an initial file system", "a file is gone"));
    };
    let (kind, content) = match status.link {
        Some(target) => (S_IFLNK, target.into_os_string().into_vec()),
        None if status.is_dir => (S_IFDIR, Vec::new()),
        None => (S_IFREG, files::read(host, path)?.unwrap_or_default()),
    };
    Ok((kind | status.mode, content))
}

/// Everything below a directory, parents first.
pub fn below(host: &Host, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in files::list(host, directory)?.into_iter().map(|name| directory.join(name)) {
        let is_directory = files::status(host, &path)?.is_some_and(|status| status.is_dir);
        all.push(path.clone());
        if is_directory {
            all.extend(below(host, &path)?);
        }
    }
    Ok(all)
}
