//! Why Nova found no host for an instance: its fault does not say whether there is a hypervisor at all, nor which
//! filter said no. The APIs tell the first, the scheduler's log the second.

use super::{ApiError, PROBE_LIMIT, clouds, health};
use crate::complaint::Complaint;
use crate::host::Host;
use crate::host::command::Command;

/// The scheduler's units of both engines.
const UNITS: [&str; 2] = ["--unit=gpucloud-nova-scheduler.service", "--unit=devstack@n-sch.service"];

/// The same error; where it is about a missing host, with what is wrong with the hypervisor, else with the scheduler's
/// own line, as far as whoever calls may read clouds.yaml and the log.
pub fn explained(host: &Host, error: ApiError) -> ApiError {
    match error {
        ApiError::Fault { instance, message, .. } if message.contains("No valid host was found") => {
            match no_hypervisor(host) {
                Some(complaint) => ApiError::NoHypervisor { instance, message, complaint: Box::new(complaint) },
                None => ApiError::Fault { instance, message, scheduler: scheduler_said(host) },
            }
        }
        other => other,
    }
}

/// A project's user may not ask for hypervisors: the administrator does.
fn no_hypervisor(host: &Host) -> Option<Complaint> {
    let admin = clouds::session(host, &clouds::ADMINISTRATORS).ok()?;
    admin.ask(|session| health::hypervisors(&session.within(PROBE_LIMIT))).ok()?
}

fn scheduler_said(host: &Host) -> Option<String> {
    let journal = Command::new("journalctl").args(UNITS).args(["--since=-5min", "--output=cat", "--no-pager"]);
    said(&journal.quiet().read(host).ok()?)
}

/// The last refusal in a log of nova-scheduler: a filter, or Placement before any filter (nova/filters.py,
/// nova/scheduler/manager.py).
fn said(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        if let Some((before, _)) = line.split_once(" returned 0 hosts") {
            let name = before.rsplit("Filter ").next().unwrap_or(before);
            return Some(format!("nova-scheduler: {name} left no host"));
        }
        let placement = line.contains("Got no allocation candidates from the Placement API");
        placement
            .then(|| "nova-scheduler: Placement has no host with so many vCPUs, so much memory and disk".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusal_is_named() {
        let filter = "INFO nova.filters [None req-1 admin demo] Filter PciPassthroughFilter returned 0 hosts";
        let placement = "INFO nova.scheduler.manager [req-2] Got no allocation candidates from the Placement API. This";
        assert_eq!(said(filter).unwrap(), "nova-scheduler: PciPassthroughFilter left no host");
        assert!(said(&format!("{filter}\n{placement}\nother")).unwrap().contains("Placement"));
        assert_eq!(said("nothing"), None);
    }
}
