//! `uninstall`: takes back everything that the journal knows. It refuses where users have something in the cloud; what
//! counts as that, each engine says ([`Engine::holdings`]).
//! The order of what is taken back, and what goes while the cloud still answers, is in `plan/rollback.rs`.

use super::Invocation;
use crate::action::Undo;
use crate::classroom::home;
use crate::cli::Uninstall;
use crate::config::{Config, EngineName, secrets};
use crate::ending::Ending;
use crate::engine::{self, Engine, Holdings, devstack};
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::installation::{packages_of, require_root};
use crate::paths;
use crate::plan::event::Tee;
use crate::plan::journal::{DIRECTORY, Journal};
use crate::plan::rollback::{self, UndoReport};
use crate::run::{self, worker};
use crate::undo;
use serde_json::json;
use std::path::Path;

pub(super) fn run(invocation: &Invocation, options: &Uninstall) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    let host = masked(&invocation.host)?;
    if run::is_going_on(&host) {
        return Err(Failure::new("a run is going on", "", "wait for it, or watch it with: gpucloud-install apply")
            .with(Ending::Refused));
    }
    let journal = Journal::read(&host, DIRECTORY)?;
    refuse_holdings(&host, &journal, options)?;
    if !journal.is_empty() {
        let changes = journal.entries().count();
        invocation.consent(&format!("Take back {changes} changes, and lose the cloud?"), false)?;
    }
    let report = take_back(invocation, &host, options)?;
    if report.failed.is_empty() && options.purge {
        purge(&host)?;
    }
    conclude(invocation, &report)
}

/// Secrets must not show up in what failing programs print.
fn masked(host: &Host) -> Result<Host, Failure> {
    Ok(host.masking(secrets::Secrets::load(host, &[])?.values()))
}

/// Refuses where users have something in what goes, or where that cannot be told.
fn refuse_holdings(host: &Host, journal: &Journal, options: &Uninstall) -> Result<(), Failure> {
    if options.and_lose_all_instances || !carries_data(journal) {
        return Ok(());
    }
    let again = "gpucloud-install uninstall --and-lose-all-instances destroys it";
    let packages = packages_of(host, journal)?;
    let failure = match engines_here(host, journal)
        .iter()
        .map(|engine| engine.holdings(host, &packages))
        .chain([homes(host)])
        .reduce(Holdings::with)
    {
        None | Some(Holdings::Nothing) => return Ok(()),
        Some(Holdings::Some(what)) => Failure::new(format!("users have {} in this cloud", what.join(", ")), "", again),
        Some(Holdings::Unknown(why)) => {
            Failure::new("it cannot be told whether users have something in this cloud", why, again)
        }
    };
    Err(failure.with(Ending::Refused))
}

/// What students had in notebooks that are gone.
fn homes(host: &Host) -> Holdings {
    match home::saved(host) {
        Ok(names) if names.is_empty() => Holdings::Nothing,
        Ok(names) if names.len() == 1 => Holdings::Some(vec!["the saved home of 1 notebook".into()]),
        Ok(names) => Holdings::Some(vec![format!("the saved homes of {} notebooks", names.len())]),
        Err(error) => Holdings::Unknown(error.to_string()),
    }
}

/// Whether something that users may have filled is still to be taken back: databases, the server that they lie on, what
/// stack.sh made, its clones. An uninstall that went on behind them must not wait for what could have told.
fn carries_data(journal: &Journal) -> bool {
    undo_records(journal).any(|undo| match undo {
        Undo::Database { .. } => true,
        Undo::Packages { added, .. } => added.iter().any(|name| name == "mariadb-server"),
        Undo::Directory { path, .. } if path == Path::new(paths::HOMES) => true,
        undo => is_devstacks(undo),
    })
}

fn undo_records(journal: &Journal) -> impl Iterator<Item = &Undo> {
    journal.entries().filter_map(|(_, entry)| entry.history.undo.as_ref())
}

/// What stack.sh made, or the home of its clones, which may be worked in.
fn is_devstacks(undo: &Undo) -> bool {
    match undo {
        Undo::Devstack(_) => true,
        Undo::Directory { path, .. } => path == Path::new(devstack::unstack::HOME),
        _ => false,
    }
}

/// The engine of the cloud that stands, or of the answers when none was ever complete; every one where neither can be
/// read.
fn engines_here(host: &Host, journal: &Journal) -> Vec<Box<dyn Engine>> {
    let readable = match Config::load_applied(host) {
        Ok(Some(applied)) => Some(applied),
        Ok(None) => Config::load(host, Path::new(paths::ANSWERS)).ok(),
        Err(_) => None,
    };
    let mut names = readable.map_or_else(|| EngineName::ALL.to_vec(), |config| vec![config.engine]);
    // Answers may have been changed since: what was begun is in the journal.
    if undo_records(journal).any(is_devstacks) && !names.contains(&EngineName::Devstack) {
        names.push(EngineName::Devstack);
    }
    names.into_iter().map(engine::engine).collect()
}

/// Takes everything back. What users have is asked for once more with the journal's lock in hand, and again when only
/// our own resources are gone: a person may think for an hour before a yes, and users go on meanwhile.
fn take_back(invocation: &Invocation, host: &Host, options: &Uninstall) -> Result<UndoReport, Failure> {
    worker::stop_on_signal(host)?;
    let mut journal = Journal::open(host, DIRECTORY, "uninstall")?;
    refuse_holdings(host, &journal, options)?;
    let mut sinks = worker::records(host, "uninstall")?;
    sinks.push(invocation.ui.display());
    let sink = Tee(sinks);
    let last_look = |journal: &Journal| refuse_holdings(host, journal, options);
    let title = ("uninstall", "Take back changes");
    let report = rollback::watched(host, &mut journal, undo::run, title, &last_look, &sink);
    if report.failed.is_empty() && journal.is_empty() {
        journal.remove()?;
        remove_secrets(host)?;
        files::remove(host, Path::new(paths::ENVIRONMENT))?;
        files::remove_tree(host, Path::new(paths::RUNTIME))?;
        files::remove_empty_dir(host, Path::new(DIRECTORY))?;
    }
    Ok(report)
}

/// With the copies that were kept of edited ones.
fn remove_secrets(host: &Host) -> Result<(), Failure> {
    let path = Path::new(paths::SECRETS);
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    for found in files::list(host, dir)?.iter().filter(|found| found.starts_with(&*name)) {
        files::remove(host, &dir.join(found))?;
    }
    Ok(())
}

fn purge(host: &Host) -> Result<(), Failure> {
    files::remove(host, Path::new(paths::ANSWERS))?;
    files::remove_tree(host, Path::new(paths::LOGS))?;
    files::remove_empty_dir(host, Path::new("/etc/gpucloud"))?;
    Ok(())
}

fn conclude(invocation: &Invocation, report: &UndoReport) -> Result<Ending, Failure> {
    let UndoReport { undone, kept, failed } = report;
    invocation.ui.document("uninstall", json!({"undone": undone, "kept": kept, "failed": failed}));
    for what in kept {
        invocation.ui.say(format!("kept: {what}"));
    }
    for failure in failed {
        invocation.ui.say(format!("failed: {}\n  {}", failure.what, failure.evidence.replace('\n', "\n  ")));
    }
    if failed.is_empty() {
        invocation.ui.say(format!("{undone} changes taken back."));
        return Ok(Ending::Done);
    }
    invocation.ui.say(format!("{undone} changes taken back, {} not. Next: gpucloud-install uninstall", failed.len()));
    Ok(Ending::UndoIncomplete)
}
