//! The actions of one step: looked at, noted ahead of their change, done, looked at again.

use super::{Execution, StepEnd, locked};
use crate::action::{Action, Applied, Checked, History, Lifetime, Undo};
use crate::failure::Failure;
use crate::host::{self, Host, Observer, boot_id};
use crate::plan::event::{Event, Sink};
use crate::plan::journal::{ActionState, Entry, Record};
use crate::plan::{PlannedStep, StepId};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an action waits for what the steps before it should have brought.
const LATER_LIMIT: Duration = Duration::from_secs(90);
const LATER_POLL: Duration = Duration::from_millis(300);

impl Execution<'_> {
    /// A panic is a mistake of ours, and fails its step: the thread must not die with the step still running, for which
    /// the others would wait for ever.
    pub(super) fn do_actions_or_die(&self, planned: &PlannedStep) -> (usize, Option<StepEnd>) {
        std::panic::catch_unwind(AssertUnwindSafe(|| self.do_actions(planned))).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            let what = format!("step {} broke off: {}", planned.step.id, words.unwrap_or_default());
            (0, Some(StepEnd::Failed(Failure::bug(what))))
        })
    }

    /// Does the actions in their order, path-like ones in groups that share one sync of the journal.
    fn do_actions(&self, planned: &PlannedStep) -> (usize, Option<StepEnd>) {
        let id = planned.step.id.clone();
        let observer = StepObserver { sink: self.sink.clone(), step: id.clone() };
        let host = self.host.observed(Arc::new(observer));
        // All of them: what was done when the plan was made may be undone by what the run did meanwhile.
        let actions: Vec<&dyn Action> = planned.step.actions.iter().map(AsRef::as_ref).collect();
        let mut changed = 0;
        for group in actions.chunk_by(|a, b| a.is_quick() && b.is_quick()) {
            if let Err(end) = self.do_group(&host, &id, group, &mut changed) {
                return (changed, Some(end));
            }
        }
        (changed, None)
    }

    fn do_group(&self, host: &Host, step: &StepId, group: &[&dyn Action], changed: &mut usize) -> Result<(), StepEnd> {
        let mut needed = Vec::new();
        let mut intents = Vec::new();
        for action in group {
            if !self.is_needed(host, step, *action)? {
                continue;
            }
            intents.extend(self.intent(host, *action)?);
            needed.push(*action);
        }
        self.append_intents(&intents)?;
        for action in needed {
            host.go_on()?;
            let event = Event::ActionStarted { step: step.clone(), action: action.id(), text: action.describe() };
            self.sink.event(&event);
            if self.do_one(host, action)? {
                *changed += 1;
                self.sink.event(&Event::ActionDone { step: step.clone(), action: action.id() });
            }
        }
        Ok(())
    }

    /// On the disk before the change, unless the journal knows all of it already.
    fn append_intents(&self, intents: &[Record]) -> Result<(), StepEnd> {
        let mut journal = locked(&self.journal);
        let sync = intents.iter().any(|intent| !journal.knows(intent));
        Ok(journal.append(intents, sync)?)
    }

    fn is_needed(&self, host: &Host, step: &StepId, action: &dyn Action) -> Result<bool, StepEnd> {
        let id = action.id();
        let history = locked(&self.journal).history(&id);
        match patient_check(host, action, &history)? {
            Checked::Done => self.note_finished(host, action).map(|()| false),
            Checked::Needed(_) => self.refuse_second_boot(host, action, &history).map(|()| true),
            Checked::LeftAlone(left) => {
                self.sink.event(&Event::left_alone(step, &left));
                self.note_finished(host, action).map(|()| false)
            }
            Checked::Later(why) => Err(StepEnd::Failed(Failure::new(format!("{}: {why}", action.describe()), "", ""))),
            Checked::Blocked(finding) => {
                Err(StepEnd::Failed(Failure::new(finding.what.clone(), finding.evidence.clone(), finding.next.clone())))
            }
        }
    }

    /// A run that was killed between the end of a change and its note did it all the same.
    fn note_finished(&self, host: &Host, action: &dyn Action) -> Result<(), StepEnd> {
        let begun = |entry: &Entry| {
            matches!(entry.state, ActionState::Intended | ActionState::Failed(_) | ActionState::AwaitsBoot(_))
        };
        let unnoted = locked(&self.journal).entry(&action.id()).is_some_and(begun);
        if unnoted { self.note_done(host, action) } else { Ok(()) }
    }

    fn note_done(&self, host: &Host, action: &dyn Action) -> Result<(), StepEnd> {
        let fingerprint = action.left(host)?;
        self.note(action, Record::Done { id: action.id(), fingerprint }, false)
    }

    /// What still wants a reboot after one has failed: never a second. Another wish of the same action may have its own.
    fn refuse_second_boot(&self, host: &Host, action: &dyn Action, history: &History) -> Result<(), StepEnd> {
        let id = &action.id();
        let wish = action.fingerprint();
        let is_another = wish.is_some() && history.fingerprints.last() != wish.as_ref();
        let state = locked(&self.journal).entry(id).map(|entry| entry.state.clone());
        match state {
            Some(ActionState::AwaitsBoot(boot)) if boot == boot_id(host) => {
                Err(StepEnd::Reboot(format!("{id} takes effect with the next boot")))
            }
            Some(ActionState::AwaitsBoot(_)) if !is_another => Err(StepEnd::Failed(Failure::new(
                format!("{id} still has no effect after the reboot"),
                "",
                "gpucloud-install doctor looks for the cause; it is not tried with a second reboot",
            ))),
            _ => Ok(()),
        }
    }

    fn intent(&self, host: &Host, action: &dyn Action) -> Result<Option<Record>, StepEnd> {
        let id = action.id();
        if action.lifetime() == Lifetime::Runtime {
            return Ok(None);
        }
        let (history, originals) = {
            let journal = locked(&self.journal);
            (journal.history(&id), journal.originals())
        };
        let undo: Undo = match &history.undo {
            Some(earlier) => action.prepare_again(host, earlier)?,
            None => action.prepare(host, &originals)?,
        };
        let (lifetime, when_orphaned) = (action.lifetime(), action.when_orphaned());
        Ok(Some(Record::Intent { id, undo, lifetime, when_orphaned, fingerprint: action.fingerprint() }))
    }

    /// Returns whether something was changed.
    fn do_one(&self, host: &Host, action: &dyn Action) -> Result<bool, StepEnd> {
        let id = action.id();
        let history = locked(&self.journal).history(&id);
        let applied = action.apply(host, &history).map_err(|e| self.note_failure(action, e))?;
        match applied {
            Applied::Done => {}
            Applied::Warned(text) => host.warn(&text),
            Applied::Skipped(why) => {
                host.warn(&format!("{} left out: {why}", action.describe()));
                return Ok(false);
            }
            Applied::RebootNeeded(why) => {
                self.note(action, Record::AwaitsBoot { id, boot_id: boot_id(host) }, true)?;
                return Err(StepEnd::Reboot(why));
            }
        }
        see_effect(host, action, &history)?;
        self.note_done(host, action).map(|()| true)
    }

    fn note(&self, action: &dyn Action, record: Record, sync: bool) -> Result<(), StepEnd> {
        if action.lifetime() == Lifetime::Runtime {
            return Ok(());
        }
        Ok(locked(&self.journal).append(&[record], sync)?)
    }

    fn note_failure(&self, action: &dyn Action, error: host::Error) -> StepEnd {
        let stopped = matches!(error, host::Error::Stopped);
        let failure = Failure::from(error);
        if !stopped {
            let _ = self.note(action, Record::Failed { id: action.id(), why: failure.what.clone() }, false);
        }
        StepEnd::Failed(Failure { what: format!("{}: {}", action.describe(), failure.what), ..failure })
    }
}

/// Looks again behind a change. What cannot be seen yet is waited for: a service that was restarted may refuse for a
/// moment. What still cannot be seen then is no effect.
fn see_effect(host: &Host, action: &dyn Action, history: &History) -> Result<(), StepEnd> {
    let failed = |how: &str, evidence: String| {
        let what = format!("{} {how}", action.describe());
        Err(StepEnd::Failed(Failure::new(what, evidence, "")))
    };
    match patient_check(host, action, history)? {
        Checked::Done | Checked::LeftAlone(_) => Ok(()),
        Checked::Needed(change) => {
            failed(&format!("had no effect: still to do: {}", change.summary), change.diff.unwrap_or_default())
        }
        Checked::Later(why) => failed(&format!("was done, but its effect cannot be seen: {why}"), String::new()),
        Checked::Blocked(finding) => failed(&format!("was done, but {}", finding.what), finding.evidence),
    }
}

/// What an action waits for is there once the steps before it are done, or shortly after: a service that was restarted
/// may refuse for a moment.
fn patient_check(host: &Host, action: &dyn Action, history: &History) -> host::Result<Checked> {
    let limit = if host.is_live() { LATER_LIMIT } else { Duration::ZERO };
    let started = Instant::now();
    loop {
        let checked = action.check(host, history)?;
        let Checked::Later(why) = &checked else { return Ok(checked) };
        if started.elapsed() >= limit {
            return Ok(checked);
        }
        host.go_on()?;
        host.progress(started.elapsed().as_secs(), limit.as_secs(), &format!("s waiting: {why}"));
        std::thread::sleep(LATER_POLL);
    }
}

struct StepObserver {
    sink: Arc<dyn Sink>,
    step: StepId,
}

impl Observer for StepObserver {
    fn line(&self, text: &str) {
        self.sink.event(&Event::Line { step: self.step.clone(), text: text.to_owned() });
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        self.sink.event(&Event::Progress { step: self.step.clone(), done, total, text: what.to_owned() });
    }

    fn warning(&self, text: &str) {
        self.sink.event(&Event::Warning { step: self.step.clone(), text: text.to_owned() });
    }
}
