//! The key itself: base64 of fields, each with its length before it (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4;
//! OpenSSH's PROTOCOL.u2f). It names its type once more: a key that was cut off, or put together wrongly, is seen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The types that OpenSSH and Nova take.
pub(super) const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// OpenSSH's SSH_RSA_MINIMUM_MODULUS_SIZE (sshkey.h).
const SHORTEST_RSA: usize = 1024;

pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

/// The type that a whole key says of itself.
pub(super) fn kind_of(blob: &str) -> Option<String> {
    let bytes = STANDARD.decode(blob).ok()?;
    let kind = fields(&bytes)?.first().map(|kind| String::from_utf8_lossy(kind).into_owned())?;
    Some(kind)
}

/// Whether `blob` is a whole key of the type `kind`; else why not, behind "it ".
pub(super) fn check(kind: &str, blob: &str) -> Result<(), String> {
    if blob.is_empty() {
        return Err("has a type and no key".into());
    }
    let bytes = STANDARD.decode(blob).map_err(|_| "is cut off or damaged (no whole base64)".to_owned())?;
    let fields = fields(&bytes).ok_or("is cut off")?;
    match fields.split_first() {
        Some((inner, rest)) if *inner == kind.as_bytes() => fits(kind, rest),
        Some((inner, _)) => {
            Err(format!("is called {kind}, but is of the type {}", String::from_utf8_lossy(inner).escape_debug()))
        }
        None => Err("is cut off".into()),
    }
}

/// The fields, if nothing is missing and nothing is left.
fn fields(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        fields.push(field);
        bytes = rest;
    }
    Some(fields)
}

/// Whether a type has these fields behind its name.
fn fits(kind: &str, fields: &[&[u8]]) -> Result<(), String> {
    let curve = kind.trim_start_matches("sk-").trim_start_matches("ecdsa-sha2-").trim_end_matches("@openssh.com");
    let whole = match (kind, fields) {
        ("ssh-rsa", [exponent, modulus]) => return rsa(exponent, modulus),
        ("ssh-ed25519", [point]) | ("sk-ssh-ed25519@openssh.com", [point, _]) => point.len() == 32,
        (_, [name, point]) if kind.starts_with("ecdsa-") => *name == curve.as_bytes() && is_point(curve, point),
        (_, [name, point, _]) if kind.starts_with("sk-ecdsa-") => *name == curve.as_bytes() && is_point(curve, point),
        _ => false,
    };
    if whole { Ok(()) } else { Err("is cut off or damaged".into()) }
}

/// An uncompressed point: 4, and two numbers (SEC 1, 2.3.3).
fn is_point(curve: &str, point: &[u8]) -> bool {
    let bytes = match curve {
        "nistp256" => 32,
        "nistp384" => 48,
        _ => 66,
    };
    point.len() == 1 + 2 * bytes && point[0] == 4
}

fn rsa(exponent: &[u8], modulus: &[u8]) -> Result<(), String> {
    let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    match bits {
        _ if exponent.is_empty() || bits == 0 => Err("is cut off or damaged".into()),
        bits if bits < SHORTEST_RSA => Err(format!("has {bits} bits; OpenSSH takes no RSA key below {SHORTEST_RSA}")),
        _ => Ok(()),
    }
}
