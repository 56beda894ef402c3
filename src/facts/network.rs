//! Links with their addresses, and the way out.

use crate::host::{Host, Result, files, links, sysctl};
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
    /// Name servers beyond this machine.
    pub name_servers: Vec<Ipv4Addr>,
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
    /// The link with the default route, and its first IPv4 address.
    pub fn uplink(&self) -> Option<(&Nic, Ipv4Addr)> {
        let route = self.default_route.as_ref()?;
        let nic = self.nics.iter().find(|nic| nic.name == route.interface)?;
        nic.ipv4().next().map(|address| (nic, address))
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
        self.addresses.iter().filter_map(|a| if let IpAddr::V4(v4) = a.address { Some(v4) } else { None })
    }
}

/// Asks the kernel by netlink (unknown for a captured tree), and reads whose settings there are.
pub fn probe(host: &Host) -> Result<Network> {
    let known = Network {
        settings: settings(host)?,
        name_servers: name_servers(host)?,
        managers: managers(host),
        ..Network::default()
    };
    if !host.is_live() {
        return Ok(known);
    }
    let (links, addresses, routes) = (links::links()?, links::addresses()?, links::routes()?);
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let nics = links.iter().filter(|link| link.name != "lo").map(|link| nic(host, link, &links, &addresses)).collect();
    let default_route = links::default_of(&routes)
        .and_then(|route| Some(DefaultRoute { interface: name(route.link)?, gateway: route.gateway }));
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

/// The text of `resolv.conf` whose servers others can ask too: a stub on loopback (systemd-resolved's 127.0.0.53)
/// answers this machine alone, and writes down which it asks itself.
pub fn resolv_conf(host: &Host) -> Result<Option<String>> {
    let known = files::read_text(host, "/etc/resolv.conf")?;
    if known.as_deref().is_some_and(|text| !servers_in(text).is_empty()) {
        return Ok(known);
    }
    let behind = files::read_text(host, "/run/systemd/resolve/resolv.conf")?;
    Ok(behind.filter(|text| !servers_in(text).is_empty()).or(known))
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(str::trim);
    servers.filter_map(|server| server.parse::<IpAddr>().ok()).filter(|server| !server.is_loopback()).collect()
}

fn name_servers(host: &Host) -> Result<Vec<Ipv4Addr>> {
    let servers = servers_in(&resolv_conf(host)?.unwrap_or_default());
    Ok(servers.into_iter().filter_map(|server| if let IpAddr::V4(v4) = server { Some(v4) } else { None }).collect())
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

    #[test]
    fn a_stub_on_loopback_is_not_taken_along() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let put = |path: &str, text: &str| files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
        put("/etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\n");
        put("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
        assert_eq!(resolv_conf(&host).unwrap().as_deref(), Some("nameserver 192.0.2.53\n"));
        assert_eq!(name_servers(&host).unwrap(), [Ipv4Addr::new(192, 0, 2, 53)]);
        put("/etc/resolv.conf", "nameserver 192.0.2.1\n");
        assert_eq!(resolv_conf(&host).unwrap().as_deref(), Some("nameserver 192.0.2.1\n"));
    }
}
