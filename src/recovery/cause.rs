//! What is looked at before any service: where it is wrong, whatever else is down is its consequence, and starting
//! services would only take time.

use crate::config::Config;
use crate::finding::{Finding, Level};
use crate::installation::Installation;
use crate::paths;
use std::path::Path;

/// The checks that tell it, of those that ask nothing but the kernel.
const ROOTS: [&str; 1] = ["address"];

/// The cause of all else, if there is one.
pub fn of_all(installation: &Installation) -> Option<Finding> {
    let is_here = |address| installation.facts.network.owner(address).is_some();
    if is_here(installation.config.host.address) {
        // On another link, perhaps, and yet the services have it.
        return None;
    }
    let cause = installation.findings_of(&ROOTS).into_iter().find(|finding| finding.level == Level::Stop)?;
    Some(if is_moving(installation) {
        Finding { next: "gpucloud-install apply goes on".into(), ..cause }
    } else {
        cause
    })
}

/// Whether the answers name another address by now, which this machine has: a move was begun and not ended.
fn is_moving(installation: &Installation) -> bool {
    let today = Config::load(&installation.host, Path::new(paths::ANSWERS)).map(|config| config.host.address);
    today.is_ok_and(|address| installation.facts.network.owner(address).is_some())
}
