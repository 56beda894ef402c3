//! The nftables table `inet gpucloud`, from the answers and the service table. Pure.
//!
//! What holds here:
//! - Nothing that is not the cloud's is decided on: every chain's policy is accept, every rule names the external
//!   bridge, the cloud's addresses or one of its ports. SSH is none of them.
//! - An accept here does not overrule a drop in another table: `checks` names those.
//! - No guest reaches a link-local address through this machine: one that ignores DHCP's routes would otherwise ask the
//!   metadata service of the network around (seen: answers from outside with this machine's identity).
//!
//! Left out: clamping of TCP's segment size (nftnl has no expression for it). Guests learn the overlay's smaller packet
//! size by DHCP, and path MTU discovery does the rest.

use crate::config::Config;
use crate::config::network::{Access, NetworkAnswers, PortMap};
use crate::engine::service::{Scope, Service};
use crate::host::nft::{Base, Chain, ChainKind, Family, Hook, Match, Policy, Rule, Ruleset, Transport, Verdict};
use crate::paths::{BRIDGE, CLASS_LINK, TABLE};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Addresses of metadata services, among others (RFC 3927).
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
/// How administrators reach this machine.
const SSH: u16 = 22;
/// What a packet for one of the cloud's ports goes through.
const ADMITTED: &str = "admitted";
/// What a packet for a port goes through that only this machine needs.
const OWN: &str = "own";

/// The whole table.
pub fn ruleset(config: &Config, services: &[Service]) -> Ruleset {
    let network = &config.network;
    let mut chains = vec![input(services), admitted(config), forward(network)];
    if config.classroom.enabled {
        close_class_link(&mut chains);
    }
    if !ports(services, Scope::Machine).is_empty() {
        chains.insert(1, own(config));
    }
    if !network.port_maps.is_empty() {
        chains.push(prerouting(config));
    }
    chains.extend(postrouting(config));
    Ruleset { family: Family::Inet, table: TABLE.into(), chains }
}

/// Nothing begins at the notebooks' end of this machine's link to them, and nothing is forwarded there: so much does not
/// hang on OVN alone.
fn close_class_link(chains: &mut [Chain]) {
    let (comes, goes) = (Match::InInterface(CLASS_LINK.into()), Match::OutInterface(CLASS_LINK.into()));
    for chain in chains {
        let closed: &[&Match] = match chain.base.map(|base| base.hook) {
            Some(Hook::Input) => &[&comes],
            Some(Hook::Forward) => &[&comes, &goes],
            _ => continue,
        };
        // Behind the answers to what this machine began.
        let place = chain.rules.iter().position(|rule| rule.matches == [Match::Established]).map_or(0, |at| at + 1);
        let place = if chain.base.is_some_and(|base| base.hook == Hook::Forward) { 0 } else { place };
        for one in closed.iter().rev() {
            let purpose = "only this machine itself reaches notebooks, and they nobody here";
            chain.rules.insert(place, counted(purpose, vec![(*one).clone()], Verdict::Drop));
        }
    }
}

/// The ports that other machines could reach, with whose they are and what for.
pub fn open_ports(services: &[Service]) -> BTreeMap<u16, (&'static str, &'static str)> {
    ports(services, Scope::Host)
}

/// Whether `table` decides on nothing of this machine's own traffic but TCP and UDP ports that it names, SSH's not
/// among them: such a table cuts nobody off. What is forwarded is not this machine's own.
pub fn concerns_only_ports(table: &Ruleset) -> bool {
    let own = |chain: &&Chain| chain.base.is_some_and(|base| base.hook != Hook::Forward);
    table.chains.iter().filter(own).all(|chain| {
        let open = chain.base.is_some_and(|base| base.policy == Policy::Accept);
        open && chain.rules.iter().all(|rule| is_let_through(rule) || names_a_port(rule) || is_of_notebooks(rule))
    })
}

/// A translated sender changes no packet of this machine's own address.
fn is_let_through(rule: &Rule) -> bool {
    match &rule.verdict {
        Verdict::Accept => true,
        Verdict::Masquerade => rule.matches.iter().any(|found| matches!(found, Match::SourceNet(_))),
        Verdict::Drop | Verdict::Dnat(..) | Verdict::Jump(_) => false,
    }
}

fn names_a_port(rule: &Rule) -> bool {
    rule.matches.iter().any(|found| matches!(found, Match::DestinationPort(_, port) if *port != SSH))
}

/// Nobody administers this machine from a notebook.
fn is_of_notebooks(rule: &Rule) -> bool {
    rule.matches.contains(&Match::InInterface(CLASS_LINK.into()))
}

fn ports(services: &[Service], scope: Scope) -> BTreeMap<u16, (&'static str, &'static str)> {
    let listens = services.iter().flat_map(|service| service.listens.iter().map(move |listen| (service.id, listen)));
    let here = listens.filter(|(_, listen)| listen.scope == scope);
    here.map(|(id, listen)| (listen.port, (id, listen.purpose))).collect()
}

fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base { kind, hook, priority, policy: Policy::Accept })
}

fn rule(purpose: impl Into<String>, matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { purpose: purpose.into(), matches, counter: false, verdict }
}

fn counted(purpose: impl Into<String>, matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { counter: true, ..rule(purpose, matches, verdict) }
}

fn input(services: &[Service]) -> Chain {
    let mut rules = vec![
        rule("this machine itself", vec![Match::InInterface("lo".into())], Verdict::Accept),
        rule("answers", vec![Match::Established], Verdict::Accept),
    ];
    for (scope, chain) in [(Scope::Host, ADMITTED), (Scope::Machine, OWN)] {
        rules.extend(ports(services, scope).into_iter().map(|(port, (id, purpose))| {
            let to_port = vec![Match::DestinationPort(Transport::Tcp, port)];
            rule(format!("{id}: {purpose}"), to_port, Verdict::Jump(chain.into()))
        }));
    }
    Chain { name: "input".into(), base: base(ChainKind::Filter, Hook::Input, 0), rules }
}

fn from_this_machine(config: &Config) -> Rule {
    let source = vec![Match::SourceNet(Ipv4Net::from(config.host.address))];
    counted("this machine by its own address", source, Verdict::Accept)
}

fn own(config: &Config) -> Chain {
    let rules = vec![from_this_machine(config), counted("nobody else has business here", Vec::new(), Verdict::Drop)];
    Chain { name: OWN.into(), base: None, rules }
}

fn admitted(config: &Config) -> Chain {
    let network = &config.network;
    let from = |purpose: &str, net: Ipv4Net| counted(purpose, vec![Match::SourceNet(net)], Verdict::Accept);
    let mut rules: Vec<Rule> =
        network.admin_networks.iter().map(|net| from(&format!("administrators in {net}"), net.trunc())).collect();
    rules.push(from_this_machine(config));
    // Only by way of the bridge: others may have these addresses elsewhere.
    let by_bridge = |purpose: &str, net| {
        counted(purpose, vec![Match::InInterface(BRIDGE.into()), Match::SourceNet(net)], Verdict::Accept)
    };
    if network.is_routed_here() {
        rules.push(by_bridge("instances with a floating address", network.range));
        rules.push(by_bridge("instances", network.tenant_range));
    }
    rules.push(counted("nobody else reaches the cloud's own ports", Vec::new(), Verdict::Drop));
    Chain { name: ADMITTED.into(), base: None, rules }
}

fn forward(network: &NetworkAnswers) -> Chain {
    let (from_cloud, to_cloud) = (Match::InInterface(BRIDGE.into()), Match::OutInterface(BRIDGE.into()));
    let mut rules = vec![
        counted(
            "guests reach no metadata service beyond this machine",
            vec![from_cloud.clone(), Match::DestinationNet(LINK_LOCAL)],
            Verdict::Drop,
        ),
        rule("answers", vec![Match::Established], Verdict::Accept),
        rule("instances go out", vec![from_cloud.clone(), Match::SourceNet(network.range)], Verdict::Accept),
        counted("nobody in the cloud has another sender's address", vec![from_cloud], Verdict::Drop),
    ];
    match network.access {
        Access::Nat => {
            rules.extend(network.port_maps.iter().map(let_in));
            rules.push(counted("only chosen ports lead in", vec![to_cloud], Verdict::Drop));
        }
        Access::ProxyArp | Access::Routed => {
            let to_range = vec![to_cloud, Match::DestinationNet(network.range)];
            rules.push(counted("others reach instances", to_range, Verdict::Accept));
        }
        // Packets pass the bridge beside this machine; what arrives here has come the wrong way.
        Access::Bridged => {}
    }
    Chain { name: "forward".into(), base: base(ChainKind::Filter, Hook::Forward, 0), rules }
}

fn let_in(map: &PortMap) -> Rule {
    let matches = vec![
        Match::OutInterface(BRIDGE.into()),
        Match::DestinationNet(Ipv4Net::from(map.to)),
        Match::DestinationPort(map.transport, map.to_port),
    ];
    counted(format!("port map {map}"), matches, Verdict::Accept)
}

fn prerouting(config: &Config) -> Chain {
    let translate = |map: &PortMap| {
        let matches = vec![
            Match::DestinationNet(Ipv4Net::from(config.host.address)),
            Match::DestinationPort(map.transport, map.port),
        ];
        counted(format!("port map {map}"), matches, Verdict::Dnat(map.to, map.to_port))
    };
    let rules = config.network.port_maps.iter().map(translate).collect();
    Chain { name: "prerouting".into(), base: base(ChainKind::Nat, Hook::Prerouting, -100), rules }
}

/// Where instances have addresses that others cannot answer to. With proxy ARP one link's network knows them; where the
/// default route leaves by another link, nobody behind that does.
fn postrouting(config: &Config) -> Option<Chain> {
    let network = &config.network;
    let mut leaving = vec![Match::SourceNet(network.range), Match::NotOutInterface(BRIDGE.into())];
    match network.access {
        Access::Nat => {}
        Access::ProxyArp => leaving.push(Match::NotOutInterface(config.host.interface.as_str().into())),
        Access::Routed | Access::Bridged => return None,
    }
    let rules = vec![counted("instances go out by this machine's address", leaving, Verdict::Masquerade)];
    Some(Chain { name: "postrouting".into(), base: base(ChainKind::Nat, Hook::Postrouting, 100), rules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::engine::{Engine, native::Native};

    #[test]
    fn each_way_has_its_rules() {
        for access in Access::ALL {
            let mut config = sample();
            config.network.access = access;
            if access != Access::Nat {
                config.network.port_maps.clear();
            }
            insta::assert_snapshot!(access.name(), ruleset(&config, &Native.services(&config)).to_string());
        }
    }

    #[test]
    fn the_link_to_the_notebooks_is_closed_to_all_but_answers() {
        let mut config = sample();
        let before = ruleset(&config, &Native.services(&config));
        config.classroom.enabled = true;
        let table = ruleset(&config, &Native.services(&config));
        assert!(concerns_only_ports(&table));
        let text = |table: &Ruleset| table.to_string().lines().map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (text(&before), text(&table));
        let new: Vec<&str> = after.iter().filter(|line| !before.contains(line)).map(|line| line.trim()).collect();
        assert_eq!(new.len(), 3, "{new:?}");
        assert!(new.iter().all(|line| line.contains("gcportal0") && line.contains("drop")), "{new:?}");
        let input = table.chains.iter().find(|chain| chain.name == "input").unwrap();
        assert_eq!(input.rules[1].matches, [Match::Established]);
        assert_eq!(input.rules[2].matches, [Match::InInterface(CLASS_LINK.into())]);
    }

    #[test]
    fn our_own_tables_concern_only_ports_and_others_do_not() {
        let config = sample();
        let table = || ruleset(&config, &Native.services(&config));
        for access in Access::ALL {
            let mut config = sample();
            config.network.access = access;
            assert!(concerns_only_ports(&ruleset(&config, &Native.services(&config))), "{access:?}");
        }
        type Edit = fn(&mut Chain);
        let edits: [(&str, Edit); 4] = [
            ("policy", |chain| {
                chain.base = base(ChainKind::Filter, Hook::Input, 0).map(|b| Base { policy: Policy::Drop, ..b })
            }),
            ("drop", |chain| chain.rules.push(counted("all", Vec::new(), Verdict::Drop))),
            ("jump", |chain| chain.rules.push(counted("all", Vec::new(), Verdict::Jump(ADMITTED.into())))),
            ("ssh", |chain| {
                let to_ssh = vec![Match::DestinationPort(Transport::Tcp, SSH)];
                chain.rules.push(counted("ssh", to_ssh, Verdict::Jump(ADMITTED.into())));
            }),
        ];
        for (name, edit) in edits {
            let mut table = table();
            edit(table.chains.iter_mut().find(|chain| chain.name == "input").unwrap());
            assert!(!concerns_only_ports(&table), "{name}");
        }
    }

    #[test]
    fn ssh_is_no_port_of_the_cloud() {
        let config = sample();
        assert!(!open_ports(&Native.services(&config)).contains_key(&22));
    }
}
