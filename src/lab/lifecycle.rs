//! Makes labs and takes them away: two plans, each with its own journal.

use super::base::Base;
use super::{DIRECTORY, Kind, Lab, LabError, RUNNING, copy, hands, image, steps};
use crate::action::ActionId;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::{Host, files, overlay, qemu};
use crate::plan::event::{Event, Sink};
use crate::plan::journal::{Journal, JournalError};
use crate::plan::runner::Runner;
use crate::plan::{Plan, Step, rollback};
use crate::undo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What makes labs.
const UP: &str = "lab up";
/// How long another command may work on what all labs share: it makes a base image.
const BUSY_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Makes everything of a lab that is missing, its root of `source`; a lab that runs is left alone.
pub fn make(
    host: &Host,
    lab: &Lab,
    source: PathBuf,
    facts: &Facts,
    sink: &Arc<dyn Sink>,
    jobs: usize,
) -> Result<(), LabError> {
    let base = Base::of(lab);
    let begins = source == base.dir() && !files::exists(host, lab.root()) && !files::exists(host, lab.disk(0));
    share(host, begins.then_some(base), lab.has_kernel, sink, jobs)?;
    run(host, &own_journal(lab), UP, steps::own(lab, source, facts, host)?, sink, jobs)
}

/// Makes what all labs share, with this base image; and what virtual machines need with `vms`.
pub fn share(host: &Host, base: Option<Base>, vms: bool, sink: &Arc<dyn Sink>, jobs: usize) -> Result<(), LabError> {
    let mut shared = steps::shared();
    shared.extend(vms.then(steps::shared_by_vms));
    shared.extend(base.map(steps::base_image));
    run_shared(host, UP, shared, sink, jobs)
}

/// Makes the base image of a virtual machine, and brings the programs that make disks; no network.
pub fn prepare_disks(host: &Host, base: Base, sink: &Arc<dyn Sink>, jobs: usize) -> Result<(), LabError> {
    let all = vec![steps::packages_of_labs(), steps::shared_by_vms(), steps::base_image(base)];
    run_shared(host, "lab box", all, sink, jobs)
}

/// The first that is done for any lab: from here on only root sees into their directory.
fn run_shared(host: &Host, what: &str, steps: Vec<Step>, sink: &Arc<dyn Sink>, jobs: usize) -> Result<(), LabError> {
    crate::run::worker::stop_on_signal(host)?;
    drop(super::lock(host)?);
    run(host, &shared_journal(), what, steps, sink, jobs)
}

fn shared_journal() -> PathBuf {
    Path::new(DIRECTORY).join("shared")
}

/// Beside the lab, not in it: it must outlive the lab's directory while that is removed.
fn own_journal(lab: &Lab) -> PathBuf {
    Path::new(DIRECTORY).join("journals").join(lab.name.as_str())
}

/// Waits while another command for labs works on the same journal.
fn open(host: &Host, dir: &Path, what: &str) -> Result<Journal, LabError> {
    let mut opened = None;
    host.wait_until("the end of another lab command", BUSY_LIMIT, Duration::from_millis(200), || {
        opened = Some(Journal::open(host, dir, what));
        Ok(!matches!(opened, Some(Err(JournalError::Busy { .. }))))
    })?;
    Ok(opened.unwrap_or_else(|| Journal::open(host, dir, what))?)
}

/// Does `steps` for the subcommand `what`, which goes on when it is given again.
fn run(
    host: &Host,
    dir: &Path,
    what: &str,
    steps: Vec<Step>,
    sink: &Arc<dyn Sink>,
    jobs: usize,
) -> Result<(), LabError> {
    let journal = open(host, dir, what)?;
    let mut plan = Plan::make(steps, host, &journal)?;
    // Images of other systems, and what a restart leaves out, are no orphans.
    plan.orphans.clear();
    if plan.pending() == 0 {
        return Ok(());
    }
    let runner = Runner { host, journal, take_back: crate::undo::run, sink: sink.clone(), jobs, what: what.into() };
    let (outcome, _) = runner.run(plan);
    let (ending, changed, seconds) = (outcome.ending, outcome.changed, outcome.seconds);
    sink.event(&Event::RunFinished { ending, changed, seconds });
    match outcome.failures.into_iter().next() {
        Some(failure) => {
            let again = format!("gpucloud-install {what}");
            Err(Failure { next: failure.next.replace("gpucloud-install apply", &again), ..failure }.into())
        }
        None if outcome.ending != Ending::Done => {
            Err(LabError::Stopped { command: format!("gpucloud-install {what}"), ending })
        }
        None => Ok(()),
    }
}

/// Copies a lab to `dir`, which is there only when it is complete: the root of a container that was shut down; the disks
/// of a virtual machine, with its state where it runs.
pub fn save(host: &Host, lab: &Lab, dir: &Path) -> Result<(), LabError> {
    // A virtual machine stands still meanwhile: whatever ends this lets it go on.
    crate::run::worker::stop_on_signal(host)?;
    let partial = files::sibling(dir, ".partial");
    files::remove_tree(host, &partial)?;
    files::make_parents(host, &partial.join("root"))?;
    match &lab.kind {
        Kind::Container => save_root(host, lab, &partial)?,
        Kind::Vm(vm) => {
            let machine = lab.machine(vm);
            if qemu::is_running(host, &machine) {
                qemu::save(host, &machine, || copy_disks(host, &lab.dir(), &partial))?;
                files::write(host, &partial.join(RUNNING), b"", 0o644, None)?;
            } else {
                copy_disks(host, &lab.dir(), &partial)?;
            }
        }
    }
    Lab { stands_on: None, ..lab.clone() }.note(host, &partial)?;
    Ok(files::rename(host, &partial, dir)?)
}

fn save_root(host: &Host, lab: &Lab, partial: &Path) -> Result<(), LabError> {
    if let Some(overlay) = lab.overlay() {
        overlay.mount(host)?;
    }
    Ok(copy(host, &lab.root(), &partial.join("root"))?)
}

/// The disks of a virtual machine, its keys, and whether it ran, from one directory to another.
pub fn copy_disks(host: &Host, from: &Path, to: &Path) -> Result<(), LabError> {
    image::take_along(host, from, to)?;
    for name in files::list(host, from)?.iter().filter(|name| name.ends_with(".qcow2") || *name == RUNNING) {
        copy(host, &from.join(name), &to.join(name))?;
    }
    Ok(())
}

/// Takes labs down; with `purge` also what all labs share. Returns what could not be taken back.
pub fn take_down(host: &Host, labs: &[Lab], purge: bool, sink: &dyn Sink) -> Result<Vec<Failure>, LabError> {
    let mut failed = Vec::new();
    for lab in labs {
        let title = format!("Take lab {} down", lab.name);
        // A virtual machine is a container while its cloud is installed.
        hands::of(lab).cut(host)?;
        hands::of(&lab.as_container()).cut(host)?;
        overlay::unmount(host, &lab.root())?;
        failed.extend(take_back(host, &own_journal(lab), None, &title, sink)?);
        if failed.is_empty() {
            super::forget(host, lab)?;
        }
    }
    // Who makes a lab meanwhile finds forwarding as it is now, or gone: then it is set anew.
    let lock = super::lock(host)?;
    if Lab::names(host)?.is_empty() {
        let title = "Take back what all labs shared";
        failed.extend(take_back(host, &shared_journal(), (!purge).then(steps::forwarding), title, sink)?);
    }
    drop(lock);
    if purge && failed.is_empty() {
        files::remove_tree(host, Path::new(DIRECTORY))?;
    }
    Ok(failed)
}

/// Takes back one change, or all, of a journal.
fn take_back(
    host: &Host,
    dir: &Path,
    only: Option<ActionId>,
    title: &str,
    sink: &dyn Sink,
) -> Result<Vec<Failure>, LabError> {
    let mut journal = open(host, dir, "lab down")?;
    let report = match only {
        Some(id) => rollback::some(host, &mut journal, undo::run, &[id], sink),
        None => rollback::watched(host, &mut journal, undo::run, ("lab down", title), &|_| Ok(()), sink),
    };
    if report.failed.is_empty() && journal.is_empty() {
        journal.remove()?;
        files::remove_tree(host, dir)?;
    }
    Ok(report.failed)
}
