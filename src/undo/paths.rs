//! Takes back what was done at a path: a file, a link, a directory. What somebody has edited since is kept beside it.

use crate::action::kept::{KEPT_SUFFIX, free_name_for_kept, keep_if_edited};
use crate::action::originals::{Original, Originals};
use crate::action::{History, Undone};
use crate::host::home::Home;
use crate::host::{Error, Host, Result, files};
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
    if files::is_behind_a_foreign_link(host, path) {
        return Ok(Undone::Kept(format!("{} stays: the way there is a link of its user's", path.display())));
    }
    if *original == Original::Absent
        && let Some(home) = closed_to_root(host, path)
    {
        home.remove(host, path)?;
        made.iter().rev().try_for_each(|dir| home.remove_empty_dir(host, dir))?;
        return Ok(Undone::Restored);
    }
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

/// The home around a file that root can neither read nor remove: its owner's hands made it, and take it away.
fn closed_to_root(host: &Host, path: &Path) -> Option<Home> {
    let is_closed = matches!(files::read(host, path), Err(Error::Io { .. }));
    if is_closed && host.is_live() { Home::above(host, path) } else { None }
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
    let mut rescued = Vec::new();
    match original {
        Original::Directory { mode, owner } if files::exists(host, path) => {
            files::set_permissions(host, path, *mode, host.is_live().then_some(*owner))?;
        }
        Original::Absent => {
            rescued = rescue_kept(host, path, RESCUE_DEPTH)?;
            files::remove_tree(host, path)?;
        }
        _ => {}
    }
    remove_made(host, made)?;
    let names: Vec<String> = rescued.iter().map(|path| path.display().to_string()).collect();
    Ok(match names.is_empty() {
        true => Undone::Restored,
        false => {
            Undone::Kept(format!("{} is gone; what was edited in it lies in {}", path.display(), names.join(", ")))
        }
    })
}

/// Where edited files go whose directory goes.
const RESCUED: &str = "/etc/gpucloud/kept";
/// How deep below a directory of ours we write files that somebody may edit.
const RESCUE_DEPTH: usize = 3;

/// Copies that were kept of edited files must not go with the directory that they lie in.
fn rescue_kept(host: &Host, dir: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut rescued = Vec::new();
    for name in files::list(host, dir)? {
        let path = dir.join(&name);
        let Some(status) = files::status(host, &path)? else { continue };
        if status.is_dir && depth > 1 {
            rescued.extend(rescue_kept(host, &path, depth - 1)?);
        } else if !status.is_dir && name.contains(KEPT_SUFFIX) {
            let content = files::read(host, &path)?.unwrap_or_default();
            let place = free_name_for_kept(host, &Path::new(RESCUED).join(name.replace(KEPT_SUFFIX, "")), &content)?;
            files::write(host, &place, &content, 0o600, None)?;
            rescued.push(place);
        }
    }
    Ok(rescued)
}
