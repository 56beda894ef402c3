//! Exit statuses of the program. A new one is a variant of [`Ending`] and its number here, with its row in the README
//! and its line in the help (`cli.rs`).

use crate::ending::Ending;

/// The number with which the program exits.
pub fn status(ending: Ending) -> u8 {
    match ending {
        Ending::Done => 0,
        Ending::Failed => 1,
        Ending::Usage => 2,
        Ending::Refused => 3,
        Ending::Midway => 4,
        Ending::RebootNeeded => 5,
        Ending::UndoIncomplete => 6,
        Ending::Interrupted => 130,
        Ending::Passed(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts of others go by these numbers: the README's table is what they were told.
    #[test]
    fn each_status_is_the_readmes() {
        use Ending::{Done, Failed, Interrupted, Midway, RebootNeeded, Refused, UndoIncomplete, Usage};
        let readme = include_str!("../../README.md");
        let rows = [
            (Done, "done, nothing to do, healthy"),
            (Failed, "failed, not healthy"),
            (Usage, "wrong by its text alone"),
            (Refused, "stopped by a check of this machine"),
            (Midway, "stopped midway"),
            (RebootNeeded, "a reboot is needed"),
            (UndoIncomplete, "undo incomplete"),
            (Interrupted, "interrupted"),
        ];
        for (ending, words) in rows {
            let row = format!("| {} | {words}", status(ending));
            assert!(readme.contains(&row), "{row}");
        }
    }
}
