//! Values that cannot hold a character which would corrupt the file they end up in: names go into INI files, unit
//! names, URLs and shell-sourced files.

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Lets a type stand as text in the answers.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

/// Declares a checked string type: its meaning, its longest length, its characters, in words.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let allowed: fn(usize, char) -> bool = $allowed;
                let fits = !text.is_empty() && text.len() <= $max && text.chars().enumerate().all(|(i, c)| allowed(i, c));
                if fits { Ok(Self(text.to_owned())) } else { Err(format!("`{text}` is not {}", $rule)) }
            }
        }

        as_text!($name);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(super) use {as_text, checked_name};

/// An address, which is itself alone, or a network, as it is written ("192.0.2.7/24"); also with a mask
/// ("192.0.2.0/255.255.255.0").
///
/// # Errors
/// In words, with the word and the right form.
pub fn address_or_network(word: &str) -> Result<IpNet, String> {
    if let Ok(address) = word.parse::<IpAddr>() {
        let everywhere = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        return match address.is_unspecified() {
            true => Err(format!("`{word}` is no machine's address; everywhere is `{everywhere}`")),
            false => Ok(IpNet::from(address)),
        };
    }
    let with_mask = || {
        let (address, mask) = word.split_once('/')?;
        Ipv4Net::with_netmask(address.parse().ok()?, mask.parse::<Ipv4Addr>().ok()?).ok().map(IpNet::from)
    };
    word.parse::<IpNet>().ok().or_else(with_mask).ok_or_else(|| no_network(word))
}

/// A network of IPv4 addresses with its bits, or its mask.
///
/// # Errors
/// In words, with the word and the right form.
pub fn ipv4_network(text: &str) -> Result<Ipv4Net, String> {
    let word = text.trim();
    if let Ok(address) = word.parse::<Ipv4Addr>() {
        let more = format!("{address}/24");
        return Err(format!("`{word}` does not say how large the network is: `{more}` has 256 addresses"));
    }
    ipv4_only(address_or_network(word)?, word)
}

/// The same, where an address is itself alone, and `any` is everywhere.
///
/// # Errors
/// In words, with the word and the right form.
pub fn ipv4_sources(text: &str) -> Result<Ipv4Net, String> {
    let word = text.trim();
    if ["any", "all", "*"].contains(&word.to_lowercase().as_str()) {
        return Ok(Ipv4Net::default());
    }
    ipv4_only(address_or_network(word)?, word)
}

fn ipv4_only(net: IpNet, word: &str) -> Result<Ipv4Net, String> {
    match net {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(_) => Err(format!(
            "`{word}` is IPv6; networks of the cloud, and those its ports are open to, are IPv4 (192.0.2.0/24)"
        )),
    }
}

/// An IPv4 address.
///
/// # Errors
/// In words, with the word and the right form.
pub fn ipv4_address(text: &str) -> Result<Ipv4Addr, String> {
    let word = text.trim();
    if let Ok(address) = word.parse() {
        return Ok(address);
    }
    let before = |separator: char| word.split_once(separator).and_then(|(before, _)| before.parse::<Ipv4Addr>().ok());
    if let Some(address) = before('/').or_else(|| before(':')) {
        return Err(format!("`{word}` is more than an address: `{address}`"));
    }
    Err(if word.parse::<IpAddr>().is_ok() {
        format!("`{word}` is IPv6; here stands an IPv4 address (192.0.2.53)")
    } else if word.chars().any(char::is_alphabetic) {
        format!("`{word}` is a name; here stands an IPv4 address (192.0.2.53)")
    } else {
        format!("`{word}` is no IPv4 address (192.0.2.53)")
    })
}

/// Reads values of answers by the functions above: their errors name the word.
pub(super) mod written {
    use super::{ipv4_address, ipv4_network, ipv4_sources};
    use ipnet::Ipv4Net;
    use serde::{Deserialize, Deserializer};
    use std::net::Ipv4Addr;

    /// A type that is read from text by a function: in a list each stands at its own place in the file.
    macro_rules! read_by {
        ($wrapper:ident, $type:ty, $function:ident, $one:ident, $many:ident) => {
            #[derive(Deserialize)]
            #[serde(try_from = "String")]
            struct $wrapper($type);

            impl TryFrom<String> for $wrapper {
                type Error = String;

                fn try_from(text: String) -> Result<Self, String> {
                    $function(&text).map(Self)
                }
            }

            #[allow(dead_code)]
            pub fn $one<'de, D: Deserializer<'de>>(text: D) -> Result<$type, D::Error> {
                Ok($wrapper::deserialize(text)?.0)
            }

            #[allow(dead_code)]
            pub fn $many<'de, D: Deserializer<'de>>(texts: D) -> Result<Vec<$type>, D::Error> {
                Ok(Vec::<$wrapper>::deserialize(texts)?.into_iter().map(|read| read.0).collect())
            }
        };
    }

    read_by!(Address, Ipv4Addr, ipv4_address, address, addresses);
    read_by!(Network, Ipv4Net, ipv4_network, network, networks);
    read_by!(Sources, Ipv4Net, ipv4_sources, source, sources);
}

/// Why `word` is neither an address nor a network.
fn no_network(word: &str) -> String {
    let bits = word.split_once('/').filter(|(address, _)| address.parse::<IpAddr>().is_ok());
    let range = word.split_once(['-', '–']).filter(|(first, _)| first.parse::<IpAddr>().is_ok());
    match (bits, range) {
        (Some((address, bits)), _) => {
            let most = if address.contains(':') { 128 } else { 32 };
            format!("`{bits}` in `{word}` is no number of bits (0 to {most})")
        }
        (_, Some(_)) => format!("`{word}` is a range: write networks, as 192.0.2.0/28"),
        _ if word.chars().any(|c| c.is_alphabetic()) && !word.contains(':') => {
            format!("`{word}` is a name: write an address (192.0.2.7) or a network (192.0.2.0/24)")
        }
        _ => format!("`{word}` is neither an address (192.0.2.7) nor a network (192.0.2.0/24)"),
    }
}

checked_name! {
    /// Name of a machine, without its domain: one label of a name (RFC 1123) with a letter in it. Neutron refuses others
    /// (oslo.config's `HostAddress`), be they only what the kernel calls the machine.
    HostName, 63, "a host name (letters, digits and `-`, beginning with a letter or digit, no dot, at most 63)",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && c == '-')
}

/// Whether OpenStack's services take `name` for that of a machine: labels of letters, digits and `-` within, the last one
/// with a letter (oslo_config/types.py, `Hostname`).
pub fn names_a_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label) && last.bytes().any(|b| b.is_ascii_alphabetic())
}

impl HostName {
    /// For a machine without any name.
    pub(super) fn fallback() -> Self {
        Self("gpubox".into())
    }
}

checked_name! {
    /// Name of a network link: at most 15 bytes (IFNAMSIZ - 1). The kernel allows all but `/`, `:` and blanks
    /// (`dev_valid_name`); here it must stand in files of settings as it is.
    InterfaceName, 15, "a link name (letters, digits and any of `-_.@+=,~`, at most 15)",
    |_, c| c.is_ascii_alphanumeric() || "-_.@+=,~".contains(c)
}

checked_name! {
    /// Name of a Keystone region.
    Region, 64, "a region name (letters, digits, `-`, `_`, at most 64)",
    |_, c| c.is_ascii_alphanumeric() || "-_".contains(c)
}

checked_name! {
    /// Name of an account as the C library knows it, directories included: "maria.garcia", "UNI\\maria",
    /// "maria@uni.example". What would break `/etc/group` is left out (group(5)): `:`, `,`, control characters.
    UserName, 256, "an account name (no `:`, `,`, `/`, quotes or control characters, not beginning with `-`, `+`, `~` or a blank)",
    |i, c| !c.is_control() && !":,/\"'`".contains(c) && (i > 0 || !"-+~ ".contains(c)) && (c == ' ' || !c.is_whitespace())
}

checked_name! {
    /// Name of a lab host: short, because the link `ve-NAME` must fit into 15 bytes.
    LabName, 11, "a lab name (small letters, digits and `-`, at most 11)",
    |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_would_corrupt_a_file() {
        for bad in ["", "a b", "a\nb", "a$b", "a;b", "-a", "a.b", "é", "a_b"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} was taken");
        }
        for bad in ["", " a", "a\nb", "a:b", "a,b", "-a", "~a", "a/b", "a\"b"] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?} was taken");
        }
        for good in ["bond0.100", "enp129s0f0np0", "vmbr0v10", "eth0@if5", "br-lan"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for (name, right) in [
            ("gpubox", true),
            ("GPU-1.uni.example", true),
            ("gpu_box", false),
            ("-a", false),
            ("a-", false),
            ("4711", false),
            ("a.1", false),
            ("a..b", false),
            ("größe", false),
            ("", false),
        ] {
            assert_eq!(names_a_host(name), right, "{name:?}");
        }
        assert!("gpu-box1".parse::<HostName>().is_ok());
        assert!("a-very-long-link".parse::<InterfaceName>().is_err());
    }
}
