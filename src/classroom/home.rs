//! What a student has in a notebook: brought to this machine before the notebook goes, laid into the next one of its name.
//! One packed archive for each, with times and permissions, replaced only when the new one is whole.
//! What is left out: [`LEFT_OUT`]. Homes on volumes (`home_volume.rs`) need none of it, but for what was saved before.

use super::ClassroomError;
use super::identity::Identity;
use super::remote::{self, Remote};
use crate::cloud::Id;
use crate::host::{Host, Result, files};
use crate::paths::HOMES;
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The student's home in a notebook.
const HOME: &str = "/home/student";
/// What makes itself anew.
const LEFT_OUT: [&str; 3] = ["./.cache", "./.local/share/Trash", "./HOME-IS-NEARLY-FULL.txt"];
/// Who writes in it: the student's JupyterLab, and who looks whether it is full.
const WRITERS: [&str; 3] = ["notebook.service", "notebook-space.timer", "notebook-space.service"];
/// What stays free on this machine, in MiB: the cloud's databases lie on the same disk.
const KEPT_FREE_MIB: u64 = 2 << 10;
/// Lays an archive on standard input into the home, as the student: into a directory beside it, which takes its place when
/// it is whole. What the student made meanwhile, where an earlier try was cut off, lies in it then.
const LAY_IN: &str = r#"set -eu
systemctl stop notebook.service notebook-space.timer notebook-space.service
trap 'rm -rf /home/.coming; systemctl start --no-block notebook.service notebook-space.timer' EXIT
cd /home
earlier() {
    if [ -n "$(ls -A .before)" ]; then mv .before "student/earlier-$(date +%Y%m%d-%H%M%S)"; else rm -rf .before; fi
}
[ -d student ] || mv .before student
[ ! -d .before ] || earlier
rm -rf .coming
install -d -o student -g student -m 700 .coming
setpriv --reuid=student --regid=student --init-groups --no-new-privs \
    tar --extract --zstd --same-permissions --directory /home/.coming
sync -f .coming
mv student .before
mv .coming student
earlier
sync -f student
"#;

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

/// Saves the home of a notebook that runs: the instance `of`. The one saved before stays until this one is whole.
///
/// # Errors
/// It cannot be read; it is not whole; there is no room. Its JupyterLab goes on then.
pub fn save(host: &Host, remote: &Remote, name: &str, of: &Id) -> Result<()> {
    // What was saved before must be in it, or it would be lost.
    bring_back(host, remote, name, of)?;
    // Nobody changes what is being read.
    remote.program(&[&["systemctl", "stop"], &WRITERS[..]].concat()).quiet().run(host)?;
    let partial = files::sibling(&archive(name), ".new");
    let saved = read(host, remote, name, &partial);
    if saved.is_err() {
        files::remove(host, &partial)?;
        let host = host.unstoppable();
        let start = [&["systemctl", "start", "--no-block"], &WRITERS[..2]].concat();
        remote.program(&start).quiet().run(&host)?;
    }
    saved?;
    files::put_in_place(host, &partial, &archive(name))?;
    // It came from there: where the notebook stays after all, it is not laid into it again.
    note(host, name, of)
}

fn read(host: &Host, remote: &Remote, name: &str, partial: &Path) -> Result<()> {
    files::remove(host, partial)?;
    let used = remote.program(&["du", "--summarize", "--block-size=1M", HOME]).quiet().read(host)?;
    let mib: u64 = used.split_whitespace().next().and_then(|mib| mib.parse().ok()).unwrap_or_default();
    let free = files::free_bytes(host, Path::new(HOMES))? >> 20;
    if free < mib + KEPT_FREE_MIB {
        return Err(ClassroomError::TooLarge { name: name.to_owned(), mib, free }.into());
    }
    let mut words = vec!["tar", "--create", "--zstd", "--sparse", "--directory", HOME];
    let left_out: Vec<String> = LEFT_OUT.iter().map(|path| format!("--exclude={path}")).collect();
    words.extend(left_out.iter().map(String::as_str));
    words.push(".");
    remote.program(&words).write_to(host, partial, 0o600)?;
    Ok(look_through(host, partial).map_err(|why| not_whole(name, why))?)
}

fn note(host: &Host, name: &str, of: &Id) -> Result<()> {
    files::write(host, &Identity::of(name).home_note(), of.as_str().as_bytes(), 0o600, None)
}

fn not_whole(name: &str, why: String) -> ClassroomError {
    ClassroomError::NotWhole { name: name.to_owned(), why }
}

/// Reads an archive from its beginning to its end: its entries, and the checksum of all.
///
/// # Errors
/// In words: where it ends too early, or is no archive.
fn look_through(host: &Host, path: &Path) -> std::result::Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let file = files::open(host, path).map_err(|e| words(&e))?.ok_or("it is not there")?;
    let mut archive = tar::Archive::new(StreamingDecoder::new(file).map_err(|e| words(&e))?);
    let mut entries = 0_u64;
    // Holes in files are not read: they may be larger than any disk.
    for entry in archive.entries().map_err(|e| words(&e))? {
        entry.map_err(|e| words(&e))?;
        entries += 1;
        if entries.is_multiple_of(1000) {
            host.go_on().map_err(|e| words(&e))?;
        }
    }
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest.by_ref(), &mut std::io::sink()).map_err(|e| words(&e))?;
    let frame = rest.into_frame_decoder();
    if frame.get_checksum_from_data() != frame.get_calculated_checksum() {
        return Err("its checksum is another one".into());
    }
    if entries == 0 { Err("there is nothing in it, not even the home itself".into()) } else { Ok(()) }
}

/// Lays what was saved into the instance `to`, once.
///
/// # Errors
/// What was saved is not whole; the notebook cannot take it.
pub fn bring_back(host: &Host, remote: &Remote, name: &str, to: &Id) -> Result<()> {
    if !is_saved(host, name) || is_noted(host, name, to)? {
        return Ok(());
    }
    look_through(host, &archive(name)).map_err(|why| not_whole(name, why))?;
    let laid_in = remote::outcome(host, remote.program(&["sh", "-c", LAY_IN]).stdin_file(archive(name)))?;
    laid_in.map_err(|why| ClassroomError::NotLaidIn { name: name.to_owned(), why })?;
    note(host, name, to)
}

/// Whether what was saved was laid into the instance `of`; of one with a volume, too, that its home was seen to be on it.
///
/// # Errors
/// It cannot be read.
pub fn is_noted(host: &Host, name: &str, of: &Id) -> Result<bool> {
    Ok(files::read_text(host, Identity::of(name).home_note())?.as_deref() == Some(of.as_str()))
}

/// The home of the instance `of` is on a volume, with what was laid into it: what is saved here is no longer needed.
pub fn leave_to_volume(host: &Host, name: &str, of: &Id) -> Result<()> {
    note(host, name, of)?;
    forget(host, name)
}

/// Removes what was saved.
pub fn forget(host: &Host, name: &str) -> Result<()> {
    files::remove(host, &archive(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    #[test]
    fn an_archive_that_was_cut_off_or_altered_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(noise.len() as u64);
        archive.append_data(&mut header, "work", noise.as_slice()).unwrap();
        let packed = compress_to_vec(archive.into_inner().unwrap().as_slice(), CompressionLevel::Fastest);
        let looked = |bytes: &[u8]| {
            files::write(&host, Path::new("/a"), bytes, 0o600, None).unwrap();
            look_through(&host, Path::new("/a"))
        };
        looked(&packed).unwrap();
        looked(&packed[..packed.len() / 2]).unwrap_err();
        looked(b"").unwrap_err();
        let mut altered = packed.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(looked(&altered).unwrap_err().contains("checksum"));
        let nothing = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let nothing = compress_to_vec(nothing.as_slice(), CompressionLevel::Fastest);
        assert!(looked(&nothing).unwrap_err().contains("nothing in it"));
    }
}
