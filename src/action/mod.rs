//! Actions: the reversible changes of a machine, one kind a file. An action knows how to see whether it is done, how
//! to do it and what to remember to undo it; it never decides whether it is wanted.
//!
//! Here are the kinds that any room needs. One that only one room needs stands there: the network's in
//! `network/action.rs`, the cloud's in `cloud/resource_action.rs` and `cloud/keystone_action.rs`, DevStack's in
//! `engine/devstack/`.
//!
//! A new kind is one new file and its `mod` line, a variant of [`Undo`] (`undo.rs`, run by `src/undo/`) if none fits, a
//! hand in `host/` if the machine has to be touched in a new way, and nothing in `plan/`. One that takes effect with
//! the next boot returns [`Applied::RebootNeeded`]; the runner does the rest.

pub mod account;
pub mod database;
pub mod directory;
pub mod file;
pub mod ini;
pub mod kept;
pub mod on_undo;
pub mod originals;
pub mod packages;
pub mod purge;
pub mod symlink;
pub mod sysctl;
pub mod task;
pub mod undo;
pub mod unit;

pub use originals::Originals;
pub use undo::Undo;

use crate::finding::Finding;
use crate::host::{Host, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// "kind:target", for example `file:/etc/nova/nova.conf`: unique in a plan, stable for ever, since journals of older
/// releases name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(String);

impl ActionId {
    /// The id of a `kind` of action on `target`.
    pub fn new(kind: &str, target: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{target}"))
    }

    /// "file".
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(kind, _)| kind)
    }

    /// "/etc/nova/nova.conf".
    pub fn target(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, target)| target)
    }
}

impl std::fmt::Display for ActionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a change is meant to last, and so who takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Until `uninstall`.
    Installed,
    /// Until the end of the run; after a crash, until the beginning of the next.
    Run,
    /// Until the next boot: never journalled (a started unit, a loaded nft table).
    Runtime,
}

/// What happens to a change that the answers no longer want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenOrphaned {
    /// It is undone by the next apply.
    Undo,
    /// It stays until `uninstall`, because it carries data.
    Keep,
}

/// What a change would change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// One line: "write 42 lines, 0640 root:gpucloud".
    pub summary: String,
    /// Unified diff, secrets masked, for files.
    pub diff: Option<String>,
}

impl Change {
    /// A change that one line says.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), diff: None }
    }
}

/// What a look at the machine says of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Nothing to do.
    Done,
    /// This would change.
    Needed(Change),
    /// It cannot be said before this happened.
    Later(String),
    /// It must not be done.
    Blocked(Finding),
    /// Nothing is done although something differs: what there is stays as it is, and that is said.
    LeftAlone(Finding),
}

impl Checked {
    /// [`Checked::Needed`] with one line.
    pub fn needed(summary: impl Into<String>) -> Self {
        Checked::Needed(Change::new(summary))
    }

    /// Done, or needed for this reason.
    pub fn done_if(done: bool, otherwise: impl Into<String>) -> Self {
        if done { Checked::Done } else { Checked::needed(otherwise) }
    }
}

/// How an action went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// As wanted.
    Done,
    /// As wanted, but this should be known.
    Warned(String),
    /// Left out, for this reason.
    Skipped(String),
    /// It takes effect with the next boot.
    RebootNeeded(String),
}

/// How an undo went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// As before.
    Restored,
    /// Something stays, for this reason.
    Kept(String),
}

/// What the journal remembers of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// How to take it back; `None` where it was never begun.
    pub undo: Option<Undo>,
    /// What we left behind, at each time: a file with another fingerprint was edited by somebody else.
    pub fingerprints: Vec<String>,
}

/// One reversible change.
pub trait Action: Send + Sync {
    /// Its name in plan and journal.
    fn id(&self) -> ActionId;

    /// What it does, in words: "Write /etc/nova/nova.conf".
    fn describe(&self) -> String;

    /// Who takes it back.
    fn lifetime(&self) -> Lifetime {
        Lifetime::Installed
    }

    /// What happens when the answers no longer want it.
    fn when_orphaned(&self) -> WhenOrphaned {
        WhenOrphaned::Undo
    }

    /// Looks whether it is done. Changes nothing.
    fn check(&self, host: &Host, history: &History) -> Result<Checked>;

    /// Whether its look asks the running system (systemd, databases, APIs): then a captured tree cannot tell.
    fn asks_the_running_system(&self) -> bool {
        false
    }

    /// Whether nothing that it changes outlives a boot.
    fn changes_the_running_system_only(&self) -> bool {
        false
    }

    /// What to remember to take it back, from the machine as it is now. Changes nothing but `originals`.
    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo>;

    /// The same where the journal already knows an undo: the first original wins.
    fn prepare_again(&self, _host: &Host, earlier: &Undo) -> Result<Undo> {
        Ok(earlier.clone())
    }

    /// What will be there afterwards, in a form that can be compared: lets a later edit be told from our own work.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// The same of what is there once it is done, where only that can tell: of what a program made.
    fn left(&self, _host: &Host) -> Result<Option<String>> {
        Ok(None)
    }

    /// Does it. Must be safe to repeat after having been killed anywhere inside.
    fn apply(&self, host: &Host, history: &History) -> Result<Applied>;

    /// Files whose change makes this action needed again, although it is done now (a running unit's configuration).
    fn inputs(&self) -> &[PathBuf] {
        &[]
    }

    /// The unit that it looks at: a plan asks systemd about all of them at once.
    fn unit(&self) -> Option<&str> {
        None
    }

    /// The file, directory or stamp that it changes, for [`Action::inputs`] of others.
    fn changes(&self) -> Option<&Path> {
        None
    }

    /// Whether it does no more than write a path: neighbours of that kind share one sync of the journal.
    fn is_quick(&self) -> bool {
        false
    }
}
