//! Links, addresses and routes by netlink; what the kernel then has is read by `ip`.

use crate::in_own_namespace;
use gpucloud::host::links::{
    Address, Link, LinkError, Protocol, Route, Scope, add_address, addresses, default_of, delete_link, links, routes,
    set_mtu, set_up,
};
use std::net::IpAddr;
use std::process::Command;

/// What `ip` says, in this thread's namespace.
fn iproute(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn veth_pair() {
    iproute("link add left address 02:00:00:00:00:01 mtu 1400 type veth peer name right");
}

fn named(name: &str) -> Link {
    let found = links().unwrap().into_iter().find(|link| link.name == name);
    found.unwrap()
}

fn parsed(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn links_are_read() {
    in_own_namespace(|| {
        veth_pair();
        iproute("link add bridge type bridge");
        iproute("link set right master bridge up");
        let left = named("left");
        assert_eq!(left.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!((left.mtu, left.up, left.carrier), (1400, false, false));
        assert_eq!((left.kind.as_deref(), left.controller), (Some("veth"), None));
        let bridge = named("bridge");
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        assert_eq!(named("right").controller, Some(bridge.index));
        let lo = named("lo");
        assert_eq!((lo.index, lo.mac, lo.kind, lo.mtu), (1, None, None, 65536));
    });
}

pub fn both_ends_up_make_a_carrier() {
    in_own_namespace(|| {
        veth_pair();
        set_up("left").unwrap();
        set_up("left").unwrap();
        assert!(named("left").up && !named("left").carrier);
        set_up("right").unwrap();
        assert!(named("left").carrier && named("right").carrier);
    });
}

pub fn mtu_is_set_or_refused_by_name() {
    in_own_namespace(|| {
        veth_pair();
        set_mtu("left", 1442).unwrap();
        assert_eq!(named("left").mtu, 1442);
        let error = set_mtu("left", 1).unwrap_err().to_string();
        assert!(error.contains("set the MTU of link left to 1: "), "{error}");
    });
}

pub fn address_is_added_once() {
    in_own_namespace(|| {
        veth_pair();
        let four = parsed("172.24.4.1");
        add_address("left", four, 24).unwrap();
        add_address("left", four, 24).unwrap();
        add_address("left", parsed("fd00::1"), 64).unwrap();
        let left = named("left").index;
        let expected =
            |address, prefix_len| Address { link: left, address, prefix_len, dynamic: false, scope: Scope::Global };
        let found = addresses().unwrap();
        assert_eq!(found, [expected(four, 24), expected(parsed("fd00::1"), 64)]);
        let said = iproute("-4 -o address show dev left");
        assert!(said.contains("172.24.4.1/24 brd 172.24.4.255 scope global left"), "{said}");
    });
}

pub fn expiring_peer_and_host_addresses_are_told_apart() {
    in_own_namespace(|| {
        veth_pair();
        iproute("link set lo up");
        iproute("address add 192.0.2.9/24 dev left valid_lft 900 preferred_lft 900");
        iproute("address add 10.0.0.1 peer 10.0.0.2/32 dev left");
        let found = addresses().unwrap();
        let of = |text| found.iter().find(|one| one.address == parsed(text)).unwrap();
        assert!(of("192.0.2.9").dynamic && !of("10.0.0.1").dynamic);
        assert_eq!(of("10.0.0.1").prefix_len, 32);
        assert_eq!((of("127.0.0.1").scope, of("::1").scope), (Scope::Host, Scope::Host));
    });
}

pub fn routes_are_read() {
    in_own_namespace(|| {
        veth_pair();
        set_up("left").unwrap();
        set_up("right").unwrap();
        add_address("left", parsed("192.0.2.2"), 24).unwrap();
        assert_eq!(default_of(&routes().unwrap()).cloned(), None);
        iproute("route add default via 192.0.2.250 dev left metric 300");
        iproute("route add default via 192.0.2.254 dev left metric 100 proto dhcp");
        iproute("route add 198.51.100.0/24 via 192.0.2.3 dev left proto static");
        iproute("route add blackhole 203.0.113.0/24");
        iproute("route add 10.9.0.0/16 via 192.0.2.9 table 77");
        let left = named("left").index;
        let expected = |destination: Option<&str>, gateway: Option<&str>, metric, protocol| Route {
            destination: destination.map(|net| net.parse().unwrap()),
            ipv6: false,
            gateway: gateway.map(parsed),
            link: left,
            metric,
            source: None,
            protocol,
        };
        let dhcp = expected(None, Some("192.0.2.254"), 100, Protocol::Dhcp);
        let four: Vec<_> = routes().unwrap().into_iter().filter(|one| !one.ipv6).collect();
        assert_eq!(four.len(), 4, "{four:?}");
        for wanted in [
            dhcp.clone(),
            expected(None, Some("192.0.2.250"), 300, Protocol::Boot),
            Route { source: Some(parsed("192.0.2.2")), ..expected(Some("192.0.2.0/24"), None, 0, Protocol::Kernel) },
            expected(Some("198.51.100.0/24"), Some("192.0.2.3"), 0, Protocol::Static),
        ] {
            assert!(four.contains(&wanted), "{wanted:?} not in {four:?}");
        }
        assert_eq!(default_of(&routes().unwrap()).cloned(), Some(dhcp));
    });
}

pub fn ipv6_and_several_ways_are_read() {
    in_own_namespace(|| {
        veth_pair();
        set_up("left").unwrap();
        set_up("right").unwrap();
        add_address("left", parsed("192.0.2.2"), 24).unwrap();
        iproute("-6 route add default via fe80::1 dev left metric 7");
        iproute("route add 10.1.0.0/16 nexthop via 192.0.2.3 dev left nexthop via 192.0.2.4 dev left");
        iproute("route add 10.2.0.0/16 via inet6 fe80::9 dev left");
        let all = routes().unwrap();
        let six = all.iter().find(|one| one.ipv6 && one.destination.is_none()).unwrap();
        assert_eq!((six.gateway, six.metric), (Some(parsed("fe80::1")), 7));
        let to = |net: &str| {
            let net = Some(net.parse().unwrap());
            let ways = all.iter().filter(move |one| one.destination == net);
            ways.filter_map(|one| one.gateway).collect::<Vec<_>>()
        };
        assert_eq!(to("10.1.0.0/16"), [parsed("192.0.2.3"), parsed("192.0.2.4")]);
        assert_eq!(to("10.2.0.0/16"), [parsed("fe80::9")]);
        assert_eq!(default_of(&routes().unwrap()).cloned(), None);
    });
}

pub fn deleting_takes_the_peer_and_may_be_repeated() {
    in_own_namespace(|| {
        veth_pair();
        delete_link("left").unwrap();
        assert!(links().unwrap().iter().all(|link| link.name == "lo"));
        delete_link("left").unwrap();
        let error = delete_link("lo").unwrap_err();
        assert!(matches!(error, LinkError::Kernel { .. }), "{error}");
    });
}

pub fn missing_link_is_named() {
    in_own_namespace(|| {
        for error in [
            set_up("nowhere").unwrap_err(),
            set_mtu("nowhere", 1500).unwrap_err(),
            add_address("nowhere", parsed("10.0.0.1"), 8).unwrap_err(),
        ] {
            assert!(matches!(error, LinkError::NoLink { .. }), "{error}");
            assert!(error.to_string().ends_with("there is no network link nowhere"));
        }
    });
}
