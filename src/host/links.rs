//! Network links, addresses and routes, read and changed through rtnetlink.
//!
//! What holds here:
//! - No type of `rtnetlink` appears in a signature: the crate changes its API almost every release.
//! - Each call opens a netlink socket in the network namespace of the calling thread, runs tokio
//!   on that thread alone, and is finished when it returns. Never call it from async code.
//! - Changes may be repeated: an address that is there, a link that is gone are no errors.
//! - Nothing here survives a reboot.
//!
//! What drives a link (e1000e, mlx5_core) is not told by rtnetlink; sysfs tells it.

mod decode;
pub mod neighbours;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, IpVersion, LinkMessageBuilder, LinkUnspec};

/// The kernel answers at once; a dump of which a message got lost would be waited for for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What can go wrong with a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no link of this name.
    #[error("cannot {what}: there is no network link {name}")]
    NoLink {
        /// What was to be done.
        what: String,
        /// The name asked for.
        name: String,
    },
    /// The kernel refused, or no netlink socket could be had.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was to be done.
        what: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel's answer was missing, late or not understood.
    #[error("cannot {what}: the kernel's answer is unusable: {why}")]
    Answer {
        /// What was to be done.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A network link, real or virtual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in the namespace.
    pub index: u32,
    /// The name, at most 15 bytes.
    pub name: String,
    /// The hardware address, `52:54:00:12:34:56`. `None` for one without, such as `lo`.
    pub mac: Option<String>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether the other end is there: cable, peer. False while it is not up.
    pub carrier: bool,
    /// `veth`, `bridge`, `vlan`, `openvswitch`; `None` for hardware and `lo`.
    pub kind: Option<String>,
    /// The index of the bridge, bond, VRF or Open vSwitch that it is a port of.
    pub controller: Option<u32>,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The address itself (not the peer's).
    pub address: IpAddr,
    /// The length of the network part, in bits.
    pub prefix_len: u8,
    /// Whether it expires: from DHCP or a router advertisement, and whoever renews it owns it.
    pub dynamic: bool,
    /// How far it is valid.
    pub scope: Scope,
}

/// How far an address is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On this link only.
    Link,
    /// On this machine only.
    Host,
    /// Another number of `rtm_scope`.
    Other(u8),
}

/// One way of a route in the main table; a route with several ways appears once for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; `None` for a default route.
    pub destination: Option<IpNet>,
    /// Whether it is IPv6.
    pub ipv6: bool,
    /// The next machine; `None` where the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The index of the link.
    pub link: u32,
    /// Lowest wins; 0 where none is given.
    pub metric: u32,
    /// The sender's address that it asks for (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// Who made it.
    pub protocol: Protocol,
}

/// Who made a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A DHCP client.
    Dhcp,
    /// An administrator, or a network manager on their behalf.
    Static,
    /// The kernel, with an address.
    Kernel,
    /// `ip route add` without more: gone after a reboot.
    Boot,
    /// Another number of `rtm_protocol`; 9 is a router advertisement.
    Other(u8),
}

/// All links of this namespace.
pub fn links() -> Result<Vec<Link>, LinkError> {
    let messages =
        netlink(
            "list network links",
            |handle| async move { handle.link().get().execute().try_collect::<Vec<_>>().await },
        )?;
    Ok(messages.into_iter().map(decode::link).collect())
}

/// All addresses of this namespace, IPv4 and IPv6.
pub fn addresses() -> Result<Vec<Address>, LinkError> {
    let messages = netlink("list network addresses", |handle| async move {
        let request = handle.address().get();
        request.execute().try_collect::<Vec<_>>().await
    })?;
    Ok(messages.iter().filter_map(decode::address).collect())
}

/// The routes of the main table that forward packets, IPv4 before IPv6.
pub fn routes() -> Result<Vec<Route>, LinkError> {
    let messages = netlink("list routes", |handle| async move {
        let mut messages = dump_routes(&handle, IpVersion::V4).await?;
        messages.extend(dump_routes(&handle, IpVersion::V6).await?);
        Ok(messages)
    })?;
    let ours = messages.iter().filter(|message| decode::forwards(message));
    Ok(ours.flat_map(decode::ways).collect())
}

/// The IPv4 default route that the kernel takes: the one of the lowest metric.
pub fn default_of(routes: &[Route]) -> Option<&Route> {
    routes.iter().filter(|route| is_ipv4_default(route)).min_by_key(|route| route.metric)
}

/// Switches a link on.
pub fn set_up(name: &str) -> Result<(), LinkError> {
    let what = format!("switch on link {name}");
    change(&what, name, LinkMessageBuilder::up)
}

/// Sets the largest packet of a link, in bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), LinkError> {
    let what = format!("set the MTU of link {name} to {mtu}");
    change(&what, name, |message| message.mtu(mtu))
}

/// Gives a link an address; one that is there with this prefix length is left as it is.
pub fn add_address(name: &str, address: IpAddr, prefix_len: u8) -> Result<(), LinkError> {
    let what = format!("add address {address}/{prefix_len} to link {name}");
    let index = existing(&what, name)?;
    let added = netlink(&what, |handle| async move {
        let request = handle.address().add(index, address, prefix_len);
        request.execute().await
    });
    match added {
        Err(LinkError::Kernel { source, .. }) if there_already(&source) => Ok(()),
        other => other,
    }
}

/// Takes an address from a link; a missing one is fine.
pub fn delete_address(name: &str, address: IpAddr, prefix_len: u8) -> Result<(), LinkError> {
    let what = format!("take address {address}/{prefix_len} from link {name}");
    let index = existing(&what, name)?;
    netlink(&what, |handle| async move {
        let all = handle.address().get().set_link_index_filter(index).execute().try_collect::<Vec<_>>().await?;
        let is_it = |found: &Address| found.address == address && found.prefix_len == prefix_len;
        for message in all.into_iter().filter(|message| decode::address(message).as_ref().is_some_and(is_it)) {
            handle.address().del(message).execute().await?;
        }
        Ok(())
    })
}

/// Moves a link into the network namespace that `namespace` is open on.
pub fn move_to(name: &str, namespace: &impl AsRawFd) -> Result<(), LinkError> {
    let what = format!("move link {name} to another network namespace");
    let descriptor = namespace.as_raw_fd();
    change(&what, name, |message| message.setns_by_fd(descriptor))
}

/// Adds an IPv4 default route.
pub fn add_default_route(gateway: Ipv4Addr) -> Result<(), LinkError> {
    let what = format!("add a default route by {gateway}");
    netlink(&what, |handle| async move {
        let route = rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        handle.route().add(route).execute().await
    })
}

/// Removes a virtual link and, of a veth pair, its peer. A missing one is fine.
pub fn delete_link(name: &str) -> Result<(), LinkError> {
    let what = format!("delete link {name}");
    let Some(index) = index_of(&what, name)? else {
        return Ok(());
    };
    netlink(&what, |handle| async move { handle.link().del(index).execute().await })
}

type Message = LinkMessageBuilder<LinkUnspec>;

fn change(what: &str, name: &str, edit: impl FnOnce(Message) -> Message) -> Result<(), LinkError> {
    let index = existing(what, name)?;
    let message = edit(LinkUnspec::new_with_index(index)).build();
    netlink(what, |handle| async move { handle.link().set(message).execute().await })
}

fn existing(what: &str, name: &str) -> Result<u32, LinkError> {
    index_of(what, name)?.ok_or_else(|| LinkError::NoLink { what: what.to_owned(), name: name.to_owned() })
}

/// Asks for all links: asked for one, the kernel also takes alternative names.
fn index_of(what: &str, name: &str) -> Result<Option<u32>, LinkError> {
    let messages = netlink(what, |handle| async move { handle.link().get().execute().try_collect::<Vec<_>>().await })?;
    let mut links = messages.into_iter().map(decode::link);
    Ok(links.find(|link| link.name == name).map(|link| link.index))
}

async fn dump_routes(handle: &Handle, version: IpVersion) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    use rtnetlink::RouteMessageBuilder as Builder;
    use std::net::Ipv6Addr;
    let request = match version {
        IpVersion::V4 => Builder::<Ipv4Addr>::new().build(),
        IpVersion::V6 => Builder::<Ipv6Addr>::new().build(),
    };
    handle.route().get(request).execute().try_collect().await
}

/// Runs `work` on a netlink socket of its own, on this thread.
fn netlink<T, W, F>(what: &str, work: W) -> Result<T, LinkError>
where
    W: FnOnce(Handle) -> F,
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    let failed = |source| LinkError::Kernel { what: what.to_owned(), source };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build().map_err(failed)?;
    let answer = runtime.block_on(async {
        let (connection, handle, _unasked) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(tokio::time::timeout(ANSWER_LIMIT, work(handle)).await)
    });
    match answer.map_err(failed)? {
        Ok(done) => done.map_err(|error| translate(what, &error)),
        Err(_elapsed) => Err(unusable(what, "it did not come in time")),
    }
}

fn translate(what: &str, error: &rtnetlink::Error) -> LinkError {
    match error {
        rtnetlink::Error::NetlinkError(message) => LinkError::Kernel { what: what.to_owned(), source: message.to_io() },
        other => unusable(what, &other.to_string()),
    }
}

fn unusable(what: &str, why: &str) -> LinkError {
    LinkError::Answer { what: what.to_owned(), why: why.to_owned() }
}

/// EEXIST: the link has this address with this prefix length.
fn there_already(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

fn is_ipv4_default(route: &Route) -> bool {
    route.destination.is_none() && !route.ipv6
}
