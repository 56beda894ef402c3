//! Order and truth: steps made of actions, what each of them would change, and the run that does it.
//!
//! ```text
//! steps -> Plan::make (checks only) -> Runner::run (journal, events) -> Outcome
//!                                   -> rollback::everything (uninstall)
//! ```

pub mod event;
pub mod journal;
pub mod rollback;
pub mod runner;
pub mod step;

pub use step::{Hold, Role, Step, StepId};

use crate::action::{Action, ActionId, Checked, Lifetime, Undo, WhenOrphaned};
use crate::failure::Failure;
use crate::finding::Finding;
use crate::host::{Host, Result};
use journal::{Entry, Journal};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An action, and what it would do.
pub struct PlannedAction {
    /// Its name.
    pub id: ActionId,
    /// In words.
    pub description: String,
    /// What the look at the machine said.
    pub checked: Checked,
}

impl PlannedAction {
    /// What is said of it where it stays as it is.
    pub fn left_alone(&self) -> Option<&Finding> {
        if let Checked::LeftAlone(finding) = &self.checked { Some(finding) } else { None }
    }

    /// Whether something would be done.
    pub fn is_pending(&self) -> bool {
        !matches!(self.checked, Checked::Done | Checked::LeftAlone(_))
    }
}

/// A step, and what each of its actions would do.
pub struct PlannedStep {
    /// The step itself.
    pub step: Step,
    /// In the order of the step's actions.
    pub actions: Vec<PlannedAction>,
}

impl PlannedStep {
    /// How many actions would do something.
    pub fn pending(&self) -> usize {
        self.actions.iter().filter(|action| action.is_pending()).count()
    }
}

/// A change of an earlier run that the answers no longer want, or that was for that run alone.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// Its name.
    pub id: ActionId,
    /// What taking it back means; `None`: it stays, because it carries data.
    pub undo: Option<String>,
    /// Whether it is taken back behind the steps, which make others let go of it first.
    pub behind: bool,
    /// The file that changes when it is taken back.
    path: Option<PathBuf>,
}

/// What `apply` will do.
pub struct Plan {
    /// In the order in which they would run one by one.
    pub steps: Vec<PlannedStep>,
    /// In the order in which they would be undone; those that are `behind` wait for the steps.
    pub orphans: Vec<Orphan>,
}

/// A plan that cannot be made, because the steps contradict each other: our own mistake.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two actions would answer for one thing.
    #[error("two actions are called {0}: this is a bug of gpucloud-install")]
    Twice(ActionId),
    /// A step waits for one that is not in the plan, or comes later.
    #[error("step {step} waits for {missing}, which does not come before it: this is a bug of gpucloud-install")]
    Order {
        /// The waiting step.
        step: StepId,
        /// What it waits for.
        missing: StepId,
    },
    /// A look at the machine failed.
    #[error("{id}: {source}")]
    Check {
        /// Which action looked.
        id: ActionId,
        /// What went wrong.
        source: Box<crate::host::Error>,
    },
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Check { id, source } => {
                let next = look_again(&source);
                let inner = Failure::from(*source);
                let next = if inner.next.is_empty() { next } else { inner.next };
                Failure { what: format!("cannot look at {id}: {}", inner.what), next, ..inner }
            }
            other => {
                Failure::new(other.to_string(), "", "report this with the output of: gpucloud-install plan --json")
            }
        }
    }
}

/// What to do where a look failed for a reason that nobody knows: another apply would look the same way, and fail.
fn look_again(error: &crate::host::Error) -> String {
    use crate::host::Error;
    let first = match error {
        Error::Failed { command, .. } => format!("run it yourself and repair what it says: {command}"),
        Error::Start { command, .. } => {
            format!("see what is wrong with that program: command -v {}", command.split(' ').next().unwrap_or_default())
        }
        Error::Io { path, .. } => format!("ls -ld {0}; df -h {0}: repair what is wrong there", path.display()),
        _ => "repair what it names; journalctl -b -p err says more".to_owned(),
    };
    format!("{first}, then: gpucloud-install plan")
}

impl Plan {
    /// Looks at the machine, changes nothing.
    ///
    /// # Errors
    /// Steps that contradict each other, or a look that failed.
    pub fn make(steps: Vec<Step>, host: &Host, journal: &Journal) -> std::result::Result<Self, PlanError> {
        validate(&steps)?;
        let orphans = orphans(&steps, journal);
        let mut planned = check_all(steps, host, journal)?;
        mark_restarts(&mut planned, orphans.iter().filter_map(|orphan| orphan.path.clone()));
        skip_idle_helpers(&mut planned);
        mark_closing(&mut planned);
        Ok(Self { steps: planned, orphans })
    }

    /// What is no longer wanted and is `held` by others as long as the steps have not told them: it is taken back behind
    /// the steps, all others ahead of them.
    pub fn let_go_first(&mut self, held: impl Fn(&ActionId) -> bool) {
        self.orphans.iter_mut().for_each(|orphan| orphan.behind = held(&orphan.id));
    }

    /// How many changes it would make.
    pub fn pending(&self) -> usize {
        let steps: usize = self.steps.iter().map(PlannedStep::pending).sum();
        steps + self.orphans.iter().filter(|orphan| orphan.undo.is_some()).count()
    }

    /// Findings that forbid the run.
    pub fn blocked(&self) -> Vec<&Finding> {
        let actions = self.steps.iter().flat_map(|step| &step.actions);
        actions.filter_map(|a| if let Checked::Blocked(finding) = &a.checked { Some(finding) } else { None }).collect()
    }

    /// What differs from the answers and stays as it is, each with its step.
    pub fn left_alone(&self) -> Vec<(&StepId, &Finding)> {
        let actions = self.steps.iter().flat_map(|step| step.actions.iter().map(|action| (&step.step.id, action)));
        actions.filter_map(|(step, action)| Some((step, action.left_alone()?))).collect()
    }
}

fn validate(steps: &[Step]) -> std::result::Result<(), PlanError> {
    let (mut before, mut ids) = (HashSet::new(), HashSet::new());
    for step in steps {
        if let Some(missing) = step.after.iter().find(|id| !before.contains(id)) {
            return Err(PlanError::Order { step: step.id.clone(), missing: missing.clone() });
        }
        before.insert(&step.id);
        for action in &step.actions {
            if !ids.insert(action.id()) {
                return Err(PlanError::Twice(action.id()));
            }
        }
    }
    Ok(())
}

fn orphans(steps: &[Step], journal: &Journal) -> Vec<Orphan> {
    let wanted: HashSet<ActionId> = steps.iter().flat_map(|step| &step.actions).map(|action| action.id()).collect();
    let mut orphans: Vec<Orphan> = journal
        .entries()
        .filter(|(id, entry)| is_left_over(entry) || !wanted.contains(id))
        .map(|(id, entry)| {
            let goes = is_left_over(entry) || (entry.when_orphaned == WhenOrphaned::Undo && !carries_data(entry));
            let undo = goes.then(|| entry.describe_undo());
            let path = entry.history.undo.as_ref().filter(|_| goes).and_then(Undo::path).map(Path::to_owned);
            Orphan { id: id.clone(), undo, behind: false, path }
        })
        .collect();
    orphans.reverse();
    orphans
}

/// Packages carry databases and images in what they leave; journals of 0.1.0 call them something that may go.
fn carries_data(entry: &Entry) -> bool {
    matches!(entry.history.undo, Some(Undo::Packages { .. }))
}

/// What was for a run alone, and is still there, was left by one that was killed.
fn is_left_over(entry: &Entry) -> bool {
    entry.lifetime == Lifetime::Run
}

fn check_all(steps: Vec<Step>, host: &Host, journal: &Journal) -> std::result::Result<Vec<PlannedStep>, PlanError> {
    let host = &host.with_snapshot(&units(&steps));
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<Vec<CheckResult>>> = steps.iter().map(|_| OnceLock::new()).collect();
    let check_some = || {
        while let Some((step, result)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            steps.get(i).zip(results.get(i))
        } {
            let checked = step.actions.iter().map(|action| check_one(action.as_ref(), host, journal));
            let _ = result.set(checked.collect());
        }
    };
    std::thread::scope(|scope| {
        (0..CHECKERS).for_each(|_| drop(scope.spawn(check_some)));
    });
    let checked = results.into_iter().map(|result| result.into_inner().unwrap_or_default());
    let join = |(step, checked): (Step, Vec<CheckResult>)| {
        let actions: std::result::Result<Vec<_>, _> = checked.into_iter().collect();
        Ok(PlannedStep { actions: actions?, step })
    };
    steps.into_iter().zip(checked).map(join).collect()
}

fn units(steps: &[Step]) -> Vec<&str> {
    let mut units: Vec<&str> = steps.iter().flat_map(|s| &s.actions).filter_map(|action| action.unit()).collect();
    units.sort_unstable();
    units.dedup();
    units
}

/// How many steps are looked at at a time: most looks wait for a database or an API.
const CHECKERS: usize = 8;

type CheckResult = std::result::Result<PlannedAction, PlanError>;

fn check_one(action: &dyn Action, host: &Host, journal: &Journal) -> std::result::Result<PlannedAction, PlanError> {
    let id = action.id();
    let checked: Result<Checked> = match host.is_live() || !action.asks_the_running_system() {
        true => action.check(host, &journal.history(&id)),
        false => Ok(Checked::Later("only the running system can tell".into())),
    };
    let checked = match checked {
        Err(crate::host::Error::NotLive(_)) => Checked::Later("only the running system can tell".into()),
        // A run begins with taking back what a killed one left: it will be missing then.
        Ok(Checked::Done | Checked::LeftAlone(_)) if journal.entry(&id).is_some_and(is_left_over) => {
            Checked::needed("again: a killed run left it")
        }
        checked => checked.map_err(|source| PlanError::Check { id: id.clone(), source: Box::new(source) })?,
    };
    Ok(PlannedAction { id, description: action.describe(), checked })
}

/// What reads something that this plan changes is done again, although it looks done now: say so. What changes by that
/// may have readers of its own.
fn mark_restarts(planned: &mut [PlannedStep], going: impl Iterator<Item = PathBuf>) {
    let going: Vec<PathBuf> = going.collect();
    loop {
        let changing: Vec<PathBuf> = changing_paths(planned).into_iter().chain(going.iter().cloned()).collect();
        if !mark_readers(planned, &changing) {
            return;
        }
    }
}

/// Whether any was marked.
fn mark_readers(planned: &mut [PlannedStep], changing: &[PathBuf]) -> bool {
    let mut any = false;
    for step in planned {
        for (action, planned) in step.step.actions.iter().zip(&mut step.actions) {
            let cause = action.inputs().iter().find(|input| changing.iter().any(|path| path.starts_with(input)));
            if let (Some(path), Checked::Done) = (cause, &planned.checked) {
                planned.checked = Checked::Later(format!("again, because {} changes", path.display()));
                any = true;
            }
        }
    }
    any
}

/// What the closing step saw is not what it will find once others have changed something.
fn mark_closing(planned: &mut [PlannedStep]) {
    if planned.iter().all(|step| step.pending() == 0) {
        return;
    }
    for step in planned.iter_mut().filter(|step| step.step.closing) {
        for (action, planned) in step.step.actions.iter().zip(&mut step.actions) {
            if action.lifetime() == Lifetime::Runtime && planned.checked == Checked::Done {
                planned.checked = Checked::Later("again, behind the changes before it".into());
            }
        }
    }
}

fn changing_paths(planned: &[PlannedStep]) -> Vec<PathBuf> {
    let pairs = planned.iter().flat_map(|step| step.step.actions.iter().zip(&step.actions));
    pairs
        .filter(|(_, planned)| planned.is_pending())
        .filter_map(|(action, _)| action.changes().map(Path::to_owned))
        .collect()
}

/// Steps that only help the run (keeping daemons from starting during apt) are left out when no step right behind
/// them has anything to do.
fn skip_idle_helpers(planned: &mut [PlannedStep]) {
    for i in (0..planned.len()).rev() {
        if !planned[i].step.lasts_only_for_the_run() {
            continue;
        }
        let id = &planned[i].step.id;
        let needed = planned.iter().any(|other| other.step.after.contains(id) && other.pending() > 0);
        if !needed {
            planned[i].actions.iter_mut().for_each(|action| action.checked = Checked::Done);
        }
    }
}
