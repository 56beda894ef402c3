//! What the probes ask the cloud's APIs once they are logged in: a unit that runs, and even a service that Nova calls
//! "up", proves nothing for minutes.

use super::{ApiError, Session};
use serde::Deserialize;

/// A request with a token that each API must answer.
const REQUESTS: [(&str, &str); 5] = [
    ("identity", "/users?limit=1"),
    ("image", "/images?limit=1"),
    ("placement", "/resource_providers"),
    ("compute", "/flavors?limit=1"),
    ("network", "/networks?limit=1"),
];

/// Asks one API something that needs a token; `service` is its type in the catalog.
pub fn api(session: &Session, service: &str) -> Result<Option<String>, ApiError> {
    let request = REQUESTS.iter().find(|(name, _)| *name == service);
    let (_, path) = request.ok_or_else(|| ApiError::NoService(service.to_owned()))?;
    session.get::<serde_json::Value>(service, path).map(|_| None)
}

#[derive(Deserialize)]
struct ComputeServices {
    services: Vec<ComputeService>,
}

#[derive(Deserialize)]
struct ComputeService {
    host: String,
    state: String,
    status: String,
    updated_at: Option<String>,
}

/// What is wrong with the hypervisor `host`, if anything: it must be up, with a heartbeat newer than `since` (seconds
/// since 1970, UTC).
pub fn compute(session: &Session, host: &str, since: f64) -> Result<Option<String>, ApiError> {
    let found: ComputeServices = session.get("compute", "/os-services?binary=nova-compute")?;
    let Some(service) = found.services.iter().find(|service| service.host == host) else {
        return Ok(Some(format!("Nova knows no compute service on {host}")));
    };
    let beat = service.updated_at.as_deref().and_then(seconds).unwrap_or(0.0);
    Ok(match (service.status.as_str(), service.state.as_str()) {
        ("enabled", "up") if beat >= since => None,
        ("enabled", "up") => Some(format!("the compute service on {host} has not reported since its start")),
        ("enabled", state) => Some(format!("the compute service on {host} is {state}")),
        _ => Some(format!("the compute service on {host} is disabled")),
    })
}

/// Nova prints UTC without saying so: "2026-10-01T12:00:00.000000".
fn seconds(text: &str) -> Option<f64> {
    let stamp: jiff::Timestamp = format!("{}Z", text.trim_end_matches('Z')).parse().ok()?;
    Some(stamp.as_millisecond() as f64 / 1000.0)
}

#[derive(Deserialize)]
struct Agents {
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    host: String,
    agent_type: String,
    binary: String,
    alive: bool,
}

/// What is wrong with the OVN chassis and its agent on `host`, if anything: both must be alive.
pub fn network_agents(session: &Session, host: &str) -> Result<Option<String>, ApiError> {
    let found: Agents = session.get("network", "/agents")?;
    let complaint = |binary: &str| match found.agents.iter().find(|a| a.host == host && a.binary == binary) {
        None => Some(format!("Neutron knows no {binary} on {host}")),
        Some(agent) if !agent.alive => Some(format!("{} on {host} is not alive", agent.agent_type)),
        Some(_) => None,
    };
    Ok(["ovn-controller", "neutron-ovn-agent"].into_iter().find_map(complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn novas_time_is_utc() {
        assert_eq!(seconds("1970-01-01T00:01:00.500000"), Some(60.5));
    }
}
