//! The lines of the journal: their format is never changed within a schema, and older schemas are read for ever.
//!
//! A change of the format, a new variant of [`Undo`] included, is a new [`SCHEMA`], a frozen function in [`migrate`]
//! where older lines mean something else, and a sample in `tests/fixtures/journal/`.

use crate::action::{ActionId, History, Lifetime, Undo, WhenOrphaned};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the record format. 1: first release. 2: fingerprints in [`Record::Done`], and the undo records that came
/// after the first.
pub const SCHEMA: u32 = 2;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// A run began.
    Run {
        /// Format of the lines that follow.
        schema: u32,
        /// Release that writes.
        version: String,
        /// The kernel's id of this boot.
        boot_id: String,
        /// When, RFC 3339.
        at: String,
        /// "apply" or "uninstall".
        what: String,
    },
    /// An action is about to change something.
    Intent {
        /// Which.
        id: ActionId,
        /// How to take it back.
        undo: Undo,
        /// Who takes it back.
        lifetime: Lifetime,
        /// What if it is no longer wanted.
        when_orphaned: WhenOrphaned,
        /// What will be there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
    },
    /// It did.
    Done {
        /// Which.
        id: ActionId,
        /// What is there now, where that was not known before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
    },
    /// It did, and takes effect with the next boot.
    AwaitsBoot {
        /// Which.
        id: ActionId,
        /// The boot in which it was done.
        boot_id: String,
    },
    /// It could not.
    Failed {
        /// Which.
        id: ActionId,
        /// Why.
        why: String,
    },
    /// It was taken back.
    Undone {
        /// Which.
        id: ActionId,
    },
    /// It was taken back as far as possible.
    Kept {
        /// Which.
        id: ActionId,
        /// What stays.
        why: String,
    },
}

/// How far an action is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionState {
    /// Begun; perhaps done.
    Intended,
    /// Done.
    Done,
    /// Waits for a boot other than this one.
    AwaitsBoot(String),
    /// Failed.
    Failed(String),
}

/// What the journal knows of an action that is not undone.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Undo record and fingerprints.
    pub history: History,
    /// Who takes it back.
    pub lifetime: Lifetime,
    /// What if it is no longer wanted.
    pub when_orphaned: WhenOrphaned,
    /// How far it is.
    pub state: ActionState,
}

impl Entry {
    /// What taking it back means.
    pub fn describe_undo(&self) -> String {
        self.history.undo.as_ref().map_or_else(String::new, Undo::describe)
    }
}

/// Brings a record of an older schema forward, one frozen function a version.
pub(super) fn migrate(record: Value, schema: u64) -> Value {
    match schema {
        0 | 1 => from_1(record),
        _ => record,
    }
}

/// Until schema 1 packages were taken back when a plan no longer named their group: MariaDB would have gone with its
/// databases because a group was called otherwise.
fn from_1(mut record: Value) -> Value {
    let is_packages = record["undo"]["undo"] == "packages";
    if record["record"] == "intent" && is_packages {
        record["when_orphaned"] = "keep".into();
    }
    record
}
