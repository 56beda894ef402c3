//! What the kernel's messages about links, addresses and routes say.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope as KernelScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteType, RouteVia,
};

use super::{Address, Link, Protocol, Route, Scope};

/// `RT_TABLE_MAIN` of `linux/rtnetlink.h`: the table that `ip route` shows.
const MAIN_TABLE: u32 = 254;

/// `INFINITY_LIFE_TIME` of the kernel's `net/addrconf.h`: an address that never expires.
const FOREVER: u32 = u32::MAX;

pub(super) fn link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        kind: None,
        controller: None,
    };
    for attribute in message.attributes {
        fill_link(&mut link, attribute);
    }
    link
}

fn fill_link(link: &mut Link, attribute: LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => link.name = name,
        LinkAttribute::Address(bytes) => link.mac = mac_text(&bytes),
        LinkAttribute::Mtu(mtu) => link.mtu = mtu,
        LinkAttribute::Controller(index) => link.controller = Some(index),
        LinkAttribute::LinkInfo(infos) => link.kind = infos.iter().find_map(kind_text),
        _ => {}
    }
}

pub(super) fn mac_text(bytes: &[u8]) -> Option<String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let octets: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(octets.join(":"))
}

fn kind_text(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// `IFA_LOCAL` is ours and `IFA_ADDRESS` the peer's where both are given (`linux/if_addr.h`).
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let only = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some(Address {
        link: message.header.index,
        address: local.or(only)?,
        prefix_len: message.header.prefix_len,
        dynamic: message.attributes.iter().any(expires),
        scope: scope(message.header.scope),
    })
}

fn expires(attribute: &AddressAttribute) -> bool {
    matches!(attribute, AddressAttribute::CacheInfo(times) if times.ifa_valid != FOREVER)
}

fn scope(scope: KernelScope) -> Scope {
    match scope {
        KernelScope::Universe => Scope::Global,
        KernelScope::Link => Scope::Link,
        KernelScope::Host => Scope::Host,
        other => Scope::Other(other.into()),
    }
}

/// Without local, broadcast and blackhole routes, and those of other tables.
pub(super) fn forwards(message: &RouteMessage) -> bool {
    let named = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = named.unwrap_or(u32::from(message.header.table));
    table == MAIN_TABLE && message.header.kind == RouteType::Unicast
}

/// The route once for each next hop.
pub(super) fn ways(message: &RouteMessage) -> Vec<Route> {
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let route = route(message);
    match hops {
        None => vec![route],
        Some(hops) => hops.iter().map(|hop| by_way_of(&route, hop)).collect(),
    }
}

fn by_way_of(route: &Route, hop: &RouteNextHop) -> Route {
    let mut route = route.clone();
    route.link = hop.interface_index;
    route.gateway = hop.attributes.iter().find_map(gateway);
    route
}

fn route(message: &RouteMessage) -> Route {
    let mut route = Route {
        destination: None,
        ipv6: message.header.address_family == AddressFamily::Inet6,
        gateway: message.attributes.iter().find_map(gateway),
        link: 0,
        metric: 0,
        source: None,
        protocol: protocol(message.header.protocol),
    };
    for attribute in &message.attributes {
        fill_route(&mut route, attribute, message.header.destination_prefix_length);
    }
    route
}

fn fill_route(route: &mut Route, attribute: &RouteAttribute, prefix_len: u8) {
    match attribute {
        RouteAttribute::Destination(to) => {
            route.destination = ip(to).and_then(|to| IpNet::new(to, prefix_len).ok());
        }
        RouteAttribute::Oif(index) => route.link = *index,
        RouteAttribute::Priority(metric) => route.metric = *metric,
        RouteAttribute::PrefSource(address) => route.source = ip(address),
        _ => {}
    }
}

/// `RTA_VIA` is a gateway of the other family: an IPv4 route by an IPv6 router.
fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn protocol(protocol: RouteProtocol) -> Protocol {
    match protocol {
        RouteProtocol::Dhcp => Protocol::Dhcp,
        RouteProtocol::Static => Protocol::Static,
        RouteProtocol::Kernel => Protocol::Kernel,
        RouteProtocol::Boot => Protocol::Boot,
        other => Protocol::Other(other.into()),
    }
}
