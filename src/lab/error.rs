//! What labs fail with.

use crate::ending::Ending;
use crate::failure::Failure;
use crate::host;
use crate::plan::PlanError;
use crate::plan::journal::JournalError;
use std::path::PathBuf;

/// What labs fail with. What runs inside one, or as its plan, has said as a [`Failure`] what was wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No lab has this name.
    #[error("there is no lab called {name}")]
    NoLab {
        /// The name.
        name: String,
    },
    /// No snapshot has this name.
    #[error("there is no snapshot called {name}")]
    NoSnapshot {
        /// The name.
        name: String,
    },
    /// What is remembered of one cannot be read.
    #[error("{path} cannot be read")]
    Note {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// All networks are taken.
    #[error("there is no free network for a lab")]
    NoNetwork,
    /// The file of a board is missing, or describes none.
    #[error("{path}: {what}")]
    Board {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// The base image is too old for a Vagrant box.
    #[error("the base image has no sudo, which Vagrant needs")]
    NoSudo,
    /// This machine does not let us listen to signals.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
    /// A plan was stopped before its end.
    #[error("stopped")]
    Stopped {
        /// The command that goes on.
        command: String,
        /// How it ended.
        ending: Ending,
    },
    /// The installation inside failed.
    #[error("inside lab {name}: {}", .failure.what)]
    Inside {
        /// The lab.
        name: String,
        /// What it said, where it said something.
        failure: Box<Failure>,
        /// Its exit status.
        status: u8,
    },
    /// Its cloud did not become healthy.
    #[error("{source}")]
    Unhealthy {
        /// The lab.
        name: String,
        /// What was waited for.
        source: host::Error,
    },
    /// One of the hands failed.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A step failed, or answers are wrong.
    #[error("{}", .0.what)]
    Said(Box<Failure>),
}

impl From<Failure> for LabError {
    fn from(failure: Failure) -> Self {
        Self::Said(Box::new(failure))
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        let what = error.to_string();
        match error {
            LabError::NoLab { .. } | LabError::NoSnapshot { .. } => {
                Self::new(what, "", "gpucloud-install lab list").with(Ending::Refused)
            }
            LabError::Note { path, source } => {
                let name = path.parent().and_then(|dir| dir.file_name()).unwrap_or_default().to_string_lossy();
                Self::new(what, source.to_string(), format!("gpucloud-install lab down {name}"))
            }
            LabError::NoNetwork => Self::new(what, "10.78.0.0/16 is full", "gpucloud-install lab down --purge"),
            LabError::Board { .. } => {
                Self::usage(what, "profiles/cards/ has examples; without --cards there is one of each kind")
            }
            LabError::NoSudo => Self::new(
                what,
                "an older release made it, and a lab stands on it",
                "gpucloud-install lab list shows which; take it down, then the same command again",
            ),
            LabError::Signals(source) => Self::new(what, source.to_string(), "ulimit -a"),
            LabError::Stopped { command, ending } => Self::new(what, "", format!("{command} goes on")).with(ending),
            LabError::Inside { name, failure, status } => {
                let next = match status {
                    // Refused, or wrong answers (README, "Exit status"): going on alone does not help.
                    2 | 3 => format!("{}; then: gpucloud-install lab up --name {name}", failure.next),
                    _ => format!("gpucloud-install lab up --name {name} goes on; lab shell {name} looks inside"),
                };
                Self { what, next, ..*failure }.with(Ending::Passed(status))
            }
            LabError::Unhealthy { name, source } => {
                Self { next: format!("gpucloud-install lab status {name}"), ..Self::from(source) }
            }
            LabError::Host(error) => error.into(),
            LabError::Plan(error) => error.into(),
            LabError::Journal(error) => error.into(),
            LabError::Said(failure) => *failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_says_what_to_do_next() {
        let damaged = serde_json::from_str::<u8>("x").unwrap_err();
        let failed = || Box::new(Failure::new("no disk", "", "free some"));
        let all = [
            LabError::NoLab { name: "a".into() },
            LabError::NoSnapshot { name: "a".into() },
            LabError::Note { path: "/var/lib/gpucloud-lab/labs/a/lab.json".into(), source: damaged },
            LabError::NoNetwork,
            LabError::Board { path: "cards.toml".into(), what: "two consoles".into() },
            LabError::NoSudo,
            LabError::Stopped { command: "gpucloud-install lab up".into(), ending: Ending::Midway },
            LabError::Inside { name: "a".into(), failure: failed(), status: 3 },
            LabError::Inside { name: "a".into(), failure: failed(), status: 1 },
            LabError::Said(failed()),
        ];
        for error in all {
            let failure = Failure::from(error);
            assert!(!failure.what.is_empty() && !failure.next.is_empty(), "{failure:?}");
        }
    }
}
