//! What the probes ask the cloud's APIs once they are logged in: a unit that runs, and even a service that Nova calls
//! "up", proves nothing for minutes.

use super::devices::Inventories;
use super::{ApiError, Id, Session};
use crate::complaint::Complaint;
use serde::Deserialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long after its start nova-compute may take until Placement knows what it offers: it tells so at its start and
/// then every minute (`update_resources_interval`).
const SETTLING_SECONDS: f64 = 150.0;

/// A request with a token that each API must answer.
const REQUESTS: [(&str, &str); 6] = [
    ("identity", "/users?limit=1"),
    ("image", "/images?limit=1"),
    ("placement", "/resource_providers"),
    ("compute", "/flavors?limit=1"),
    ("network", "/networks?limit=1"),
    ("block-storage", "/volumes?limit=1"),
];

/// Asks one API something that needs a token; `service` is its type in the catalog.
pub fn api(session: &Session, service: &str) -> Result<Option<Complaint>, ApiError> {
    let request = REQUESTS.iter().find(|(name, _)| *name == service);
    let (_, path) = request.ok_or_else(|| ApiError::NoService(service.to_owned()))?;
    session.get::<serde_json::Value>(service, path).map(|_| None)
}

#[derive(Deserialize)]
struct ListedServices {
    services: Vec<ListedService>,
}

/// A service that reports to Nova or Cinder, as both list it.
#[derive(Deserialize)]
struct ListedService {
    /// "gpubox"; Cinder's with its backend, "gpubox@lvm".
    host: String,
    state: String,
    status: String,
    updated_at: Option<String>,
    #[serde(default)]
    disabled_reason: Option<String>,
    /// Nova's only.
    #[serde(default)]
    forced_down: bool,
}

impl ListedService {
    /// Whether it has reported at `since` or later.
    fn has_reported(&self, since: f64) -> bool {
        self.updated_at.as_deref().and_then(seconds).unwrap_or(0.0) >= since
    }
}

/// What is wrong with the hypervisor `host`, if anything: it must be up, with a heartbeat newer than `since` (seconds
/// since 1970, UTC), and Placement must know what it offers: else the scheduler finds no host, whatever the flavor. One
/// that a person has disabled is only told.
pub fn compute(session: &Session, host: &str, since: f64) -> Result<Option<Complaint>, ApiError> {
    let found = services(session)?;
    let Some(service) = found.iter().find(|service| service.host == host) else {
        return Ok(Some(Complaint::passing(format!("Nova knows no compute service on {host}"))));
    };
    if let Some(complaint) = service.silence(since) {
        return Ok(Some(complaint));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    if let Some(complaint) = service.closed() {
        return Ok(Some(complaint));
    }
    Ok(offer(session, host)?.map(|what| match now - since < SETTLING_SECONDS {
        true => Complaint::passing(what),
        false => Complaint::lasting(what),
    }))
}

/// Why no hypervisor takes an instance, if none does; for whoever was told that there is no valid host.
pub fn hypervisors(session: &Session) -> Result<Option<Complaint>, ApiError> {
    let found = services(session)?;
    let mut first = found.is_empty().then(|| Complaint::lasting("Nova knows no compute service"));
    for service in &found {
        match service.silence(0.0).or_else(|| service.closed()) {
            Some(complaint) => first = first.or(Some(complaint)),
            None => match offer(session, &service.host)? {
                Some(what) => first = first.or_else(|| Some(Complaint::lasting(what))),
                None => return Ok(None),
            },
        }
    }
    Ok(first)
}

fn services(session: &Session) -> Result<Vec<ListedService>, ApiError> {
    Ok(session.get::<ListedServices>("compute", "/os-services?binary=nova-compute")?.services)
}

impl ListedService {
    /// Why nobody hears of it.
    fn silence(&self, since: f64) -> Option<Complaint> {
        let host = &self.host;
        let up_again =
            format!("openstack compute service set --up {host} nova-compute (as the administrator of the cloud)");
        if self.forced_down {
            let what = format!("somebody told Nova that the compute service on {host} is down (forced down)");
            return Some(Complaint::lasting(what).mended_by(up_again));
        }
        match self.state.as_str() {
            "up" if self.has_reported(since) => None,
            "up" => Some(Complaint::passing(format!("the compute service on {host} has not reported since its start"))),
            state => Some(Complaint::passing(format!("the compute service on {host} is {state}"))),
        }
    }

    /// Why it takes no new instance. Nova disables one itself when libvirt is lost, and says so in front of its reason
    /// (`DISABLE_PREFIX` in nova/virt/libvirt/driver.py).
    fn closed(&self) -> Option<Complaint> {
        if self.status == "enabled" {
            return None;
        }
        let (host, reason) = (&self.host, self.disabled_reason.as_deref().unwrap_or_default());
        let enable =
            format!("openstack compute service set --enable {host} nova-compute (as the administrator of the cloud)");
        Some(match reason.strip_prefix("AUTO: ") {
            Some(why) => Complaint::passing(format!("Nova disabled the compute service on {host} itself")).seen(why),
            None => Complaint::wanted(format!("somebody disabled the compute service on {host}: no new instances"))
                .seen(reason)
                .mended_by(enable),
        })
    }
}

/// What is wrong with the program `binary` of Cinder on `host`, if anything: it must be up, with a heartbeat newer than
/// `since` (seconds since 1970, UTC). One that a person has disabled is only told.
pub fn volumes(session: &Session, binary: &str, host: &str, since: f64) -> Result<Option<Complaint>, ApiError> {
    let found: ListedServices = session.get("block-storage", &format!("/os-services?binary={binary}"))?;
    let here = |service: &&ListedService| service.host.split('@').next() == Some(host);
    Ok(match found.services.iter().find(here) {
        None => Some(Complaint::passing(format!("Cinder knows no {binary} on {host}"))),
        Some(service) => service.complaint(binary, since),
    })
}

impl ListedService {
    /// What Cinder says against its program `binary`.
    fn complaint(&self, binary: &str, since: f64) -> Option<Complaint> {
        let host = &self.host;
        match self.state.as_str() {
            "up" if !self.has_reported(since) => {
                Some(Complaint::passing(format!("{binary} on {host} has not reported since its start")))
            }
            "up" if self.status == "enabled" => None,
            "up" => {
                let what = format!("somebody disabled {binary} on {host}: no new volumes");
                let enable = format!(
                    "openstack volume service set --enable {host} {binary} (as the administrator of the cloud)"
                );
                Some(
                    Complaint::wanted(what).seen(self.disabled_reason.as_deref().unwrap_or_default()).mended_by(enable),
                )
            }
            state => Some(Complaint::passing(format!("{binary} on {host} is {state}"))),
        }
    }
}

#[derive(Deserialize)]
struct Hypervisors {
    hypervisors: Vec<Hypervisor>,
}

#[derive(Deserialize, Clone)]
struct Hypervisor {
    id: Id,
    hypervisor_hostname: String,
}

impl Hypervisor {
    /// The one of `host`; libvirt may call it by its full name, or by one that the machine got later. (The list that
    /// names hosts asks each hypervisor for its load, by the queue.)
    fn of(host: &str, all: &[Self]) -> Option<Self> {
        let short = |name: &str| name.split('.').next().map(str::to_owned);
        let same = all.iter().find(|found| short(&found.hypervisor_hostname) == short(host));
        same.or_else(|| all.first().filter(|_| all.len() == 1)).cloned()
    }
}

#[derive(Deserialize)]
struct Traits {
    traits: Vec<String>,
}

/// The trait of a provider that the scheduler leaves out (nova/scheduler/request_filter.py).
const DISABLED_TRAIT: &str = "COMPUTE_STATUS_DISABLED";

/// Why nothing on `host` can be placed, if so. A hypervisor's resource provider has its id
/// (nova/compute/resource_tracker.py).
fn offer(session: &Session, host: &str) -> Result<Option<String>, ApiError> {
    let found: Hypervisors = session.get("compute", "/os-hypervisors")?;
    let Some(hypervisor) = Hypervisor::of(host, &found.hypervisors) else {
        return Ok(Some(format!("Nova has no hypervisor of {host}")));
    };
    let name = &hypervisor.hypervisor_hostname;
    let of_provider = |what: &str| format!("/resource_providers/{}/{what}", hypervisor.id);
    let asked: Result<Inventories, _> = session.get("placement", &of_provider("inventories"));
    let missing = |kind: &&str, found: &Inventories| found.inventories.get(*kind).is_none_or(|of| of.total == 0);
    match asked {
        Err(error) if error.is_not_found() => {
            Ok(Some(format!("Placement has no resource provider of hypervisor {name}: no instance finds a host")))
        }
        Err(error) => Err(error),
        Ok(found) if let Some(kind) = ["VCPU", "MEMORY_MB"].iter().find(|kind| missing(kind, &found)) => {
            Ok(Some(format!("hypervisor {name} offers no {kind} to Placement: no instance finds a host")))
        }
        Ok(_) => {
            let found: Traits = session.get("placement", &of_provider("traits"))?;
            let is_disabled = found.traits.iter().any(|name| name == DISABLED_TRAIT);
            Ok(is_disabled.then(|| format!("Placement holds hypervisor {name} for disabled, Nova does not")))
        }
    }
}

/// Nova and Cinder print UTC without saying so: "2026-10-01T12:00:00.000000".
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
pub fn network_agents(session: &Session, host: &str) -> Result<Option<Complaint>, ApiError> {
    let found: Agents = session.get("network", "/agents")?;
    let complaint = |binary: &str| match found.agents.iter().find(|a| a.host == host && a.binary == binary) {
        None => Some(format!("Neutron knows no {binary} on {host}")),
        Some(agent) if !agent.alive => Some(format!("{} on {host} is not alive", agent.agent_type)),
        Some(_) => None,
    };
    Ok(["ovn-controller", "neutron-ovn-agent"].into_iter().find_map(complaint).map(Complaint::passing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(more: &str) -> ListedService {
        let text = format!(r#"{{"host":"box","state":"up","updated_at":"2026-10-01T12:00:00.000000",{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn who_disabled_it_decides_whether_it_is_damage() {
        let auto = service(r#""status":"disabled","disabled_reason":"AUTO: Connection to libvirt lost: 1""#).closed();
        let auto = auto.unwrap();
        assert!(auto.grave && auto.wait && auto.evidence.contains("libvirt lost"), "{auto:?}");
        let person = service(r#""status":"disabled","disabled_reason":"new disk""#).closed().unwrap();
        assert!(!person.grave && person.evidence == "new disk" && person.next.contains("--enable box"), "{person:?}");
        assert_eq!(service(r#""status":"enabled","disabled_reason":null"#).closed(), None);
    }

    #[test]
    fn a_service_that_is_silent_is_waited_for_one_that_was_forced_down_is_not() {
        let enabled = r#""status":"enabled","disabled_reason":null"#;
        let since = seconds("2026-10-01T12:00:00.000000").unwrap();
        assert_eq!(service(enabled).silence(since), None);
        assert!(service(enabled).silence(since + 1.0).unwrap().wait);
        let forced = service(&format!(r#"{enabled},"forced_down":true"#)).silence(since).unwrap();
        assert!(!forced.wait && forced.next.contains("--up box"), "{forced:?}");
    }

    #[test]
    fn a_volume_service_works_once_it_has_reported_since_its_start() {
        let service = |state: &str, status: &str| -> ListedService {
            let text = format!(
                r#"{{"host":"box@lvm","state":"{state}","status":"{status}","updated_at":"2026-10-01T12:00:00.000000"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let since = seconds("2026-10-01T12:00:00.000000").unwrap();
        let said = |service: ListedService, since| service.complaint("cinder-volume", since);
        assert_eq!(said(service("up", "enabled"), since), None);
        assert!(said(service("up", "enabled"), since + 1.0).unwrap().wait);
        assert!(said(service("down", "enabled"), since).unwrap().what.ends_with("is down"));
        let disabled = said(service("up", "disabled"), since).unwrap();
        assert!(!disabled.grave && disabled.next.contains("--enable box@lvm cinder-volume"), "{disabled:?}");
    }

    #[test]
    fn novas_time_is_utc() {
        assert_eq!(seconds("1970-01-01T00:01:00.500000"), Some(60.5));
    }
}
