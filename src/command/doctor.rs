//! `doctor`: the checks, the pending actions of the applied plan and the probes of the services. It has no detectors
//! of its own: where apply would change something, something is wrong.

use super::Session;
use crate::action::Checked;
use crate::checks;
use crate::config::{Config, profile};
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::finding::{Finding, Level};
use crate::host::files;
use crate::installation::{Installation, OpenPort, require_root};
use crate::recovery::health;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(session: &Session) -> Result<Ending, Failure> {
    let applied = Config::load_applied(&session.host)?.is_some();
    let installation = match Installation::load_applied(&session.host)? {
        Some(installation) => installation,
        None => not_applied(session)?,
    };
    let journal = installation.journal()?;
    let mut findings = installation.findings(&journal)?;
    findings.extend(installation.reach_findings()?);
    if applied {
        findings.extend(damage(&installation)?);
        findings.extend(silent_layers(&installation));
        findings.extend(installation.open_ports().into_iter().map(open_port));
    }
    let worst = checks::worst(&findings);
    session.ui.document("doctor", json!({"findings": findings}));
    if !session.ui.is_json() {
        session.ui.say(text::findings(&findings));
        session.ui.say(verdict(worst));
    }
    Ok(if worst == Level::Stop { Ending::Failed } else { Ending::Done })
}

/// Before anything was applied: today's answers; without any, those that a profile would give.
fn not_applied(session: &Session) -> Result<Installation, Failure> {
    if files::exists(&session.host, &session.global.config) {
        return Installation::load(&session.host, &session.global.config);
    }
    require_root(&session.host)?;
    let facts = Facts::gather(&session.host)?;
    Installation::new(&session.host, profile::answers("workstation", &facts)?)
}

fn verdict(worst: Level) -> &'static str {
    match worst {
        Level::Pass => "All is well.",
        Level::Warn => "It works; read the warnings.",
        Level::Stop => "Something is wrong: see above.",
    }
}

/// What apply would change on a machine that was applied is damage; what it would only look at again is not.
fn damage(installation: &Installation) -> Result<Vec<Finding>, Failure> {
    let plan = installation.plan(&installation.journal()?)?;
    let pending = plan.steps.into_iter().flat_map(|step| {
        let only_again = move |checked: &Checked| step.step.closing && matches!(checked, Checked::Later(_));
        step.actions.into_iter().filter(move |action| action.is_pending() && !only_again(&action.checked))
    });
    let finding = |action: crate::plan::PlannedAction| {
        let detail = match action.checked {
            Checked::Needed(change) => change.summary,
            Checked::Later(why) => why,
            Checked::Blocked(finding) => finding.what,
            Checked::Done => String::new(),
        };
        Finding::stop("damage", format!("{}: {detail}", action.id), "gpucloud-install apply mends it")
    };
    Ok(pending.map(finding).collect())
}

fn open_port(port: OpenPort) -> Finding {
    let OpenPort { port, service, purpose, open_to } = port;
    Finding::pass("port", format!("{port} ({service}, {purpose}) is open to {}", open_to.join(", ")))
}

fn silent_layers(installation: &Installation) -> Vec<Finding> {
    let layers = health::layers(installation).into_iter();
    layers
        .map(|layer| match layer.healthy {
            true => Finding::pass("service", format!("{}: {}", layer.name, layer.detail)),
            false => Finding::stop(
                "service",
                format!("{}: {}", layer.name, layer.detail),
                "gpucloud-install apply starts it",
            ),
        })
        .collect()
}
