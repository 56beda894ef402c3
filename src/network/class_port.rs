//! The classroom's port: a link of this machine in the network of the notebooks, by which it reaches them and nobody else
//! does. Neutron has a port bound to this host, and Open vSwitch an internal port of the integration bridge with its id;
//! OVN does the rest. (Octavia reaches its load balancers so: `o-hm0`.)
//!
//! Open vSwitch keeps port, hardware address and ids on the disk, so after a boot the link is there again, switched off and
//! without its address: what is missing is brought back by `keep.rs`, from the note that is written here.

use crate::host::links::{self, Address, Link};
use crate::host::{Error, Host, Result, files, ovs};
use crate::paths::{CLASS_LINK, CLASSROOM};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The bridge that instances are connected to (neutron, `ovs_integration_bridge`).
pub const BRIDGE: &str = "br-int";
/// How long Open vSwitch may take to make the link.
const LINK_LIMIT: Duration = Duration::from_secs(20);

/// What Neutron says of the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassPort {
    /// Its id there.
    pub id: String,
    /// Its hardware address.
    pub mac: String,
    /// Its address, with the size of its network.
    pub address: Ipv4Net,
    /// The largest packet of its network, in bytes.
    pub mtu: u32,
}

/// Where it is noted.
pub fn note() -> PathBuf {
    PathBuf::from(CLASSROOM).join("port.json")
}

/// The port, where one was made.
pub fn noted(host: &Host) -> Result<Option<ClassPort>> {
    let Some(text) = files::read_text(host, note())? else { return Ok(None) };
    let read = serde_json::from_str(&text);
    read.map(Some).map_err(|error| Error::protocol(format!("read {}", note().display()), error))
}

/// Notes it, and brings about what is missing.
pub fn keep(host: &Host, port: &ClassPort) -> Result<()> {
    // First the note: what is cut off behind it, the next look brings about.
    let text = serde_json::to_vec_pretty(port).map_err(|error| Error::protocol("note the classroom's port", error))?;
    files::write(host, &note(), &text, 0o600, None)?;
    bring_back(host, port)
}

/// Makes its link.
pub fn bind(host: &Host, port: &ClassPort) -> Result<()> {
    let ids = [("iface-id", port.id.as_str()), ("attached-mac", port.mac.as_str()), ("iface-status", "active")];
    ovs::add_bound_port(host, BRIDGE, CLASS_LINK, &port.mac, port.mtu, &ids)
}

/// Whether its link is there.
pub fn is_bound(port: &ClassPort) -> Result<bool> {
    Ok(links::links()?.iter().any(|link| is_of(link, port)))
}

fn is_of(link: &Link, port: &ClassPort) -> bool {
    link.name == CLASS_LINK && link.mac.as_deref().is_some_and(|mac| mac.eq_ignore_ascii_case(&port.mac))
}

/// What is missing of it, in words.
pub fn missing(port: &ClassPort) -> Result<Vec<String>> {
    let (links, addresses) = (links::links()?, links::addresses()?);
    Ok(what_is_missing(port, links.iter().find(|link| link.name == CLASS_LINK), &addresses))
}

fn what_is_missing(port: &ClassPort, link: Option<&Link>, addresses: &[Address]) -> Vec<String> {
    let Some(link) = link else { return vec![format!("make {CLASS_LINK}")] };
    let has = |address: &&Address| {
        address.link == link.index
            && address.address == IpAddr::V4(port.address.addr())
            && address.prefix_len == port.address.prefix_len()
    };
    let mut missing = Vec::new();
    if !is_of(link, port) {
        missing.push(format!("give {CLASS_LINK} the hardware address {}", port.mac));
    }
    if link.mtu != port.mtu {
        missing.push(format!("set the MTU of {CLASS_LINK} to {}", port.mtu));
    }
    if !link.up {
        missing.push(format!("switch {CLASS_LINK} on"));
    }
    if !addresses.iter().any(|address| has(&address)) {
        missing.push(format!("give {CLASS_LINK} the address {}", port.address));
    }
    missing
}

/// Brings about what is missing.
pub fn bring_back(host: &Host, port: &ClassPort) -> Result<()> {
    if !is_bound(port)? {
        bind(host, port)?;
        let what = format!("the link {CLASS_LINK}");
        host.wait_until(&what, LINK_LIMIT, Duration::from_millis(50), || is_bound(port))?;
    }
    if links::links()?.iter().any(|link| is_of(link, port) && link.mtu != port.mtu) {
        links::set_mtu(CLASS_LINK, port.mtu)?;
    }
    links::set_up(CLASS_LINK)?;
    links::add_address(CLASS_LINK, IpAddr::V4(port.address.addr()), port.address.prefix_len())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::links::Scope;

    #[test]
    fn what_a_boot_takes_away_is_named() {
        let port = ClassPort {
            id: "2c0e".into(),
            mac: "fa:16:3e:00:00:01".into(),
            address: "10.254.255.254/24".parse().unwrap(),
            mtu: 1442,
        };
        let link = Link {
            index: 7,
            name: CLASS_LINK.into(),
            mac: Some("FA:16:3E:00:00:01".into()),
            mtu: 1442,
            up: false,
            carrier: false,
            kind: None,
            controller: None,
        };
        let address = Address {
            link: 7,
            address: IpAddr::V4(port.address.addr()),
            prefix_len: 24,
            dynamic: false,
            scope: Scope::Global,
        };
        assert_eq!(what_is_missing(&port, None, &[]), ["make gcportal0"]);
        assert_eq!(
            what_is_missing(&port, Some(&link), &[]),
            ["switch gcportal0 on", "give gcportal0 the address 10.254.255.254/24"]
        );
        let up = Link { up: true, ..link };
        assert!(what_is_missing(&port, Some(&up), std::slice::from_ref(&address)).is_empty());
        let small = Link { mtu: 1500, ..up };
        assert_eq!(what_is_missing(&port, Some(&small), &[address]), ["set the MTU of gcportal0 to 1442"]);
    }
}
