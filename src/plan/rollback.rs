//! Takes changes back: backwards, going on after an error, each result in the journal. How one record is run comes
//! from above ([`TakeBack`]; `undo/`). What was made through the cloud's APIs ([`Undo::resource`] tells) goes before
//! all else, while they answer, in the opposite order of its kinds; then units stop, then the rest goes.

use super::StepId;
use super::event::{Event, Sink, StepTitle};
use super::journal::{Journal, Record};
use crate::action::{ActionId, History, Originals, Undo, Undone};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{self, Host, command::Command, systemd};
use std::cmp::Reverse;
use std::time::Instant;

/// Runs one undo record: `undo::run`.
pub type TakeBack = fn(&Undo, &Host, &History, &Originals) -> host::Result<Undone>;

/// Asked when only what is made through the cloud's APIs is gone, and nothing is stopped yet: an error ends it there.
pub type LastLook<'a> = &'a dyn Fn(&Journal) -> Result<(), Failure>;

/// Stopped by its own undo, which comes behind those of its databases.
const DATABASE_UNIT: &str = "mariadb.service";

/// What became of an undo.
#[derive(Debug, Clone, Default)]
pub struct UndoReport {
    /// How many changes were taken back.
    pub undone: usize,
    /// What stays on purpose, and why.
    pub kept: Vec<String>,
    /// What could not be taken back.
    pub failed: Vec<Failure>,
}

/// The step under which undo events run.
pub fn step() -> StepId {
    StepId::new("undo")
}

/// [`everything`], told as a run of one step called `title`.
pub fn watched(
    host: &Host,
    journal: &mut Journal,
    take_back: TakeBack,
    (what, title): (&str, &str),
    last_look: LastLook,
    sink: &dyn Sink,
) -> UndoReport {
    let started = Instant::now();
    let title = StepTitle { step: step(), title: title.to_owned() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    sink.event(&Event::RunStarted { what: what.to_owned(), version, steps: vec![title] });
    sink.event(&Event::StepStarted { step: step() });
    let report = everything(host, journal, take_back, last_look, sink);
    let seconds = started.elapsed().as_secs_f64();
    if report.failed.is_empty() {
        sink.event(&Event::StepDone { step: step(), seconds, changed: report.undone });
    }
    let ending = if report.failed.is_empty() { Ending::Done } else { Ending::UndoIncomplete };
    sink.event(&Event::RunFinished { ending, changed: report.undone, seconds });
    report
}

/// Takes everything back that the journal knows, the last change first; what was made through the cloud's APIs before
/// all else, while they answer.
pub fn everything(
    host: &Host,
    journal: &mut Journal,
    take_back: TakeBack,
    last_look: LastLook,
    sink: &dyn Sink,
) -> UndoReport {
    let is_asked = |id: &ActionId| journal.history(id).undo.is_some_and(|undo| undo.resource().is_some());
    let all = journal.entries().map(|(id, _)| id.clone()).rev();
    let (first, rest): (Vec<ActionId>, Vec<ActionId>) = all.partition(is_asked);
    let mut report = some(host, journal, take_back, &first, sink);
    if host.go_on().is_err() {
        // Also where nothing was left to begin with: an empty report would read as the end of an uninstall.
        if report.failed.is_empty() {
            report.failed.push(host::Error::Stopped.into());
        }
        return report;
    }
    if let Err(failure) = last_look(journal) {
        report.failed.push(failure);
        return report;
    }
    stop_units(host, journal, sink);
    let behind = some(host, journal, take_back, &rest, sink);
    report.undone += behind.undone;
    report.kept.extend(behind.kept);
    report.failed.extend(behind.failed);
    report
}

/// Takes these changes back, in this order; resources of the cloud first, those that use others before these: a network
/// that was corrected later than its router stands behind it in the journal.
pub fn some(host: &Host, journal: &mut Journal, take_back: TakeBack, ids: &[ActionId], sink: &dyn Sink) -> UndoReport {
    let mut report = UndoReport::default();
    let mut ids = ids.to_vec();
    ids.sort_by_key(|id| {
        let kind = journal.history(id).undo.and_then(|undo| undo.resource());
        (kind.is_none(), Reverse(kind))
    });
    for (n, id) in ids.iter().enumerate() {
        if host.go_on().is_err() {
            report.failed.push(crate::host::Error::Stopped.into());
            break;
        }
        one(host, journal, take_back, id, sink, &mut report);
        sink.event(&Event::Progress {
            step: step(),
            done: n as u64 + 1,
            total: ids.len() as u64,
            text: "changes".into(),
        });
    }
    // Taken back and not noted, a change would be taken back again, from what somebody has put there since.
    if report.undone > 0
        && let Err(error) = journal.sync()
    {
        report.failed.push(error.into());
    }
    report
}

fn one(
    host: &Host,
    journal: &mut Journal,
    take_back: TakeBack,
    id: &ActionId,
    sink: &dyn Sink,
    report: &mut UndoReport,
) {
    let history = journal.history(id);
    let Some(undo) = history.undo.clone() else { return };
    sink.event(&Event::ActionStarted { step: step(), action: id.clone(), text: undo.describe() });
    let record = match take_back(&undo, host, &history, &journal.originals()) {
        Ok(Undone::Restored) => Record::Undone { id: id.clone() },
        Ok(Undone::Kept(why)) => {
            sink.event(&Event::Warning { step: step(), text: why.clone() });
            report.kept.push(why.clone());
            Record::Kept { id: id.clone(), why }
        }
        Err(error) => return failed(id, error, sink, report),
    };
    report.undone += 1;
    if let Err(error) = journal.append(&[record], false) {
        report.failed.push(error.into());
    }
}

fn failed(id: &ActionId, error: crate::host::Error, sink: &dyn Sink, report: &mut UndoReport) {
    let failure = Failure::from(error);
    let failure = Failure { what: format!("cannot take back {id}: {}", failure.what), ..failure }.or_next("uninstall");
    let Failure { what, evidence, next, .. } = failure.clone();
    sink.event(&Event::StepFailed { step: step(), what, evidence, next });
    report.failed.push(failure);
}

/// Stops our units all at once: one after the other, each waits for its own long stop.
fn stop_units(host: &Host, journal: &Journal, sink: &dyn Sink) {
    let undos = journal.entries().filter_map(|(_, entry)| entry.history.undo.as_ref());
    let units: Vec<&str> = undos
        .filter_map(|undo| match undo {
            // The databases are dropped while it runs, and a second try must be able to ask what users have.
            Undo::Unit { name, .. } if name == DATABASE_UNIT => None,
            Undo::Unit { name, active: false, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if units.is_empty() || !host.is_live() {
        return;
    }
    let action = ActionId::new("unit", "all");
    sink.event(&Event::ActionStarted { step: step(), action, text: format!("Stop {} units", units.len()) });
    let loaded: Vec<&str> = match systemd::status(host, &units) {
        Ok(statuses) => units.iter().zip(statuses).filter(|(_, s)| s.load != "not-found").map(|(u, _)| *u).collect(),
        Err(_) => return,
    };
    // A unit that does not stop is met again, and reported, in its own undo.
    let _ = Command::new("systemctl").arg("stop").args(loaded).run(host);
}
