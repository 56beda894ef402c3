//! The state of this kernel, and changes done to it, by the hands `links`, `nft`, `sysctl` and `ovs`.

use super::NetworkError;
use super::state::{Bridge, Change, NetworkState, Proxies, changes};
use crate::action::Undo;
use crate::config::Config;
use crate::host::links::{self, neighbours};
use crate::host::nft::{self, Family, listing};
use crate::host::ovs::{self, Datapath};
use crate::host::{Host, Result, sysctl};
use crate::paths::{BRIDGE, TABLE};
use crate::plan::journal::Journal;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How long Open vSwitch may take to show a bridge that it made as a link.
const LINK_LIMIT: Duration = Duration::from_secs(20);

/// What of the kernel's state is the cloud's, and so may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// The cloud's external network: answers to ARP for its addresses.
    pub range: Ipv4Net,
    /// Links that these answers, or those before them, call the way to the world: only there ARP is answered.
    pub uplinks: BTreeSet<String>,
    /// Links that these answers, or those before them, made ports of the bridge.
    pub links: BTreeSet<String>,
    /// Addresses that these answers, or those before them, gave the bridge.
    pub addresses: BTreeSet<Ipv4Net>,
}

impl Ownership {
    /// By the answers, and those of the last complete apply.
    pub fn of(config: &Config, applied: Option<&Config>) -> Self {
        let configs = || std::iter::once(config).chain(applied);
        let links = configs().flat_map(|config| &config.network.bridge_links).map(|link| link.as_str().to_owned());
        let addresses = configs().filter_map(super::bridge_address).collect();
        let uplinks = configs().map(|config| config.host.interface.as_str().to_owned()).collect();
        Self { range: config.network.range, uplinks, links: links.collect(), addresses }
    }

    /// And by what runs brought in that never came to their end.
    pub fn extend_by(&mut self, journal: &Journal) {
        for (_, entry) in journal.entries() {
            if let Some(Undo::Network(original)) = &entry.history.undo {
                self.links.extend(original.ports.iter().cloned());
                self.addresses.extend(&original.addresses);
            }
        }
    }
}

/// What this kernel has of the things that `desired` speaks of, as far as they are `owned`.
pub fn current(host: &Host, desired: &NetworkState, owned: &Ownership) -> Result<NetworkState> {
    let mut parameters = BTreeMap::new();
    for key in desired.sysctls.keys() {
        parameters.insert(key.clone(), sysctl::read(host, key)?);
    }
    let links = links::links()?;
    let mut proxies = Proxies::new();
    for uplink in owned.uplinks.iter().filter(|uplink| links.iter().any(|link| link.name == **uplink)) {
        let mut answered: BTreeSet<Ipv4Addr> = neighbours::proxies(uplink)?.into_iter().collect();
        answered.retain(|address| owned.range.contains(address));
        if !answered.is_empty() {
            proxies.insert(uplink.clone(), answered);
        }
    }
    let bridge = links.iter().find(|link| link.name == BRIDGE);
    Ok(NetworkState {
        sysctls: parameters,
        bridge: bridge.map(|link| read_bridge(host, link, &links, desired, owned)).transpose()?,
        proxies,
        table: listing::ruleset(host, Family::Inet, TABLE)?,
    })
}

fn read_bridge(
    host: &Host,
    link: &links::Link,
    links: &[links::Link],
    desired: &NetworkState,
    owned: &Ownership,
) -> Result<Bridge> {
    let own = links::addresses()?.into_iter().filter(|address| address.link == link.index);
    let nets = own.filter_map(|found| match found.address {
        IpAddr::V4(address) => Ipv4Net::new(address, found.prefix_len).ok(),
        IpAddr::V6(_) => None,
    });
    let wanted = desired.bridge.as_ref();
    // Asking Open vSwitch costs a process: only where a link is to be its port, or may be one of ours.
    let is_up = |name: &str| links.iter().any(|link| link.name == name && link.up);
    let mut ports = if owned.links.is_empty() { Vec::new() } else { ovs::links_of(host, BRIDGE)? };
    ports.retain(|port| owned.links.contains(port));
    let wanted_address = |net: &Ipv4Net| wanted.is_some_and(|bridge| bridge.addresses.contains(net));
    Ok(Bridge {
        datapath: wanted.map_or(Datapath::System, |bridge| bridge.datapath),
        up: link.up,
        // One that an administrator gave it is not ours to take.
        addresses: nets.filter(|net| owned.addresses.contains(net) || wanted_address(net)).collect(),
        ports: ports.into_iter().map(|port| (port.clone(), is_up(&port))).collect(),
    })
}

/// Does `changes` in their order, to the first that fails.
pub fn apply(host: &Host, changes: &[Change]) -> Result<()> {
    changes.iter().try_for_each(|change| apply_one(host, change))
}

/// Does all of `changes` that can be done; returns what failed, in words.
pub fn apply_all(host: &Host, changes: &[Change]) -> Vec<String> {
    let failed = |change: &Change| apply_one(host, change).err().map(|error| format!("{change}: {error}"));
    changes.iter().filter_map(failed).collect()
}

fn apply_one(host: &Host, change: &Change) -> Result<()> {
    match change {
        Change::Sysctl { key, to: Some(to), .. } => sysctl::write(host, key, to),
        Change::Sysctl { to: None, .. } => Ok(()),
        Change::MakeBridge(datapath) => make_bridge(host, *datapath),
        Change::BridgeUp => Ok(links::set_up(BRIDGE)?),
        Change::Address { address, comes } => {
            let (ip, bits) = (IpAddr::V4(address.addr()), address.prefix_len());
            let done =
                if *comes { links::add_address(BRIDGE, ip, bits) } else { links::delete_address(BRIDGE, ip, bits) };
            Ok(done?)
        }
        Change::Port { link, comes: true } => ovs::add_port(host, BRIDGE, link),
        Change::PortUp(link) => Ok(links::set_up(link)?),
        Change::Port { link, comes: false } => ovs::delete_port(host, BRIDGE, link),
        Change::Proxies { link, addresses, comes: true } => Ok(neighbours::add_proxies(link, addresses)?),
        Change::Proxies { link, addresses, comes: false } => Ok(neighbours::delete_proxies(link, addresses)?),
        Change::Table { to: Some(to), .. } => Ok(nft::replace(to)?),
        Change::Table { to: None, .. } => Ok(nft::delete(Family::Inet, TABLE)?),
    }
}

fn make_bridge(host: &Host, datapath: Datapath) -> Result<()> {
    ovs::add_bridge(host, BRIDGE, datapath)?;
    host.wait_until("the link of br-ex", LINK_LIMIT, Duration::from_millis(50), || {
        Ok(links::links()?.iter().any(|link| link.name == BRIDGE))
    })
}

/// Fails unless this kernel is as `desired`.
pub fn verify(host: &Host, desired: &NetworkState, owned: &Ownership) -> Result<()> {
    match changes(&current(host, desired, owned)?, desired).first() {
        None => Ok(()),
        Some(left) => Err(NetworkError::Undone { left: left.clone() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::undo::NetworkOriginal;
    use crate::action::{ActionId, Lifetime, WhenOrphaned};
    use crate::config::tests::sample;
    use crate::plan::journal::Record;

    #[test]
    fn what_a_run_brought_in_is_owned_by_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "/j", "apply").unwrap();
        let ports = BTreeSet::from(["eno2".to_owned()]);
        let intent = Record::Intent {
            id: ActionId::new("network", "state"),
            undo: Undo::Network(NetworkOriginal { ports, ..NetworkOriginal::default() }),
            lifetime: Lifetime::Installed,
            when_orphaned: WhenOrphaned::Undo,
            fingerprint: None,
        };
        journal.append(&[intent], true).unwrap();
        let mut owned = Ownership::of(&sample(), None);
        assert!(owned.links.is_empty(), "the answers make no link a port");
        owned.extend_by(&Journal::read(&host, "/j").unwrap());
        assert_eq!(owned.links.into_iter().collect::<Vec<_>>(), ["eno2"]);
    }
}
