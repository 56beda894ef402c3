//! `doctor`: the checks, the pending actions of the applied plan and the probes of the services. It has no detectors
//! of its own: where apply would change something, something is wrong.

use super::Session;
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
use crate::recovery::damage;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(session: &Session, options: &Doctor) -> Result<Ending, Failure> {
    if options.list {
        return Ok(list(session));
    }
    let applied = Config::load_applied(&session.host)?.is_some();
    let installation = match Installation::load_applied(&session.host)? {
        Some(installation) => installation,
        None => not_applied(session)?,
    };
    let journal = installation.journal()?;
    let mut findings = installation.findings(&journal)?;
    findings.extend(installation.wire_findings());
    if applied {
        findings.extend(damage::findings(&installation)?);
    }
    let worst = checks::worst(&findings);
    session.ui.document("doctor", json!({"findings": findings}));
    if !session.ui.is_json() {
        session.ui.say(text::findings(&findings));
        session.ui.say(verdict(worst));
    }
    Ok(if worst == Level::Stop { Ending::Failed } else { Ending::Done })
}

/// Every check there is, of each engine too; asks nothing.
fn list(session: &Session) -> Ending {
    let mut all: Vec<Described> = CHECKS.iter().map(|check| check.described).collect();
    all.extend(EngineName::ALL.iter().flat_map(|name| engine(*name).checks()));
    all.extend(damage::CHECKS);
    session.ui.document("doctor", json!({"checks": all}));
    if !session.ui.is_json() {
        session.ui.say(text::checks(&all));
    }
    Ending::Done
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
