//! `plan`: what apply would change.

use super::{Invocation, apply};
use crate::action::Checked;
use crate::cli;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::installation::Installation;
use crate::plan::{Plan, PlannedAction};
use crate::ui::text;
use serde_json::{Value, json};

pub(super) fn run(invocation: &Invocation, options: &cli::Plan) -> Result<Ending, Failure> {
    let installation = Installation::load(&invocation.host, &invocation.global.config)?;
    let journal = installation.journal()?;
    let findings = installation.findings(&journal)?;
    apply::refuse_stops(invocation, &findings)?;
    let plan = installation.plan(&journal)?;
    invocation.ui.document("plan", document(&plan, &findings));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::plan(&plan, options.diff));
    }
    Ok(Ending::Done)
}

pub(super) fn document(plan: &Plan, findings: &[Finding]) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let actions: Vec<Value> = step.actions.iter().map(action).collect();
        let after: Vec<String> = step.step.after.iter().map(ToString::to_string).collect();
        json!({"id": step.step.id, "title": step.step.title, "role": step.step.role, "after": after, "actions": actions})
    });
    let orphans = plan.orphans.iter().map(|orphan| json!({"id": orphan.id, "undo": orphan.undo}));
    let findings: Vec<&Finding> = findings.iter().chain(plan.left_alone().into_iter().map(|(_, left)| left)).collect();
    json!({
        "pending": plan.pending(),
        "steps": steps.collect::<Vec<_>>(),
        "orphans": orphans.collect::<Vec<_>>(),
        "findings": findings,
    })
}

fn action(action: &PlannedAction) -> Value {
    let (state, detail, diff) = match &action.checked {
        Checked::Done => ("done", None, None),
        Checked::Needed(change) => ("needed", Some(change.summary.clone()), change.diff.clone()),
        Checked::Later(why) => ("later", Some(why.clone()), None),
        Checked::Blocked(finding) => ("blocked", Some(finding.what.clone()), None),
        Checked::LeftAlone(finding) => ("done", Some(finding.what.clone()), None),
    };
    json!({
        "id": action.id, "kind": action.id.kind(), "target": action.id.target(), "state": state,
        "description": action.description, "detail": detail, "diff": diff,
    })
}
