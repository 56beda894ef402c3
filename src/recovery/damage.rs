//! What is wrong with a cloud that was applied: what apply would change, layers that do not answer, and which ports are
//! open. `doctor` prints it.

use super::health;
use crate::action::Checked;
use crate::cloud::resource_action::LEFT_ALONE;
use crate::failure::Failure;
use crate::finding::{Described, Finding};
use crate::installation::{Installation, OpenPort};
use crate::plan::{PlannedAction, PlannedStep};

/// Something is not as it was applied.
const DAMAGE: &str = "damage";
/// A layer of the cloud.
const SERVICE: &str = "service";
/// A port that others can reach.
const PORT: &str = "port";

/// What is looked for here.
pub const CHECKS: [Described; 4] = [
    Described { id: DAMAGE, description: "apply would change nothing of what was applied" },
    Described { id: LEFT_ALONE, description: "what has the name of something declared is what is declared" },
    Described { id: SERVICE, description: "every layer of the cloud answers" },
    Described { id: PORT, description: "which ports of the cloud are open, and to whom" },
];

/// All of it.
///
/// # Errors
/// The plan of what was applied cannot be made.
pub fn findings(installation: &Installation) -> Result<Vec<Finding>, Failure> {
    let mut findings = pending(installation)?;
    findings.extend(health::layers(installation).into_iter().map(layer));
    findings.extend(installation.open_ports().into_iter().map(open_port));
    Ok(findings)
}

/// What apply would change on a machine that was applied is damage; what it would only look at again is not.
fn pending(installation: &Installation) -> Result<Vec<Finding>, Failure> {
    let plan = installation.plan(&installation.journal()?)?;
    let left_alone: Vec<Finding> = plan.left_alone().into_iter().map(|(_, left)| left.clone()).collect();
    Ok(plan.steps.into_iter().flat_map(pending_of_step).chain(left_alone).collect())
}

fn pending_of_step(planned: PlannedStep) -> impl Iterator<Item = Finding> {
    let closing = planned.step.closing;
    let only_again = move |checked: &Checked| closing && matches!(checked, Checked::Later(_));
    let pending = planned.actions.into_iter().filter(move |action| action.is_pending() && !only_again(&action.checked));
    pending.map(damaged)
}

fn damaged(action: PlannedAction) -> Finding {
    let detail = match action.checked {
        Checked::Needed(change) => change.summary,
        Checked::Later(why) => why,
        Checked::Blocked(finding) => finding.what,
        Checked::Done | Checked::LeftAlone(_) => String::new(),
    };
    Finding::stop(DAMAGE, format!("{}: {detail}", action.id), "gpucloud-install apply mends it")
}

fn layer(layer: health::LayerHealth) -> Finding {
    let what = format!("{}: {}", layer.name, layer.detail);
    match layer.healthy {
        true => Finding::pass(SERVICE, what),
        false => Finding::stop(SERVICE, what, "gpucloud-install apply starts it"),
    }
}

fn open_port(port: OpenPort) -> Finding {
    let OpenPort { port, service, purpose, open_to } = port;
    Finding::pass(PORT, format!("{port} ({service}, {purpose}) is open to {}", open_to.join(", ")))
}
