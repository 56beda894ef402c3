//! Values that cannot hold a character which would corrupt the file they end up in: names go into INI files, unit
//! names, URLs and shell-sourced files.

use serde::{Deserialize, Serialize};

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

checked_name! {
    /// Name of a machine, without its domain: what the kernel allows (`HOST_NAME_MAX`, 64) of letters, digits, `-` and
    /// `_`. An underscore is none of DNS's (RFC 1123), but machines have one, and no service of the cloud looks the name
    /// up.
    HostName, 64, "a host name (letters, digits, `-` and `_`, beginning with a letter or digit, no dot, at most 64)",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && "-_".contains(c))
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
        for bad in ["", "a b", "a\nb", "a$b", "a;b", "-a", "a.b", "é", "_a"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} was taken");
        }
        for bad in ["", " a", "a\nb", "a:b", "a,b", "-a", "~a", "a/b", "a\"b"] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?} was taken");
        }
        for good in ["bond0.100", "enp129s0f0np0", "vmbr0v10", "eth0@if5", "br-lan"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        assert!("gpu-box1".parse::<HostName>().is_ok());
        assert!("a-very-long-link".parse::<InterfaceName>().is_err());
    }
}
