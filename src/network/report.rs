//! One page for the people of the campus network: what they are asked to reserve, route or open. Its text is here.

use super::rules::open_ports;
use crate::config::Config;
use crate::config::network::Access;
use crate::engine::service::Service;
use crate::facts::network::Network;
use serde_json::{Value, json};

/// What is asked of them, as a document.
pub fn document(config: &Config, facts: &Network, services: &[Service]) -> Value {
    let nics = facts.nics.iter().filter(|nic| is_seen_outside(config, &nic.name));
    json!({
        "access": config.network.access,
        "host": {"address": config.host.address, "interface": config.host.interface},
        "links": nics.map(|nic| json!({"name": nic.name, "mac": nic.mac})).collect::<Vec<_>>(),
        "requests": requests(config),
        "ports": open_ports(services).into_iter().map(|(port, (service, purpose))| {
            json!({"port": port, "service": service, "purpose": purpose})
        }).collect::<Vec<_>>(),
        "admin_networks": config.network.admin_networks,
        "port_maps": config.network.port_maps,
    })
}

fn is_seen_outside(config: &Config, link: &str) -> bool {
    link == config.host.interface.as_str() || config.network.bridge_links.iter().any(|other| other.as_str() == link)
}

/// The same as a page.
pub fn page(config: &Config, facts: &Network, services: &[Service]) -> String {
    let network = &config.network;
    let mut lines = vec![
        "Private cloud for teaching: what the campus network should know".to_owned(),
        String::new(),
        format!("Machine      {} ({}), link {}", config.host.name, config.host.address, config.host.interface),
        format!("Way          {}: {}", network.access.name(), network.access.meaning()),
    ];
    for nic in facts.nics.iter().filter(|nic| is_seen_outside(config, &nic.name)) {
        lines.push(format!("Card         {} {}", nic.name, nic.mac.as_deref().unwrap_or("without a hardware address")));
    }
    lines.push(String::new());
    lines.push("What is asked of you".into());
    lines.extend(requests(config).into_iter().map(|request| format!("  - {request}")));
    lines.push(String::new());
    lines.push("Ports of this machine".into());
    for (port, (service, purpose)) in open_ports(services) {
        lines.push(format!("  {port:>5}/tcp  {service} ({purpose}), for administrators only: {}", admins(config)));
    }
    lines.extend(
        network
            .port_maps
            .iter()
            .map(|map| format!("  {:>5}/{}  leads to {}:{}", map.port, map.transport, map.to, map.to_port)),
    );
    lines.push("     22/tcp  SSH, not touched by the cloud".into());
    lines.join("\n")
}

fn admins(config: &Config) -> String {
    let nets: Vec<String> = config.network.admin_networks.iter().map(ToString::to_string).collect();
    if nets.is_empty() { "nobody beyond this machine".into() } else { nets.join(", ") }
}

fn requests(config: &Config) -> Vec<String> {
    let (network, host) = (&config.network, config.host.address);
    let mut asked = vec![format!("Keep {host} for this machine: a fixed address or a reservation in the DHCP server")];
    match network.access {
        Access::Nat => asked.push("Nothing else: to you, all instances are this machine".into()),
        Access::ProxyArp => {
            asked.push(format!("Leave {} out of the DHCP server's range; nobody else may use it", network.range));
            asked.push(
                "Allow several addresses behind this machine's switch port (port security, dynamic ARP inspection)"
                    .into(),
            );
        }
        Access::Routed => {
            asked.push(format!("A route to {} by {host}, and back through firewalls in between", network.range))
        }
        Access::Bridged => {
            asked.push(format!("Leave {} of {} out of the DHCP server's range", network.pool, network.range));
            asked.push("Allow many hardware addresses at the second card's switch port (port security)".into());
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::engine::{Engine, native::Native};

    #[test]
    fn each_way_asks_for_something_else() {
        let pages = Access::ALL.map(|access| {
            let mut config = sample();
            config.network.access = access;
            page(&config, &Network::default(), &Native.services(&config))
        });
        insta::assert_snapshot!(pages.join("\n\n---\n\n"));
    }
}
