//! What is looked at before any service: where it is wrong, whatever else is down is its consequence, and starting
//! services would only take time.

use crate::finding::{Finding, Level};
use crate::installation::Installation;

/// The checks that tell it, of those that ask nothing but the kernel.
const ROOTS: [&str; 1] = ["address"];

/// The cause of all else, if there is one.
pub fn of_all(installation: &Installation) -> Option<Finding> {
    installation.findings_of(&ROOTS).into_iter().find(|finding| finding.level == Level::Stop)
}
