//! `[gpu]`: which devices count as cards.

use super::values::as_text;
use serde::{Deserialize, Serialize};

/// Which devices count as cards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuAnswers {
    /// Devices that count as cards though they are none.
    pub also: Vec<DeviceIds>,
}

impl GpuAnswers {
    /// Those ids as text.
    pub fn also(&self) -> Vec<String> {
        self.also.iter().map(ToString::to_string).collect()
    }
}

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
    fn ids_are_four_digits_and_four() {
        assert_eq!("10DE:2204".parse::<DeviceIds>().unwrap().to_string(), "10de:2204");
        for bad in ["10de", "10de:22041", "10de:220g", "0x10de:0x2204", "", ":"] {
            assert!(bad.parse::<DeviceIds>().is_err(), "{bad} was taken");
        }
    }
}
