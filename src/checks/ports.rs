//! TCP ports of the cloud against who listens on this machine.

use crate::config::network::PortMap;
use crate::engine::service::Service;
use crate::facts::listeners::Listener;
use crate::finding::Finding;
use crate::host::nft::Transport;
use std::collections::BTreeMap;

/// Ports of the service table that another program has; one of the administrator's own services may share its own.
pub fn taken(listeners: &[Listener], services: &[Service], share_services: bool) -> Vec<Finding> {
    let needed = |port: u16| services.iter().find(|s| s.listens.iter().any(|listen| listen.port == port));
    let shared = |unit: &str| share_services && services.iter().any(|service| service.unit == unit);
    let taken = listeners.iter().filter(|l| !l.unit.as_deref().is_some_and(shared)).filter_map(|listener| {
        let who = listener.program.as_deref().unwrap_or("an unknown program");
        let what = format!("port {}, which {} needs, is taken by {who}", listener.port, needed(listener.port)?.id);
        let by_unit = listener.unit.as_deref().map(|unit| format!(": systemctl disable --now {unit}"));
        Some(Finding::stop("ports", what, format!("stop it{}", by_unit.unwrap_or_default())))
    });
    taken.collect()
}

/// A port map takes a port away from whoever listens there: the cloud itself, or this machine's own SSH. `cloud` are the
/// cloud's open ports, each with its service and purpose.
pub fn maps(
    maps: &[PortMap],
    listeners: &[Listener],
    cloud: &BTreeMap<u16, (&'static str, &'static str)>,
) -> Vec<Finding> {
    let taken = maps.iter().filter(|map| map.transport == Transport::Tcp).filter_map(|map| {
        let own = listeners.iter().find(|l| l.port == map.port && !l.address.is_loopback());
        let who = cloud.get(&map.port).map(|(service, _)| (*service).to_owned());
        let who = who.or_else(|| Some(own?.program.clone().unwrap_or_else(|| "a program".into())))?;
        let what = format!("network.port_maps: `{map}` would take port {} away from {who}", map.port);
        Some(Finding::stop("port-maps", what, "choose a port of this machine that nobody listens on"))
    });
    taken.collect()
}
