//! Why Nova could not build an instance, where its fault does not say it: whether there is a hypervisor at all, and
//! enough cards (the APIs tell), which filter left no host (the scheduler's log), or why the only host gave up (nova-compute's).

use super::explain::Fault;
use super::{ApiError, PROBE_LIMIT, clouds, devices, health};
use crate::complaint::Complaint;
use crate::host::Host;
use crate::host::command::Command;

/// The scheduler's units of both engines.
const SCHEDULER: [&str; 2] = ["--unit=gpucloud-nova-scheduler.service", "--unit=devstack@n-sch.service"];
/// Those of nova-compute.
const COMPUTE: [&str; 2] = ["--unit=gpucloud-nova-compute.service", "--unit=devstack@n-cpu.service"];
/// What Nova says where it found no host.
const NO_HOST: &str = "No valid host was found";
/// How long after its order Nova has given up, in seconds.
const GIVEN_UP: i64 = 900;

/// The same error; where it is about a missing host, with what is wrong with the hypervisor; else with the line of a log
/// that has the cause where the fault only says that Nova gave up. As far as whoever calls may read clouds.yaml and the
/// log.
pub fn explained(host: &Host, error: ApiError) -> ApiError {
    match error {
        ApiError::Fault(fault) if fault.message.contains(NO_HOST) => match no_hypervisor(host) {
            Some(complaint) => ApiError::NoHypervisor { fault, complaint: Box::new(complaint) },
            None => ApiError::Fault(Box::new(looked_up(host, *fault))),
        },
        ApiError::Fault(fault) => ApiError::Fault(Box::new(looked_up(host, *fault))),
        other => other,
    }
}

/// The same fault, likewise.
pub fn looked_up(host: &Host, fault: Fault) -> Fault {
    let message = &fault.message;
    // Build failures that are not told to the user: nova/compute/manager.py, nova/conductor/manager.py.
    let gave_up = message.contains("Exceeded maximum number of retries") || message.contains("Build of instance");
    let log = if message.contains(NO_HOST) {
        lacks_devices(host, &fault).or_else(|| logged(host, &SCHEDULER, &fault).and_then(|log| said(&log)))
    } else if gave_up {
        logged(host, &COMPUTE, &fault).and_then(|log| failed(&log, fault.id.as_str()))
    } else {
        None
    };
    Fault { log, ..fault }
}

/// What units logged while Nova was at the instance.
fn logged(host: &Host, units: &[&str], fault: &Fault) -> Option<String> {
    let created: jiff::Timestamp = fault.created.parse().ok()?;
    let since = format!("--since=@{}", created.as_second());
    let until = format!("--until=@{}", created.as_second() + GIVEN_UP);
    let journal = Command::new("journalctl")
        .args(units.iter().copied())
        .args([&since, &until])
        .args(["--output=cat", "--no-pager"]);
    journal.quiet().read(host).ok()
}

/// The last exception of a log of nova-compute about an instance: each line of its traceback has the instance's id in
/// front (nova's logging_exception_prefix), the last one the exception.
fn failed(log: &str, id: &str) -> Option<String> {
    let prefix = format!("[instance: {id}] ");
    let exception = |line: &str| {
        let (_, text) = line.split_once(&prefix)?;
        let (name, words) = text.split_once(": ")?;
        let is_class = name.contains('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
        let class = name.rsplit('.').next().unwrap_or(name);
        is_class.then(|| format!("nova-compute: {class}: {}", words.trim()))
    };
    // What comes last only says that it is given up.
    let mut exceptions = log.lines().rev().filter_map(exception).filter(|line| !line.contains("was re-scheduled"));
    exceptions.next()
}

/// A project's user may not ask for hypervisors: the administrator does.
fn no_hypervisor(host: &Host) -> Option<Complaint> {
    let admin = clouds::session(host, &clouds::ADMINISTRATORS).ok()?;
    admin.ask(|session| health::hypervisors(&session.within(PROBE_LIMIT))).ok()?
}

/// Whether it is cards that are short: the administrator may ask for what others have.
fn lacks_devices(host: &Host, fault: &Fault) -> Option<String> {
    let admin = clouds::session(host, &clouds::ADMINISTRATORS).ok()?;
    admin.ask(|session| devices::shortage(&session.within(PROBE_LIMIT), &fault.id)).ok()?
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
    fn the_exception_of_an_instance_is_named() {
        let line =
            |id: &str, text: &str| format!("ERROR nova.compute.manager [None req-1 demo demo] [instance: {id}] {text}");
        let log = [
            line(
                "a",
                "Instance failed network setup after 1 attempt(s): neutronclient.common.exceptions.BadRequest: x",
            ),
            line("a", "Traceback (most recent call last):"),
            line("a", "  File \"/x.py\", line 1, in y"),
            line(
                "a",
                "neutronclient.common.exceptions.BadRequest: Invalid input for dns_name. Reason: 'ä' not a valid",
            ),
            line("a", "nova.exception.RescheduledException: Build of instance a was re-scheduled: x"),
            line("b", "nova.exception.Other: no"),
        ]
        .join("\n");
        let found = failed(&log, "a").unwrap();
        assert_eq!(found, "nova-compute: BadRequest: Invalid input for dns_name. Reason: 'ä' not a valid");
        assert_eq!(failed(&log, "c"), None);
    }

    #[test]
    fn the_last_refusal_is_named() {
        let filter = "INFO nova.filters [None req-1 admin demo] Filter PciPassthroughFilter returned 0 hosts";
        let placement = "INFO nova.scheduler.manager [req-2] Got no allocation candidates from the Placement API. This";
        assert_eq!(said(filter).unwrap(), "nova-scheduler: PciPassthroughFilter left no host");
        assert!(said(&format!("{filter}\n{placement}\nother")).unwrap().contains("Placement"));
        assert_eq!(said("nothing"), None);
    }
}
