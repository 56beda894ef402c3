//! What a student has in a notebook: brought to this machine before the notebook goes, laid back into the next one of its
//! name. One packed archive for each, with owners and times, replaced only when the new one is whole.

use super::ClassroomError;
use super::identity::Identity;
use super::remote::Remote;
use crate::host::{Host, Result, files};
use crate::paths::HOMES;
use ruzstd::decoding::StreamingDecoder;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The student's home in a notebook.
const HOME: &str = "/home/student";
/// What makes itself anew, and is large.
const LEFT_OUT: [&str; 2] = ["./.cache", "./.local/share/Trash"];

/// What was saved of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Saved {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes in the files.
    pub bytes: u64,
}

fn archive(name: &str) -> PathBuf {
    Path::new(HOMES).join(format!("{name}.tar.zst"))
}

/// Whether something was saved of a notebook of this name.
pub fn is_saved(host: &Host, name: &str) -> bool {
    files::exists(host, archive(name))
}

/// The names of those that something was saved of.
pub fn saved(host: &Host) -> Result<Vec<String>> {
    let names = files::list(host, HOMES)?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".tar.zst")).map(str::to_owned).collect())
}

/// Saves the home of a notebook that runs. The one saved before stays until this one is whole.
///
/// # Errors
/// It cannot be read; it is not whole; there is no room.
pub fn save(host: &Host, remote: &Remote, name: &str) -> Result<Saved> {
    // What was saved before must be in it, or it would be lost.
    bring_back(host, remote, name)?;
    let target = archive(name);
    let partial = files::sibling(&target, ".new");
    files::remove(host, &partial)?;
    let mut words = vec!["tar", "--create", "--zstd", "--numeric-owner", "--directory", HOME];
    let left_out: Vec<String> = LEFT_OUT.iter().map(|path| format!("--exclude={path}")).collect();
    words.extend(left_out.iter().map(String::as_str));
    words.push(".");
    remote.program(&words).write_to(host, &partial, 0o600)?;
    let saved = look_through(host, &partial).map_err(|why| not_whole(name, why))?;
    files::put_in_place(host, &partial, &target)?;
    // It came from there: where the notebook stays after all, it is not laid into it again.
    files::write(host, &Identity::of(name).home_note(), b"", 0o600, None)?;
    Ok(saved)
}

fn not_whole(name: &str, why: String) -> ClassroomError {
    ClassroomError::NotWhole { name: name.to_owned(), why }
}

/// Reads an archive from its beginning to its end.
///
/// # Errors
/// In words: where it ends too early, or is no archive.
fn look_through(host: &Host, path: &Path) -> std::result::Result<Saved, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let file = files::open(host, path).map_err(|e| words(&e))?.ok_or("it is not there")?;
    let decoder = StreamingDecoder::new(file).map_err(|e| words(&e))?;
    let mut archive = tar::Archive::new(decoder);
    let mut saved = Saved::default();
    for entry in archive.entries().map_err(|e| words(&e))? {
        let mut entry = entry.map_err(|e| words(&e))?;
        saved.entries += 1;
        saved.bytes += std::io::copy(&mut entry, &mut std::io::sink()).map_err(|e| words(&e))?;
    }
    // The end of the packed stream has a checksum.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest.by_ref(), &mut std::io::sink()).map_err(|e| words(&e))?;
    match saved.entries {
        0 => Err("there is nothing in it, not even the home itself".into()),
        _ => Ok(saved),
    }
}

/// Lays what was saved into a notebook, once: what its student has changed since is not overwritten.
///
/// # Errors
/// What was saved is not whole; the notebook cannot take it.
pub fn bring_back(host: &Host, remote: &Remote, name: &str) -> Result<()> {
    let note = Identity::of(name).home_note();
    if !is_saved(host, name) || files::exists(host, &note) {
        return Ok(());
    }
    look_through(host, &archive(name)).map_err(|why| not_whole(name, why))?;
    // It is new, unless an earlier try was cut off in the middle: then some of it may have been worked with.
    let words = ["tar", "--extract", "--zstd", "--numeric-owner", "--same-permissions", "--skip-old-files"];
    remote.program(&[&words[..], &["--directory", HOME]].concat()).stdin_file(archive(name)).run(host)?;
    files::write(host, &note, b"", 0o600, None)
}

/// Removes what was saved.
pub fn forget(host: &Host, name: &str) -> Result<()> {
    files::remove(host, &archive(name))
}
