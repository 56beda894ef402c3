//! Removing files and directories.

use super::place::Place;
use super::{TEMPORARY_SUFFIX, io, list, missing_is_none, status};
use crate::host::{Error, Host, Result};
use std::io::ErrorKind;
use std::path::Path;

/// Names a directory that is being removed.
const DOOMED_SUFFIX: &str = ".gpucloud-removed";

/// Removes a file or link, and what a power cut left beside it; nothing there is fine.
pub fn remove(host: &Host, path: &Path) -> Result<()> {
    host.write_point()?;
    let removed = Place::of(host, path).and_then(|place| {
        let _ = place.beside(TEMPORARY_SUFFIX).unlink();
        place.unlink()
    });
    missing_is_none(removed).map_err(io("remove", path))?;
    host.write_point()
}

/// Removes a directory with all that is in it; nothing there is fine. It is renamed first: a kill in the middle leaves
/// no half of it under its name. Links in it go, what they lead to stays.
///
/// # Errors
/// Something is mounted inside: that may not be ours.
pub fn remove_tree(host: &Host, path: &Path) -> Result<()> {
    refuse_mounts(host, path)?;
    host.write_point()?;
    let Some(place) = missing_is_none(Place::of(host, path)).map_err(io("remove", path))? else {
        return Ok(());
    };
    let doomed = place.beside(DOOMED_SUFFIX);
    remove_all(&doomed).map_err(io("remove", path))?;
    host.write_point()?;
    if is_directory(&place) {
        missing_is_none(place.rename(&doomed)).map_err(io("rename", path))?;
        host.write_point()?;
        remove_all(&doomed).map_err(io("remove", path))?;
    } else {
        remove_all(&place).map_err(io("remove", path))?;
    }
    host.write_point()
}

fn is_directory(place: &Place) -> bool {
    place.look().is_ok_and(|found| found.metadata().is_ok_and(|meta| meta.is_dir()))
}

/// The standard library opens each directory in the one above it, and follows no link (CVE-2022-21658).
fn remove_all(place: &Place) -> std::io::Result<()> {
    let removed = if is_directory(place) { std::fs::remove_dir_all(place.by_number()) } else { place.unlink() };
    missing_is_none(removed).map(drop)
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
            let inside = mount.mount_point.display();
            Err(Error::protocol(what, format!("{inside} is mounted inside; where nobody needs it: umount {inside}")))
        }
    }
}

/// Removes a directory if nothing is in it; returns whether it is gone.
pub fn remove_empty_dir(host: &Host, path: &Path) -> Result<bool> {
    host.write_point()?;
    match Place::of(host, path).and_then(|place| place.remove_directory()) {
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
