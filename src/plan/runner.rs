//! Runs a plan: ready steps in plan order on some threads, the journal ahead of every change, every change looked at
//! again afterwards. What one step does, its panic included, is in `runner/actions.rs`.

mod actions;

use super::event::{Event, Sink, StepTitle};
use super::journal::{Journal, JournalError};
use super::rollback::{self, TakeBack};
use super::{Hold, Orphan, Plan, PlannedStep, StepId};
use crate::action::{ActionId, Lifetime};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{self, Host};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How many actions changed something.
    pub changed: usize,
    /// How long it took.
    pub seconds: f64,
    /// The failures, in their order.
    pub failures: Vec<Failure>,
    /// Why a reboot is needed, if one is.
    pub reboots: Vec<String>,
    /// Each step that did something: name, seconds, changes.
    pub steps: Vec<(StepId, f64, usize)>,
}

/// Runs plans.
pub struct Runner<'a> {
    /// The machine.
    pub host: &'a Host,
    /// Its journal, open for writing.
    pub journal: Journal,
    /// Runs undo records: those of orphans, and of what was only for a run.
    pub take_back: TakeBack,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// How many steps at a time.
    pub jobs: usize,
    /// "apply".
    pub what: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Progress {
    Waiting,
    Running,
    Done,
    NotDone,
}

struct Shared {
    progress: Vec<Progress>,
    held: Vec<Hold>,
    failures: Vec<Failure>,
    reboots: Vec<String>,
    changed: usize,
    steps: Vec<(StepId, f64, usize)>,
}

/// How a step ended, other than well.
enum StepEnd {
    Failed(Failure),
    Reboot(String),
}

impl StepEnd {
    fn or_next(self, what: &str) -> Self {
        if let StepEnd::Failed(failure) = self { StepEnd::Failed(failure.or_next(what)) } else { self }
    }
}

impl From<host::Error> for StepEnd {
    fn from(error: host::Error) -> Self {
        StepEnd::Failed(error.into())
    }
}

impl From<JournalError> for StepEnd {
    fn from(error: JournalError) -> Self {
        StepEnd::Failed(error.into())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    /// Does what `plan` says: left-overs of a killed run first, orphans next, then the steps, behind them the orphans that
    /// these make others let go of; at last what was only for the run is taken back. Returns the journal too.
    pub fn run(self, plan: Plan) -> (Outcome, Journal) {
        let started = Instant::now();
        let Self { host, mut journal, take_back, sink, jobs, what } = self;
        let mut failures = clean_up_run(host, &mut journal, take_back, sink.as_ref());
        let left_alone: Vec<Event> =
            plan.left_alone().iter().map(|(step, left)| Event::left_alone(step, left)).collect();
        let steps = pending_steps(plan.steps);
        announce(sink.as_ref(), &what, &steps);
        left_alone.iter().for_each(|event| sink.event(event));
        let going = |behind: bool| -> Vec<ActionId> {
            let goes = |orphan: &&Orphan| orphan.undo.is_some() && orphan.behind == behind;
            plan.orphans.iter().filter(goes).map(|orphan| orphan.id.clone()).collect()
        };
        let (ahead, behind) = (going(false), going(true));
        let mut orphaned = rollback::some(host, &mut journal, take_back, &ahead, sink.as_ref());
        let execution = Execution::new(host, journal, sink.clone(), steps, what);
        execution.work(jobs);
        let (shared, mut journal) = execution.end();
        failures.extend(shared.failures);
        if failures.is_empty() && orphaned.failed.is_empty() && host.go_on().is_ok() {
            let last = rollback::some(host, &mut journal, take_back, &behind, sink.as_ref());
            orphaned.undone += last.undone;
            orphaned.failed.extend(last.failed);
        }
        failures.extend(orphaned.failed);
        failures.extend(clean_up_run(host, &mut journal, take_back, sink.as_ref()));
        let outcome = Outcome {
            ending: ending(host, &failures, &shared.reboots),
            changed: shared.changed + orphaned.undone,
            seconds: started.elapsed().as_secs_f64(),
            failures,
            reboots: shared.reboots,
            steps: shared.steps,
        };
        (outcome, journal)
    }
}

/// The steps that have something to do. One that waits for a step which has nothing to do waits for those before that.
fn pending_steps(mut steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let mut before: HashMap<StepId, Vec<StepId>> = HashMap::new();
    for planned in &mut steps {
        let through = |id: &StepId| before.get(id).cloned().unwrap_or_else(|| vec![id.clone()]);
        let mut after: Vec<StepId> = planned.step.after.iter().flat_map(through).collect();
        after.sort_unstable();
        after.dedup();
        planned.step.after = after;
        if planned.pending() == 0 {
            before.insert(planned.step.id.clone(), planned.step.after.clone());
        }
    }
    steps.retain(|step| step.pending() > 0);
    steps
}

fn announce(sink: &dyn Sink, what: &str, steps: &[PlannedStep]) {
    let titles = steps.iter().map(|s| StepTitle { step: s.step.id.clone(), title: s.step.title.clone() });
    sink.event(&Event::RunStarted {
        what: what.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        steps: titles.collect(),
    });
}

fn ending(host: &Host, failures: &[Failure], reboots: &[String]) -> Ending {
    if !failures.is_empty() || host.go_on().is_err() {
        Ending::Midway
    } else if !reboots.is_empty() {
        Ending::RebootNeeded
    } else {
        Ending::Done
    }
}

/// Takes back what was only for a run: at its end, or first thing in the next after a crash.
fn clean_up_run(host: &Host, journal: &mut Journal, take_back: TakeBack, sink: &dyn Sink) -> Vec<Failure> {
    let left = journal.entries().filter(|(_, entry)| entry.lifetime == Lifetime::Run).map(|(id, _)| id.clone());
    let left: Vec<ActionId> = left.rev().collect();
    // A stop request must not keep us from tidying up.
    rollback::some(&host.unstoppable(), journal, take_back, &left, sink).failed
}

/// The part of a run that is shared by its threads.
struct Execution<'a> {
    host: &'a Host,
    journal: Mutex<Journal>,
    sink: Arc<dyn Sink>,
    steps: Vec<PlannedStep>,
    shared: Mutex<Shared>,
    moved: Condvar,
    what: String,
}

impl<'a> Execution<'a> {
    fn new(host: &'a Host, journal: Journal, sink: Arc<dyn Sink>, steps: Vec<PlannedStep>, what: String) -> Self {
        let shared = Shared {
            progress: vec![Progress::Waiting; steps.len()],
            held: Vec::new(),
            failures: Vec::new(),
            reboots: Vec::new(),
            changed: 0,
            steps: Vec::new(),
        };
        let (journal, shared) = (Mutex::new(journal), Mutex::new(shared));
        Self { host, journal, sink, steps, shared, moved: Condvar::new(), what }
    }

    fn work(&self, jobs: usize) {
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, self.steps.len().max(1)) {
                scope.spawn(|| {
                    while let Some(i) = self.next() {
                        self.run_step(i)
                    }
                });
            }
        });
    }

    fn end(self) -> (Shared, Journal) {
        let shared = self.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        (shared, self.journal.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first step in plan order that may start now; waits for one while others run; `None` at the end.
    fn next(&self) -> Option<usize> {
        let mut shared = locked(&self.shared);
        loop {
            let stopped = !shared.failures.is_empty() || self.host.go_on().is_err();
            let ready = (0..self.steps.len()).find(|i| !stopped && self.is_ready(*i, &shared));
            if let Some(i) = ready {
                shared.progress[i] = Progress::Running;
                shared.held.extend(&self.steps[i].step.holds);
                return Some(i);
            }
            if !shared.progress.contains(&Progress::Running) {
                self.moved.notify_all();
                return None;
            }
            shared = self.moved.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_ready(&self, i: usize, shared: &Shared) -> bool {
        let step = &self.steps[i].step;
        let done = |id: &StepId| {
            // A step that is not among the pending ones has nothing to do: it is done.
            self.steps
                .iter()
                .position(|other| other.step.id == *id)
                .is_none_or(|j| shared.progress[j] == Progress::Done)
        };
        shared.progress[i] == Progress::Waiting
            && step.after.iter().all(done)
            && !step.holds.iter().any(|hold| shared.held.contains(hold))
    }

    fn run_step(&self, i: usize) {
        let step = &self.steps[i].step;
        let started = Instant::now();
        self.sink.event(&Event::StepStarted { step: step.id.clone() });
        let (changed, end) = self.do_actions_or_die(&self.steps[i]);
        let seconds = started.elapsed().as_secs_f64();
        let end = end.map(|end| end.or_next(&self.what));
        self.tell_end(&step.id, seconds, changed, &end);
        let mut shared = locked(&self.shared);
        shared.held.retain(|hold| !step.holds.contains(hold));
        shared.changed += changed;
        shared.steps.push((step.id.clone(), seconds, changed));
        shared.progress[i] = if end.is_none() { Progress::Done } else { Progress::NotDone };
        match end {
            Some(StepEnd::Failed(failure)) => shared.failures.push(failure),
            Some(StepEnd::Reboot(why)) => shared.reboots.push(why),
            None => {}
        }
        self.moved.notify_all();
    }

    fn tell_end(&self, step: &StepId, seconds: f64, changed: usize, end: &Option<StepEnd>) {
        let step = step.clone();
        self.sink.event(&match end {
            None => Event::StepDone { step, seconds, changed },
            Some(StepEnd::Reboot(why)) => Event::RebootNeeded { step, why: why.clone() },
            Some(StepEnd::Failed(failure)) => {
                let Failure { what, evidence, next, .. } = failure.clone();
                Event::StepFailed { step, what, evidence, next }
            }
        });
    }
}
