//! Secrets: made here, kept in one 0600 file, never printed. Which there are, each engine says (`SECRETS` in its
//! `mod.rs`); all of them are masked in whatever a program prints (`host/mod.rs`).

use crate::failure::Failure;
use crate::host::{Host, files};
use crate::paths::SECRETS;
use std::collections::BTreeMap;

/// Length of a made secret: 24 of 62 characters are 142 bits.
const LENGTH: usize = 24;
/// DevStack accepts letters and digits only (bug 1744985), and so they survive INI files, URLs and SQL too.
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// What a secret looks like where it is shown.
pub const MASK: &str = "********";

/// A value that cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a random one.
    pub fn random() -> Result<Self, Failure> {
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let mut bytes = [0_u8; 32];
            getrandom::fill(&mut bytes)
                .map_err(|e| Failure::new("the kernel gives no random numbers", e.to_string(), "try again"))?;
            // 248 = 4 * 62: dropping the rest keeps every character equally likely.
            let fair =
                bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(*byte) % 62]));
            text.extend(fair.take(LENGTH - text.len()));
        }
        Ok(Self(text))
    }

    /// One that stands elsewhere.
    pub fn of(text: String) -> Self {
        Self(text)
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

/// All secrets of an installation, by name.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// Those on the host, and new ones for the `names` that have none yet. Nothing is written: that is an action.
    pub fn load(host: &Host, names: &[&str]) -> Result<Self, Failure> {
        let text = files::read_text(host, SECRETS)?.unwrap_or_default();
        let mut secrets = Self::parse(&text)?;
        for name in names {
            if !secrets.0.contains_key(*name) {
                secrets.0.insert((*name).to_owned(), Secret::random()?);
            }
        }
        Ok(secrets)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let table: BTreeMap<String, String> = toml::from_str(text).map_err(|error| {
            // The parser's own words would show the value.
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().lines().count().max(1);
            let what = format!("{SECRETS}, line {line}, is not of the form: name = \"value\"");
            Failure::usage(what, "mend that line, or put the file back from a backup")
        })?;
        for (name, value) in &table {
            let sound = value.len() >= 8 && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !sound {
                let what = format!("{SECRETS}: `{name}` must have at least 8 characters, letters and digits only");
                return Err(Failure::usage(what, format!("edit {SECRETS}; the value is not shown")));
            }
        }
        Ok(Self(table.into_iter().map(|(name, value)| (name, Secret(value))).collect()))
    }

    /// The secret called `name`.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// All values, for masking.
    pub fn values(&self) -> impl Iterator<Item = String> + '_ {
        self.0.values().map(|secret| secret.0.clone())
    }

    /// The file's text, and the same masked.
    pub fn render(&self) -> crate::content::Content {
        let header =
            "# Secrets of gpucloud-install. Only root may read them; a change takes effect with the next apply.\n";
        let lines = |shown: bool| -> String {
            let line = |(name, secret): (&String, &Secret)| {
                format!("{name} = \"{}\"\n", if shown { MASK } else { secret.expose() })
            };
            std::iter::once(header.to_owned()).chain(self.0.iter().map(line)).collect()
        };
        crate::content::Content::masked(lines(false), lines(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_line_and_not_the_value() {
        let error = Secrets::parse("a = \"abcdefgh\"\nadmin = 12345678\n").unwrap_err();
        assert!(error.what.contains("line 2") && !format!("{error:?}").contains("12345678"), "{error:?}");
    }

    #[test]
    fn a_secret_is_not_printed_and_survives_every_file() {
        let secret = Secret::random().unwrap();
        assert_eq!(format!("{secret:?}"), MASK);
        assert!(secret.expose().len() == LENGTH && secret.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn known_secrets_stay_and_missing_ones_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        files::write(&host, std::path::Path::new(SECRETS), b"admin = \"abcdefgh1\"\n", 0o600, None).unwrap();
        let secrets = Secrets::load(&host, &["admin", "rabbit"]).unwrap();
        assert_eq!(secrets.get("admin").unwrap().expose(), "abcdefgh1");
        assert!(secrets.get("rabbit").is_some());
    }

    #[test]
    fn a_secret_that_would_break_a_file_is_refused_and_not_shown() {
        let failure = Secrets::parse("admin = \"pass$word\"\n").unwrap_err();
        assert!(failure.what.contains("admin") && !failure.what.contains("pass$word"));
    }
}
