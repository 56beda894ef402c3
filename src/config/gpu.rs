//! `[gpu]`: which cards instances get, and which devices count as cards. (What else a new answer needs: `answers.rs`.)

use super::values::as_text;
use crate::facts::pci;
use serde::{Deserialize, Serialize};

/// Which cards instances get, and which devices count as cards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuAnswers {
    /// The cards that are claimed.
    pub cards: CardChoice,
    /// Devices that count as cards though they are none.
    pub also: Vec<DeviceIds>,
}

impl GpuAnswers {
    /// Those ids as text.
    pub fn also(&self) -> Vec<String> {
        self.also.iter().map(ToString::to_string).collect()
    }
}

/// Which cards are claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Written")]
pub enum CardChoice {
    /// All that can be, in a word.
    Word(AllReady),
    /// These, by their addresses; none where the list is empty.
    These(Vec<CardAddress>),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    These(Vec<String>),
    Other(toml::Value),
}

impl TryFrom<Written> for CardChoice {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Word(word) if word == "all-ready" => Ok(Self::Word(AllReady::AllReady)),
            Written::Word(word) => Ok(Self::These(vec![word.parse()?])),
            Written::These(these) => Ok(Self::These(these.iter().map(|one| one.parse()).collect::<Result<_, _>>()?)),
            Written::Other(value) => Err(format!("`{value}` is neither \"all-ready\" nor a list of addresses")),
        }
    }
}

impl Default for CardChoice {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl CardChoice {
    /// Whether no card is wanted.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// All cards that nothing stands in the way of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllReady {
    /// Them.
    AllReady,
}

/// Where a card is on the PCI bus, "0000:41:00.0".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CardAddress(String);

impl CardAddress {
    /// As the kernel writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CardAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for CardAddress {
    type Err = String;

    /// With its domain, or without, as lspci shows it where there is only one; with a domain of eight digits, as nvidia-smi
    /// does.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.matches(':').count() {
            1 => format!("0000:{text}"),
            _ if text.starts_with("0000") && text.find(':') == Some(8) => text[4..].to_owned(),
            _ => text.to_owned(),
        };
        match pci::is_address(&whole) {
            true => Ok(Self(whole.to_lowercase())),
            false => {
                Err(format!("`{text}` is no address on the PCI bus (\"0000:41:00.0\"; gpucloud-install gpu list)"))
            }
        }
    }
}

as_text!(CardAddress);

/// Vendor and device on the PCI bus, "10de:2335".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceIds(String);

impl std::fmt::Display for DeviceIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DeviceIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_id = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.split_once(':') {
            Some((vendor, device)) if is_id(vendor) && is_id(device) => Ok(Self(text.to_lowercase())),
            _ => Err(format!("`{text}` is no vendor and device (\"1234:1111\"; lspci -nn shows them)")),
        }
    }
}

as_text!(DeviceIds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_named_one_by_one_or_all() {
        let parse = |text: &str| toml::from_str::<GpuAnswers>(text).map(|answers| answers.cards);
        assert_eq!(parse("cards = \"all-ready\"").unwrap(), CardChoice::Word(AllReady::AllReady));
        let CardChoice::These(cards) = parse("cards = [\"41:00.0\", \"0000:C1:00.0\"]").unwrap() else { panic!() };
        assert_eq!(cards.iter().map(CardAddress::as_str).collect::<Vec<_>>(), ["0000:41:00.0", "0000:c1:00.0"]);
        assert!(parse("").unwrap().is_none());
        let CardChoice::These(cards) = parse("cards = \"00000000:41:00.0\"").unwrap() else { panic!() };
        assert_eq!(cards[0].as_str(), "0000:41:00.0");
        for wrong in ["cards = \"all\"", "cards = [\"41:00\"]", "cards = 1"] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains("gpu list") || said.contains("all-ready"), "{said}");
        }
    }

    #[test]
    fn ids_are_four_digits_and_four() {
        assert_eq!("10DE:2204".parse::<DeviceIds>().unwrap().to_string(), "10de:2204");
        for bad in ["10de", "10de:22041", "10de:220g", "0x10de:0x2204", "", ":"] {
            assert!(bad.parse::<DeviceIds>().is_err(), "{bad} was taken");
        }
    }
}
