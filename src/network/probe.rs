//! Hop by hop, whether instances reach the world, and the world them; each with the reason where it does not. A ping
//! from this machine to a floating address proves nothing about forwarding or NAT, so the outward hops are looked at
//! by way of a port like an instance's. (Why one instance does not answer SSH: `resources/ssh.rs`.)

use super::live::{self, Ownership};
use super::probe_port;
use super::state::{Change, NetworkState, changes};
use crate::config::Config;
use crate::config::network::{Access, NetworkAnswers};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::links::neighbours;
use crate::host::{Error, Host, Result, dns};
use crate::paths::BRIDGE;
use ipnet::Ipv4Net;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Where clouds have their metadata service.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// How long machines of the LAN may take to answer ARP: the kernel asks three times, a second apart.
const ARP_LIMIT: Duration = Duration::from_millis(1200);

/// One hop on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Its name.
    pub name: &'static str,
    /// Whether it lets packets through; `None` where it could not be tried.
    pub ok: Option<bool>,
    /// What was seen, or why not.
    pub detail: String,
}

fn hop(name: &'static str, result: std::result::Result<String, String>) -> Hop {
    let ok = Some(result.is_ok());
    Hop { name, ok, detail: result.unwrap_or_else(|why| why) }
}

fn not_tried(name: &'static str, why: impl Into<String>) -> Hop {
    Hop { name, ok: None, detail: why.into() }
}

/// All hops; `from` is a machine, as ssh(1) names it, that pings from outside.
pub fn hops(
    host: &Host,
    config: &Config,
    facts: &Facts,
    desired: &NetworkState,
    owned: &Ownership,
    from: Option<&str>,
) -> Result<Vec<Hop>> {
    let mut hops = on_this_machine(host, config, facts, desired, owned)?;
    hops.extend(outward(host, &config.network, facts));
    hops.push(inward(host, &config.network, from));
    Ok(hops)
}

/// The hops that this machine itself is; sends nothing, changes nothing.
pub fn on_this_machine(
    host: &Host,
    config: &Config,
    facts: &Facts,
    desired: &NetworkState,
    owned: &Ownership,
) -> Result<Vec<Hop>> {
    let network = &config.network;
    let left = &changes(&live::current(host, desired, owned)?, desired);
    let mut hops = vec![
        hop("forwarding", state_hop(left, |change| matches!(change, Change::Sysctl { .. }), "packets are forwarded")),
        hop(
            "bridge",
            state_hop(
                left,
                |c| matches!(c, Change::MakeBridge(_) | Change::BridgeUp | Change::Port { .. } | Change::PortUp(_)),
                "br-ex is up",
            ),
        ),
        hop("address", state_hop(left, |c| matches!(c, Change::Address { .. }), &addresses(desired))),
        hop("route", route(network, facts)),
        hop("rules", state_hop(left, |c| matches!(c, Change::Table { .. }), "the table inet gpucloud is loaded")),
        hop("other filters", other_filters(facts)),
    ];
    if network.access == Access::ProxyArp {
        let said = format!("ARP is answered on {} for {}", config.host.interface, network.range);
        hops.push(hop("proxy ARP", state_hop(left, |c| matches!(c, Change::Proxies { .. }), &said)));
    }
    Ok(hops)
}

fn state_hop(left: &[Change], is_it: impl Fn(&Change) -> bool, otherwise: &str) -> std::result::Result<String, String> {
    match left.iter().find(|change| is_it(change)) {
        None => Ok(otherwise.to_owned()),
        Some(change) => Err(format!("still to do: {change}; gpucloud-install network apply does it")),
    }
}

fn addresses(desired: &NetworkState) -> String {
    let own = desired.bridge.iter().flat_map(|bridge| &bridge.addresses).map(Ipv4Net::to_string);
    match own.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => format!("{BRIDGE} needs none"),
        some => format!("{BRIDGE} has {some}"),
    }
}

/// The most specific route to the range must lead to the bridge.
fn route(network: &NetworkAnswers, facts: &Facts) -> std::result::Result<String, String> {
    if !network.is_routed_here() {
        return Ok("packets pass the second card, not this machine's routes".into());
    }
    let inside = facts.network.routes.iter().filter(|route| network.range.contains(&route.net));
    match inside.filter(|route| route.interface != BRIDGE).map(|route| (&route.net, &route.interface)).next() {
        Some((net, link)) => Err(format!("{net} leaves by {link} instead of {BRIDGE}: ip route show {net}")),
        None if facts.network.routes.iter().any(|r| r.net == network.range && r.interface == BRIDGE) => {
            Ok(format!("{} leaves by {BRIDGE}", network.range))
        }
        None => Err(format!("there is no route to {} by {BRIDGE}", network.range)),
    }
}

fn other_filters(facts: &Facts) -> std::result::Result<String, String> {
    match facts.filters.against_forwarding().next() {
        None => Ok("no other packet filter drops what is forwarded".into()),
        Some(filter) => {
            Err(format!("{} drops: {}; gpucloud-install doctor says how to open it", filter.owner, filter.evidence))
        }
    }
}

const OUTWARD: [&str; 4] = ["router", "DNS", "world", "metadata"];

fn outward(host: &Host, network: &NetworkAnswers, facts: &Facts) -> Vec<Hop> {
    let all_not_tried = |why: &str| OUTWARD.iter().map(|name| not_tried(name, why)).collect();
    if !network.is_routed_here() {
        return all_not_tried("no address of the network behind the second card is known to be free");
    }
    let Some(address) = free_address(network) else { return all_not_tried("network.pool leaves no address free") };
    let address = Ipv4Net::new(address, network.range.prefix_len()).unwrap_or_else(|_| Ipv4Net::from(address));
    let upstream = facts.network.default_route.as_ref().and_then(|route| route.gateway);
    let seen = probe_port::with_port(host, address, network.gateway, || {
        let answered = |what: String, result: std::result::Result<(), String>| {
            result
                .map(|()| format!("{what} answers an instance"))
                .map_err(|why| format!("{what} does not answer an instance: {why}"))
        };
        let ping = |address: IpAddr| ping::ping(address, LIMIT).map(drop).map_err(|error| error.to_string());
        let names = network
            .dns
            .iter()
            .map(|server| answered(format!("name server {server}"), dns::ask(IpAddr::V4(*server), LIMIT)));
        let world =
            upstream.map(|gateway| answered(format!("the router behind this machine, {gateway},"), ping(gateway)));
        let router =
            hop("router", answered(format!("this machine's {}", network.gateway), ping(IpAddr::V4(network.gateway))));
        let dns =
            first_good(names.collect()).map_or_else(|| not_tried("DNS", "network.dns is empty"), |r| hop("DNS", r));
        let world = world.map_or_else(|| not_tried("world", "this machine has no default route"), |r| hop("world", r));
        vec![router, dns, world, hop("metadata", no_metadata())]
    });
    seen.unwrap_or_else(|error| all_not_tried(&error.to_string()))
}

fn first_good(results: Vec<std::result::Result<String, String>>) -> Option<std::result::Result<String, String>> {
    let good = results.iter().position(std::result::Result::is_ok).unwrap_or(0);
    results.into_iter().nth(good)
}

/// An instance must not reach the metadata service of whoever runs this machine.
fn no_metadata() -> std::result::Result<String, String> {
    match TcpStream::connect_timeout(&METADATA, LIMIT) {
        Ok(_) => Err(format!(
            "an instance reaches {METADATA} beyond this machine: whoever runs it answers with its identity"
        )),
        Err(_) => Ok("an instance reaches no metadata service beyond this machine".into()),
    }
}

/// An address of the range that is neither the router's nor in the pool.
fn free_address(network: &NetworkAnswers) -> Option<Ipv4Addr> {
    network.range.hosts().find(|address| *address != network.gateway && !network.pool.contains(*address))
}

/// Whether the router's address on the bridge answers a machine outside; with NAT nothing of the range does.
fn inward(host: &Host, network: &NetworkAnswers, from: Option<&str>) -> Hop {
    let target = network.gateway.to_string();
    match (network.access, from) {
        (Access::Nat, _) => {
            not_tried("outside", "with nat, only the chosen ports lead in: try one of them from another machine")
        }
        (_, None) => {
            not_tried("outside", format!("name a machine outside: --from USER@HOST; or type there: ping {target}"))
        }
        (_, Some(from)) => {
            let ping =
                Command::new("ssh").args(["-o", "BatchMode=yes", "--", from, "ping", "-c", "1", "-W", "2", &target]);
            let result = ping.limit(Duration::from_secs(20)).read(host);
            hop(
                "outside",
                result
                    .map(|_| format!("{from} reaches {target}"))
                    .map_err(|error| format!("{from} does not reach {target}: {}", last_line(error))),
            )
        }
    }
}

/// What a program said at its end, or how it ended.
fn last_line(error: Error) -> String {
    let failure = Failure::from(error);
    failure.evidence.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(&failure.what).to_owned()
}

/// Machines of the LAN that have an address of the pool already, with their hardware addresses: asked by ARP, all at
/// once. Only for a pool that is a part of the LAN's network, and before this machine answers for it itself.
///
/// # Errors
/// The kernel's list of neighbours cannot be read.
pub fn taken_addresses(uplink: &str, network: &NetworkAnswers) -> Result<BTreeMap<Ipv4Addr, String>> {
    let Some(index) = crate::host::links::links()?.iter().find(|link| link.name == uplink).map(|link| link.index)
    else {
        return Ok(BTreeMap::new());
    };
    // A datagram to the discard port makes the kernel ask for the address (RFC 863; RFC 826).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let bound = socket.and_then(|socket| {
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::BindToDevice, &uplink.into())?;
        Ok(socket)
    });
    let Ok(socket) = bound else { return Ok(BTreeMap::new()) };
    for address in network.pool.addresses() {
        let _ = socket.send_to(&[], (address, 9));
    }
    std::thread::sleep(ARP_LIMIT);
    let known = neighbours::neighbours()?.into_iter().filter(|n| n.link == index && network.pool.contains(n.address));
    Ok(known.filter_map(|neighbour| Some((neighbour.address, neighbour.mac?))).collect())
}
