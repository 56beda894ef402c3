//! Cards that failed, and are given to nobody until a person says so: they stay claimed and bound, and Nova is not told
//! of them. A card is known by all that a claim knows of it: another one in its slot is not held.

use super::claim::Member;
use crate::host::{Error, Host, Result, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where they are noted.
pub const FILE: &str = "/etc/gpucloud/quarantine.json";

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    cards: Vec<Held>,
}

/// A card, and why it is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    card: Member,
    reason: String,
}

impl Quarantine {
    /// What is noted; nothing where there is no note.
    ///
    /// # Errors
    /// A note that is damaged.
    pub fn read(host: &Host) -> Result<Self> {
        let Some(text) = files::read_text(host, FILE)? else { return Ok(Self::default()) };
        serde_json::from_str(&text).map_err(|error| Error::protocol(format!("read {FILE}"), error))
    }

    /// Whether this very card is held.
    pub fn holds(&self, card: &Member) -> bool {
        self.reason(card).is_some()
    }

    /// Why it is held, where it is.
    pub fn reason(&self, card: &Member) -> Option<&str> {
        self.cards.iter().find(|held| held.card.same(card)).map(|held| held.reason.as_str())
    }

    /// Holds one more.
    pub fn hold(&mut self, card: Member, reason: impl Into<String>) {
        self.free(&card);
        self.cards.push(Held { card, reason: reason.into() });
    }

    /// Lets one go; whether it was held.
    pub fn free(&mut self, card: &Member) -> bool {
        let before = self.cards.len();
        self.cards.retain(|held| !held.card.same(card));
        self.cards.len() < before
    }

    /// Notes it.
    pub fn write(&self, host: &Host) -> Result<()> {
        if self.cards.is_empty() {
            return files::remove(host, Path::new(FILE));
        }
        let text =
            serde_json::to_string_pretty(self).map_err(|error| Error::protocol(format!("write {FILE}"), error))?;
        files::write(host, Path::new(FILE), format!("{text}\n").as_bytes(), 0o644, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_held_and_not_the_slot() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let card = |ids: &str| Member {
            address: "0000:41:00.0".into(),
            ids: ids.into(),
            subsystem: "10de:18be".into(),
            port: None,
            way: None,
        };
        let mut quarantine = Quarantine::read(&host).unwrap();
        quarantine.hold(card("10de:2335"), "it did not come back from a reset");
        quarantine.write(&host).unwrap();
        let mut quarantine = Quarantine::read(&host).unwrap();
        assert_eq!(quarantine.reason(&card("10de:2335")), Some("it did not come back from a reset"));
        assert!(!quarantine.holds(&card("10de:2204")));
        assert!(quarantine.free(&card("10de:2335")) && !quarantine.free(&card("10de:2335")));
        quarantine.write(&host).unwrap();
        assert!(!files::exists(&host, FILE));
    }
}
