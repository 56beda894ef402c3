//! Neighbours: which addresses answer on a link, and for which this machine answers in their place.

use super::{LinkError, existing, netlink, there_already};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How often it is looked whether an answer came.
const LOOK: Duration = Duration::from_millis(5);
/// Nobody listens there (RFC 863): what is sent there only makes the kernel ask for the address.
const DISCARD_PORT: u16 = 9;

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

/// Whether `address` answers ARP on a link now, however lately it did before. One whose hardware address is fixed is
/// not asked, and does not answer.
pub fn answers(name: &str, address: Ipv4Addr, limit: Duration) -> Result<bool, LinkError> {
    let what = format!("ask for {address} by ARP on link {name}");
    let index = existing(&what, name)?;
    match state_of(&what, index, address)? {
        Some(NeighbourState::Permanent | NeighbourState::Noarp) => return Ok(false),
        None | Some(NeighbourState::Failed | NeighbourState::Incomplete) => make_kernel_ask(name, address),
        Some(_) => ask_again(&what, index, address)?,
    }
    let end = Instant::now() + limit;
    loop {
        match state_of(&what, index, address)? {
            Some(NeighbourState::Reachable) => return Ok(true),
            None | Some(NeighbourState::Failed) => return Ok(false),
            Some(_) if Instant::now() >= end => return Ok(false),
            Some(_) => std::thread::sleep(LOOK),
        }
    }
}

fn state_of(what: &str, index: u32, address: Ipv4Addr) -> Result<Option<NeighbourState>, LinkError> {
    let messages = dump(what, NeighbourFlags::empty())?;
    let mut same = messages.iter().filter(|found| found.header.ifindex == index && destination(found) == Some(address));
    Ok(same.next().map(|found| found.header.state))
}

/// Where it fails there is no answer, which is looked for next.
fn make_kernel_ask(name: &str, address: Ipv4Addr) {
    use nix::sys::socket::{setsockopt, sockopt};
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) {
        let _ = setsockopt(&socket, sockopt::BindToDevice, &name.into());
        let _ = socket.send_to(&[], (address, DISCARD_PORT));
    }
}

/// A neighbour in the state `PROBE` is asked at once (`neigh_timer_handler` of the kernel's net/core/neighbour.c).
fn ask_again(what: &str, index: u32, address: Ipv4Addr) -> Result<(), LinkError> {
    netlink(what, |handle| async move {
        let request = handle.neighbours().add(index, IpAddr::V4(address)).state(NeighbourState::Probe).replace();
        request.execute().await
    })
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
