//! Address ranges of the cloud against the networks that this machine knows.

use super::{Outcome, Subject};
use crate::config::network::{Access, only_this_machine, overlap};
use crate::facts::network::{NetworkRoute, Nic, NicAddress};
use crate::finding::Finding;
use crate::paths::BRIDGE;
use ipnet::Ipv4Net;
use std::net::IpAddr;

const ID: &str = "ranges";

pub(super) fn overlaps(s: &Subject) -> Vec<Finding> {
    let network = &s.config.network;
    let mut findings = clashes(s, "network.tenant_range", &network.tenant_range);
    match network.access {
        Access::Nat | Access::Routed => findings.extend(clashes(s, "network.range", &network.range)),
        Access::ProxyArp => findings.extend(part_of_lan(s)),
        Access::Bridged => {}
    }
    if findings.is_empty() {
        findings.push(Finding::pass(ID, format!("{} and {} are free", network.range, network.tenant_range)));
    }
    findings
}

fn clashes(s: &Subject, key: &str, net: &Ipv4Net) -> Vec<Finding> {
    let clash = s.facts.network.routes_of_others().find(|route| overlap(&route.net, net));
    let finding = |route: &NetworkRoute| {
        let what = format!("{key} {net} overlaps {}, which is reached by {}", route.net, route.interface);
        if s.is_begun() {
            // The range is fixed by now, and the route may be younger than the cloud.
            return Finding::warn(ID, what, format!("instances cannot reach {}: make that route narrower", route.net));
        }
        if is_summary(s, route, net) {
            return Finding::warn(ID, what, format!("if somebody there uses it: {key} in gpucloud.toml"));
        }
        Finding::stop(ID, what, format!("choose a range that nobody uses: {key} in gpucloud.toml"))
    };
    clash.map(finding).into_iter().collect()
}

/// Routes as a VPN or a campus has them, to all that there may be: ours is narrower and wins, and hides little.
fn is_summary(s: &Subject, route: &NetworkRoute, net: &Ipv4Net) -> bool {
    let mut own = s.facts.network.nics.iter().flat_map(|nic| &nic.addresses).filter_map(NicAddress::ipv4);
    let is_lan = own.any(|own| own.trunc() == route.net.trunc());
    route.net.prefix_len() <= 12 && route.net.prefix_len() < net.prefix_len() && !is_lan
}

/// With proxy ARP the range is a part of the LAN's, without this machine and its router.
fn part_of_lan(s: &Subject) -> Vec<Finding> {
    let (range, host) = (s.config.network.range, s.config.host.address);
    let stop = |what: String| {
        let next = "with proxy-arp, network.range is a part of the LAN that its DHCP server leaves free";
        vec![Finding::stop(ID, what, next)]
    };
    let Some((_, own)) = s.facts.network.owner(host) else { return Vec::new() };
    let lan = own.ipv4().unwrap_or_default().trunc();
    if !lan.contains(&range) || lan == range {
        return stop(format!("network.range {range} is not a part of the LAN {lan}"));
    }
    let gateway = s.facts.network.default_route.as_ref().and_then(|route| route.gateway);
    match gateway {
        Some(IpAddr::V4(gateway)) if range.contains(&gateway) => {
            stop(format!("network.range {range} contains the router {gateway}: this machine would lose it"))
        }
        _ => Vec::new(),
    }
}

/// A link that becomes a port of the bridge loses its addresses.
pub(super) fn bridge_links(s: &Subject) -> Vec<Finding> {
    let uplink = s.facts.network.default_route.as_ref().map(|route| route.interface.as_str());
    let judge = |name: &str| -> Option<Finding> {
        let next = "choose a card that carries nothing else: network.bridge_links in gpucloud.toml";
        let stop = |what: String| Some(Finding::stop("bridge-links", what, next));
        let nic: &Nic = match s.facts.network.nics.iter().find(|nic| nic.name == name) {
            Some(nic) => nic,
            None => return stop(format!("there is no link {name}")),
        };
        if uplink == Some(name) {
            return stop(format!("{name} has the default route: as a port of {BRIDGE} it would cut this machine off"));
        }
        if let Some(controller) = nic.controller.as_ref().filter(|name| !name.starts_with("ovs-")) {
            return stop(format!("{name} is a part of {controller}"));
        }
        let lasting =
            nic.addresses.iter().filter(|a| !matches!(a.address, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        let addresses: Vec<String> = lasting.map(|a| a.address.to_string()).collect();
        if !addresses.is_empty() {
            return stop(format!("{name} has {}, which would no longer answer", addresses.join(", ")));
        }
        (!nic.carrier && nic.up).then(|| {
            Finding::warn("bridge-links", format!("{name} has no cable"), "plug it in; instances are reached by it")
        })
    };
    s.config.network.bridge_links.iter().filter_map(|link| judge(link.as_str())).collect()
}

/// A router that only believes in senders whom it would answer by the same link drops what comes in by another.
pub(super) fn reverse_path(s: &Subject) -> Vec<Finding> {
    let with_addresses = s.facts.network.nics.iter().filter(|nic| nic.name != BRIDGE && nic.ipv4().next().is_some());
    let strict = s.facts.network.strict_reverse_path;
    if !strict || with_addresses.count() < 2 || s.config.network.access != Access::Routed {
        return Vec::new();
    }
    let what = "net.ipv4.conf.all.rp_filter is 1: what the campus router sends in by another link than the default route's \
                is dropped";
    vec![Finding::warn("reverse-path", what, "if it does: sysctl net.ipv4.conf.all.rp_filter=2, and in /etc/sysctl.d")]
}

/// A machine that forwards IPv6 ignores router advertisements, unless told otherwise.
pub(super) fn router_advertisements(s: &Subject) -> Vec<Finding> {
    if !s.facts.network.ignores_router_advertisements {
        return Vec::new();
    }
    let link = &s.config.host.interface;
    let what = format!("this machine forwards IPv6, and {link} has accept_ra = 1: it will lose its IPv6 default route");
    vec![Finding::warn("router-advertisements", what, format!("sysctl net.ipv6.conf.{link}.accept_ra=2"))]
}

/// Networks from which nobody else can come.
pub(super) fn administrators(s: &Subject) -> Vec<Finding> {
    let networks = &s.config.network.admin_networks;
    let is_own = |net: &Ipv4Net| net.prefix_len() == 32 && net.addr() == s.config.host.address;
    if networks.iter().all(is_own) { vec![only_this_machine(networks)] } else { Vec::new() }
}

/// Name servers that instances cannot ask.
pub(super) fn name_servers(s: &Subject) -> Vec<Finding> {
    let stub = s.config.network.dns.iter().find(|server| server.is_loopback());
    let what =
        |server| format!("network.dns: {server} is a name server of this machine alone; instances cannot ask it");
    let next = "write the servers that this machine asks itself: resolvectl status";
    if s.config.network.dns.is_empty() {
        let others = s.facts.network.other_name_servers.join(", ");
        let next = if others.is_empty() { next } else { "write IPv4 name servers of your campus into network.dns" };
        return vec![Finding::warn("dns", "network.dns is empty: instances resolve no names", next).seen(
            match others {
                none if none.is_empty() => none,
                others => format!("this machine asks {others}, which instances cannot"),
            },
        )];
    }
    stub.map(|server| Finding::stop("dns", what(server), next)).into_iter().collect()
}

/// Addresses of the pool that somebody has already.
pub(super) fn taken(s: &Subject) -> Outcome {
    s.seen.taken.judged(|addresses| {
        let Some((first, mac)) = addresses.first_key_value() else {
            return vec![Finding::pass("pool", "nobody on the LAN has an address of network.pool")];
        };
        let what = match addresses.len() {
            1 => format!("{first} of network.pool is taken by {mac}"),
            n => format!("{n} addresses of network.pool are taken, {first} by {mac}"),
        };
        let next = "choose addresses that the DHCP server leaves free: network.pool in gpucloud.toml";
        vec![Finding::stop("pool", what, next)]
    })
}
