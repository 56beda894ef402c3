//! Neighbours: which addresses answer on a link, and for which this machine answers in their place.

use super::{LinkError, existing, netlink, there_already};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Another machine on a link, as the kernel's ARP found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The index of the link.
    pub link: u32,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its hardware address; `None` where nobody answered (yet).
    pub mac: Option<String>,
}

/// All IPv4 neighbours that the kernel knows or asks for.
pub fn neighbours() -> Result<Vec<Neighbour>, LinkError> {
    let messages = dump("list neighbours", NeighbourFlags::empty())?;
    let seen = messages.iter().filter_map(|message| {
        let failed = matches!(message.header.state, NeighbourState::Failed | NeighbourState::Incomplete);
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) if !failed => super::decode::mac_text(bytes),
            _ => None,
        });
        Some(Neighbour { link: message.header.ifindex, address: destination(message)?, mac })
    });
    Ok(seen.collect())
}

/// The addresses for which this machine answers ARP on a link (`ip neigh show proxy`). It does where the link forwards
/// and the route to the address leaves by another link (`arp_process` of the kernel's net/ipv4/arp.c).
pub fn proxies(name: &str) -> Result<Vec<Ipv4Addr>, LinkError> {
    let index = existing("list proxy ARP", name)?;
    let messages = dump("list proxy ARP", NeighbourFlags::Proxy)?;
    Ok(messages.iter().filter(|message| message.header.ifindex == index).filter_map(destination).collect())
}

/// Answers ARP for these addresses on a link; those that are answered for already are left as they are.
pub fn add_proxies(name: &str, addresses: &[Ipv4Addr]) -> Result<(), LinkError> {
    let what = format!("answer ARP on link {name} for {} addresses", addresses.len());
    let index = existing(&what, name)?;
    netlink(&what, |handle| async move {
        for address in addresses {
            let request = handle.neighbours().add(index, IpAddr::V4(*address)).flags(NeighbourFlags::Proxy);
            match request.execute().await {
                Err(error) if !refused_with(&error, there_already) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    })
}

/// No longer answers ARP for these addresses on a link; those that are not answered for are fine.
pub fn delete_proxies(name: &str, addresses: &[Ipv4Addr]) -> Result<(), LinkError> {
    let what = format!("stop answering ARP on link {name} for {} addresses", addresses.len());
    let index = existing(&what, name)?;
    netlink(&what, |handle| async move {
        for address in addresses {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.ifindex = index;
            message.header.flags = NeighbourFlags::Proxy;
            message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(*address)));
            match handle.neighbours().del(message).execute().await {
                Err(error) if !refused_with(&error, |io| io.kind() == io::ErrorKind::NotFound) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    })
}

fn dump(what: &str, flags: NeighbourFlags) -> Result<Vec<NeighbourMessage>, LinkError> {
    netlink(what, |handle| async move {
        let request = handle.neighbours().get().set_address_family(AddressFamily::Inet).set_flags(flags);
        request.execute().try_collect().await
    })
}

fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

fn refused_with(error: &rtnetlink::Error, is: impl Fn(&io::Error) -> bool) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if is(&message.to_io()))
}
