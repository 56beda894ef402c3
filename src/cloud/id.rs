//! Ids that the APIs gave, and names as parts of an address.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// What RFC 3986 calls unreserved stays.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An id as a service gave it; it cannot lead a path elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(String);

impl Id {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    /// UUIDs, with and without `-`, and what administrators choose for flavors ("d1", "m1.small").
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let sound = (1..=255).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.');
        if sound { Ok(Self(text)) } else { Err(format!("`{text}` is no id")) }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` has the form of most ids: 32 hexadecimal digits, with `-` or, as Keystone writes them, without.
pub fn is_uuid(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    digits == 32 && text.len() == 32 + text.matches('-').count() && matches!(text.len(), 32 | 36)
}

/// A name as part of an address.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_nowhere_else() {
        let id = |text: &str| Id::try_from(text.to_owned());
        for bad in ["", "../x", "a/b", "a?b", "..", "a b"] {
            assert!(id(bad).is_err(), "{bad:?} was taken");
        }
        assert!(id("m1.small").is_ok());
        assert!(is_uuid("a0ffc5ce-0000-4000-8000-00000000000a") && is_uuid(&"0".repeat(32)));
        assert!(!is_uuid("a0ffc5ce") && !is_uuid(&"é".repeat(32)) && !is_uuid(&"-".repeat(36)));
        assert_eq!(encode("a b&c/ü"), "a%20b%26c%2F%C3%BC");
    }
}
