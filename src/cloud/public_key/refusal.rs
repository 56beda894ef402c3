//! What a file, or a line of it, is instead of a public key, and the command that makes one of it. A new kind is a
//! variant here with its words and its arm in [`NoKey::next`], and a line in the table of `tests.rs`.

use super::blob;
use crate::host::RoomError;
use crate::host::command::quoted;
use std::path::{Path, PathBuf};

/// What is in place of a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// There is no such file.
    #[error("is not there")]
    Missing,
    /// A directory.
    #[error("is a directory")]
    Directory,
    /// It may not be read.
    #[error("cannot be read ({why})")]
    Unreadable {
        /// The error.
        why: String,
    },
    /// Nothing, or blanks.
    #[error("is empty")]
    Empty,
    /// Comments, and nothing else.
    #[error("has comments and no key")]
    OnlyComments,
    /// No text, or far too long.
    #[error("is no text: a binary file has no OpenSSH key")]
    Binary,
    /// A private key.
    #[error("holds {what}, which never leaves this machine; the cloud gets the public one")]
    Private {
        /// Which.
        what: &'static str,
    },
    /// PuTTY's own form, which has both parts.
    #[error("is a PuTTY key file (.ppk), which holds the private key")]
    Putty,
    /// A public key as OpenSSL writes it.
    #[error("is a public key in PEM, not in the form of OpenSSH")]
    Pem {
        /// What ssh-keygen(1) calls the form: "PKCS8".
        form: &'static str,
    },
    /// An X.509 certificate.
    #[error("is an X.509 certificate")]
    Certificate,
    /// A request for one.
    #[error("is a request for an X.509 certificate")]
    Request,
    /// Another PEM file.
    #[error("is a PEM file ({label}), not an OpenSSH key")]
    OtherPem {
        /// What it says of itself.
        label: String,
    },
    /// A key of PGP.
    #[error("is a {} key of PGP", if *private { "private" } else { "public" })]
    Pgp {
        /// Whether it is the private part.
        private: bool,
    },
    /// A key of SSH's first version.
    #[error("is a key of SSH 1, which nothing takes any more")]
    SshOne {
        /// Whether it is the private part.
        private: bool,
    },
    /// HTML or XML.
    #[error("is a web page (HTML or XML)")]
    WebPage,
    /// RTF.
    #[error("is a document of a word processor")]
    Document,
    /// JSON.
    #[error("is JSON, not an OpenSSH key")]
    Json,
    /// The restriction would be lost.
    #[error(
        "has options before the key in line {line} ({options}): Nova has no place for them, and the key would be unrestricted"
    )]
    Options {
        /// Counted from 1.
        line: usize,
        /// "from=...,no-pty", shortened.
        options: String,
    },
    /// A machine's key.
    #[error("has a line of known_hosts (line {line}): the key of a machine, not of a person")]
    KnownHosts {
        /// Counted from 1.
        line: usize,
    },
    /// Something else before a key.
    #[error("has `{before}` before the key in line {line}")]
    Before {
        /// Counted from 1.
        line: usize,
        /// What.
        before: String,
    },
    /// A key that a certificate authority signed.
    #[error("has an OpenSSH certificate (line {line}), not the key itself")]
    Signed {
        /// Counted from 1.
        line: usize,
    },
    /// DSA: OpenSSH refuses it since 7.0, and has no code for it since 10.0 (its release notes).
    #[error("is a DSA key, which OpenSSH no longer takes")]
    Dsa,
    /// A type that is not known to both OpenSSH and Nova.
    #[error("has a key of the type {kind} (line {line}), which Nova does not take")]
    OtherType {
        /// Counted from 1.
        line: usize,
        /// "ssh-xmss@openssh.com".
        kind: String,
    },
    /// The line was broken.
    #[error("has a key that was broken into several lines or words (line {line})")]
    InPieces {
        /// Counted from 1.
        line: usize,
    },
    /// Not whole, or not what it says.
    #[error("has a key that {why} (line {line})")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// Only the middle of a line.
    #[error("has a key without its type (line {line}): `{kind}` is missing before it")]
    NoType {
        /// Counted from 1.
        line: usize,
        /// What is missing.
        kind: String,
    },
    /// `ssh-keygen -l`.
    #[error("has the fingerprint of a key (line {line}), not the key")]
    Fingerprint {
        /// Counted from 1.
        line: usize,
    },
    /// Anything else.
    #[error("has no key in line {line}")]
    OtherText {
        /// Counted from 1.
        line: usize,
    },
}

/// What to do where only another copy of the key helps.
const COPY: &str = "copy the .pub file of the pair here (one line, beginning with ssh-, ecdsa- or sk-)";

impl NoKey {
    /// The command that makes a public key of `file`, or what else to do.
    pub fn next(&self, file: &Path) -> String {
        let (name, made) = (quoted(&file.to_string_lossy()), quoted(&format!("{}.pub", file.display())));
        let command = match self {
            Self::Missing => {
                return format!("ls {}; name the .pub file of a pair there", folder(file));
            }
            Self::Directory => return format!("ls {name}/*.pub; name one of these files"),
            Self::Unreadable { .. } => {
                return format!("ls -l {name}; a copy of the public key in /etc/gpucloud will do");
            }
            Self::Private { .. } => {
                return format!("name {made}; where that is missing: ssh-keygen -y -f {name} > {made}");
            }
            Self::Putty => format!("puttygen {name} -O public-openssh -o {made} (package putty-tools)"),
            Self::Pem { form } => format!("ssh-keygen -i -m {form} -f {name} > {made}"),
            Self::Certificate => from_openssl("x509 -noout -pubkey", &name, &made),
            Self::Request => from_openssl("req -noout -pubkey", &name, &made),
            Self::Pgp { .. } => format!("gpg --export-ssh-key NAME > {made}"),
            Self::SshOne { .. } | Self::Dsa => "ssh-keygen -t ed25519 makes a new pair".into(),
            Self::Options { .. } | Self::Before { .. } => {
                format!("grep -oE '(ssh|ecdsa|sk)-[^ ]+ AAAA.*' {name} > {made}, where the key may stand alone")
            }
            Self::InPieces { .. } => format!("tr -d '\\r\\n' < {name} > {made}, or {COPY}"),
            Self::NoType { kind, .. } => format!("sed 's/^AAAA/{kind} &/' {name} > {made}"),
            Self::Signed { .. } => "name the file that was signed: the same name without -cert".into(),
            Self::Empty | Self::OnlyComments | Self::Binary | Self::OtherPem { .. } | Self::WebPage => COPY.into(),
            Self::Document | Self::Json | Self::KnownHosts { .. } | Self::OtherType { .. } => COPY.into(),
            Self::Damaged { .. } | Self::Fingerprint { .. } | Self::OtherText { .. } => COPY.into(),
        };
        format!("{command}; then name that file")
    }
}

fn folder(file: &Path) -> String {
    quoted(&file.parent().unwrap_or(file).to_string_lossy())
}

fn from_openssl(what: &str, name: &str, made: &str) -> String {
    format!("openssl {what} -in {name} | ssh-keygen -i -m PKCS8 -f /dev/stdin > {made}")
}

/// What is wrong with a file that was named as a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct NoKeyFile {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub problem: NoKey,
}

impl RoomError for NoKeyFile {
    fn next(&self) -> Option<String> {
        Some(self.problem.next(&self.path))
    }
}

/// Names of options that may stand before a key (sshd(8)); in any case of letters.
const OPTIONS: [&str; 24] = [
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "touch-required",
    "tunnel",
    "user-rc",
    "verify-required",
    "x11-forwarding",
    "zos-key-ring-label",
];

/// What a line is that does not begin with a known type.
pub(super) fn of_line(line: usize, words: &[&str]) -> NoKey {
    if let Some(problem) = other_type(line, words) {
        return problem;
    }
    let is_key = |at: &usize| blob::TYPES.contains(&words[*at]) || other_type(line, &words[*at..]).is_some();
    if let Some(at) = (0..words.len()).find(is_key) {
        return with_something_before(line, &words[..at]);
    }
    let is_number = |word: Option<&&str>| word.is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    match words {
        [_, hash, ..] if hash.starts_with("SHA256:") || hash.starts_with("MD5:") => NoKey::Fingerprint { line },
        [_, _, modulus, ..] if is_number(words.first()) && is_number(words.get(1)) && modulus.len() > 50 => {
            NoKey::SshOne { private: false }
        }
        [blob, ..] if blob.starts_with("AAAA") => match blob::kind_of(blob) {
            Some(kind) if blob::TYPES.contains(&kind.as_str()) => NoKey::NoType { line, kind },
            _ => NoKey::OtherText { line },
        },
        _ => NoKey::OtherText { line },
    }
}

/// A key of a type that is not taken, at the beginning of `words`.
fn other_type(line: usize, words: &[&str]) -> Option<NoKey> {
    let [kind, key, ..] = words else { return None };
    match *kind {
        _ if !key.starts_with("AAAA") => None,
        "ssh-dss" => Some(NoKey::Dsa),
        kind if kind.contains("-cert-v0") => Some(NoKey::Signed { line }),
        kind if kind.starts_with("ssh-") && kind.len() < 64 => {
            Some(NoKey::OtherType { line, kind: kind.escape_debug().to_string() })
        }
        _ => None,
    }
}

fn with_something_before(line: usize, before: &[&str]) -> NoKey {
    let shown: String = before.join(" ").chars().take(40).collect();
    let first = before.first().copied().unwrap_or_default();
    let name = first.split(['=', ',']).next().unwrap_or_default().to_ascii_lowercase();
    let is_host = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"|.:,-_*?![]/+=".contains(&b));
    match before {
        _ if OPTIONS.contains(&name.as_str()) => NoKey::Options { line, options: shown },
        [mark, ..] if mark.starts_with(['@', '|']) => NoKey::KnownHosts { line },
        [host] if is_host(host) && host.bytes().any(|b| b.is_ascii_alphanumeric()) && !host.ends_with([':', '=']) => {
            NoKey::KnownHosts { line }
        }
        _ => NoKey::Before { line, before: shown },
    }
}
