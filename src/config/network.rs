//! Answers about the network: how instances reach the world, how the world reaches them, and who may use the cloud.
//! (Networks of instances: `resources.rs`.)

use super::values::{InterfaceName, as_text, ipv4_address, ipv4_network, written};
use crate::finding::Finding;
use crate::host::nft::Transport;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::str::FromStr;

/// How instances reach the world, and the world them. docs/network.md has a picture of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Out through this machine's address; chosen ports of this machine lead in.
    Nat,
    /// The range is a part of the LAN's, and this machine answers ARP for it.
    ProxyArp,
    /// The campus router has a route to the range.
    Routed,
    /// A second network card is a port of the external bridge.
    Bridged,
}

impl Access {
    /// All, in the order in which they are offered.
    pub const ALL: [Access; 4] = [Access::Nat, Access::ProxyArp, Access::Routed, Access::Bridged];

    /// As in the answers.
    pub fn name(self) -> &'static str {
        match self {
            Access::Nat => "nat",
            Access::ProxyArp => "proxy-arp",
            Access::Routed => "routed",
            Access::Bridged => "bridged",
        }
    }

    /// What it means, one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Access::Nat => "instances go out by this machine's address, and chosen ports of this machine lead in",
            Access::ProxyArp => "instances have addresses of the LAN, for which this machine answers",
            Access::Routed => "the campus router has a route to the instances' range by this machine",
            Access::Bridged => "a second network card joins the instances to its network",
        }
    }
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkAnswers {
    /// How instances are reached.
    pub access: Access,
    /// The external network: floating addresses are in it.
    #[serde(deserialize_with = "written::network")]
    pub range: Ipv4Net,
    /// The router of that network as instances see it: this machine's address on the external bridge; with `bridged`
    /// the router of the network behind the second card.
    #[serde(deserialize_with = "written::address")]
    pub gateway: Ipv4Addr,
    /// Floating addresses.
    pub pool: Pool,
    /// Networks of projects are cut from this.
    #[serde(deserialize_with = "written::network")]
    pub tenant_range: Ipv4Net,
    /// Name servers of instances.
    #[serde(deserialize_with = "written::addresses")]
    pub dns: Vec<Ipv4Addr>,
    /// Who may use APIs, dashboard and consoles.
    #[serde(deserialize_with = "written::sources")]
    pub admin_networks: Vec<Ipv4Net>,
    /// Ports of this machine that lead to instances.
    pub port_maps: Vec<PortMap>,
    /// Links that become ports of the external bridge.
    pub bridge_links: Vec<InterfaceName>,
}

/// Addresses from one to another, both included: "172.24.4.10-172.24.4.250".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

impl Pool {
    /// Whether `address` is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// All of them.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

impl FromStr for Pool {
    type Err = String;

    /// Also with other dashes, blanks and `to` between, the last one by its last number alone ("172.24.4.10-250"), or a
    /// network: all its machines' addresses.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("`{text}` is not a range of addresses like 172.24.4.10-172.24.4.250: {why}");
        let plain = text.replace(['–', '—'], "-").replace("..", "-").replace(" to ", "-");
        let Some((first, last)) = plain.split_once('-') else {
            if !plain.contains('/') {
                return Err(wrong("it has no last address".into()));
            }
            let net = ipv4_network(&plain).map_err(wrong)?.trunc();
            let (first, last) = (net.hosts().next(), net.hosts().last());
            return Ok(Self { first: first.unwrap_or(net.network()), last: last.unwrap_or(net.broadcast()) });
        };
        let first = ipv4_address(first).map_err(wrong)?;
        let last = match last.trim().parse::<u8>() {
            Ok(number) => Ipv4Addr::from(u32::from(first) & !0xff | u32::from(number)),
            Err(_) => ipv4_address(last).map_err(wrong)?,
        };
        if first <= last { Ok(Self { first, last }) } else { Err(format!("`{text}` ends before it begins")) }
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A port of this machine that leads to a port of an instance: "tcp 8022 -> 172.24.4.20:22".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMap {
    /// TCP or UDP.
    pub transport: Transport,
    /// This machine's port.
    pub port: u16,
    /// A floating address.
    pub to: Ipv4Addr,
    /// The instance's port.
    pub to_port: u16,
}

impl FromStr for PortMap {
    type Err = String;

    /// Also with capitals, other arrows, and `8022/tcp`.
    fn from_str(text: &str) -> Result<Self, String> {
        port_map(text).map_err(|why| format!("`{text}` is not a port map like tcp 8022 -> 172.24.4.20:22: {why}"))
    }
}

fn port_map(text: &str) -> Result<PortMap, String> {
    let plain = text.to_lowercase().replace(['→', '⇒'], "->").replace("=>", "->");
    let (from, to) = plain.split_once("->").ok_or("it has no `->`")?;
    let words: Vec<&str> = from.split([' ', '/', ':']).filter(|word| !word.is_empty()).collect();
    let (transport, port) = match words.as_slice() {
        [one, other] if transport(one).is_some() => (transport(one), *other),
        [one, other] => (transport(other), *one),
        _ => return Err(format!("`{}` is not a protocol and a port", from.trim())),
    };
    let transport = transport.ok_or_else(|| format!("`{}` has neither tcp nor udp", from.trim()))?;
    let (to, to_port) = to.trim().rsplit_once(':').ok_or_else(|| format!("there is no port behind `{}`", to.trim()))?;
    Ok(PortMap { transport, port: port_number(port)?, to: ipv4_address(to)?, to_port: port_number(to_port)? })
}

fn transport(word: &str) -> Option<Transport> {
    match word {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

fn port_number(word: &str) -> Result<u16, String> {
    let word = word.trim();
    word.parse().ok().filter(|port| *port > 0).ok_or_else(|| match word.contains(['-', ',']) {
        true => format!("`{word}` is more than one port; write a map for each"),
        false => format!("`{word}` is no port (1 to 65535)"),
    })
}

impl std::fmt::Display for PortMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} -> {}:{}", self.transport, self.port, self.to, self.to_port)
    }
}

as_text!(Pool);
as_text!(PortMap);

/// Whether two networks have an address in common.
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The warning about networks of administrators in which nobody but this machine is.
pub fn only_this_machine(networks: &[Ipv4Net]) -> Finding {
    let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let what = format!("network.admin_networks ({}) lets nobody in but this machine", shown.join(", "));
    Finding::warn("admin-networks", what, "write the networks from which people use dashboard and APIs")
}

/// The router's address that is offered: the first of the range.
pub fn default_gateway(range: &Ipv4Net) -> Ipv4Addr {
    range.hosts().next().unwrap_or_else(|| range.network())
}

/// The pool that is offered: all but the first nine addresses of a large range, all but the router of a small one.
pub fn default_pool(range: &Ipv4Net) -> Pool {
    let kept = if range.prefix_len() <= 26 { 9 } else { 2 };
    let first = range.hosts().nth(kept).unwrap_or_else(|| range.network());
    Pool { first, last: range.hosts().last().unwrap_or(first) }
}

impl NetworkAnswers {
    /// Whether this machine is the instances' router, with an address on the external bridge.
    pub fn is_routed_here(&self) -> bool {
        self.access != Access::Bridged
    }

    /// What is wrong with them by themselves, beside the machine's own address and link.
    pub(super) fn check(&self, host: Ipv4Addr, uplink: &InterfaceName) -> Result<(), String> {
        self.check_ranges(host)?;
        self.check_pool(host)?;
        self.check_port_maps()?;
        match (self.access, self.bridge_links.as_slice()) {
            (Access::Bridged, []) => {
                Err("network.bridge_links: `bridged` needs a link that becomes a port of br-ex".into())
            }
            (Access::Bridged, links) if links.contains(uplink) => Err(format!(
                "network.bridge_links: {uplink} carries this machine's own address; as a port of br-ex it would lose it"
            )),
            (Access::Bridged, _) | (_, []) => Ok(()),
            (access, _) => {
                Err(format!("network.bridge_links: only `bridged` has links in br-ex, not `{}`", access.name()))
            }
        }
    }

    fn check_ranges(&self, host: Ipv4Addr) -> Result<(), String> {
        for (key, net) in [("network.range", &self.range), ("network.tenant_range", &self.tenant_range)] {
            if *net != net.trunc() {
                return Err(format!("{key}: {net} is an address in {}; write that", net.trunc()));
            }
            if !(8..=29).contains(&net.prefix_len()) {
                return Err(format!("{key}: {net} has not between 8 and 16 million addresses"));
            }
        }
        if overlap(&self.range, &self.tenant_range) {
            let (a, b) = (self.range, self.tenant_range);
            return Err(format!("network.range {a} and network.tenant_range {b} overlap"));
        }
        if self.is_routed_here() && self.range.contains(&host) {
            return Err(format!("network.range: {} contains host.address {host}", self.range));
        }
        if self.tenant_range.contains(&host) {
            return Err(format!("network.tenant_range: {} contains host.address {host}", self.tenant_range));
        }
        Ok(())
    }

    fn check_pool(&self, host: Ipv4Addr) -> Result<(), String> {
        let Self { range, gateway, pool, .. } = self;
        let usable =
            |address: Ipv4Addr| range.contains(&address) && address != range.network() && address != range.broadcast();
        if !usable(*gateway) {
            return Err(format!("network.gateway: {gateway} is not an address of network.range {range}"));
        }
        if !usable(pool.first) || !usable(pool.last) {
            return Err(format!("network.pool: {pool} is not within network.range {range}"));
        }
        match [*gateway, host].into_iter().find(|address| pool.contains(*address)) {
            Some(taken) => Err(format!("network.pool: {pool} contains {taken}, which is taken already")),
            None => Ok(()),
        }
    }

    fn check_port_maps(&self) -> Result<(), String> {
        if self.access != Access::Nat && !self.port_maps.is_empty() {
            return Err(format!("network.port_maps: with `{}` instances are reached directly", self.access.name()));
        }
        for (n, map) in self.port_maps.iter().enumerate() {
            if !self.pool.contains(map.to) {
                return Err(format!("network.port_maps: {} in `{map}` is not in network.pool", map.to));
            }
            if map.transport == Transport::Tcp && map.port == 22 {
                return Err(format!("network.port_maps: `{map}` would take this machine's own SSH port"));
            }
            let same = |other: &PortMap| (other.transport, other.port) == (map.transport, map.port);
            if self.port_maps.iter().take(n).any(same) {
                return Err(format!("network.port_maps: {} port {} leads to two places", map.transport, map.port));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> NetworkAnswers {
        NetworkAnswers {
            access: Access::Nat,
            range: "172.24.4.0/24".parse().unwrap(),
            gateway: "172.24.4.1".parse().unwrap(),
            pool: "172.24.4.10-172.24.4.250".parse().unwrap(),
            tenant_range: "10.254.0.0/16".parse().unwrap(),
            dns: vec!["192.0.2.53".parse().unwrap()],
            admin_networks: vec!["192.0.2.0/24".parse().unwrap()],
            port_maps: vec!["tcp 8022 -> 172.24.4.20:22".parse().unwrap()],
            bridge_links: Vec::new(),
        }
    }

    fn wrong(edit: impl FnOnce(&mut NetworkAnswers)) -> String {
        let mut answers = sample();
        edit(&mut answers);
        answers.check("192.0.2.10".parse().unwrap(), &"eno1".parse().unwrap()).unwrap_err()
    }

    #[test]
    fn answers_that_cannot_be_right_are_named() {
        let said = [
            wrong(|n| n.range = "172.24.4.1/24".parse().unwrap()),
            wrong(|n| n.range = "192.0.2.0/24".parse().unwrap()),
            wrong(|n| n.tenant_range = "172.24.0.0/16".parse().unwrap()),
            wrong(|n| n.tenant_range = "192.0.0.0/16".parse().unwrap()),
            wrong(|n| n.gateway = "172.24.5.1".parse().unwrap()),
            wrong(|n| n.pool = "172.24.4.1-172.24.4.9".parse().unwrap()),
            wrong(|n| n.pool = "172.24.4.10-172.24.5.9".parse().unwrap()),
            wrong(|n| n.port_maps = vec!["tcp 80 -> 172.24.4.5:80".parse().unwrap()]),
            wrong(|n| n.port_maps = vec!["tcp 22 -> 172.24.4.20:22".parse().unwrap()]),
            wrong(|n| n.port_maps.push("tcp 8022 -> 172.24.4.21:22".parse().unwrap())),
            wrong(|n| n.access = Access::Routed),
            wrong(|n| n.bridge_links = vec!["eno2".parse().unwrap()]),
            wrong(|n| (n.access, n.port_maps) = (Access::Bridged, Vec::new())),
            wrong(|n| {
                (n.access, n.port_maps, n.bridge_links) = (Access::Bridged, Vec::new(), vec!["eno1".parse().unwrap()])
            }),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn networks_and_addresses_are_read_as_they_are_typed_and_refused_by_the_word() {
        let rendered = toml::to_string(&sample()).unwrap();
        let read = |was: &str, typed: &str| {
            assert!(rendered.contains(was), "{rendered}");
            toml::from_str::<NetworkAnswers>(&rendered.replace(was, typed)).map_err(|error| error.message().to_owned())
        };
        for (typed, meant) in
            [("192.0.2.7", "192.0.2.7/32"), ("any", "0.0.0.0/0"), ("10.0.0.0/255.0.0.0", "10.0.0.0/8")]
        {
            assert_eq!(read("192.0.2.0/24", typed).unwrap().admin_networks[0].to_string(), meant);
        }
        let mut said = Vec::new();
        for (was, typed) in [
            ("192.0.2.0/24", "2001:db8::/32"),
            ("192.0.2.0/24", "campus"),
            ("192.0.2.0/24", "0.0.0.0"),
            ("192.0.2.53", "ns1.example.org"),
            ("192.0.2.53", "2001:db8::53"),
            ("192.0.2.53", "192.0.2.53:53"),
            ("172.24.4.0/24", "172.24.4.0"),
            ("172.24.4.0/24", "172.24.4.0/35"),
            ("\"172.24.4.1\"", "\"172.24.4.1/24\""),
            ("172.24.4.10-172.24.4.250", "172.24.4.10"),
            ("172.24.4.10-172.24.4.250", "172.24.4.10-172.24.4.300"),
            ("tcp 8022 -> 172.24.4.20:22", "tcp 8022 -> 172.24.4.20"),
            ("tcp 8022 -> 172.24.4.20:22", "8022 -> 172.24.4.20:22"),
            ("tcp 8022 -> 172.24.4.20:22", "tcp 8000-8010 -> 172.24.4.20:22"),
            ("tcp 8022 -> 172.24.4.20:22", "tcp 8022 172.24.4.20:22"),
            ("tcp 8022 -> 172.24.4.20:22", "tcp 8022 -> box:22"),
        ] {
            said.push(read(was, typed).expect_err(typed));
        }
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn pools_and_port_maps_are_read_as_they_are_written() {
        for text in ["tcp 8022 -> 172.24.4.20:22", "udp 53 -> 172.24.4.20:5353"] {
            assert_eq!(text.parse::<PortMap>().unwrap().to_string(), text);
        }
        for bad in ["8022 -> 1.2.3.4:22", "tcp 0 -> 1.2.3.4:22", "tcp 1 -> 1.2.3:22", "icmp 1 -> 1.2.3.4:1", "tcp 1"] {
            assert!(bad.parse::<PortMap>().is_err(), "{bad}");
        }
        for (written, meant) in [
            ("TCP 8022 -> 172.24.4.20:22", "tcp 8022 -> 172.24.4.20:22"),
            ("8022/tcp=>172.24.4.20:22", "tcp 8022 -> 172.24.4.20:22"),
            ("udp:53 → 172.24.4.20:5353", "udp 53 -> 172.24.4.20:5353"),
        ] {
            assert_eq!(written.parse::<PortMap>().map(|map| map.to_string()), Ok(meant.into()), "{written}");
        }
        for written in
            ["10.0.0.10 - 10.0.0.14", "10.0.0.10–10.0.0.14", "10.0.0.10-14", "10.0.0.10 to 10.0.0.14", "10.0.0.10..14"]
        {
            assert_eq!(written.parse::<Pool>().map(|pool| pool.to_string()), Ok("10.0.0.10-10.0.0.14".into()));
        }
        assert_eq!("10.0.0.8/29".parse::<Pool>().unwrap().to_string(), "10.0.0.9-10.0.0.14");
        assert!("10.0.0.9-10.0.0.1".parse::<Pool>().is_err() && "10.0.0.9".parse::<Pool>().is_err());
        assert_eq!("10.0.0.1-10.0.0.3".parse::<Pool>().unwrap().addresses().count(), 3);
    }
}
