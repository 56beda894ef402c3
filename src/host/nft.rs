//! One nftables table of ours, as a plain value: shown as nft text, loaded through netlink.
//!
//! What holds here:
//! - A table is replaced whole and atomically: packets see the old rules or the new ones. A batch
//!   that the kernel refuses changes nothing, and the error names the rule.
//! - [`Ruleset`]'s text is what `nft --stateless list table` prints for it and what `nft -f` reads.
//! - No other table is written. An `accept` here cannot overrule another table's drop.
//! - What is loaded is read back by `nft -j` ([`listing`]): nftnl 0.9 lists table names only.
//!
//! A new match or verdict is a variant here, with its arm in `kernel` (as netlink messages; `socket` sends them),
//! `text` (as nft prints it) and `listing` (as `nft -j` lists it).
//!
//! Everything acts on the network namespace of the calling thread.

mod kernel;
pub mod listing;
mod socket;
mod text;

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The most rules and chains in one table. The kernel queues an answer for each before we read the first: 400 overflow
/// the default socket buffer (ENOBUFS, seen on 6.18 with 208 KiB), so ours is enlarged.
pub const MAX_OBJECTS: usize = 2000;

/// The longest purpose: libnftnl has 128 bytes (`NFTNL_UDATA_COMMENT_MAXLEN`) for it, a header of
/// two and the NUL.
pub const MAX_PURPOSE_BYTES: usize = 125;

/// What can go wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// A name or purpose that nft could not print or read back.
    #[error("{kind} `{text}` cannot be used in nftables: {why}")]
    Text {
        /// What the text is for.
        kind: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// More rules and chains than one batch may have.
    #[error("table {table} has {count} chains and rules; at most {MAX_OBJECTS} can be loaded")]
    TooMany {
        /// The table's name.
        table: String,
        /// Its chains and rules.
        count: usize,
    },
    /// The kernel refused. Nothing was changed.
    #[error("nftables could not {what}: {source}")]
    Kernel {
        /// What was refused: the rule by its purpose.
        what: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel's answer did not come.
    #[error("nftables should {what}: the kernel did not answer in time")]
    Silent {
        /// What was asked for.
        what: String,
    },
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 only.
    Ip,
}

/// A table with all its chains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Which packets it sees.
    pub family: Family,
    /// The table's name, unique within the family.
    pub table: String,
    /// Its chains, in the order in which they are listed.
    pub chains: Vec<Chain>,
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The name, unique within the table.
    pub name: String,
    /// Where packets enter it; `None` for a chain that only a [`Verdict::Jump`] reaches.
    pub base: Option<Base>,
    /// The rules, first to last.
    pub rules: Vec<Rule>,
}

/// Where a chain is attached, and what befalls a packet that no rule decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// What the chain is for.
    pub kind: ChainKind,
    /// The point in the kernel.
    pub hook: Hook,
    /// The order among the chains of one hook, lowest first: 0 is `filter`, 100 `srcnat`.
    pub priority: i32,
    /// For a packet that no rule decided on.
    pub policy: Policy,
}

/// What a base chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainKind {
    /// Accepts and drops.
    Filter,
    /// Translates addresses; sees the first packet of a connection only.
    Nat,
}

/// A point in the kernel's packet path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// For this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
}

/// What befalls a packet that no rule of a base chain decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is lost.
    Drop,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Why it is there: its comment, and its name in errors.
    pub purpose: String,
    /// All must hold.
    pub matches: Vec<Match>,
    /// Whether packets and bytes are counted.
    pub counter: bool,
    /// What befalls the packet.
    pub verdict: Verdict,
}

/// What a packet must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// Came in by this link.
    InInterface(String),
    /// Leaves by this link.
    OutInterface(String),
    /// Leaves by any other link.
    NotOutInterface(String),
    /// From an address in this net.
    SourceNet(Ipv4Net),
    /// To an address in this net.
    DestinationNet(Ipv4Net),
    /// Belongs or relates to a connection that was let through before.
    Established,
    /// To this port.
    DestinationPort(Transport, u16),
}

/// What has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What befalls a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It leaves this base chain; chains of a higher priority still see it.
    Accept,
    /// It is lost.
    Drop,
    /// It gets the address of the link it leaves by. Only in `nat` chains of postrouting.
    Masquerade,
    /// It goes to this address and port instead. Only in `nat` chains of prerouting and output, in inet tables.
    Dnat(Ipv4Addr, u16),
    /// It goes on in this chain of the same table, and comes back at that chain's end.
    Jump(String),
}

/// Loads `ruleset`; a table of that family and name is replaced, whatever it held.
pub fn replace(ruleset: &Ruleset) -> Result<(), NftError> {
    ruleset.to_batch()?.send()
}

/// Removes a table with all it holds; a missing one is fine.
pub fn delete(family: Family, table: &str) -> Result<(), NftError> {
    kernel::deletion(family, table)?.send()
}

/// The names of all tables of all families, sorted, each once.
pub fn tables() -> Result<Vec<String>, NftError> {
    socket::table_names(None)
}

/// Whether a table of this family and name is loaded.
pub fn table_exists(family: Family, table: &str) -> Result<bool, NftError> {
    Ok(socket::table_names(Some(family))?.iter().any(|name| name == table))
}

/// The number of the kernel's present ruleset: every change of any table, by anybody, makes it another one. Counters do
/// not.
pub fn generation() -> Result<u32, NftError> {
    socket::generation()
}

impl Ruleset {
    /// `table inet gpucloud`, as in nft.
    pub fn title(&self) -> String {
        format!("table {} {}", self.family, self.table)
    }

    /// How many rules all chains have.
    pub fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }
}
