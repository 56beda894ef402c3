//! What is wrong with a cloud that was applied: what apply would change, layers that do not answer, and which ports are
//! open. `doctor` prints it.

use super::health::{self, LayerHealth};
use crate::action::Checked;
use crate::action::unit::WAIT;
use crate::classroom::old_images;
use crate::cloud::resource_action::LEFT_ALONE;
use crate::complaint::Complaint;
use crate::failure::Failure;
use crate::finding::{Described, Finding, Level};
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
    Described { id: SERVICE, description: "every layer of the cloud works" },
    Described { id: PORT, description: "which ports of the cloud are open, and to whom" },
];

/// All of it.
///
/// # Errors
/// The plan of what was applied cannot be made.
pub fn findings(installation: &Installation) -> Result<Vec<Finding>, Failure> {
    let mut findings = pending(installation)?;
    findings.extend(of_layers(health::layers(installation)));
    findings.extend(installation.open_ports().into_iter().map(open_port));
    Ok(findings)
}

/// What apply would change on a machine that was applied is damage; what it would only look at again is not, nor what
/// it would wait for: its probe is asked below.
fn pending(installation: &Installation) -> Result<Vec<Finding>, Failure> {
    let plan = installation.plan(&installation.journal()?)?;
    let left_alone: Vec<Finding> = plan.left_alone().into_iter().map(|(_, left)| left.clone()).collect();
    Ok(plan.steps.into_iter().flat_map(pending_of_step).chain(left_alone).collect())
}

fn pending_of_step(planned: PlannedStep) -> impl Iterator<Item = Finding> {
    let closing = planned.step.closing;
    let only_again = move |checked: &Checked| closing && matches!(checked, Checked::Later(_));
    let only_wait = |checked: &Checked| matches!(checked, Checked::Needed(change) if change.summary.starts_with(WAIT));
    let pending = planned.actions.into_iter().filter(move |action| {
        action.id != old_images::id()
            && action.is_pending()
            && !only_again(&action.checked)
            && !only_wait(&action.checked)
    });
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

/// One finding for each service that complains; one for a layer that works. What is wrong above a service that cannot
/// work most likely follows from that.
fn of_layers(layers: Vec<LayerHealth>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut root: Option<&'static str> = None;
    for layer in layers {
        if layer.healthy {
            findings.push(Finding::pass(SERVICE, format!("{}: {}", layer.name, layer.detail)));
        }
        let lasting =
            layer.complaints.iter().find(|(_, complaint)| complaint.grave && !complaint.wait).map(|(id, _)| *id);
        findings.extend(layer.complaints.into_iter().map(|(id, what)| complaint(id, what, root)));
        root = root.or(lasting);
    }
    findings
}

fn complaint(id: &str, complaint: Complaint, root: Option<&str>) -> Finding {
    let Complaint { what, evidence, next, grave, .. } = complaint;
    let next = match root {
        _ if !next.is_empty() => next,
        Some(root) => format!("mend {root} first: this may follow from it"),
        None => "gpucloud-install recover starts it".into(),
    };
    let finding = Finding::warn(SERVICE, format!("{id}: {what}"), next).seen(evidence);
    Finding { level: if grave { Level::Stop } else { Level::Warn }, ..finding }
}

fn open_port(port: OpenPort) -> Finding {
    let OpenPort { port, service, purpose, open_to } = port;
    Finding::pass(PORT, format!("{port} ({service}, {purpose}) is open to {}", open_to.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_broken_service_names_it_and_gives_no_advice_of_its_own() {
        let layer = |name, id, complaint| LayerHealth::new(name, "all answer".into(), vec![(id, complaint)]);
        let blocked = Complaint::lasting("it blocks all senders").seen("disk").mended_by("free space");
        let down = Complaint::passing("the compute service on box is down");
        let disabled = Complaint::wanted("somebody disabled it");
        let layers = vec![
            layer("foundation", "rabbitmq", blocked),
            layer("compute", "nova-compute", down),
            layer("dashboard", "horizon", disabled),
        ];
        let found = of_layers(layers);
        let told: Vec<_> = found.iter().map(|f| (f.level, f.what.as_str(), f.next.as_str())).collect();
        assert_eq!(told[0], (Level::Stop, "rabbitmq: it blocks all senders", "free space"));
        assert_eq!((told[1].0, told[1].2), (Level::Stop, "mend rabbitmq first: this may follow from it"));
        assert_eq!((told[2].0, told[3].0), (Level::Pass, Level::Warn));
    }
}
