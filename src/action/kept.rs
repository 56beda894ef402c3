//! Edited files of ours: which count as edited, and how they are kept beside themselves (`NAME.gpucloud-kept`).

use super::originals::Original;
use super::{History, Undo};
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};

/// Suffix of the copy that is kept of a file which the administrator edited.
pub const KEPT_SUFFIX: &str = ".gpucloud-kept";

/// Puts an edited file of ours beside itself, so that it can be replaced; returns where to.
pub fn keep_if_edited(host: &Host, history: &History, path: &Path) -> Result<Option<PathBuf>> {
    if !is_edited(host, history, path)? {
        return Ok(None);
    }
    let (Some(content), Some(status)) = (files::read(host, path)?, files::status(host, path)?) else {
        return Ok(None);
    };
    // Permissions of a link say nothing of what it points to.
    let mode = if status.link.is_some() { 0o600 } else { status.mode };
    let kept = free_name_for_kept(host, path, &content)?;
    files::write(host, &kept, &content, mode, host.is_live().then_some(status.owner))?;
    Ok(Some(kept))
}

/// `NAME.gpucloud-kept`, or the first with a number behind it that an earlier edit does not have.
pub fn free_name_for_kept(host: &Host, path: &Path, content: &[u8]) -> Result<PathBuf> {
    let first = files::sibling(path, KEPT_SUFFIX);
    let mut name = first.clone();
    for number in 2.. {
        match files::read(host, &name)? {
            Some(other) if other != content => name = files::sibling(&first, &format!("-{number}")),
            _ => break,
        }
    }
    Ok(name)
}

/// Whether a file that we wrote was changed by somebody else since. Where it is not known how we left it, it was:
/// better one copy too many than an edit that is lost.
pub fn is_edited(host: &Host, history: &History, path: &Path) -> Result<bool> {
    let Some(status) = files::status(host, path)?.filter(|status| !status.is_dir) else { return Ok(false) };
    if history.undo.is_none() {
        // Never begun: what is there is the original, and is remembered as such.
        return Ok(false);
    }
    if status.link.is_some() && history.fingerprints.is_empty() {
        // A journal of schema 1 does not know where links of ours led; what lies behind one is not ours to keep.
        return Ok(false);
    }
    let is_ours = |fingerprint: &String| history.fingerprints.contains(fingerprint);
    // A link of ours is told by where it leads: what lies there is not ours to compare.
    if status.link.as_ref().is_some_and(|link| is_ours(&files::hash(link.as_os_str().as_encoded_bytes()))) {
        return Ok(false);
    }
    let original = if let Some(Undo::Path { original, .. }) = &history.undo { Some(original) } else { None };
    if let (Some(now), Some(Original::Link { target })) = (&status.link, original) {
        return Ok(now != target);
    }
    let fingerprint = files::hash(&files::read(host, path)?.unwrap_or_default());
    let was_there = matches!(original, Some(Original::File { hash, .. }) if *hash == fingerprint);
    Ok(!was_there && !is_ours(&fingerprint))
}
