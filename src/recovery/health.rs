//! The state of each layer: a unit that runs proves nothing, an answer does.

use crate::complaint::Complaint;
use crate::engine::probe::{self, Prober, ROUND_LIMIT};
use crate::engine::service::{Layer, Service};
use crate::host::{Host, systemd};
use crate::installation::Installation;
use crate::network::keep;
use serde::Serialize;

/// The health of one layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerHealth {
    /// Its name.
    pub name: &'static str,
    /// Whether all of it answers.
    pub healthy: bool,
    /// "6 services answer", or what does not.
    pub detail: String,
}

/// The health of each layer, asked at once.
pub fn layers(installation: &Installation) -> Vec<LayerHealth> {
    let services = installation.engine.services(&installation.config);
    let prober = installation.prober();
    let ask = move |host: &Host, service: &Service| works(host, &prober, service);
    let complaints = probe::ask_all(&installation.host, &services, ROUND_LIMIT, ask);
    let of_services = Layer::ALL
        .iter()
        .filter_map(|layer| of_layer(*layer, services.iter().zip(&complaints).filter(|(s, _)| s.layer == *layer)));
    of_services.chain([of_network(installation)]).collect()
}

fn of_network(installation: &Installation) -> LayerHealth {
    let complaint = match keep::missing(&installation.host, &installation.config) {
        Ok(missing) => missing.first().map(|change| format!("still to do: {change}")),
        Err(error) => Some(error.to_string()),
    };
    let access = installation.config.network.access;
    let detail = complaint.clone().unwrap_or_else(|| format!("{}: {}", access.name(), access.meaning()));
    LayerHealth { name: "network", healthy: complaint.is_none(), detail }
}

fn of_layer<'a>(
    layer: Layer,
    services: impl Iterator<Item = (&'a Service, &'a Option<Complaint>)>,
) -> Option<LayerHealth> {
    let all: Vec<_> = services.collect();
    if all.is_empty() {
        return None;
    }
    let complaints: Vec<String> =
        all.iter().filter_map(|(s, c)| c.as_ref().map(|c| format!("{}: {c}", s.id))).collect();
    let healthy = complaints.is_empty();
    let detail = if healthy {
        format!("{} answer", all.iter().map(|(s, _)| s.id).collect::<Vec<_>>().join(", "))
    } else {
        complaints.join("; ")
    };
    Some(LayerHealth { name: layer.name(), healthy, detail })
}

/// Whether a service works: its unit, and its answer.
fn works(host: &Host, prober: &Prober, service: &Service) -> probe::Answer {
    match systemd::unit(host, &service.unit) {
        Ok(status) if !status.is_active() => Err(Complaint::passing(format!("{} is {}", service.unit, status.active))),
        Err(error) => Err(Complaint::passing(error.to_string())),
        Ok(_) => prober.ask(host, &service.unit, &service.probe),
    }
}
