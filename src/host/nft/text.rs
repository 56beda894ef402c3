//! What nft's text looks like, and what may stand in it.

use std::ffi::CString;
use std::fmt;

use ipnet::Ipv4Net;

use super::{
    Base, Chain, ChainKind, Family, Hook, MAX_PURPOSE_BYTES, Match, NftError, Policy, Rule, Ruleset, Transport, Verdict,
};

/// Longest table or chain name that we use; the kernel allows 255 (`NFT_NAME_MAXLEN`).
const MAX_NAME_BYTES: usize = 32;

/// `IFNAMSIZ` of `linux/if.h`, less the NUL.
const MAX_INTERFACE_BYTES: usize = 15;

pub(super) fn bad_text(kind: &'static str, text: &str, why: impl Into<String>) -> NftError {
    NftError::Text { kind, text: text.to_owned(), why: why.into() }
}

/// A table's or chain's name: nft's grammar for identifiers, less `/`, `\` and `.`.
pub(super) fn name(kind: &'static str, text: &str) -> Result<CString, NftError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.chars().all(allowed) {
        let why = "it must start with a letter, then letters, digits, _ and -";
        return Err(bad_text(kind, text, why));
    }
    sized(kind, text, MAX_NAME_BYTES)
}

/// A link's name. The kernel allows more, but nft reads a `*` as a wildcard and has no escapes.
pub(super) fn interface(text: &str) -> Result<CString, NftError> {
    let allowed = |c: char| c.is_ascii_graphic() && !"\"*/\\".contains(c);
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(bad_text("link", text, "it is not a plain link name"));
    }
    sized("link", text, MAX_INTERFACE_BYTES)
}

/// A comment. nft puts it between quotes and has no escape for one.
pub(super) fn purpose(text: &str) -> Result<CString, NftError> {
    if text.contains(|c: char| c == '"' || c.is_control()) {
        return Err(bad_text("purpose", text, "it has a quote or control character"));
    }
    sized("purpose", text, MAX_PURPOSE_BYTES)
}

fn sized(kind: &'static str, text: &str, limit: usize) -> Result<CString, NftError> {
    if text.len() > limit {
        let why = format!("it has {} bytes, {limit} are allowed", text.len());
        return Err(bad_text(kind, text, why));
    }
    CString::new(text).map_err(|error| bad_text(kind, text, error.to_string()))
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {{", self.title())?;
        for (index, chain) in self.chains.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = self.base {
            writeln!(f, "\t\t{base}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, hook, policy, .. } = self;
        let priority = priority_text(self.priority, *hook);
        write!(f, "type {kind} hook {hook} priority {priority}; policy {policy};")
    }
}

/// The name that nft gives a priority, with the distance where it is at most 10
/// (`std_prio_lookup` in nft's src/rule.c). As 1.0.6 says it; 1.1 knows `srcnat` in input too.
fn priority_text(priority: i32, hook: Hook) -> String {
    let named = [
        ("raw", -300, true),
        ("mangle", -150, true),
        ("dstnat", -100, hook == Hook::Prerouting),
        ("filter", 0, true),
        ("security", 50, true),
        ("srcnat", 100, hook == Hook::Postrouting),
    ];
    let near = |(_, value, here): &&(&str, i32, bool)| *here && value.abs_diff(priority) <= 10;
    match named.iter().find(near) {
        Some((name, value, _)) if *value == priority => (*name).to_owned(),
        Some((name, value, _)) if *value < priority => format!("{name} + {}", priority - value),
        Some((name, value, _)) => format!("{name} - {}", value - priority),
        None => priority.to_string(),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for wanted in &self.matches {
            write!(f, "{wanted} ")?;
        }
        if self.counter {
            f.write_str("counter ")?;
        }
        write!(f, "{} comment \"{}\"", self.verdict, self.purpose)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InInterface(name) => write!(f, "iifname \"{name}\""),
            Self::OutInterface(name) => write!(f, "oifname \"{name}\""),
            Self::NotOutInterface(name) => write!(f, "oifname != \"{name}\""),
            Self::SourceNet(net) => write!(f, "ip saddr {}", net_text(net)),
            Self::DestinationNet(net) => write!(f, "ip daddr {}", net_text(net)),
            Self::Established => f.write_str("ct state established,related"),
            Self::DestinationPort(transport, port) => write!(f, "{transport} dport {port}"),
        }
    }
}

/// A single address has no `/32` in nft, and a net no host bits.
fn net_text(net: &Ipv4Net) -> String {
    match net.prefix_len() {
        32 => net.addr().to_string(),
        _ => net.trunc().to_string(),
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Dnat(address, port) => write!(f, "dnat ip to {address}:{port}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
        })
    }
}

impl fmt::Display for ChainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        })
    }
}
