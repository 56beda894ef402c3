//! How a command, a run or a failure ended. Which number the program exits with is said in `command/exit.rs`.

use serde::{Deserialize, Serialize};

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Done, nothing to do, healthy.
    Done,
    /// Failed, not healthy.
    #[default]
    Failed,
    /// Wrong by its text alone: usage, configuration.
    Usage,
    /// Stopped by a check of this machine; nothing changed.
    Refused,
    /// Stopped midway; `apply` goes on.
    Midway,
    /// A reboot is needed; the installation goes on by itself after it.
    RebootNeeded,
    /// Not everything could be taken back.
    UndoIncomplete,
    /// The person at the terminal interrupted, or said no.
    Interrupted,
    /// A program that was run for the person at the terminal ended with this status (`lab exec`).
    Passed(u8),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Ending::Done => "done",
            Ending::Failed => "failed",
            Ending::Usage => "wrong usage",
            Ending::Refused => "refused",
            Ending::Midway => "stopped midway",
            Ending::RebootNeeded => "a reboot is needed",
            Ending::UndoIncomplete => "undo incomplete",
            Ending::Interrupted => "interrupted",
            Ending::Passed(_) => "passed on",
        })
    }
}
