//! The state of each layer: a unit that runs proves nothing, an answer does.

use crate::classroom::health as notebooks;
use crate::complaint::Complaint;
use crate::engine::probe::{self, Prober, ROUND_LIMIT};
use crate::engine::service::{Answer, Layer, Probe, Service};
use crate::gpu::health as cards;
use crate::host::{Host, systemd};
use crate::installation::Installation;
use crate::network::keep;
use crate::portal::meter;
use serde::Serialize;
use std::net::Ipv4Addr;
use std::path::Path;

/// The health of one layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerHealth {
    /// Its name.
    pub name: &'static str,
    /// Whether all of it works.
    pub healthy: bool,
    /// "6 services answer", or what does not; what a person has switched off on purpose.
    pub detail: String,
    /// What to do about it, where that is known; may be empty.
    pub next: String,
    /// What each service complains of: its name, and the complaint.
    #[serde(skip)]
    pub complaints: Vec<(&'static str, Complaint)>,
}

impl LayerHealth {
    /// A layer whose services are silent on `content`, or complain.
    pub(super) fn new(name: &'static str, content: String, complaints: Vec<(&'static str, Complaint)>) -> Self {
        let (grave, told): (Vec<_>, Vec<_>) = complaints.iter().partition(|(_, complaint)| complaint.grave);
        let healthy = grave.is_empty();
        let words = |of: &[&(&str, Complaint)]| of.iter().map(|(id, c)| format!("{id}: {c}")).collect::<Vec<_>>();
        let mut parts = if healthy { vec![content] } else { words(&grave) };
        parts.extend(words(&told));
        let next = grave.iter().map(|(_, complaint)| complaint.next.clone()).find(|next| !next.is_empty());
        Self { name, healthy, detail: parts.join("; "), next: next.unwrap_or_default(), complaints }
    }
}

/// The health of each layer, asked at once.
pub fn layers(installation: &Installation) -> Vec<LayerHealth> {
    let services = installation.engine.services(&installation.config);
    let complaints = complaints(installation, &services);
    let address = installation.config.host.address;
    let page = || students_open(installation, address);
    let of_services = Layer::ALL.iter().filter_map(|layer| {
        let content = (*layer == Layer::Portal).then(page);
        of_layer(*layer, content, services.iter().zip(&complaints).filter(|(s, _)| s.layer == *layer))
    });
    of_services
        .chain([of_network(installation)])
        .chain(of_cards(installation))
        .chain(of_notebooks(installation))
        .collect()
}

fn students_open(installation: &Installation, address: Ipv4Addr) -> String {
    let config = &installation.config;
    let here = format!("students open {}", config.portal.url(address));
    let Some(outside) = config.tunnel.url().filter(|_| config.tunnel.is_wanted(&config.portal, &config.classroom))
    else {
        return here;
    };
    let used = meter::noted(&installation.host, Path::new(meter::FILE));
    match config.tunnel.requests {
        0 => format!("{here}, from outside {outside}"),
        all => format!("{here}, from outside {outside} ({} of {all} requests in {})", used.requests, used.month),
    }
}

/// The first complaint of database, queue or cache; else of the hypervisor: why calls of the cloud are not answered.
pub fn cause(installation: &Installation) -> Option<(&'static str, Complaint)> {
    first(installation, |service| service.layer == Layer::Foundation || service.probe == Probe::Compute, |it| it.grave)
}

/// The first complaint of database, queue or cache for which waiting does not help: nothing above can be brought back.
pub fn hopeless(installation: &Installation) -> Option<(&'static str, Complaint)> {
    first(installation, |service| service.layer == Layer::Foundation, |it| it.grave && !it.wait)
}

fn first(
    installation: &Installation,
    asked: impl Fn(&Service) -> bool,
    counts: impl Fn(&Complaint) -> bool,
) -> Option<(&'static str, Complaint)> {
    let mut services = installation.engine.services(&installation.config);
    services.retain(asked);
    let complaints = complaints(installation, &services);
    let mut all = services.iter().map(|service| service.id).zip(complaints);
    all.find_map(|(id, complaint)| Some((id, complaint.filter(&counts)?)))
}

/// What to do where the layers are as they are: the lowest one's advice.
pub fn next(layers: &[LayerHealth]) -> &str {
    let known = layers.iter().map(|layer| layer.next.as_str()).find(|next| !next.is_empty());
    known.unwrap_or("gpucloud-install doctor")
}

fn complaints(installation: &Installation, services: &[Service]) -> Vec<Option<Complaint>> {
    let prober = installation.prober();
    let ask = move |host: &Host, service: &Service| works(host, &prober, service);
    probe::ask_all(&installation.host, services, ROUND_LIMIT, ask)
}

fn of_network(installation: &Installation) -> LayerHealth {
    let complaint = match keep::missing(&installation.host, &installation.config) {
        Ok(missing) => missing.first().map(|change| format!("still to do: {change}")),
        Err(error) => Some(error.to_string()),
    };
    let access = installation.config.network.access;
    let complaints = complaint.map(|what| ("network", Complaint::passing(what))).into_iter().collect();
    LayerHealth::new("network", format!("{}: {}", access.name(), access.meaning()), complaints)
}

/// The cards that are claimed, where some are.
fn of_cards(installation: &Installation) -> Option<LayerHealth> {
    match cards::cards(&installation.host, installation.cloud_admin()) {
        Ok(cards) if cards.is_empty() => None,
        Ok(cards) => {
            let complaints = cards.iter().filter_map(|card| Some(("gpu", card.complaint.clone()?))).collect();
            Some(LayerHealth::new("gpu", cards::in_words(&cards), complaints))
        }
        Err(error) => {
            Some(LayerHealth::new("gpu", String::new(), vec![("gpu", Complaint::lasting(error.to_string()))]))
        }
    }
}

/// The notebooks, where the cloud has some.
fn of_notebooks(installation: &Installation) -> Option<LayerHealth> {
    let (content, complaints) = match installation.classroom() {
        Ok(None) => return None,
        Ok(Some(room)) => match notebooks::look(&installation.host, &room) {
            Ok(health) => (health.in_words(), health.complaints),
            Err(error) => (String::new(), vec![Complaint::passing(error.to_string())]),
        },
        Err(failure) => (String::new(), vec![Complaint::lasting(failure.what)]),
    };
    let complaints = complaints.into_iter().map(|complaint| ("notebooks", complaint)).collect();
    Some(LayerHealth::new("notebooks", content, complaints))
}

fn of_layer<'a>(
    layer: Layer,
    content: Option<String>,
    services: impl Iterator<Item = (&'a Service, &'a Option<Complaint>)>,
) -> Option<LayerHealth> {
    let all: Vec<_> = services.collect();
    let answer = || format!("{} answer", all.iter().map(|(s, _)| s.id).collect::<Vec<_>>().join(", "));
    let content = content.unwrap_or_else(answer);
    let complaints = all.iter().filter_map(|(s, c)| Some((s.id, (*c).clone()?))).collect();
    (!all.is_empty()).then(|| LayerHealth::new(layer.name(), content, complaints))
}

/// Whether a service works: its unit, and its answer.
fn works(host: &Host, prober: &Prober, service: &Service) -> Answer {
    match systemd::unit(host, &service.unit) {
        Ok(status) if !status.is_active() => {
            let what = format!("{} is {}", service.unit, status.active);
            Err(Complaint::passing(what).mended_by("gpucloud-install recover"))
        }
        Err(error) => Err(Complaint::passing(error.to_string())),
        Ok(_) => prober.ask(host, service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(complaints: Vec<(&'static str, Complaint)>) -> LayerHealth {
        LayerHealth::new("foundation", "mariadb, rabbitmq answer".into(), complaints)
    }

    #[test]
    fn what_a_person_wants_so_is_told_and_is_no_damage() {
        let wanted = layer(vec![("nova-compute", Complaint::wanted("somebody disabled it").mended_by("enable it"))]);
        assert!(wanted.healthy && wanted.next.is_empty());
        assert_eq!(wanted.detail, "mariadb, rabbitmq answer; nova-compute: somebody disabled it");
    }

    #[test]
    fn the_lowest_known_advice_is_the_one_to_follow() {
        let silent = layer(vec![("mariadb", Complaint::passing("it is silent"))]);
        let alarm = layer(vec![("rabbitmq", Complaint::lasting("it blocks all senders").mended_by("free space"))]);
        assert!(!silent.healthy && !alarm.healthy);
        assert_eq!(next(&[silent.clone(), alarm]), "free space");
        assert_eq!(next(&[silent]), "gpucloud-install doctor");
    }
}
