//! The network's state as a value, and what leads from one state to another: pure code, tested without root.
//!
//! Desired (from the answers), current (from the kernel), the changes between them, and what must be true afterwards
//! (no change left) are all values. Taking changes back is making them the other way round.

use crate::host::nft::Ruleset;
use crate::host::ovs::Datapath;
use crate::paths::BRIDGE;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Link, and addresses for which ARP is answered on it.
pub type Proxies = BTreeMap<String, BTreeSet<Ipv4Addr>>;

/// The parts of a machine's network that are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkState {
    /// Kernel parameters: dotted name and value; `None` where this kernel has no such parameter.
    pub sysctls: BTreeMap<String, Option<String>>,
    /// The external bridge; `None` where it is missing.
    pub bridge: Option<Bridge>,
    /// Links on which ARP is answered in place of others, and for which of the range's addresses.
    pub proxies: Proxies,
    /// The nftables table; `None` where it is not loaded.
    pub table: Option<Ruleset>,
}

/// The external bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Which code moves its packets: what a missing one is made with. An existing one keeps its own.
    pub datapath: Datapath,
    /// Whether it is switched on.
    pub up: bool,
    /// Its addresses.
    pub addresses: BTreeSet<Ipv4Net>,
    /// Links of this machine that are its ports, and whether each is switched on: Open vSwitch does not do that.
    pub ports: BTreeMap<String, bool>,
}

/// One change, with what it was before and what it is afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A kernel parameter.
    Sysctl {
        /// Its dotted name.
        key: String,
        /// Before.
        from: Option<String>,
        /// Afterwards.
        to: Option<String>,
    },
    /// The bridge is made.
    MakeBridge(Datapath),
    /// The bridge is switched on.
    BridgeUp,
    /// An address of the bridge comes or goes.
    Address {
        /// The address.
        address: Ipv4Net,
        /// Whether it comes.
        comes: bool,
    },
    /// A link becomes a port of the bridge, or no longer is one.
    Port {
        /// The link.
        link: String,
        /// Whether it becomes one.
        comes: bool,
    },
    /// A port of the bridge is switched on.
    PortUp(String),
    /// ARP is answered for these addresses, or no longer.
    Proxies {
        /// On this link.
        link: String,
        /// For these.
        addresses: Vec<Ipv4Addr>,
        /// Whether it is answered afterwards.
        comes: bool,
    },
    /// The table is loaded, replaced or removed, in one piece.
    Table {
        /// Before.
        from: Option<Box<Ruleset>>,
        /// Afterwards.
        to: Option<Box<Ruleset>>,
    },
}

/// What leads from `current` to `desired`, in the order in which it must be done: rules come before the addresses that
/// they guard, and go after them.
pub fn changes(current: &NetworkState, desired: &NetworkState) -> Vec<Change> {
    let table = (current.table != desired.table)
        .then(|| Change::Table { from: current.table.clone().map(Box::new), to: desired.table.clone().map(Box::new) });
    let (first, last) = if desired.table.is_some() { (table, None) } else { (None, table) };
    let mut found: Vec<Change> = first.into_iter().collect();
    found.extend(sysctls(current, desired));
    found.extend(bridge(current.bridge.as_ref(), desired.bridge.as_ref()));
    found.extend(proxies(current, desired));
    found.extend(last);
    found
}

/// A parameter that the other side does not mention is left alone.
fn sysctls(current: &NetworkState, desired: &NetworkState) -> Vec<Change> {
    let differing = desired.sysctls.iter().filter_map(|(key, to)| {
        let from = current.sysctls.get(key).cloned().flatten();
        let (key, to) = (key.clone(), to.clone());
        (from != to && to.is_some()).then_some(Change::Sysctl { key, from, to })
    });
    differing.collect()
}

fn bridge(current: Option<&Bridge>, desired: Option<&Bridge>) -> Vec<Change> {
    let Some(desired) = desired else { return Vec::new() };
    let empty = Bridge { datapath: desired.datapath, up: false, addresses: BTreeSet::new(), ports: BTreeMap::new() };
    let now = current.unwrap_or(&empty);
    let mut found = Vec::new();
    found.extend(current.is_none().then_some(Change::MakeBridge(desired.datapath)));
    found.extend((desired.up && !now.up).then_some(Change::BridgeUp));
    let address = |comes| move |address: &Ipv4Net| Change::Address { address: *address, comes };
    found.extend(now.addresses.difference(&desired.addresses).map(address(false)));
    found.extend(desired.addresses.difference(&now.addresses).map(address(true)));
    let port = |link: &String, comes| Change::Port { link: link.clone(), comes };
    let (gone, new) = (missing_in(&now.ports, &desired.ports), missing_in(&desired.ports, &now.ports));
    found.extend(gone.map(|link| port(link, false)));
    found.extend(new.map(|link| port(link, true)));
    let off = desired.ports.iter().filter(|(link, up)| **up && now.ports.get(*link) != Some(&true));
    found.extend(off.map(|(link, _)| Change::PortUp(link.clone())));
    found
}

fn missing_in<'a>(
    here: &'a BTreeMap<String, bool>,
    there: &'a BTreeMap<String, bool>,
) -> impl Iterator<Item = &'a String> {
    here.keys().filter(|link| !there.contains_key(*link))
}

fn proxies(current: &NetworkState, desired: &NetworkState) -> Vec<Change> {
    let change = |comes| {
        move |(link, addresses): (String, BTreeSet<Ipv4Addr>)| Change::Proxies {
            link,
            addresses: addresses.into_iter().collect(),
            comes,
        }
    };
    let gone = beyond(&current.proxies, &desired.proxies).into_iter().map(change(false));
    gone.chain(beyond(&desired.proxies, &current.proxies).into_iter().map(change(true))).collect()
}

/// What `here` has and `there` has not.
pub fn beyond(here: &Proxies, there: &Proxies) -> Proxies {
    let rest = |(link, addresses): (&String, &BTreeSet<Ipv4Addr>)| {
        let known = there.get(link).cloned().unwrap_or_default();
        let rest: BTreeSet<Ipv4Addr> = addresses.difference(&known).copied().collect();
        (!rest.is_empty()).then(|| (link.clone(), rest))
    };
    here.iter().filter_map(rest).collect()
}

impl Change {
    /// What takes it back.
    pub fn inverse(&self) -> Option<Change> {
        Some(match self.clone() {
            Change::Sysctl { key, from, to } => Change::Sysctl { key, from: to, to: from },
            // Whoever declared the bridge takes it away; without address and table it harms nobody.
            Change::MakeBridge(_) | Change::BridgeUp | Change::PortUp(_) => return None,
            Change::Address { address, comes } => Change::Address { address, comes: !comes },
            Change::Port { link, comes } => Change::Port { link, comes: !comes },
            Change::Proxies { link, addresses, comes } => Change::Proxies { link, addresses, comes: !comes },
            Change::Table { from, to } => Change::Table { from: to, to: from },
        })
    }

    /// Whether it could cut this machine off: rules see every packet, and an address may draw a route to itself.
    pub fn may_cut_off(&self) -> bool {
        !matches!(self, Change::MakeBridge(_) | Change::BridgeUp | Change::PortUp(_) | Change::Proxies { .. })
    }
}

/// What takes `changes` back, in the order in which it must be done.
pub fn inverse(changes: &[Change]) -> Vec<Change> {
    changes.iter().rev().filter_map(Change::inverse).collect()
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let none = || "nothing".to_owned();
        match self {
            Change::Sysctl { key, from, to } => {
                let (from, to) = (from.clone().unwrap_or_else(none), to.clone().unwrap_or_else(none));
                write!(f, "set {key} from {from} to {to}")
            }
            Change::MakeBridge(datapath) => write!(f, "make {BRIDGE}, datapath {}", datapath.name()),
            Change::BridgeUp => write!(f, "switch {BRIDGE} on"),
            Change::Address { address, comes: true } => write!(f, "give {BRIDGE} the address {address}"),
            Change::Address { address, comes: false } => write!(f, "take the address {address} from {BRIDGE}"),
            Change::PortUp(link) => write!(f, "switch {link} on"),
            Change::Port { link, comes: true } => write!(f, "make {link} a port of {BRIDGE}"),
            Change::Port { link, comes: false } => write!(f, "take {link} out of {BRIDGE}"),
            Change::Proxies { link, addresses, comes } => {
                let verb = if *comes { "answer ARP" } else { "stop answering ARP" };
                write!(f, "{verb} on {link} for {}", span(addresses))
            }
            Change::Table { from: None, to: Some(to) } => write!(f, "load {} ({} rules)", to.title(), to.rule_count()),
            Change::Table { from: Some(from), to: None } => write!(f, "remove {}", from.title()),
            Change::Table { from: Some(from), to: Some(to) } => {
                write!(f, "replace {} ({} rules by {})", to.title(), from.rule_count(), to.rule_count())
            }
            Change::Table { from: None, to: None } => write!(f, "leave the rules as they are"),
        }
    }
}

fn span(addresses: &[Ipv4Addr]) -> String {
    match addresses {
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last} ({} addresses)", addresses.len()),
        [] => "nobody".into(),
    }
}

/// As lines, one for each thing: what a person compares, and what a plan shows as a diff.
impl std::fmt::Display for NetworkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in &self.sysctls {
            writeln!(f, "{key} = {}", value.as_deref().unwrap_or("(unknown to this kernel)"))?;
        }
        if let Some(bridge) = &self.bridge {
            writeln!(f, "{BRIDGE} {}", if bridge.up { "up" } else { "down" })?;
            bridge.addresses.iter().try_for_each(|address| writeln!(f, "{BRIDGE} address {address}"))?;
            let state = |up: &bool| if *up { "up" } else { "down" };
            bridge.ports.iter().try_for_each(|(port, up)| writeln!(f, "{BRIDGE} port {port} {}", state(up)))?;
        }
        for (link, addresses) in &self.proxies {
            let addresses: Vec<Ipv4Addr> = addresses.iter().copied().collect();
            writeln!(f, "ARP answered on {link} for {}", span(&addresses))?;
        }
        self.table.as_ref().map_or(Ok(()), |table| write!(f, "{table}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::nft::Family;
    use proptest::prelude::*;

    fn table(name: &str) -> Ruleset {
        Ruleset { family: Family::Inet, table: name.into(), chains: Vec::new() }
    }

    /// What `change` makes of a state.
    fn done(mut state: NetworkState, change: &Change) -> NetworkState {
        let bridge = |state: &mut NetworkState| state.bridge.clone().unwrap();
        match change.clone() {
            Change::Sysctl { key, to, .. } => drop(state.sysctls.insert(key, to)),
            Change::MakeBridge(datapath) => {
                state.bridge = Some(Bridge { datapath, up: false, addresses: BTreeSet::new(), ports: BTreeMap::new() });
            }
            Change::PortUp(link) => {
                let mut now = bridge(&mut state);
                now.ports.insert(link, true);
                state.bridge = Some(now);
            }
            Change::BridgeUp => state.bridge = Some(Bridge { up: true, ..bridge(&mut state) }),
            Change::Address { address, comes } => {
                let mut now = bridge(&mut state);
                assert!(if comes { now.addresses.insert(address) } else { now.addresses.remove(&address) });
                state.bridge = Some(now);
            }
            Change::Port { link, comes } => {
                let mut now = bridge(&mut state);
                match comes {
                    true => assert!(now.ports.insert(link, false).is_none()),
                    false => assert!(now.ports.remove(&link).is_some()),
                }
                state.bridge = Some(now);
            }
            Change::Proxies { link, addresses, comes } => {
                let answered = state.proxies.entry(link.clone()).or_default();
                for address in addresses {
                    assert!(if comes { answered.insert(address) } else { answered.remove(&address) });
                }
                if answered.is_empty() {
                    state.proxies.remove(&link);
                }
            }
            Change::Table { from, to } => {
                assert_eq!(state.table, from.map(|table| *table));
                state.table = to.map(|table| *table);
            }
        }
        state
    }

    prop_compose! {
        fn state()(
            forwarding in prop::sample::select(vec!["0", "1"]),
            bridge in prop::option::of((any::<bool>(), prop::collection::btree_set(0_u8..4, 0..3), any::<bool>())),
            proxies in prop::collection::btree_map("eno[12]", prop::collection::btree_set(0_u8..6, 1..4), 0..3),
            table_name in prop::option::of(prop::sample::select(vec!["a", "b"])),
        ) -> NetworkState {
            NetworkState {
                sysctls: BTreeMap::from([("net.ipv4.ip_forward".into(), Some(forwarding.into()))]),
                bridge: bridge.map(|(up, addresses, port)| Bridge {
                    datapath: Datapath::Netdev,
                    up,
                    addresses: addresses.iter().map(|n| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, *n, 1), 24)).collect(),
                    ports: port.then(|| ("eno2".to_owned(), true)).into_iter().collect(),
                }),
                proxies: proxies
                    .into_iter()
                    .map(|(link, ends)| (link, ends.iter().map(|n| Ipv4Addr::new(10, 9, 9, *n)).collect()))
                    .collect(),
                table: table_name.map(table),
            }
        }
    }

    proptest! {
        /// After the changes nothing is left to do, and their inverse leads back, but for what is switched on.
        #[test]
        fn changes_lead_there_and_back(before in state(), desired in state()) {
            let changes = changes(&before, &desired);
            let after = changes.iter().fold(before.clone(), done);
            prop_assert_eq!(super::changes(&after, &desired), vec![]);
            let back = inverse(&changes).iter().fold(after, done);
            let left = super::changes(&back, &before);
            prop_assert!(left.iter().all(|change| matches!(change, Change::PortUp(_))), "{left:?}");
        }
    }

    #[test]
    fn rules_come_first_and_go_last() {
        let with = NetworkState {
            table: Some(table("a")),
            proxies: [("eno1".into(), [Ipv4Addr::new(10, 0, 0, 1)].into())].into(),
            ..NetworkState::default()
        };
        let order = |changes: Vec<Change>| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let there = order(changes(&NetworkState::default(), &with));
        assert_eq!(there, ["load table inet a (0 rules)", "answer ARP on eno1 for 10.0.0.1"]);
        let back = order(changes(&with, &NetworkState::default()));
        assert_eq!(back, ["stop answering ARP on eno1 for 10.0.0.1", "remove table inet a"]);
    }
}
