//! The text around keys: its encoding, what must not be read any further, other kinds of files, and RFC 4716.
//! A further kind of file is recognised here, and has its words in `refusal.rs`.

use super::{NoKey, PublicKey, blob};

/// How PuTTYgen's and Tectia's public keys begin (RFC 4716, 3.2).
pub(super) const RFC_4716: &str = "---- BEGIN SSH2 PUBLIC KEY";
const RFC_4716_END: &str = "---- END SSH2 PUBLIC KEY";

/// Text in a file that holds a private key, and what that is then. Any encoding hides nothing: it is looked for in the
/// bytes without zeros. First match wins.
const SECRETS: [(&str, &str); 14] = [
    ("PGP PRIVATE KEY BLOCK", "a private key of PGP"),
    ("PuTTY-User-Key-File", "a PuTTY key"),
    ("BEGIN OPENSSH PRIVATE KEY", "a private key (OpenSSH)"),
    ("BEGIN RSA PRIVATE KEY", "a private key (RSA, PEM)"),
    ("BEGIN EC PRIVATE KEY", "a private key (EC, PEM)"),
    ("BEGIN DSA PRIVATE KEY", "a private key (DSA, PEM)"),
    ("BEGIN ENCRYPTED PRIVATE KEY", "a private key (PKCS #8, encrypted)"),
    ("BEGIN PRIVATE KEY", "a private key (PKCS #8)"),
    ("SSH2 ENCRYPTED PRIVATE KEY", "a private key (SSH Communications)"),
    ("SSH PRIVATE KEY FILE FORMAT 1", "a private key of SSH 1"),
    ("PRIVATE KEY--", "a private key"),
    // "openssh-key-v1", where the first line was left out.
    ("b3BlbnNzaC1rZXktdjE", "the inside of a private key (OpenSSH)"),
    ("AGE-SECRET-KEY-", "a private key of age"),
    ("openssh-key-v1\u{0}", "the inside of a private key (OpenSSH)"),
];

/// # Errors
/// Something of it is a private key.
pub(super) fn refuse_secrets(bytes: &[u8]) -> Result<(), NoKey> {
    let narrow: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let has = |text: &str| {
        let wanted = text.trim_end_matches('\0').as_bytes();
        narrow.windows(wanted.len()).any(|window| window == wanted)
    };
    match SECRETS.iter().find(|(text, _)| has(text)) {
        Some((_, what)) if what.ends_with("PGP") => Err(NoKey::Pgp { private: true }),
        Some((_, what)) if what.ends_with("PuTTY key") => Err(NoKey::Putty),
        Some((text, _)) if text.contains("FORMAT 1") => Err(NoKey::SshOne { private: true }),
        Some((_, what)) => Err(NoKey::Private { what }),
        None => Ok(()),
    }
}

/// The text: UTF-8, UTF-16 (what PowerShell's `>` writes), else Latin-1.
pub(super) fn decode(bytes: &[u8]) -> Result<String, NoKey> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    let text: String = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return decode(rest),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [first, 0, ..] if first.is_ascii_graphic() => wide(bytes, u16::from_le_bytes),
        [0, first, ..] if first.is_ascii_graphic() => wide(bytes, u16::from_be_bytes),
        bytes => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        },
    };
    // Old Macs end a line with a carriage return alone.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\u{c}');
    if text.chars().any(is_odd) { Err(NoKey::Binary) } else { Ok(text) }
}

/// # Errors
/// It is a kind of file that has other things than keys of OpenSSH.
pub(super) fn refuse_other_files(lines: &[&str]) -> Result<(), NoKey> {
    let label = lines.iter().find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    match label {
        Some("PUBLIC KEY") => return Err(NoKey::Pem { form: "PKCS8" }),
        Some("RSA PUBLIC KEY") => return Err(NoKey::Pem { form: "PEM" }),
        Some(label) if label.ends_with("CERTIFICATE") => return Err(NoKey::Certificate),
        Some(label) if label.ends_with("CERTIFICATE REQUEST") => return Err(NoKey::Request),
        Some(label) if label.starts_with("PGP ") => return Err(NoKey::Pgp { private: false }),
        Some(label) => return Err(NoKey::OtherPem { label: label.chars().take(40).collect() }),
        None => {}
    }
    match lines[0].as_bytes() {
        [b'<', ..] => Err(NoKey::WebPage),
        [b'{', b'\\', ..] => Err(NoKey::Document),
        [b'{', ..] | [b'[', b'{' | b'"', ..] | [b'['] => Err(NoKey::Json),
        _ => Ok(()),
    }
}

/// The keys between "BEGIN" and "END", each line of headers and base64 (RFC 4716, 3).
pub(super) fn rfc_4716(lines: &[&str]) -> Result<Vec<PublicKey>, NoKey> {
    let mut keys = Vec::new();
    let mut rest = lines.iter().copied();
    while rest.find(|line| line.starts_with(RFC_4716)).is_some() {
        let block: Vec<&str> = rest.by_ref().take_while(|line| !line.starts_with(RFC_4716_END)).collect();
        keys.push(block_key(&block)?);
    }
    Ok(keys)
}

fn block_key(block: &[&str]) -> Result<PublicKey, NoKey> {
    let (mut blob, mut comment, mut in_header) = (String::new(), String::new(), false);
    let mut header = String::new();
    for line in block {
        if in_header || line.contains(':') {
            header.push_str(line.trim_end_matches('\\'));
            in_header = line.ends_with('\\');
            if !in_header {
                comment = comment_of(&header).unwrap_or(comment);
                header.clear();
            }
        } else {
            blob.push_str(line);
        }
    }
    let damaged = |why: String| NoKey::Damaged { line: 1, why };
    let kind = blob::kind_of(&blob).ok_or_else(|| damaged("is cut off or damaged".into()))?;
    if kind == "ssh-dss" {
        return Err(NoKey::Dsa);
    }
    blob::check(&kind, &blob).map_err(damaged)?;
    if !blob::TYPES.contains(&kind.as_str()) {
        return Err(NoKey::OtherType { line: 1, kind });
    }
    Ok(PublicKey { kind, blob, comment })
}

fn comment_of(header: &str) -> Option<String> {
    let (name, value) = header.split_once(':')?;
    let comment = value.trim().trim_matches('"').split_whitespace().collect::<Vec<_>>().join(" ");
    name.eq_ignore_ascii_case("comment").then_some(comment)
}
