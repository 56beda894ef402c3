//! A student's token: what is printed on paper, typed on a telephone, and kept as a hash. Twenty letters of Crockford's base
//! 32 (100 bits), so that nobody has to tell `0` from `o` or `1` from `l`, and a hash without salt and without cost suffices.

use crate::config::secrets::Secret;
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 20;
/// Letters between two dashes.
const GROUP: usize = 5;
/// Nothing longer is looked at.
pub const LONGEST: usize = 100;

/// Makes one: "k7m2p-0qdr5-x9e3t-hw8na".
///
/// # Errors
/// The kernel gives no random numbers.
pub fn random() -> Result<Secret, Failure> {
    let mut bytes = [0_u8; LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new("the kernel gives no random numbers", error.to_string(), "try again"))?;
    let letters: Vec<char> = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    let groups: Vec<String> = letters.chunks(GROUP).map(|group| group.iter().collect()).collect();
    Ok(Secret::of(groups.join("-")))
}

/// What of a token is kept where its student is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a token as somebody typed it; none of what cannot be one.
    pub fn of_typed(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let letters: Option<Vec<u8>> = text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(letter).collect();
        letters.filter(|letters| letters.len() == LENGTH).map(|letters| Self(Sha256::digest(letters).into()))
    }

    /// From the bytes of [`TokenHash::bytes`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn letter(typed: char) -> Option<u8> {
    let meant = match typed.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    u8::try_from(meant).ok().filter(|byte| ALPHABET.contains(byte))
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| "it is no SHA-256 in hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_however_it_is_typed() {
        let made = random().unwrap();
        let hash = TokenHash::of_typed(made.expose()).unwrap();
        let plain = made.expose().replace('-', "");
        for typed in [plain.clone(), plain.to_uppercase(), format!(" {} ", made.expose()), plain.replace('0', "O")] {
            assert_eq!(TokenHash::of_typed(&typed), Some(hash), "{typed}");
        }
        assert_eq!(TokenHash::of_typed("l1i1o-00000-00000-00000"), TokenHash::of_typed("11110000000000000000"));
        assert_ne!(TokenHash::of_typed(random().unwrap().expose()), Some(hash));
    }

    #[test]
    fn what_cannot_be_one_is_not_looked_at() {
        let long = "0".repeat(1 << 20);
        for typed in ["", "abc", "k7m2p-0qdr5-x9e3t-hw8n", "k7m2p-0qdr5-x9e3t-hw8naa", "k7m2p-0qdr5-x9e3t-hw8n!", &long]
        {
            assert_eq!(TokenHash::of_typed(typed), None);
        }
        assert_eq!(TokenHash::of_typed("ёёёёёёёёёёёёёёёёёёёё"), None);
    }

    #[test]
    fn a_hash_is_written_as_text_and_read_again() {
        let hash = TokenHash::of_typed("00000000000000000000").unwrap();
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<TokenHash>(&text).unwrap(), hash);
        assert!(serde_json::from_str::<TokenHash>("\"abc\"").is_err());
    }
}
