//! The trials of `tests/lab.rs`. A file holds what belongs to one subject; which trials make a group, and in which order,
//! is in `tests/lab.rs`.

use crate::groups::saved::before;
use crate::machine::tree::{difference, tree};
use crate::machine::{inside, root};

pub use crate::groups::Verdict;

/// The host of the cloud.
pub const LAB: &str = "suite-one";
/// A host in which nothing is installed.
pub const FRESH: &str = "suite-fresh";
/// A second host beside another.
pub const SECOND: &str = "suite-two";

pub mod cards;
pub mod cloud;
pub mod damage;
pub mod dashboard;
pub mod debian12;
pub mod devstack;
pub mod documents;
pub mod fresh;
pub mod install;
pub mod keys;
pub mod last;
pub mod long;
pub mod moved;
pub mod named_files;
pub mod network;
pub mod notebooks;
pub mod package;
pub mod removal;
pub mod resources;
pub mod silent;
pub mod standing;
pub mod strangers;
pub mod terminal;
pub mod together;
pub mod tunnel;
pub mod ubuntu_like;
pub mod upgrade;
pub mod vm;
mod wrong;

/// The answers of a host.
const ANSWERS: &str = "/etc/gpucloud/gpucloud.toml";

fn run_is_active(lab: &str) -> bool {
    inside(lab, &["systemctl", "is-active", "--quiet", "gpucloud-run.service"]).code == 0
}

fn main_process(unit: &str) -> String {
    inside(LAB, &["systemctl", "show", "--property=MainPID", unit]).out
}

/// Fails the test unless the host is what it was when nothing was installed.
fn nothing_changed(lab: &str) {
    let mut changed = difference(&before(lab).tree, &tree(lab));
    changed.retain(|line| !wrong::OF_TRIALS.iter().any(|path| line.starts_with(&format!("{path}:"))));
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(!root(lab).join("var/lib/gpucloud").exists());
}
