//! Checks: findings drawn from facts by pure functions. `plan`, `apply`, `doctor` and the wizard share them.
//!
//! A new check is one function in the file of its subject and its line in [`OF_FILES`] (a captured tree can tell) or
//! [`OF_THE_RUNNING_SYSTEM`]; what it draws from comes from `facts/`, perhaps from a new field there.

mod filters;
mod machine;
mod network;
mod ports;
mod ranges;
mod software;

use crate::config::Config;
use crate::facts::{Facts, reach::Server};
use crate::finding::{Finding, Level};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub use ports::{maps as port_maps, taken as taken_ports};

/// Id of the finding that tells how instances run: on KVM, or emulated.
pub const VIRTUALIZATION: &str = "virtualization";

/// What checks draw from.
pub struct Subject<'a> {
    /// The machine.
    pub facts: &'a Facts,
    /// The answers.
    pub config: &'a Config,
    /// Packages that we installed ourselves, which are no finding; none on a machine without a journal.
    pub our_packages: &'a [String],
}

impl Subject<'_> {
    /// Whether an installation has begun here: then its own room on the disk is taken already.
    pub fn is_begun(&self) -> bool {
        !self.our_packages.is_empty() || self.facts.software.ours.applied
    }
}

impl Subject<'_> {
    fn journal_is_lost(&self) -> bool {
        let ours = self.facts.software.ours;
        ours.applied && !ours.journal
    }
}

/// A check: one look at the subject, any number of findings.
type Check = fn(&Subject) -> Vec<Finding>;

/// Checks that draw from files: a captured tree is enough.
const OF_FILES: &[Check] = &[
    machine::system,
    machine::memory,
    machine::gpu,
    network::host_name,
    filters::forwarding,
    filters::incoming,
    ranges::name_servers,
    software::other_clouds,
    software::shared_services,
    software::own_databases,
    software::lost,
];

/// Checks that draw from what only a running system can tell.
const OF_THE_RUNNING_SYSTEM: &[Check] = &[
    machine::systemd,
    machine::storage,
    machine::virtualization,
    machine::clock,
    network::address,
    filters::legacy,
    ranges::overlaps,
    ranges::bridge_links,
    ranges::reverse_path,
    ranges::router_advertisements,
];

/// Runs all that do not belong to an engine.
pub fn run(subject: &Subject) -> Vec<Finding> {
    let of_the_running_system = OF_THE_RUNNING_SYSTEM.iter().filter(|_| subject.facts.live);
    OF_FILES.iter().chain(of_the_running_system).flat_map(|check| check(subject)).collect()
}

/// Runs those that the network's answers decide.
pub fn of_network(subject: &Subject) -> Vec<Finding> {
    let checks: [Check; 6] = [
        ranges::overlaps,
        ranges::bridge_links,
        ranges::reverse_path,
        ranges::name_servers,
        filters::forwarding,
        filters::incoming,
    ];
    checks.iter().flat_map(|check| check(subject)).collect()
}

/// Addresses of the pool that somebody has already.
pub fn taken(addresses: &BTreeMap<Ipv4Addr, String>) -> Vec<Finding> {
    ranges::taken(addresses)
}

/// Whether the servers of downloads answer.
pub fn reach(servers: &[Server]) -> Vec<Finding> {
    network::servers(servers)
}

/// The gravest level among `findings`.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Pass)
}

/// Bytes as a person reads them, in binary units.
pub fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 40 => format!("{:.1} TiB", n as f64 / (1_u64 << 40) as f64),
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / (1_u64 << 30) as f64),
        n => format!("{} MiB", n >> 20),
    }
}

#[cfg(test)]
mod tests;
