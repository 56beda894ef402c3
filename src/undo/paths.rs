//! Takes back what was done at a path: a file, a link, a directory. What somebody has edited since is kept beside it.

use crate::action::kept::keep_if_edited;
use crate::action::originals::{Original, Originals};
use crate::action::{History, Undone};
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};

pub(super) fn keep_edits(host: &Host, history: &History, path: &Path) -> Result<Undone> {
    Ok(keep_if_edited(host, history, path)?.map_or(Undone::Restored, |kept| was_edited(path, &kept)))
}

fn was_edited(path: &Path, kept: &Path) -> Undone {
    Undone::Kept(format!("{} was edited: kept as {}", path.display(), kept.display()))
}

pub(super) fn restore(
    host: &Host,
    history: &History,
    originals: &Originals,
    path: &Path,
    original: &Original,
    made: &[PathBuf],
) -> Result<Undone> {
    let kept = keep_if_edited(host, history, path)?;
    match original {
        Original::File { hash, mode, owner } => {
            let content = originals.get(hash)?;
            let owner = host.is_live().then_some(*owner);
            files::write(host, path, &content, *mode, owner)?;
        }
        Original::Link { target } => files::make_link(host, path, target)?,
        Original::Absent | Original::Directory { .. } => files::remove(host, path)?,
    }
    remove_made(host, made)?;
    Ok(kept.map_or(Undone::Restored, |kept| was_edited(path, &kept)))
}

fn remove_made(host: &Host, made: &[PathBuf]) -> Result<()> {
    for dir in made.iter().rev() {
        if !files::remove_empty_dir(host, dir)? {
            break;
        }
    }
    Ok(())
}

pub(super) fn restore_directory(
    host: &Host,
    path: &Path,
    original: &Original,
    made: &[PathBuf],
    shared: bool,
) -> Result<Undone> {
    if shared && *original == Original::Absent && !files::remove_empty_dir(host, path)? {
        return Ok(Undone::Kept(format!("{} stays: it holds files of yours", path.display())));
    }
    match original {
        Original::Directory { mode, owner } if files::exists(host, path) => {
            files::set_permissions(host, path, *mode, host.is_live().then_some(*owner))?;
        }
        Original::Absent => files::remove_tree(host, path)?,
        _ => {}
    }
    remove_made(host, made)?;
    Ok(Undone::Restored)
}
