//! The network of a lab, and its nftables rules: a veth pair, and NAT that forwards nothing to link-local addresses. A
//! guest's metadata request must never reach the network around this machine: on a rented host it would be answered
//! there.

use super::Lab;
use crate::facts::{proxy, reach};
use crate::host::nft::{Base, Chain, ChainKind, Family, Hook, Match, Policy, Rule, Ruleset, Verdict};
use crate::host::{Host, Result, links};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Addresses of metadata services.
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
/// How long systemd-nspawn may take to make the link.
const LIMIT: Duration = Duration::from_secs(30);

/// The nftables table of a lab.
pub fn table_name(lab: &Lab) -> String {
    format!("gpucloud_lab_{}", lab.name.as_str().replace('-', "_"))
}

/// Its rules.
pub fn rules(lab: &Lab) -> Ruleset {
    let net = Ipv4Net::new_assert(lab.address, 24).trunc();
    let rule = |purpose: &str, matches, verdict| Rule { purpose: purpose.into(), matches, counter: true, verdict };
    let base = |kind, hook, priority| Some(Base { kind, hook, priority, policy: Policy::Accept });
    Ruleset {
        family: Family::Ip,
        table: table_name(lab),
        chains: vec![
            Chain {
                name: "forward".into(),
                base: base(ChainKind::Filter, Hook::Forward, 0),
                rules: vec![rule(
                    "metadata requests stay here",
                    vec![Match::InInterface(lab.link()), Match::DestinationNet(LINK_LOCAL)],
                    Verdict::Drop,
                )],
            },
            Chain {
                name: "postrouting".into(),
                base: base(ChainKind::Nat, Hook::Postrouting, 100),
                rules: vec![rule(
                    "the lab reaches package servers",
                    vec![Match::SourceNet(net), Match::NotOutInterface(lab.link())],
                    Verdict::Masquerade,
                )],
            },
        ],
    }
}

/// Gives this machine's end of the link its address, once systemd-nspawn made it.
pub fn configure(host: &Host, lab: &Lab, mtu: u32) -> Result<()> {
    let name = lab.link();
    host.wait_until("the lab's link", LIMIT, Duration::from_millis(50), || Ok(find(&name)?.is_some()))?;
    links::set_mtu(&name, mtu)?;
    links::add_address(&name, IpAddr::V4(lab.gateway()), 24)?;
    Ok(links::set_up(&name)?)
}

/// Whether the link is there, up and has its address.
pub fn is_configured(lab: &Lab) -> Result<bool> {
    let Some(link) = find(&lab.link())? else { return Ok(false) };
    let ours = IpAddr::V4(lab.gateway());
    Ok(link.up && links::addresses()?.iter().any(|a| a.link == link.index && a.address == ours))
}

/// The variables of this machine that name proxies and mirrors, for programs inside. What is inside reaches itself
/// without a proxy.
pub fn proxies(lab: &Lab) -> Vec<(String, String)> {
    let paths_of_this_machine = ["PIP_CERT", "SSL_CERT_FILE"];
    let names = reach::DOWNLOAD_VARIABLES.iter().filter(|name| !paths_of_this_machine.contains(name));
    let set = names.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let mut variables: Vec<(String, String)> = set.collect();
    let has_proxy = variables.iter().any(|(name, _)| proxy::PROXY_VARIABLES.contains(&name.as_str()));
    for name in ["no_proxy", "NO_PROXY"].into_iter().filter(|_| has_proxy) {
        let known = variables.iter().position(|(other, _)| other == name).map(|i| variables.remove(i).1);
        let more = format!("localhost,127.0.0.1,{},{}", lab.address, lab.host_name);
        variables.push((name.into(), known.map_or(more.clone(), |known| format!("{known},{more}"))));
    }
    variables
}

fn find(name: &str) -> Result<Option<links::Link>> {
    Ok(links::links()?.into_iter().find(|link| link.name == name))
}
