//! What this machine itself answers: address, link, name, accounts, free ranges, name servers. Each is one that our own
//! checks take; where the machine has something else, the nearest that they take stands here, and a note says so.

use super::network::{self, Access, overlap};
use super::second_link::SecondLink;
use super::values::{HostName, InterfaceName, UserName, names_a_host};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::host::accounts;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The answers, and what has to be said of them.
#[derive(Debug)]
pub(super) struct Detected {
    /// The way that this machine suggests; the profile's own where it suggests none.
    pub(super) access: Option<Access>,
    pub(super) address: Ipv4Addr,
    pub(super) interface: InterfaceName,
    pub(super) name: HostName,
    pub(super) administrators: Vec<UserName>,
    pub(super) range: Ipv4Net,
    pub(super) tenant_range: Ipv4Net,
    pub(super) dns: Vec<Ipv4Addr>,
    pub(super) admin_networks: Vec<Ipv4Net>,
    pub(super) notes: Vec<Finding>,
}

impl Detected {
    /// With `prefers_second_link` the cloud answers at a second link, where there is one: instances have addresses there.
    ///
    /// # Errors
    /// No link has an IPv4 address: no answer can be given for it.
    pub(super) fn of(facts: &Facts, prefers_second_link: bool) -> Result<Self, Failure> {
        let second = SecondLink::of(&facts.network).filter(|_| prefers_second_link);
        let chosen = second.map(|link| (link.nic, link.address)).or_else(|| facts.network.uplink());
        let (nic, address) = chosen.ok_or_else(|| no_address(facts))?;
        let interface = nic.name.parse().map_err(|_| {
            let what = format!("the link {} has a name that no file of settings can hold", nic.name);
            Failure::new(what, "", format!("give it another: ip link set dev '{}' name lan0", nic.name))
        })?;
        let mut notes = Vec::new();
        if facts.network.default_route.is_none() && second.is_none() {
            let what = format!("this machine has no IPv4 default route: {address} on {} was taken", nic.name);
            notes.push(Finding::warn("address", what, "if it is another, write host.address and host.interface"));
        }
        let range = second.map_or_else(|| free_range(facts, RANGES), |link| (link.range, None));
        let ranges = [range, free_range(facts, TENANT_RANGES)].map(|found| noted(&mut notes, found));
        Ok(Self {
            access: second.map(|_| Access::ProxyArp),
            address,
            interface,
            name: noted(&mut notes, name(&facts.os.short_host_name())),
            administrators: noted(&mut notes, administrators(accounts::invoking_user())),
            range: ranges[0],
            tenant_range: ranges[1],
            dns: noted(&mut notes, name_servers(facts)),
            admin_networks: noted(&mut notes, admin_networks(facts, address)),
            notes,
        })
    }
}

fn noted<T>(notes: &mut Vec<Finding>, (value, note): (T, Option<Finding>)) -> T {
    notes.extend(note);
    value
}

fn no_address(facts: &Facts) -> Failure {
    let links: Vec<String> = facts.network.nics.iter().map(|nic| nic.name.clone()).collect();
    let seen = if links.is_empty() { "no links were found".into() } else { format!("links: {}", links.join(", ")) };
    let next = "give this machine a fixed IPv4 address (docs/network.md), then the same command again";
    Failure::new("no link of this machine has an IPv4 address, and the cloud answers at one", seen, next)
}

/// The machine's own name; where no service could carry it, one made of its letters and digits.
fn name(machine: &str) -> (HostName, Option<Finding>) {
    if let Ok(name) = machine.parse::<HostName>()
        && names_a_host(machine)
    {
        return (name, None);
    }
    let known = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let kept: String = machine.chars().map(known).take(63).collect();
    let kept = kept.trim_matches('-');
    let name = kept.parse().ok().filter(|_| names_a_host(kept)).unwrap_or_else(HostName::fallback);
    let what = format!("this machine is called `{machine}`, and OpenStack takes no such name: host.name is `{name}`");
    (name.clone(), Some(Finding::warn("host-name", what, format!("hostnamectl set-hostname {name}"))))
}

/// Whoever called sudo.
fn administrators(invoking: Option<String>) -> (Vec<UserName>, Option<Finding>) {
    let Some(user) = invoking else { return (Vec::new(), None) };
    match user.parse() {
        Ok(name) => (vec![name], None),
        Err(why) => {
            let next = "host.administrators is left empty: root alone; add accounts there";
            (Vec::new(), Some(Finding::warn("administrators", format!("you are called {why}"), next)))
        }
    }
}

fn name_servers(facts: &Facts) -> (Vec<Ipv4Addr>, Option<Finding>) {
    let (usable, others) = (&facts.network.name_servers, &facts.network.other_name_servers);
    let note = usable.is_empty().then(|| {
        let what = match others.as_slice() {
            [] => "this machine names no name servers: network.dns is empty".to_owned(),
            others => format!("instances cannot ask the name servers of this machine ({})", others.join(", ")),
        };
        Finding::warn("dns", what, "write IPv4 name servers of your campus into network.dns")
    });
    (usable.clone(), note)
}

/// The LAN; a prefix length of 32 says nothing of who is near.
fn admin_networks(facts: &Facts, address: Ipv4Addr) -> (Vec<Ipv4Net>, Option<Finding>) {
    let own = facts.network.owner(address).and_then(|(_, own)| own.ipv4());
    let lan = own.unwrap_or_else(|| address.into()).trunc();
    let note = (lan.prefix_len() > 31).then(|| network::only_this_machine(&[lan]));
    (vec![lan], note)
}

/// External networks that are offered, DevStack's own first.
const RANGES: &[&str] = &["172.24.4.0/24", "172.24.5.0/24", "10.224.0.0/24", "192.168.224.0/24", "100.72.4.0/24"];
/// Networks of projects that are offered. The last is of the space that providers share (RFC 6598).
const TENANT_RANGES: &[&str] =
    &["10.254.0.0/16", "10.253.0.0/16", "172.30.0.0/16", "192.168.240.0/20", "100.80.0.0/16"];

/// The first that this machine has no route to. Where it has to all of them, the first that only wider routes cover: it
/// works, and what those lead to is partly hidden from instances.
fn free_range(facts: &Facts, offered: &[&str]) -> (Ipv4Net, Option<Finding>) {
    let others = || facts.network.routes_of_others();
    let nets: Vec<Ipv4Net> = offered.iter().filter_map(|text| text.parse().ok()).collect();
    let clash = |net: &Ipv4Net| others().find(|route| overlap(&route.net, net));
    if let Some(free) = nets.iter().find(|net| clash(net).is_none()) {
        return (*free, None);
    }
    let inside = |net: &Ipv4Net| others().any(|route| net.contains(&route.net));
    let chosen = nets.iter().find(|net| !inside(net)).or(nets.first()).copied().unwrap_or_default();
    let route = clash(&chosen).map_or_else(String::new, |route| format!(" ({} by {})", route.net, route.interface));
    let what = format!("this machine has routes to all networks that are offered{route}: {chosen} was taken");
    let next = "write ranges that nobody uses: network.range and network.tenant_range";
    (chosen, Some(Finding::warn("ranges", what, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_service_could_carry_becomes_one_that_it_can() {
        for (machine, expected, is_said) in [
            ("gpubox", "gpubox", false),
            ("gpu_box", "gpu-box", true),
            ("4711", "gpubox", true),
            ("größe", "gr--e", true),
            ("-x-", "x", true),
            ("", "gpubox", true),
            ("机", "gpubox", true),
        ] {
            let (name, note) = name(machine);
            assert_eq!((name.as_str(), note.is_some()), (expected, is_said), "{machine}");
        }
        let (name, note) = name(&"a".repeat(64));
        assert_eq!((name.as_str().len(), note.is_some()), (63, true));
    }

    #[test]
    fn accounts_of_directories_are_administrators() {
        for user in ["maria.garcia", "MGarcia", "maria@uni.example", "UNI\\maria", "maria garcia", "4711", "müller"] {
            let (accounts, note) = administrators(Some(user.into()));
            assert_eq!((accounts[0].as_str(), note), (user, None));
        }
        let (accounts, note) = administrators(Some("a:b".into()));
        assert!(accounts.is_empty() && note.unwrap().what.contains("a:b"));
    }
}
