//! Keeping the state: what is missing of it is brought back, by the answers of the last complete apply, without journal
//! and without facts but those that the state needs.

use super::live::{self, Ours};
use super::state::{Change, State, changes};
use super::{desired, guard};
use crate::config::Config;
use crate::engine;
use crate::facts::os;
use crate::host::{Host, Result, files};
use std::path::Path;

/// What was done.
#[derive(Debug)]
pub struct Kept {
    /// What was missing.
    pub changes: Vec<Change>,
    /// What of it could not be done, in words.
    pub failed: Vec<String>,
}

fn wanted(host: &Host, config: &Config) -> Result<State> {
    let services = engine::engine(config.engine).services(config);
    Ok(desired(config, &services, os::read(host)?.datapath()))
}

/// What is missing.
pub fn missing(host: &Host, config: &Config) -> Result<Vec<Change>> {
    let wanted = wanted(host, config)?;
    Ok(changes(&live::current(host, &wanted, &Ours::of(config, None))?, &wanted))
}

/// Held while the network is brought into its state.
const LOCK: &str = "/run/gpucloud/network/lock";

/// One at a time, and no look of the timer in between.
pub fn lock(host: &Host) -> Result<impl Drop + use<>> {
    files::make_parents(host, Path::new(LOCK))?;
    files::lock(host, Path::new(LOCK))
}

/// Brings it back: each for itself, since a link that is gone must not keep the rules away.
///
/// A change that waits for a yes is left alone, and one that nobody can confirm any more is taken back first.
///
/// # Errors
/// The state cannot be read, or is not as wanted although everything could be done.
pub fn bring_back(host: &Host, config: &Config) -> Result<Kept> {
    let _lock = lock(host)?;
    if guard::pending(host)?.is_some() {
        if guard::is_armed(host)? {
            return Ok(Kept { changes: Vec::new(), failed: Vec::new() });
        }
        host.warn(&guard::take_back(host)?);
    }
    let (wanted, ours) = (wanted(host, config)?, Ours::of(config, None));
    let changes = changes(&live::current(host, &wanted, &ours)?, &wanted);
    let failed = live::apply_all(host, &changes);
    if failed.is_empty() && !changes.is_empty() {
        live::verify(host, &wanted, &ours)?;
    }
    Ok(Kept { changes, failed })
}
