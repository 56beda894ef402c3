//! A second link beside the uplink, as virtual machines of Vagrant have one: the first leads out by NAT and has its
//! address from DHCP, by the second others reach this machine. Pure.

use super::network::overlap;
use crate::facts::network::{Network, Nic, NicAddress};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// Such a link, where instances can have addresses of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecondLink<'a> {
    pub(super) nic: &'a Nic,
    /// This machine's address there, a fixed one.
    pub(super) address: Ipv4Addr,
    /// A part of its network, for instances.
    pub(super) range: Ipv4Net,
}

/// The widest part that is taken: each of its addresses is answered for by name.
const PREFIX: u8 = 26;
/// The narrowest that answers allow.
const NARROWEST: u8 = 29;

impl<'a> SecondLink<'a> {
    /// The first of the links that qualify: a card that is no part of a bridge or bond, without the default route, with
    /// a fixed address, in a network that has room.
    pub(super) fn of(network: &'a Network) -> Option<Self> {
        let (uplink, _) = network.uplink()?;
        let others = network.nics.iter().filter(|nic| nic.name != uplink.name && is_free_card(nic));
        let fixed = others.flat_map(|nic| nic.addresses.iter().filter(|a| !a.dynamic).map(move |a| (nic, a)));
        let nets = fixed.filter_map(|(nic, address)| Some((nic, address.ipv4()?)));
        nets.filter(|(_, own)| !own.addr().is_link_local())
            .find_map(|(nic, own)| Some(Self { nic, address: own.addr(), range: free_part(network, own.trunc())? }))
    }
}

fn is_free_card(nic: &Nic) -> bool {
    nic.controller.is_none() && (nic.driver.is_some() || nic.kind.is_none())
}

/// The last part of `lan` in which nobody is known to be. Never the first one: routers and hypervisors are there.
fn free_part(network: &Network, lan: Ipv4Net) -> Option<Ipv4Net> {
    let prefix = (lan.prefix_len() + 2).max(PREFIX);
    if prefix > NARROWEST {
        return None;
    }
    let parts: Vec<Ipv4Net> = lan.subnets(prefix).ok()?.skip(1).collect();
    parts.into_iter().rev().find(|part| !is_taken(network, lan, part))
}

fn is_taken(network: &Network, lan: Ipv4Net, part: &Ipv4Net) -> bool {
    let mut own = network.nics.iter().flat_map(|nic| &nic.addresses).filter_map(NicAddress::ipv4);
    let router = network.default_route.as_ref().and_then(|route| route.gateway);
    let narrower = |net: &Ipv4Net| net.prefix_len() > lan.prefix_len() && overlap(net, part);
    own.any(|own| part.contains(&own.addr()))
        || matches!(router, Some(IpAddr::V4(router)) if part.contains(&router))
        || network.routes.iter().any(|route| narrower(&route.net))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::network::{DefaultRoute, NetworkRoute};

    fn nic(name: &str, address: Option<&str>, dynamic: bool) -> Nic {
        let own = address.map(|text| text.parse::<Ipv4Net>().unwrap());
        let own = own.map(|net| NicAddress { address: net.addr().into(), prefix_len: net.prefix_len(), dynamic });
        Nic {
            name: name.into(),
            driver: Some("virtio_net".into()),
            addresses: own.into_iter().collect(),
            ..Nic::default()
        }
    }

    fn machine(second: Nic) -> Network {
        let default_route =
            Some(DefaultRoute { interface: "eth0".into(), gateway: "192.168.121.1".parse().ok(), source: None });
        Network { nics: vec![nic("eth0", Some("192.168.121.7/24"), true), second], default_route, ..Network::default() }
    }

    fn found(network: &Network) -> Option<(&str, String, String)> {
        SecondLink::of(network).map(|link| (link.nic.name.as_str(), link.address.to_string(), link.range.to_string()))
    }

    fn range(own: &str) -> Option<String> {
        found(&machine(nic("eth1", Some(own), false))).map(|(_, _, range)| range)
    }

    #[test]
    fn the_last_part_of_the_second_network_in_which_nobody_is_becomes_the_range() {
        let fixed = machine(nic("eth1", Some("192.168.61.10/24"), false));
        assert_eq!(found(&fixed), Some(("eth1", "192.168.61.10".into(), "192.168.61.192/26".into())));
        for (own, expected) in [
            ("192.168.61.200/24", Some("192.168.61.128/26")),
            ("10.1.2.3/8", Some("10.255.255.192/26")),
            ("192.168.61.2/26", Some("192.168.61.48/28")),
            ("192.168.61.2/27", Some("192.168.61.24/29")),
            ("192.168.61.2/28", None),
            ("192.168.61.2/32", None),
            ("169.254.7.7/16", None),
        ] {
            assert_eq!(range(own).as_deref(), expected, "{own}");
        }
    }

    #[test]
    fn a_narrower_route_and_the_router_keep_their_part() {
        let mut network = machine(nic("eth1", Some("192.168.61.10/24"), false));
        let route = |net: &str| NetworkRoute { net: net.parse().unwrap(), interface: "eth1".into() };
        network.routes = vec![route("192.168.61.0/24"), route("192.168.61.240/28")];
        assert_eq!(SecondLink::of(&network).unwrap().range.to_string(), "192.168.61.128/26");
        network.default_route.as_mut().unwrap().gateway = "192.168.61.129".parse().ok();
        assert_eq!(SecondLink::of(&network).unwrap().range.to_string(), "192.168.61.64/26");
    }

    #[test]
    fn other_links_are_no_second_one() {
        assert_eq!(found(&machine(nic("eth1", None, false))), None);
        assert_eq!(found(&machine(nic("eth1", Some("192.168.61.10/24"), true))), None);
        let bridge = Nic { driver: None, kind: Some("bridge".into()), ..nic("docker0", Some("172.17.0.1/16"), false) };
        assert_eq!(found(&machine(bridge)), None);
        let port = Nic { controller: Some("br0".into()), ..nic("eth1", Some("192.168.61.10/24"), false) };
        assert_eq!(found(&machine(port)), None);
        let alone = Network { nics: vec![nic("eth0", Some("10.0.2.15/24"), false)], ..Network::default() };
        assert_eq!(found(&alone), None);
    }

    #[test]
    fn without_a_default_route_too_the_second_one_is_found() {
        let network = Network { default_route: None, ..machine(nic("eth1", Some("192.168.61.10/24"), false)) };
        assert_eq!(found(&network).map(|(name, ..)| name), Some("eth1"));
    }
}
