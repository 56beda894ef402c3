//! What a run tells while it goes on: one enum for every display (bars, plain lines, JSON lines, a second terminal).
//!
//! A new event is a variant of [`Event`], sent by the runner, and shown in `ui/display.rs` and in `run/worker.rs`'s
//! log; an older reader skips what it does not know.

use super::StepId;
use crate::action::ActionId;
use crate::ending::Ending;
use crate::finding::Finding;
use serde::{Deserialize, Serialize};

/// One thing that happened in a run. New kinds may be added: readers of another version see [`Event::Unknown`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The run began.
    RunStarted {
        /// What is done: "apply", "uninstall", "lab up".
        what: String,
        /// Version of the program.
        version: String,
        /// All steps that have something to do, in plan order.
        steps: Vec<StepTitle>,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: StepId,
    },
    /// An action is being done.
    ActionStarted {
        /// Of which step.
        step: StepId,
        /// Which.
        action: ActionId,
        /// In words.
        text: String,
    },
    /// An action changed something.
    ActionDone {
        /// Of which step.
        step: StepId,
        /// Which.
        action: ActionId,
    },
    /// How far a step is; both numbers in the same unit.
    Progress {
        /// Which step.
        step: StepId,
        /// So far.
        done: u64,
        /// In all.
        total: u64,
        /// Unit and object: "s waiting for the package lock".
        text: String,
    },
    /// A line of output, secrets masked.
    Line {
        /// Of which step.
        step: StepId,
        /// Without its line end.
        text: String,
    },
    /// Something to know, although the run goes on.
    Warning {
        /// Of which step.
        step: StepId,
        /// In words.
        text: String,
    },
    /// Something differs from the answers and stays as it is: nothing will be done about it.
    LeftAlone {
        /// Of which step.
        step: StepId,
        /// What differs.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// A step ended well.
    StepDone {
        /// Which.
        step: StepId,
        /// How long it took.
        seconds: f64,
        /// How many actions changed something.
        changed: usize,
    },
    /// A step failed; steps that wait for it will not run.
    StepFailed {
        /// Which.
        step: StepId,
        /// What failed.
        what: String,
        /// The line that proves it.
        evidence: String,
        /// What to type next.
        next: String,
    },
    /// A step needs a boot before those behind it can go on.
    RebootNeeded {
        /// Which.
        step: StepId,
        /// Why.
        why: String,
    },
    /// The run ended.
    RunFinished {
        /// How it ended.
        #[serde(default)]
        ending: Ending,
        /// How many actions changed something.
        changed: usize,
        /// How long it took.
        seconds: f64,
    },
    /// An event of a newer release.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// What stays as it is in `step`.
    pub fn left_alone(step: &StepId, left: &Finding) -> Self {
        Event::LeftAlone { step: step.clone(), what: left.what.clone(), next: left.next.clone() }
    }
}

/// Name and title of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTitle {
    /// Its name.
    pub step: StepId,
    /// What a person reads.
    pub title: String,
}

/// Where events go. Called from several threads.
pub trait Sink: Sync + Send {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Several sinks as one.
pub struct Tee(pub Vec<std::sync::Arc<dyn Sink>>);

impl Sink for Tee {
    fn event(&self, event: &Event) {
        self.0.iter().for_each(|sink| sink.event(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_newer_release_is_read_as_unknown() {
        let event: Event = serde_json::from_str(r#"{"event":"coffee-break","minutes":5}"#).unwrap();
        assert_eq!(event, Event::Unknown);
    }
}
