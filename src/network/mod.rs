//! How instances reach the world, and the world them: forwarding, NAT, proxy ARP, the external bridge's address, and
//! which ports of the cloud are open to whom. A declared state, the same at every boot.
//!
//! ```text
//! state       the state as a value; the changes from one to another (pure)
//! rules       the nftables table (pure)
//! live        the state of this kernel, and changes done to it
//! keep        what is missing of the state is brought back
//! guard       a change that could cut this machine off is taken back unless it is confirmed in time
//! consent     whose yes a change needs (pure)
//! witness     who can tell whether this machine is still reachable
//! pending     what is written down of a change that waits for a yes, and the lock
//! timer       what takes such a change back whatever becomes of this program
//! class_port  this machine's link in the network of the notebooks
//! probe_port  a port of the bridge in a namespace, as instances have one
//! probe       hop by hop, whether instances reach the world and the world them
//! error       what a change fails with
//! report      one page for the people of the campus network
//! steps       files, units and state as steps of a plan
//! action      the state as one reversible change
//! adopted     rules made by hand that ours replace
//! ```
//!
//! A new way to reach instances is a variant of `Access` (`config/network.rs`: the wizard, answers and texts follow),
//! what [`desired`] says of it, its rules in [`rules`], what it asks of the campus in [`report`], and
//! its hops in [`probe`]; `checks/ranges.rs` judges its ranges. A kernel parameter that the network needs is a line of
//! [`sysctls`]: boot, plan and undo follow. Firewalls beside ours are recognised by `facts/filters.rs`; how to open one
//! is said by `checks/filters.rs`.

pub mod action;
pub mod adopted;
pub mod class_port;
pub mod consent;
mod error;
pub mod guard;
pub mod keep;
pub mod live;
pub mod pending;
pub mod probe;
pub mod probe_port;
pub mod report;
pub mod rules;
pub mod state;
pub mod steps;
pub mod timer;
pub mod witness;

pub use error::NetworkError;

use crate::config::Config;
use crate::config::network::Access;
use crate::engine::service::Service;
use crate::engine::settings::{Conf, Setting};
use crate::host::ovs::Datapath;
use crate::ini::Key;
use ipnet::Ipv4Net;
use state::{Bridge, NetworkState};
use std::collections::{BTreeMap, BTreeSet};

/// The state that the answers ask for. `datapath` is what a missing bridge is made with.
pub fn desired(config: &Config, services: &[Service], datapath: Datapath) -> NetworkState {
    let network = &config.network;
    let proxies = match network.access {
        Access::ProxyArp => [(config.host.interface.as_str().to_owned(), proxied(config))].into(),
        Access::Nat | Access::Routed | Access::Bridged => BTreeMap::new(),
    };
    NetworkState {
        sysctls: sysctls(config).into_iter().map(|(key, value)| (key, Some(value))).collect(),
        bridge: Some(Bridge {
            datapath,
            up: true,
            addresses: bridge_address(config).into_iter().collect(),
            ports: network.bridge_links.iter().map(|link| (link.as_str().to_owned(), true)).collect(),
        }),
        proxies,
        table: Some(rules::ruleset(config, services)),
    }
}

/// This machine's own address on the bridge, where instances have it for their router.
fn bridge_address(config: &Config) -> Option<Ipv4Net> {
    let network = &config.network;
    let address = Ipv4Net::new(network.gateway, network.range.prefix_len()).ok();
    address.filter(|_| network.is_routed_here())
}

/// Only the range's addresses are answered for, each named: proxy_arp = 1 would answer for everything that this machine
/// has a route to.
fn proxied(config: &Config) -> BTreeSet<std::net::Ipv4Addr> {
    let network = &config.network;
    network.range.hosts().filter(|address| *address != config.host.address).collect()
}

/// What Neutron is told: name servers for subnets that name none of their own.
pub fn settings(config: &Config) -> Vec<Setting> {
    let dns: Vec<String> = config.network.dns.iter().map(ToString::to_string).collect();
    let key = (!dns.is_empty()).then(|| Key::new("ovn", "dns_servers", dns.join(",")));
    key.map(|key| Setting::new(Conf::Ml2, key)).into_iter().collect()
}

/// Kernel parameters of the way that was chosen. Guests have IPv4 only, so IPv6 forwarding stays as it is, and with it
/// router advertisements on the uplink (a forwarding machine ignores them unless accept_ra is 2).
pub fn sysctls(config: &Config) -> BTreeMap<String, String> {
    // With Open vSwitch's own datapath the machine's stack sees what guests send on their taps, past OVN and all security
    // groups (seen with Debian 13): asked there by ARP, it would answer for each of its addresses.
    let mut wanted = BTreeMap::from([("net.ipv4.conf.all.arp_ignore".to_owned(), "1".to_owned())]);
    if config.network.is_routed_here() {
        wanted.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    }
    if config.network.access == Access::ProxyArp {
        // Answers in place of others are held back for up to 0.8 s otherwise (the kernel's ip-sysctl, "proxy_delay").
        // A `/` keeps a dot inside a link's name.
        wanted.insert(format!("net/ipv4/neigh/{}/proxy_delay", config.host.interface), "0".to_owned());
    }
    wanted
}
