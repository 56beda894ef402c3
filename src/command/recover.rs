//! `recover`: brings back what is down of the cloud that was applied last, and waits until it is healthy. It runs
//! no checks of the machine: those are `doctor`'s.

use super::Invocation;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::installation::{Installation, require_root};
use crate::plan::Plan;
use crate::plan::journal::{DIRECTORY, Journal};
use crate::recovery::{cause, health, steps};
use crate::ui::text;
use serde_json::json;

/// Nothing of it outlives a boot.
const JOURNAL: &str = "/run/gpucloud/recover";

pub(super) fn run(invocation: &Invocation) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    // Until its end: a run that began meanwhile would stop what is being started.
    let _no_run = Journal::keep_runs_away(&invocation.host, DIRECTORY)?;
    let Some(installation) = Installation::load_applied(&invocation.host)? else {
        let next = "gpucloud-install installs one, or goes on where an installation stopped";
        return Err(Failure::new("there is no complete cloud here", "", next));
    };
    if let Some(Finding { what, evidence, next, .. }) = cause::of_all(&installation) {
        return Err(Failure::new(what, evidence, next));
    }
    if let Some((id, complaint)) = health::hopeless(&installation) {
        let what = format!("{id}: {}", complaint.what);
        let next = if complaint.next.is_empty() { "gpucloud-install doctor".to_owned() } else { complaint.next };
        return Err(Failure::new(what, complaint.evidence, next));
    }
    let plan = |journal: &Journal| -> Result<Plan, Failure> {
        Ok(Plan::make(steps::steps(&installation), &installation.host, journal)?)
    };
    let outcome = invocation.run_for_now(&installation.host, "recover", JOURNAL, plan)?;
    let (changed, seconds) = outcome.as_ref().map_or((0, 0.0), |outcome| (outcome.changed, outcome.seconds));
    let layers = health::layers(&installation);
    let healthy = layers.iter().all(|layer| layer.healthy);
    invocation
        .ui
        .document("recover", json!({"healthy": healthy, "changed": changed, "seconds": seconds, "layers": layers}));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::layers(&layers));
        invocation.ui.say(match (healthy, changed) {
            (true, 0) => "\nNothing was down: the cloud is healthy.".to_owned(),
            (true, _) => format!("\nThe cloud is healthy again, after {seconds:.0} s."),
            (false, _) => format!("\nThe cloud is not healthy. Next: {}", health::next(&layers)),
        });
    }
    let failure = outcome.and_then(|outcome| outcome.failures.into_iter().next());
    match failure.filter(|_| !healthy && !invocation.ui.is_json()) {
        Some(failure) => Err(failure.with(Ending::Failed)),
        None => Ok(if healthy { Ending::Done } else { Ending::Failed }),
    }
}
