//! `lab save`, `lab restore`, and `lab down` of a snapshot.

use super::{farewell, name, start};
use crate::cli::{LabRestore, LabSnapshot};
use crate::command::Invocation;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::lab::inside::Inside;
use crate::lab::{self, Kind, Lab, Vm, hands, lifecycle};
use serde_json::json;

pub(super) fn save(invocation: &Invocation, options: &LabSnapshot) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let lab = Lab::find(host, &options.name)?;
    let snapshot = name(&options.snapshot)?;
    let dir = lab::snapshot_dir(&snapshot);
    if files::exists(host, &dir) {
        let next = "choose another name; gpucloud-install lab list shows those taken";
        return Err(
            Failure::new(format!("there is a snapshot called {snapshot} already"), "", next).with(Ending::Refused)
        );
    }
    let hands = hands::of(&lab);
    let was_running = hands.is_running(host);
    match &lab.kind {
        Kind::Container => {
            invocation.ui.say("Shutting the host down ...");
            hands.shut_down(host)?;
        }
        Kind::Vm(vm) if was_running => refuse_unsavable(&lab, vm)?,
        Kind::Vm(_) => {}
    }
    let saved = lifecycle::save(host, &lab, &dir);
    if was_running && lab.kind == Kind::Container {
        start(invocation, &lab)?;
    }
    saved?;
    invocation.ui.say(format!("Saved. gpucloud-install lab restore {snapshot} NAME makes a host of it."));
    invocation.ui.document("lab", json!({"saved": snapshot}));
    Ok(Ending::Done)
}

fn refuse_unsavable(lab: &Lab, vm: &Vm) -> Result<(), Failure> {
    let Some(card) = vm.board.unsavable() else { return Ok(()) };
    let what = format!("the state of a card that is {card} cannot be saved");
    let next = format!(
        "a board without it (--cards FILE); or shut the host down first, then it boots when it is restored: \
         gpucloud-install lab exec {} -- systemctl poweroff",
        lab.name
    );
    Err(Failure::new(what, "", next).with(Ending::Refused))
}

pub(super) fn restore(invocation: &Invocation, options: &LabRestore) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let (snapshot, new) = (name(&options.snapshot)?, name(&options.name)?);
    let source = lab::snapshot_root(&snapshot);
    let lab = Lab::claim(host, || {
        let lab = Lab { name: new.clone(), ..lab::snapshot(host, &snapshot)? };
        refuse_taken(host, &lab)?;
        Ok::<_, Failure>(Lab { stands_on: lab::stands_on(host, source.clone()), ..lab })
    })?;
    if let Kind::Vm(_) = lab.kind {
        // Half a disk is none: until all are there, `lab up` boots nothing of it.
        let half = lab.dir().join(lab::RESTORING);
        files::write(host, &half, snapshot.as_str().as_bytes(), 0o644, None)?;
        lifecycle::copy_disks(host, &lab::snapshot_dir(&snapshot), &lab.dir())?;
        files::remove(host, &half)?;
    }
    let (facts, jobs) = (Facts::gather(host)?, usize::from(invocation.global.jobs));
    lifecycle::make(host, &lab, source, &facts, &invocation.ui.display(), jobs)?;
    let inside = Inside::new(host, &lab);
    inside.set_clock()?;
    inside.wait_healthy()?;
    farewell(invocation, &lab, inside.answers().ok().as_ref())
}

/// The cloud in a snapshot is bound to its address.
fn refuse_taken(host: &Host, lab: &Lab) -> Result<(), Failure> {
    for other in Lab::all(host)? {
        if other.name == lab.name {
            let what = format!("there is a lab called {} already", lab.name);
            return Err(Failure::new(what, "", format!("gpucloud-install lab down {}", lab.name)).with(Ending::Refused));
        }
        if other.address == lab.address {
            let what = format!("lab {} has the snapshot's address {}", other.name, lab.address);
            return Err(
                Failure::new(what, "", format!("gpucloud-install lab down {}", other.name)).with(Ending::Refused)
            );
        }
    }
    Ok(())
}

pub(super) fn is_snapshot(host: &Host, text: &str) -> bool {
    name(text).is_ok_and(|name| lab::snapshot(host, &name).is_ok())
}

pub(super) fn forget_snapshot(invocation: &Invocation, text: &str) -> Result<Ending, Failure> {
    if let Some(lab) = lab::standing_on(&invocation.host, &lab::snapshot_root(&name(text)?))? {
        let next = format!("gpucloud-install lab down {}", lab.name);
        return Err(Failure::new(format!("lab {} stands on snapshot {text}", lab.name), "", next).with(Ending::Refused));
    }
    invocation.consent(&format!("Remove snapshot {text}?"), false)?;
    files::remove_tree(&invocation.host, &lab::snapshot_dir(&name(text)?))?;
    invocation.ui.document("lab", json!({"down": [text], "failed": []}));
    invocation.ui.say(format!("Snapshot {text} is gone."));
    Ok(Ending::Done)
}
