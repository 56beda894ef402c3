//! What a notebook may reach, and who reaches it on which port, as rules of its security group. Pure.
//!
//! Only this machine's port in the classroom's network reaches a notebook. A notebook reaches the world, but for this
//! machine itself and for link-local addresses: Nova serves at 169.254.169.254, to everybody in the instance, what the
//! notebook is told at its first boot, its token among it.

use crate::config::Config;
use crate::config::classroom::ClassroomAnswers;
use crate::config::rule::{Direction, Family, Protocol, Rule};
use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};
use std::net::Ipv4Addr;

/// Where JupyterLab answers.
pub const JUPYTER: u16 = 8888;
/// Where this machine logs in.
pub const SSH: u16 = 22;
const DNS: u16 = 53;
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// The classroom's network.
pub fn subnet(config: &Config) -> Ipv4Net {
    ClassroomAnswers::subnet(&config.network.tenant_range)
}

/// This machine's address in it: the last one, which nobody is given before all others are taken.
pub fn portal(config: &Config) -> Ipv4Addr {
    subnet(config).hosts().last().unwrap_or_else(|| subnet(config).addr())
}

/// The rules of notebooks.
pub fn rules(config: &Config) -> Vec<Rule> {
    let portal = Ipv4Net::from(portal(config));
    let rule = |direction, protocol, port: Option<u16>, remote: Ipv4Net| Rule {
        direction,
        family: Family::V4,
        protocol,
        ports: port.map(|port| (port, port)),
        remote: Some(IpNet::V4(remote)).filter(|net| net.prefix_len() > 0),
    };
    let mut rules: Vec<Rule> = [SSH, JUPYTER].map(|port| rule(Direction::In, Protocol::Tcp, Some(port), portal)).into();
    let closed = closed(config);
    rules.extend(all_but(&closed).into_iter().map(|net| rule(Direction::Out, Protocol::Any, None, net)));
    // A name server may be this machine itself.
    for server in config.network.dns.iter().filter(|server| closed.iter().any(|net| net.contains(*server))) {
        let server = Ipv4Net::from(*server);
        rules.extend([Protocol::Udp, Protocol::Tcp].map(|protocol| rule(Direction::Out, protocol, Some(DNS), server)));
    }
    rules
}

/// Where no notebook gets to.
fn closed(config: &Config) -> Vec<Ipv4Net> {
    let mut own = vec![config.host.address, portal(config)];
    own.extend(config.network.is_routed_here().then_some(config.network.gateway));
    own.into_iter().map(Ipv4Net::from).chain([LINK_LOCAL]).collect()
}

/// Everywhere but in `closed`, as the fewest networks.
fn all_but(closed: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut ends: Vec<(u32, u32)> =
        closed.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
    ends.sort_unstable();
    let (mut open, mut next) = (Vec::new(), Some(0_u32));
    for (first, last) in ends {
        if let Some(from) = next.filter(|from| *from < first) {
            open.extend(Ipv4Subnets::new(Ipv4Addr::from_bits(from), Ipv4Addr::from_bits(first - 1), 0));
        }
        next = next.and_then(|from| Some(from.max(last.checked_add(1)?)));
    }
    if let Some(from) = next {
        open.extend(Ipv4Subnets::new(Ipv4Addr::from_bits(from), Ipv4Addr::BROADCAST, 0));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use proptest::prelude::*;

    #[test]
    fn only_the_portal_leads_in() {
        let config = sample();
        let rules = rules(&config);
        let ways_in: Vec<String> =
            rules.iter().filter(|rule| rule.direction == Direction::In).map(ToString::to_string).collect();
        let portal = portal(&config);
        assert_eq!(ways_in, [format!("in tcp 22 from {portal}/32"), format!("in tcp 8888 from {portal}/32")]);
    }

    #[test]
    fn the_world_is_reached_and_this_machine_is_not() {
        let config = sample();
        let rules = rules(&config);
        let lets_out = |address: Ipv4Addr| {
            let any = |rule: &&Rule| rule.direction == Direction::Out && rule.protocol == Protocol::Any;
            let mut all = rules.iter().filter(any);
            all.any(|rule| rule.remote.is_none_or(|net| net.contains(&std::net::IpAddr::V4(address))))
        };
        for open in ["8.8.8.8", "1.1.1.1", "255.255.255.254", "0.0.0.1"] {
            assert!(lets_out(open.parse().unwrap()), "{open}");
        }
        for shut in [config.host.address, config.network.gateway, portal(&config), Ipv4Addr::new(169, 254, 169, 254)] {
            assert!(!lets_out(shut), "{shut}");
        }
    }

    #[test]
    fn a_name_server_on_this_machine_answers_names_and_nothing_else() {
        let mut config = sample();
        config.network.dns = vec![config.host.address];
        let text: Vec<String> = rules(&config).iter().map(ToString::to_string).collect();
        for protocol in ["udp", "tcp"] {
            assert!(text.contains(&format!("out {protocol} 53 to {}/32", config.host.address)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_either_open_or_closed(
            closed in prop::collection::vec((any::<u32>(), 8_u8..=32), 0..5),
            asked in any::<u32>(),
        ) {
            let closed: Vec<Ipv4Net> =
                closed.iter().map(|(bits, size)| Ipv4Net::new_assert(Ipv4Addr::from_bits(*bits), *size).trunc()).collect();
            let open = all_but(&closed);
            let ends = closed.iter().flat_map(|net| [net.network().to_bits(), net.broadcast().to_bits()]);
            let near = ends.flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)]);
            for address in near.chain([asked]).map(Ipv4Addr::from_bits) {
                let is_in = |nets: &[Ipv4Net]| nets.iter().any(|net| net.contains(&address));
                prop_assert_ne!(is_in(&open), is_in(&closed), "{}", address);
            }
        }
    }
}
