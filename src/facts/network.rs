//! Links with their addresses, and the way out.

use crate::host::{Host, Result, files, links};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// A network link that is a device or carries an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// Programs beside us that drop what this machine should forward, or what should reach it: "ufw", "Docker".
    pub filters: Vec<&'static str>,
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
    let (settings, filters) = (settings(host)?, filters(host)?);
    if !host.is_live() {
        return Ok(Network { settings, filters, ..Network::default() });
    }
    let (links, addresses) = (links::links()?, links::addresses()?);
    let nics = links.iter().filter(|link| link.name != "lo").map(|link| nic(host, link, &addresses)).collect();
    let default_route = links::default_route()?.and_then(|route| {
        let interface = links.iter().find(|link| link.index == route.link)?.name.clone();
        Some(DefaultRoute { interface, gateway: route.gateway })
    });
    Ok(Network { nics, default_route, settings, filters })
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

/// ufw is on when its own file says so; Docker sets the policy of the forward chain to drop when it starts
/// (docs.docker.com, "Packet filtering and firewalls").
fn filters(host: &Host) -> Result<Vec<&'static str>> {
    let ufw = files::read_text(host, "/etc/ufw/ufw.conf")?.unwrap_or_default();
    let mut found = Vec::new();
    found.extend(ufw.lines().any(|line| line.trim() == "ENABLED=yes").then_some("ufw"));
    found.extend(files::exists(host, "/var/lib/docker").then_some("Docker"));
    Ok(found)
}

fn nic(host: &Host, link: &links::Link, addresses: &[links::Address]) -> Nic {
    let own = addresses.iter().filter(|a| a.link == link.index);
    Nic {
        name: link.name.clone(),
        mac: link.mac.clone(),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        driver: driver(host, &link.name),
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
        assert_eq!(network.filters, ["ufw"]);
    }
}
