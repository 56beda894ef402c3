//! Checks: findings drawn from facts by pure functions. `plan`, `apply`, `doctor` and the wizard share them, and
//! `doctor --list` shows them.
//!
//! A new check is one function in the file of its subject and its row in [`CHECKS`]; what it draws from comes from
//! `facts/`, perhaps from a new field there, or from [`Seen`]. One that cannot be asked says so ([`Unasked`]): nothing
//! is left out in silence.

mod filters;
mod machine;
mod network;
mod ports;
mod ranges;
mod software;
mod volumes;

use crate::complaint::Complaint;
use crate::config::Config;
use crate::facts::disk::Disk;
use crate::facts::listeners::Listener;
use crate::facts::{Facts, reach::Server};
use crate::finding::{Described, Finding, Level, Unasked};
use crate::host::sql;
use crate::resources::named_files::WrongFile;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Id of the finding that tells how instances run: on KVM, or emulated.
const VIRTUALIZATION: &str = "virtualization";

/// Id of the finding that tells what the answers will download, and how large it is.
const DOWNLOADS: &str = "downloads";
/// Findings that are told even where all is well.
pub const ALWAYS_TOLD: [&str; 2] = [VIRTUALIZATION, DOWNLOADS];

/// Id of the findings about files that the answers name.
pub const FILES: &str = "files";

/// What checks draw from.
pub struct Subject<'a> {
    /// The machine.
    pub facts: &'a Facts,
    /// The answers.
    pub config: &'a Config,
    /// Packages that we installed ourselves, which are no finding; none on a machine without a journal.
    pub our_packages: &'a [String],
    /// What was looked at for this cloud alone.
    pub seen: &'a Seen,
}

/// What engine and network know, and what was looked at because of them.
#[derive(Debug, Default)]
pub struct Seen {
    /// TCP ports of the cloud.
    pub ports: Vec<CloudPort>,
    /// Whether the cloud has volumes.
    pub has_volumes: bool,
    /// The disk that volumes will lie on, where there is one at that path.
    pub volume_disk: Asked<Option<Disk>>,
    /// Who listens on the cloud's ports; not asked once they are the cloud's own.
    pub on_cloud_ports: Asked<Vec<Listener>>,
    /// Who listens on ports that are mapped to instances.
    pub on_mapped_ports: Asked<Vec<Listener>>,
    /// Files that the answers name, and that are not what they should be.
    pub wrong_files: Vec<WrongFile>,
    /// The servers of downloads.
    pub servers: Asked<Vec<Server>>,
    /// Addresses of the pool that somebody on the LAN has, by hardware address.
    pub taken: Asked<BTreeMap<Ipv4Addr, String>>,
    /// The database server that the cloud will use.
    pub database: Asked<Database>,
    /// What is wrong with the cache that the cloud will use, if anything.
    pub cache: Asked<Option<Complaint>>,
    /// The administrators of the answers.
    pub administrators: Asked<Vec<Administrator>>,
}

/// A database server that is here.
#[derive(Debug)]
pub struct Database {
    /// systemd's word of its unit: "active", "inactive", "failed".
    pub unit: String,
    /// What a look at it came to.
    pub look: sql::Look,
}

/// An account of `host.administrators`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// Its name.
    pub name: String,
    /// Whether this machine knows it.
    pub is_known: bool,
    /// Whether it is in the administrators' group already.
    pub is_member: bool,
    /// Why keys that are made for it will lie with root instead.
    pub obstacle: Option<String>,
}

/// A TCP port of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudPort {
    /// The port.
    pub port: u16,
    /// Id of its service: "nova-api".
    pub service: &'static str,
    /// The service's unit.
    pub unit: String,
    /// Whether others than this machine can reach it.
    pub open: bool,
}

/// What came of a look that is not always needed.
#[derive(Debug, Default)]
pub enum Asked<T> {
    /// It does not matter here, or was not asked this time.
    #[default]
    NotNeeded,
    /// This.
    Told(T),
    /// It failed.
    Failed(String),
}

impl<T, E: ToString> From<Result<T, E>> for Asked<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(told) => Asked::Told(told),
            Err(error) => Asked::Failed(error.to_string()),
        }
    }
}

impl<T> Asked<T> {
    /// What `judge` says of it.
    fn judged(&self, judge: impl FnOnce(&T) -> Vec<Finding>) -> Outcome {
        match self {
            Asked::NotNeeded => Ok(Vec::new()),
            Asked::Told(told) => Ok(judge(told)),
            Asked::Failed(why) => Err(Unasked::unread(why)),
        }
    }
}

impl Subject<'_> {
    /// Whether an installation has begun here: then its own room on the disk is taken already.
    pub fn is_begun(&self) -> bool {
        !self.our_packages.is_empty() || self.facts.software.ours.applied
    }

    fn journal_is_lost(&self) -> bool {
        let ours = self.facts.software.ours;
        ours.applied && !ours.journal
    }
}

/// What a check found (nothing, where it has nothing to say), or why it could not be asked.
pub type Outcome = Result<Vec<Finding>, Unasked>;

/// A check: one question about the subject, under a stable name.
pub struct Check {
    /// Its name, and what is so when all is well.
    pub described: Described,
    needs: Needs,
    of_network: bool,
    ask: fn(&Subject) -> Outcome,
}

/// What a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Files: a captured tree is enough.
    Files,
    /// What only a running system can tell.
    RunningSystem,
    /// The same, and it was looked at on the wire, which takes its time.
    Wire,
}

impl Check {
    /// Its findings; that it could not be asked is one.
    pub fn findings(&self, subject: &Subject) -> Vec<Finding> {
        let outcome = match self.needs {
            Needs::RunningSystem | Needs::Wire if !subject.facts.live => Err(Unasked {
                why: "a captured tree cannot tell".into(),
                next: "on the machine itself: gpucloud-install doctor",
            }),
            _ => (self.ask)(subject),
        };
        outcome.unwrap_or_else(|unasked| vec![Finding::unasked(&self.described, unasked)])
    }

    /// One that the network's answers decide.
    const fn of_network(self) -> Self {
        Self { of_network: true, ..self }
    }
}

const fn check(id: &'static str, description: &'static str, needs: Needs, ask: fn(&Subject) -> Outcome) -> Check {
    Check { described: Described { id, description }, needs, of_network: false, ask }
}

use Needs::{Files, RunningSystem, Wire};

/// All that do not belong to an engine or to a cloud that stands.
pub const CHECKS: &[Check] = &[
    check("system", "this system is supported", Files, |s| Ok(machine::system(s))),
    check("memory", "there is enough memory", Files, |s| Ok(machine::memory(s))),
    check("gpu", "there is an NVIDIA card, new enough", Files, |s| Ok(machine::gpu(s))),
    check("host-name", "the machine has a name that OpenStack takes", Files, |s| Ok(network::host_name(s))),
    check("packet-filter", "no other packet filter drops what the cloud needs", Files, filters::all).of_network(),
    check("dns", "instances have name servers that they can ask", Files, |s| Ok(ranges::name_servers(s))).of_network(),
    check("admin-networks", "administrators may come from other machines", Files, |s| Ok(ranges::administrators(s)))
        .of_network(),
    check("other-cloud", "no other cloud is here", Files, |s| Ok(software::other_clouds(s))),
    check("own-services", "no service of your own would be used by the cloud", Files, |s| {
        Ok(software::shared_services(s))
    }),
    check("own-services", "a database and a cache that are shared let the cloud in", RunningSystem, |s| {
        Ok([software::database(s)?, software::cache(s)?].concat())
    }),
    check("administrators", "the administrators have accounts, and homes for their keys", RunningSystem, |s| {
        software::administrators(s)
    }),
    check("own-databases", "no databases of another OpenStack are here", Files, |s| Ok(software::own_databases(s))),
    check("secrets", "a cloud that stands has its passwords", Files, |s| Ok(software::lost_secrets(s))),
    check("journal", "a cloud that stands has its journal", Files, |s| Ok(software::lost_journal(s))),
    check("volumes", "declared volumes have a service that makes them", Files, |s| Ok(software::volumes(s))),
    check("volumes", "this machine can keep volumes", Files, |s| Ok(volumes::machine(s))),
    check("volumes", "the disk for volumes is empty, and nobody's", RunningSystem, volumes::disk),
    check(FILES, "files that the answers name are what they should be", RunningSystem, |s| Ok(software::files(s))),
    check("systemd", "systemd is the first process", RunningSystem, |s| Ok(machine::systemd(s))),
    check("storage", "there is room on the disk", RunningSystem, |s| Ok(machine::storage(s))),
    check(VIRTUALIZATION, "instances run on KVM: a small machine is run to see it", RunningSystem, |s| {
        Ok(machine::virtualization(s))
    }),
    check("clock", "the clock is not before this release", RunningSystem, |s| Ok(machine::clock(s))),
    check("address", "the host's address is here, on the link of the answers, and fixed", RunningSystem, |s| {
        Ok(network::address(s))
    }),
    check("ranges", "the cloud's networks overlap no other", RunningSystem, |s| Ok(ranges::overlaps(s))).of_network(),
    check("bridge-links", "cards of the bridge carry nothing else", RunningSystem, |s| Ok(ranges::bridge_links(s)))
        .of_network(),
    check(
        "reverse-path",
        "what comes in by another link than the default route's is not dropped",
        RunningSystem,
        |s| Ok(ranges::reverse_path(s)),
    )
    .of_network(),
    check("router-advertisements", "forwarding does not cost the IPv6 default route", RunningSystem, |s| {
        Ok(ranges::router_advertisements(s))
    }),
    check("ports", "nobody else has the cloud's ports", RunningSystem, ports::taken),
    check("port-maps", "no port map takes a port from whoever listens there", RunningSystem, ports::maps).of_network(),
    check("servers", "the servers of downloads answer", Wire, network::servers),
    check("clock", "the clock agrees with that of a download server", Wire, network::clock),
    check("pool", "nobody on the LAN has an address of the pool", Wire, ranges::taken).of_network(),
];

/// Asks those that take no time.
pub fn run(subject: &Subject) -> Vec<Finding> {
    findings(subject, |check| check.needs != Wire)
}

/// Asks those for which something was looked at on the wire.
pub fn of_the_wire(subject: &Subject) -> Vec<Finding> {
    findings(subject, |check| check.needs == Wire)
}

/// Asks those of these ids.
pub fn of(subject: &Subject, ids: &[&str]) -> Vec<Finding> {
    findings(subject, |check| ids.contains(&check.described.id))
}

/// Asks those that the network's answers decide.
pub fn of_network(subject: &Subject) -> Vec<Finding> {
    findings(subject, |check| check.of_network)
}

fn findings(subject: &Subject, which: impl Fn(&Check) -> bool) -> Vec<Finding> {
    CHECKS.iter().filter(|check| which(check)).flat_map(|check| check.findings(subject)).collect()
}

/// The gravest level among `findings`.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Pass)
}

#[cfg(test)]
mod tests;
