//! Every exit status and its meaning. A command returns one, `main` only passes it on. A new one is a variant here,
//! with its row in the README and its line in the help (`cli.rs`).

use serde::Serialize;

/// The program's exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum ExitStatus {
    /// 0: done, nothing to do, healthy.
    Done,
    /// 1: failed, not healthy.
    #[default]
    Failed,
    /// 2: wrong by its text alone: usage, configuration.
    Usage,
    /// 3: stopped by a check of this machine; nothing changed.
    Refused,
    /// 4: stopped midway; `apply` goes on.
    Midway,
    /// 5: a reboot is needed; the installation goes on by itself after it.
    RebootNeeded,
    /// 6: undo incomplete.
    UndoIncomplete,
    /// 130: interrupted.
    Interrupted,
    /// That of a program which was run for the person at the terminal (`lab exec`).
    Passed(u8),
}

impl ExitStatus {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Refused => 3,
            ExitStatus::Midway => 4,
            ExitStatus::RebootNeeded => 5,
            ExitStatus::UndoIncomplete => 6,
            ExitStatus::Interrupted => 130,
            ExitStatus::Passed(code) => code,
        }
    }

    /// The status with this number; an unknown one is a failure.
    pub fn from_code(code: u8) -> Self {
        use ExitStatus::{Done, Failed, Interrupted, Midway, RebootNeeded, Refused, UndoIncomplete, Usage};
        let all = [Done, Failed, Usage, Refused, Midway, RebootNeeded, UndoIncomplete, Interrupted];
        all.into_iter().find(|status| status.code() == code).unwrap_or(Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_number_back() {
        for code in [0, 1, 2, 3, 4, 5, 6, 130] {
            assert_eq!(ExitStatus::from_code(code).code(), code);
        }
    }
}
