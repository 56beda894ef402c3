//! Public keys as people have them in files: from bytes to the lines that are sent to Nova, or to what the file is
//! instead, with the command that makes a key of it. Pure; nothing of a file that is refused goes any further.
//!
//! Taken: lines of OpenSSH (sshd(8), "AUTHORIZED_KEYS FILE FORMAT", without options), and what PuTTYgen's "save public
//! key" writes (RFC 4716), in UTF-8, UTF-16 or Latin-1, with any ends of lines. Nova takes of the types what Python's
//! `cryptography` loads (nova/crypto.py, generate_fingerprint), and splits the line at single blanks.
//!
//! The crate `ssh-key` reads one clean line; what a file is that has none, which is most of this, it cannot say.

mod blob;
mod refusal;
#[cfg(test)]
mod tests;
mod text;

pub use refusal::{NoKey, NoKeyFile};

use crate::host::home::Home;
use crate::host::{self, Host};
use std::path::Path;

/// The longest file that is read, in bytes: more than the keys of a hundred people.
const LONGEST: u64 = 1 << 20;

/// A public key: whole, and of the type that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: String,
    blob: String,
    comment: String,
}

impl PublicKey {
    /// "ssh-ed25519 AAAA... comment", with single blanks.
    pub fn line(&self) -> String {
        format!("{} {}", self.essence(), self.comment).trim_end().to_owned()
    }

    /// Type and key, without the comment.
    pub fn essence(&self) -> String {
        format!("{} {}", self.kind, self.blob)
    }
}

/// The keys in a file, read by the hands of the home's owner where root may not.
///
/// # Errors
/// There is no key in it, or no file: what it is instead.
pub fn read(host: &Host, home: &Home, path: &Path) -> Result<Vec<PublicKey>, NoKeyFile> {
    let found = match home.read(host, path, LONGEST) {
        Ok(Some(bytes)) if bytes.len() as u64 >= LONGEST => Err(NoKey::Binary),
        Ok(Some(bytes)) => keys_in(&bytes),
        Ok(None) => Err(NoKey::Missing),
        Err(host::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::IsADirectory => {
            Err(NoKey::Directory)
        }
        Err(error) => Err(NoKey::Unreadable { why: why(home.explain("read", path, error)) }),
    };
    found.map_err(|problem| NoKeyFile { path: path.to_owned(), problem })
}

/// Why a file cannot be read, without its name.
fn why(error: host::Error) -> String {
    match error {
        host::Error::Io { source, .. } => source.to_string(),
        host::Error::Link { link, .. } => link.to_string(),
        host::Error::Forbidden { user, said, .. } => format!("as {user}: {said}"),
        error => error.to_string(),
    }
}

/// The keys in the content of a file, at least one.
///
/// # Errors
/// What the content is instead. One line that is no key spoils all: nobody can say what was meant.
pub fn keys_in(bytes: &[u8]) -> Result<Vec<PublicKey>, NoKey> {
    text::refuse_secrets(bytes)?;
    let text = text::decode(bytes)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(NoKey::Empty);
    }
    text::refuse_other_files(&lines)?;
    let keys = if lines.iter().any(|line| line.starts_with(text::RFC_4716)) {
        text::rfc_4716(&lines)?
    } else {
        openssh(&text)?
    };
    if keys.is_empty() { Err(NoKey::OnlyComments) } else { Ok(keys) }
}

/// Lines of OpenSSH.
fn openssh(text: &str) -> Result<Vec<PublicKey>, NoKey> {
    let all: Vec<(usize, &str)> = text.lines().map(str::trim).enumerate().map(|(at, line)| (at + 1, line)).collect();
    let lines: Vec<_> = all.into_iter().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let next = |at: usize| lines.get(at + 1).map_or("", |(_, line)| line);
    lines.iter().enumerate().map(|(at, (number, line))| key_of(*number, line, next(at))).collect()
}

/// The key in a line; `next` is the line behind it, which may be a part of it.
fn key_of(number: usize, line: &str, next: &str) -> Result<PublicKey, NoKey> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = words.first().copied().unwrap_or_default();
    if !blob::TYPES.contains(&kind) {
        return Err(refusal::of_line(number, &words));
    }
    let blob = words.get(1).copied().unwrap_or_default();
    match blob::check(kind, blob) {
        Ok(()) => {}
        Err(_) if goes_on(words.get(2).copied().unwrap_or(next)) => return Err(NoKey::InPieces { line: number }),
        Err(why) => return Err(NoKey::Damaged { line: number, why }),
    }
    let comment = words[2..].join(" ").chars().filter(|c| !c.is_control()).collect();
    Ok(PublicKey { kind: kind.to_owned(), blob: blob.to_owned(), comment })
}

/// Whether a word, or the line behind, looks like the rest of a key.
fn goes_on(rest: &str) -> bool {
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.len() >= 4 && !blob::TYPES.contains(&word) && word.bytes().all(blob::is_base64)
}
