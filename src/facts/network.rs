//! Links with their addresses, and the way out.

use super::resolver::{self, NameServers};
use crate::host::{Host, Result, files, links, sysctl};
use crate::paths::{BRIDGE, CLASS_LINK};
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// A network link that is a device or carries an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Nic {
    /// "enp4s0".
    pub name: String,
    /// Hardware address.
    pub mac: Option<String>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether a cable, or the other side, is there.
    pub carrier: bool,
    /// Kernel driver, "ixgbe"; none for a link without a device.
    pub driver: Option<String>,
    /// The bridge, bond or switch that it is a port of.
    pub controller: Option<String>,
    /// What it is when it is no device: "bridge", "veth".
    pub kind: Option<String>,
    /// Its addresses.
    pub addresses: Vec<NicAddress>,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NicAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix_len: u8,
    /// Whether it has a limited life: from DHCP or router advertisements.
    pub dynamic: bool,
}

/// The way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefaultRoute {
    /// By this link.
    pub interface: String,
    /// To this router.
    pub gateway: Option<IpAddr>,
    /// With this address as sender, where the route says so (`src` of ip-route(8)).
    pub source: Option<IpAddr>,
}

/// Links, addresses, default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Network {
    /// All links but loopback.
    pub nics: Vec<Nic>,
    /// The way out by IPv4, if there is one.
    pub default_route: Option<DefaultRoute>,
    /// The file or directory in which whoever manages the links has their addresses, where it could be told.
    pub settings: Option<PathBuf>,
    /// Networks that this machine has a route to, but for the default route.
    pub routes: Vec<NetworkRoute>,
    /// Name servers beyond this machine that instances can ask: they speak IPv4.
    pub name_servers: Vec<Ipv4Addr>,
    /// Name servers of this machine that instances cannot ask, as they are written: IPv6, a stub on loopback.
    pub other_name_servers: Vec<String>,
    /// Programs that manage links, and would manage new ones too: "NetworkManager", "systemd-networkd".
    pub managers: Vec<&'static str>,
    /// Whether packets are dropped whose sender would be answered by another link (`rp_filter` = 1).
    pub strict_reverse_path: bool,
    /// Whether IPv6 is forwarded, and the uplink therefore deaf to router advertisements (kernel's ip-sysctl,
    /// "accept_ra").
    pub ignores_router_advertisements: bool,
}

/// A network that this machine has a route to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkRoute {
    /// The network.
    pub net: Ipv4Net,
    /// By this link.
    pub interface: String,
}

impl Network {
    /// Routes to networks of others: those of the external bridge and of notebooks are the cloud's.
    pub fn routes_of_others(&self) -> impl Iterator<Item = &NetworkRoute> {
        self.routes.iter().filter(|route| route.interface != BRIDGE && route.interface != CLASS_LINK)
    }

    /// The link by which this machine reaches the world, and its address there as the kernel chooses it: the one that the
    /// default route names, else one in the router's network, else the first that is not link-local (the kernel's
    /// `inet_select_addr`). Without a default route, the first link of a device that has an address.
    pub fn uplink(&self) -> Option<(&Nic, Ipv4Addr)> {
        let Some(route) = &self.default_route else {
            let mut cards = self.nics.iter().filter(|nic| nic.driver.is_some() || nic.kind.is_none());
            return cards.find_map(|nic| Some((nic, nic.address_towards(None)?)));
        };
        if let Some(named) = route.source.and_then(ipv4).and_then(|source| Some((self.owner(source)?.0, source))) {
            return Some(named);
        }
        let nic = self.nics.iter().find(|nic| nic.name == route.interface)?;
        nic.address_towards(route.gateway).map(|address| (nic, address))
    }

    /// The link that has `address`.
    pub fn owner(&self, address: Ipv4Addr) -> Option<(&Nic, &NicAddress)> {
        let pairs = self.nics.iter().flat_map(|nic| nic.addresses.iter().map(move |a| (nic, a)));
        pairs.into_iter().find(|(_, a)| a.address == IpAddr::V4(address))
    }
}

impl Nic {
    /// Its IPv4 addresses.
    pub fn ipv4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.iter().filter_map(|a| ipv4(a.address))
    }

    /// The IPv4 address with which it speaks to a router.
    fn address_towards(&self, router: Option<IpAddr>) -> Option<Ipv4Addr> {
        let own: Vec<Ipv4Net> = self.addresses.iter().filter_map(NicAddress::ipv4).collect();
        let beside = router.and_then(ipv4).and_then(|router| own.iter().find(|net| net.contains(&router)));
        let chosen = beside.or_else(|| own.iter().find(|net| !net.addr().is_link_local())).or(own.first());
        chosen.map(Ipv4Net::addr)
    }
}

impl NicAddress {
    /// The address with its prefix; none for IPv6.
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        Ipv4Net::new(ipv4(self.address)?, self.prefix_len).ok()
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(v4) = address { Some(v4) } else { None }
}

/// Asks the kernel by netlink (unknown for a captured tree), and reads whose settings there are.
pub fn probe(host: &Host) -> Result<Network> {
    let NameServers { beyond, mut others } = resolver::name_servers(host)?;
    others.extend(beyond.iter().filter(|server| server.is_ipv6()).map(ToString::to_string));
    let known = Network {
        settings: settings(host)?,
        name_servers: beyond.into_iter().filter_map(ipv4).collect(),
        other_name_servers: others,
        managers: managers(host),
        ..Network::default()
    };
    if !host.is_live() {
        return Ok(known);
    }
    let (links, addresses, routes) = (links::links()?, links::addresses()?, links::routes()?);
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let nics = links.iter().filter(|link| link.name != "lo").map(|link| nic(host, link, &links, &addresses)).collect();
    let default_route = links::default_of(&routes).and_then(|route| {
        Some(DefaultRoute { interface: name(route.link)?, gateway: route.gateway, source: route.source })
    });
    let nets = routes.iter().filter_map(|route| match route.destination? {
        IpNet::V4(net) => Some(NetworkRoute { net, interface: name(route.link)? }),
        IpNet::V6(_) => None,
    });
    let uplink = default_route.as_ref().map(|route: &DefaultRoute| route.interface.clone()).unwrap_or_default();
    Ok(Network {
        nics,
        default_route,
        routes: nets.collect(),
        strict_reverse_path: parameter(host, "net/ipv4/conf/all/rp_filter")? == "1",
        ignores_router_advertisements: parameter(host, "net/ipv6/conf/all/forwarding")? == "1"
            && parameter(host, &format!("net/ipv6/conf/{uplink}/accept_ra"))? == "1",
        ..known
    })
}

fn parameter(host: &Host, key: &str) -> Result<String> {
    Ok(sysctl::read(host, key)?.unwrap_or_default())
}

fn managers(host: &Host) -> Vec<&'static str> {
    let programs =
        [("NetworkManager", "/usr/sbin/NetworkManager"), ("systemd-networkd", "/lib/systemd/systemd-networkd")];
    let here = programs.into_iter().filter(|(_, program)| files::exists(host, program));
    here.map(|(name, _)| name).collect()
}

/// Where links are configured, and the endings of the files there; netplan, where it is, writes those of the others.
const SETTINGS: [(&str, &str); 4] = [
    ("/etc/netplan", ".yaml"),
    ("/etc/NetworkManager/system-connections", ".nmconnection"),
    ("/etc/systemd/network", ".network"),
    ("/etc/network", "interfaces"),
];

fn settings(host: &Host) -> Result<Option<PathBuf>> {
    for (dir, ending) in SETTINGS {
        let mut names = files::list(host, dir)?;
        names.retain(|name| name.ends_with(ending));
        match names.as_slice() {
            [] => {}
            [only] => return Ok(Some(Path::new(dir).join(only))),
            _ => return Ok(Some(dir.into())),
        }
    }
    Ok(None)
}

fn nic(host: &Host, link: &links::Link, links: &[links::Link], addresses: &[links::Address]) -> Nic {
    let own = addresses.iter().filter(|a| a.link == link.index);
    Nic {
        name: link.name.clone(),
        mac: link.mac.clone(),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        driver: driver(host, &link.name),
        controller: link.controller.and_then(|index| links.iter().find(|l| l.index == index)).map(|l| l.name.clone()),
        kind: link.kind.clone(),
        addresses: own
            .map(|a| NicAddress { address: a.address, prefix_len: a.prefix_len, dynamic: a.dynamic })
            .collect(),
    }
}

fn driver(host: &Host, name: &str) -> Option<String> {
    let link = Path::new("/sys/class/net").join(name).join("device/driver");
    let target = files::status(host, &link).ok()??.link?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ubuntu() -> Host {
        Host::at(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ubuntu-24.04"))
    }

    #[test]
    fn an_ubuntu_server_has_its_addresses_in_netplan_and_ufw_filters() {
        let network = probe(&ubuntu()).unwrap();
        assert_eq!(network.settings.as_deref(), Some(Path::new("/etc/netplan/50-cloud-init.yaml")));
        let filters = crate::facts::filters::read(&ubuntu()).unwrap();
        assert!(filters.dropping.iter().all(|filter| filter.owner == "ufw"));
    }

    fn nic(name: &str, addresses: &[(&str, u8)]) -> Nic {
        let own = addresses.iter().map(|(address, prefix_len)| NicAddress {
            address: address.parse().unwrap(),
            prefix_len: *prefix_len,
            dynamic: false,
        });
        Nic { name: name.into(), addresses: own.collect(), ..Nic::default() }
    }

    fn uplink(nics: Vec<Nic>, gateway: Option<&str>, source: Option<&str>) -> Option<(String, String)> {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let (gateway, source) = (gateway.map(parse), source.map(parse));
        let default_route = Some(DefaultRoute { interface: "eno1".into(), gateway, source });
        let network = Network { nics, default_route, ..Network::default() };
        network.uplink().map(|(nic, address)| (nic.name.clone(), address.to_string()))
    }

    #[test]
    fn of_several_addresses_the_kernels_own_choice_is_taken() {
        let is = |chosen: &str| Some(("eno1".to_owned(), chosen.to_owned()));
        let vip = || nic("eno1", &[("203.0.113.77", 32), ("203.0.113.2", 32), ("2001:db8::2", 64)]);
        assert_eq!(uplink(vec![vip()], Some("203.0.113.1"), Some("203.0.113.2")), is("203.0.113.2"));
        let two = || nic("eno1", &[("169.254.3.4", 16), ("10.0.0.5", 24), ("192.0.2.5", 24)]);
        assert_eq!(uplink(vec![two()], Some("192.0.2.1"), None), is("192.0.2.5"));
        assert_eq!(uplink(vec![two()], Some("198.51.100.1"), None), is("10.0.0.5"));
        assert_eq!(uplink(vec![two()], Some("fe80::1"), None), is("10.0.0.5"));
        assert_eq!(uplink(vec![nic("eno1", &[("2001:db8::2", 64)])], None, None), None);
    }

    #[test]
    fn an_address_that_another_link_has_is_found_there() {
        let nics = vec![nic("eno1", &[]), nic("dummy0", &[("192.0.2.9", 32)])];
        assert_eq!(uplink(nics, Some("fe80::1"), Some("192.0.2.9")), Some(("dummy0".into(), "192.0.2.9".into())));
    }

    #[test]
    fn without_a_default_route_the_first_card_with_an_address_is_taken() {
        let network = Network { nics: vec![nic("eno1", &[]), nic("eno2", &[("10.1.2.3", 24)])], ..Network::default() };
        assert_eq!(network.uplink().map(|(nic, _)| nic.name.as_str()), Some("eno2"));
    }
}
