//! Keeping the state, and this machine's link to the notebooks (`class_port.rs`, by its note): what is missing of it is
//! brought back, without facts but those that the state needs. Wanted is
//! what the last complete apply says; and behind a run that has brought about another state and not noted its answers
//! yet, that state, until the next boot.
//!
//! Open vSwitch keeps ports on the disk, so those of a change that nobody confirmed survive a boot. The first look of
//! each boot therefore asks the journal, too, which ports were ever made by us, and takes out what is not wanted.

use super::guard::Guard;
use super::live::{self, Ownership};
use super::pending::Records;
use super::state::{Change, NetworkState, changes};
use super::{class_port, desired};
use crate::config::Config;
use crate::engine;
use crate::facts::os;
use crate::host::{Host, Result, files, ovs};
use crate::paths::APPLIED;
use crate::plan::journal::{DIRECTORY, Journal};
use std::path::Path;

/// There once a look of this boot has taken out of the bridge what an unconfirmed change left in it.
const SETTLED: &str = "/run/gpucloud/network/ports-settled";

/// What was done.
#[derive(Debug, Default)]
pub struct KeepReport {
    /// What was missing.
    pub changes: Vec<Change>,
    /// What was missing of the link to the notebooks, in words.
    pub also: Vec<String>,
    /// What of it could not be done, in words.
    pub failed: Vec<String>,
}

/// What the network should be, and what of it may be changed.
fn wanted(host: &Host, records: &Records, config: &Config) -> Result<(NetworkState, Ownership)> {
    if let Some(standing) = records.standing()? {
        return Ok((standing.state, standing.owned));
    }
    let services = engine::engine(config.engine).services(config);
    Ok((desired(config, &services, os::read(host)?.datapath()), Ownership::of(config, None)))
}

/// What is missing.
pub fn missing(host: &Host, config: &Config) -> Result<Vec<Change>> {
    let (wanted, owned) = wanted(host, Guard::of(host).records(), config)?;
    Ok(changes(&live::current(host, &wanted, &owned)?, &wanted))
}

/// Brings it back: each for itself, since a link that is gone must not keep the rules away.
///
/// A change that waits for a yes is left alone, and one that nobody can confirm any more is taken back first.
///
/// # Errors
/// Another change does not end; the state cannot be read, or is not as wanted although everything could be done.
pub fn bring_back(host: &Host, config: &Config) -> Result<KeepReport> {
    let guard = Guard::of(host);
    let lock = guard.records().lock()?;
    // An uninstall may have ended while we waited.
    if !files::exists(host, APPLIED) || guard.waits(&lock)? {
        return Ok(KeepReport::default());
    }
    guard.records().forget_ended(&lock)?;
    let (wanted, owned) = wanted(host, guard.records(), config)?;
    let mut kept = match files::exists(host, SETTLED) {
        true => bring_back_owned(host, &wanted, &owned)?,
        false => settle_ports(host, &wanted, owned)?,
    };
    match bring_back_class_port(host, config) {
        Ok(missing) => kept.also = missing,
        Err(error) => kept.failed.push(format!("bring back the way to the notebooks: {error}")),
    }
    Ok(kept)
}

/// The link to the notebooks, where there are some; what was missing of it.
fn bring_back_class_port(host: &Host, config: &Config) -> Result<Vec<String>> {
    let noted = if config.classroom.enabled { class_port::noted(host)? } else { None };
    let Some(port) = noted else { return Ok(Vec::new()) };
    let missing = class_port::missing(&port)?;
    if !missing.is_empty() {
        class_port::bring_back(host, &port)?;
    }
    Ok(missing)
}

fn bring_back_owned(host: &Host, wanted: &NetworkState, owned: &Ownership) -> Result<KeepReport> {
    let changes = changes(&live::current(host, wanted, owned)?, wanted);
    let failed = live::apply_all(host, &changes);
    if failed.is_empty() && !changes.is_empty() {
        live::verify(host, wanted, owned)?;
    }
    Ok(KeepReport { changes, also: Vec::new(), failed })
}

/// The first look of a boot. A journal that cannot be read keeps nothing else from its work.
fn settle_ports(host: &Host, wanted: &NetworkState, mut owned: Ownership) -> Result<KeepReport> {
    let unread = match Journal::read(host, DIRECTORY) {
        Ok(journal) => {
            owned.extend_by(&journal);
            None
        }
        Err(error) => Some(format!("which ports of the bridge were ours cannot be told: {error}")),
    };
    let mut kept = bring_back_owned(host, wanted, &owned)?;
    kept.failed.extend(unread);
    if kept.failed.is_empty() && ovs::is_running(host) {
        files::write_volatile(host, Path::new(SETTLED), b"", 0o600)?;
    }
    Ok(kept)
}
