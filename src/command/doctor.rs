//! `doctor`: the checks, the pending actions of the applied plan and the probes of the services. It has no detectors
//! of its own: where apply would change something, something is wrong.

use super::Invocation;
use crate::checks::{self, CHECKS};
use crate::cli::Doctor;
use crate::config::{Config, EngineName, profile};
use crate::ending::Ending;
use crate::engine::engine;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::finding::{Described, Level};
use crate::host::files;
use crate::installation::{Installation, require_root};
use crate::recovery::{cause, damage};
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, options: &Doctor) -> Result<Ending, Failure> {
    if options.list {
        return Ok(list(invocation));
    }
    let applied = Config::load_applied(&invocation.host)?.is_some();
    let installation = match Installation::load_applied(&invocation.host)? {
        Some(installation) => installation,
        None => not_applied(invocation)?,
    };
    let journal = installation.journal()?;
    let mut findings = installation.findings(&journal)?;
    match cause::of_all(&installation).filter(|_| applied) {
        // It comes first, and nothing is asked that would only tell its consequences.
        Some(cause) => {
            findings.retain(|finding| (finding.id, &finding.what) != (cause.id, &cause.what));
            findings.insert(0, cause);
        }
        None => {
            findings.extend(installation.wire_findings());
            findings.extend(if applied { damage::findings(&installation)? } else { Vec::new() });
        }
    }
    let worst = checks::worst(&findings);
    invocation.ui.document("doctor", json!({"findings": findings}));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::findings(&findings));
        invocation.ui.say(verdict(worst));
    }
    Ok(if worst == Level::Stop { Ending::Failed } else { Ending::Done })
}

/// Every check there is, of each engine too; asks nothing.
fn list(invocation: &Invocation) -> Ending {
    let mut all: Vec<Described> = CHECKS.iter().map(|check| check.described).collect();
    all.extend(EngineName::ALL.iter().flat_map(|name| engine(*name).checks()));
    all.extend(damage::CHECKS);
    invocation.ui.document("doctor", json!({"checks": all}));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::checks(&all));
    }
    Ending::Done
}

/// Before anything was applied: today's answers; without any, those that a profile would give.
fn not_applied(invocation: &Invocation) -> Result<Installation, Failure> {
    if files::exists(&invocation.host, &invocation.global.config) {
        return Installation::load(&invocation.host, &invocation.global.config);
    }
    require_root(&invocation.host)?;
    let facts = Facts::gather(&invocation.host)?;
    Installation::new(&invocation.host, profile::answers("workstation", &facts)?)
}

fn verdict(worst: Level) -> &'static str {
    match worst {
        Level::Pass => "All is well.",
        Level::Warn => "It works; read the warnings.",
        Level::Stop => "Something is wrong: see above.",
    }
}
