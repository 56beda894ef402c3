//! TCP ports of the cloud against who listens on this machine.

use super::{Outcome, Subject};
use crate::facts::listeners::Listener;
use crate::finding::Finding;
use crate::host::nft::Transport;

/// Ports of the cloud that another program has; one of the administrator's own services may share its own.
pub(super) fn taken(s: &Subject) -> Outcome {
    s.seen.on_cloud_ports.judged(|listeners| listeners.iter().filter_map(|listener| taken_by(s, listener)).collect())
}

fn taken_by(s: &Subject, listener: &Listener) -> Option<Finding> {
    let ports = &s.seen.ports;
    let is_shared = |unit: &str| s.config.host.share_services && ports.iter().any(|port| port.unit == unit);
    if listener.unit.as_deref().is_some_and(is_shared) {
        return None;
    }
    let needed = ports.iter().find(|port| port.port == listener.port)?;
    let who = listener.program.as_deref().unwrap_or("an unknown program");
    let what = format!("port {}, which {} needs, is taken by {who}", listener.port, needed.service);
    let by_unit = listener.unit.as_deref().map(|unit| format!(": systemctl disable --now {unit}"));
    Some(Finding::stop("ports", what, format!("stop it{}", by_unit.unwrap_or_default())))
}

/// A port map takes a port away from whoever listens there: the cloud itself, or this machine's own SSH.
pub(super) fn maps(s: &Subject) -> Outcome {
    s.seen.on_mapped_ports.judged(|listeners| {
        let maps = s.config.network.port_maps.iter().filter(|map| map.transport == Transport::Tcp);
        let taken = maps.filter_map(|map| {
            let own = listeners.iter().find(|l| l.port == map.port && !l.address.is_loopback());
            let cloud = s.seen.ports.iter().find(|port| port.open && port.port == map.port);
            let who = cloud.map(|port| port.service.to_owned());
            let who = who.or_else(|| Some(own?.program.clone().unwrap_or_else(|| "a program".into())))?;
            let what = format!("network.port_maps: `{map}` would take port {} away from {who}", map.port);
            Some(Finding::stop("port-maps", what, "choose a port of this machine that nobody listens on"))
        });
        taken.collect()
    })
}
