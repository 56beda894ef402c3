//! What every engine begins with (this program, administrators, secrets) and ends with (the target, a last look at
//! every service, the note of what was applied).

use super::pace;
use super::probe::{self, Prober, ROUND_LIMIT};
use super::service::Service;
use super::{EngineError, EngineInput};
use crate::action::account::{Member, SystemGroup};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::symlink::Symlink;
use crate::action::task::{self, Task};
use crate::action::unit::{Enabled, Started, WAIT};
use crate::action::{Action, ActionId, Change, Checked};
use crate::complaint::Complaint;
use crate::content::Content;
use crate::failure::Failure;
use crate::host::{Error, Host, files};
use crate::paths::{APPLIED, IMAGES, PROGRAM, SECRETS, STAMPS};
use crate::plan::Step;
use crate::template::Templates;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The step with which everything begins.
pub const STEP: &str = "prepare";
/// Members may read the administrator's password of the cloud.
pub const ADMIN_GROUP: &str = "gpucloud-admin";

/// How long the last look may take until all layers are content: nova-compute reports every ten seconds.
const HEALTHY_LIMIT: Duration = Duration::from_secs(300);
const HEALTHY_POLL: Duration = Duration::from_millis(250);
/// Where a package of the distribution's kind puts it.
const PACKAGED_PROGRAM: &str = "/usr/bin/gpucloud-install";

/// This program itself; a link where it came in a package, which then keeps it up to date.
fn own_program() -> Result<Box<dyn Action>, Failure> {
    let (live, running) = (Host::live(), Path::new("/proc/self/exe"));
    if files::status(&live, running)?.is_some_and(|status| status.link.as_deref() == Some(Path::new(PACKAGED_PROGRAM)))
    {
        return Ok(Box::new(Symlink::new(PROGRAM, PACKAGED_PROGRAM)));
    }
    // Also right when the file was replaced while we run.
    let bytes = files::read(&live, running)?
        .ok_or_else(|| Failure::new("cannot read this program", "/proc is not there", "start it by its full path"))?;
    let shown = format!("(this program, version {})\n", env!("CARGO_PKG_VERSION"));
    Ok(Box::new(File::new(PROGRAM, Content::masked(bytes, shown)).access(0o755, "root", "root")))
}

/// The step that brings this program alone.
pub const PROGRAM_STEP: &str = "program";

/// This program where units find it, for a plan without a cloud.
///
/// # Errors
/// This program cannot be read.
pub fn program_step() -> Result<Step, Failure> {
    Ok(Step::new(PROGRAM_STEP, "Bring this program where units find it").with_all([own_program()?]))
}

/// The first step.
///
/// # Errors
/// This program cannot be read.
pub fn prepare(order: &EngineInput) -> Result<Step, Failure> {
    let mut step = Step::new(STEP, "Make accounts and directories")
        .with_all([own_program()?])
        .with(SystemGroup { name: ADMIN_GROUP.into() })
        .with(Directory::new("/etc/gpucloud").shared())
        .with(Directory::new(STAMPS))
        .with(Directory::new(IMAGES))
        .with(File::new(SECRETS, order.secrets.render()).access(0o600, "root", "root"));
    for file in pace::unit_limits(order.config.host.pace) {
        step = step.with(file);
    }
    for user in &order.config.host.administrators {
        step = step.with(Member { user: user.to_string(), group: ADMIN_GROUP.into() });
    }
    Ok(step)
}

/// The step behind which the cloud is complete and healthy.
pub const LAST: &str = "finish";

/// The last step, behind `last`: the target, the last look, what is `left` to tidy, and the note of what stands.
///
/// # Errors
/// Only our own mistakes: a template that does not render.
pub fn finish(
    order: &EngineInput,
    templates: &Templates,
    services: &[Service],
    prober: &Arc<Prober>,
    last: &[&str],
    left: Option<Task>,
) -> Result<Step, Failure> {
    let units: Vec<&str> = services.iter().map(|service| service.unit.as_str()).collect();
    let target = "etc/systemd/system/gpucloud.target";
    let text = templates.render(target, &[("wants".to_owned(), json!(units))].into())?;
    let applied = Content::plain(order.config.render());
    Ok(Step::new(LAST, "See that the cloud is healthy")
        .after(last)
        .closing()
        .with(File::new(format!("/{target}"), text))
        .with(Enabled { unit: "gpucloud.target".into() })
        .with(Started::new("gpucloud.target"))
        .with(task::sync("cloud"))
        .with(healthy(services.to_vec(), prober.clone()))
        .with_all(left.map(|task| Box::new(task) as Box<dyn Action>))
        .with(File::new(APPLIED, applied).access(0o600, "root", "root")))
}

/// Waits until every service answers.
pub fn healthy(services: Vec<Service>, prober: Arc<Prober>) -> Task {
    let (services_again, prober_again) = (services.clone(), prober.clone());
    let probe = move |host: &Host| {
        let needed = |complaint| Checked::Needed(Change::new(format!("{WAIT} healthy; now: {complaint}")));
        Ok(words(&complaints(host, &services, &prober, ROUND_LIMIT)).map_or(Checked::Done, needed))
    };
    let work = move |host: &Host| wait_healthy(host, &services_again, &prober_again, HEALTHY_LIMIT);
    Task::new(ActionId::new("healthy", "cloud"), "See that every service answers", probe, work)
        .at_runtime()
        .asking_the_running_system()
}

/// Asks all; then those that complained, until they are content, and all again: a round of all is the last word.
fn wait_healthy(host: &Host, services: &[Service], prober: &Arc<Prober>, limit: Duration) -> Result<(), Error> {
    let end = Instant::now() + limit;
    let (mut asked, mut last, mut known) = (services.to_vec(), String::new(), None);
    let waited = host.wait_until("a healthy cloud", limit, HEALTHY_POLL, || {
        let left = end.saturating_duration_since(Instant::now());
        if left < HEALTHY_POLL {
            return Ok(false);
        }
        let complaints = complaints(host, &asked, prober, left);
        let healthy = complaints.is_empty() && asked.len() == services.len();
        last = words(&complaints).unwrap_or_default();
        if let Some((service, complaint)) = complaints.iter().find(|(_, complaint)| !complaint.wait) {
            return Err(EngineError::Unwell { service: service.id.to_owned(), complaint: complaint.clone() }.into());
        }
        known = complaints.iter().find(|(_, complaint)| !complaint.next.is_empty()).cloned();
        asked = complaints.into_iter().map(|(service, _)| service).collect();
        if asked.is_empty() {
            asked = services.to_vec();
        }
        Ok(healthy)
    });
    waited.map_err(|error| match error {
        Error::TimedOut { seconds, .. } if let Some((service, complaint)) = known => {
            let what = format!("{}, and not otherwise within {seconds} s", complaint.what);
            EngineError::Unwell { service: service.id.to_owned(), complaint: Complaint { what, ..complaint } }.into()
        }
        Error::TimedOut { what, seconds } => Error::TimedOut { what: format!("{what} ({last})"), seconds },
        other => other,
    })
}

/// The services that do not work, each with its complaint.
fn complaints(host: &Host, services: &[Service], prober: &Arc<Prober>, limit: Duration) -> Vec<(Service, Complaint)> {
    let prober = prober.clone();
    let ask = move |host: &Host, service: &Service| prober.ask(host, service);
    let answers = probe::ask_all(host, services, limit, ask);
    let grave = |answer: Option<Complaint>| answer.filter(|complaint| complaint.grave);
    services.iter().cloned().zip(answers).filter_map(|(service, answer)| Some((service, grave(answer)?))).collect()
}

/// The first complaint, and how many there are beside it.
fn words(complaints: &[(Service, Complaint)]) -> Option<String> {
    let (service, complaint) = complaints.first()?;
    let more = if complaints.len() > 1 { format!("; and {} more", complaints.len() - 1) } else { String::new() };
    Some(format!("{}: {complaint}{more}", service.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::engine::Engine;
    use crate::engine::native::Native;
    use crate::engine::service::Probe;
    use std::net::{Ipv4Addr, TcpListener};

    /// Seven services with this probe.
    fn services(probe: &Probe) -> Vec<Service> {
        let all = Native.services(&sample()).into_iter().take(7);
        all.map(|service| Service { probe: probe.clone(), ..service }).collect()
    }

    #[test]
    fn services_that_accept_and_are_silent_hold_nobody_longer_than_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = Probe::Api { port: listener.local_addr().unwrap().port(), path: "/", service: None };
        let (begin, limit) = (Instant::now(), Duration::from_secs(2));
        let prober = Arc::new(Prober::at(Ipv4Addr::LOCALHOST));
        let error = wait_healthy(&Host::live(), &services(&probe), &prober, limit).unwrap_err().to_string();
        assert!(begin.elapsed() < limit + Duration::from_secs(2), "it took {:?}", begin.elapsed());
        let first = services(&probe)[0].id;
        assert!(error.contains("a healthy cloud") && error.contains(&format!("({first}: it has not")), "{error}");
    }

    #[test]
    fn what_waiting_does_not_mend_is_not_waited_for() {
        let (begin, prober) = (Instant::now(), Arc::new(Prober::at(Ipv4Addr::LOCALHOST)));
        let error = wait_healthy(&Host::live(), &services(&Probe::NetworkAgents), &prober, HEALTHY_LIMIT).unwrap_err();
        assert!(error.to_string().contains("password is not known"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
