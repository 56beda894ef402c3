//! `lab`: throw-away hosts.

mod snapshots;
mod up;
mod vagrant_box;

use super::Invocation;
use crate::cli::{Lab as Verb, LabConsole, LabDown, LabExec};
use crate::config::Config;
use crate::config::values::LabName;
use crate::ending::Ending;
use crate::engine;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::command::{Command, on_path};
use crate::installation::require_root;
use crate::lab::base::Base;
use crate::lab::inside::Inside;
use crate::lab::{self, Kind, Lab, hands, image, lifecycle};
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, verb: Verb) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    match verb {
        Verb::Up(options) => up::up(invocation, &options),
        Verb::Exec(options) => exec(invocation, &options),
        Verb::Shell(lab) => shell(invocation, &lab.name),
        Verb::List => list(invocation),
        Verb::Status(lab) => status(invocation, &lab.name),
        Verb::Save(options) => snapshots::save(invocation, &options),
        Verb::Restore(options) => snapshots::restore(invocation, &options),
        Verb::Reboot(lab) => reboot(invocation, &lab.name),
        Verb::Cut(lab) => cut(invocation, &lab.name),
        Verb::Console(options) => console(invocation, &options),
        Verb::Box(options) => vagrant_box::run(invocation, &options),
        Verb::Down(options) => down(invocation, &options),
    }
}

fn name(text: &str) -> Result<LabName, Failure> {
    text.parse().map_err(|what: String| Failure::usage(what, "for example: gpucloud-install lab up --name test1"))
}

fn farewell(invocation: &Invocation, lab: &Lab, config: Option<&Config>) -> Result<Ending, Failure> {
    let Lab { name, address, .. } = lab;
    invocation.ui.document(
        "lab",
        json!({"name": name, "system": lab.system.name(), "address": address, "installed": config.is_some()}),
    );
    invocation.ui.say(format!("Lab {name} is up at {address}."));
    if let Some(config) = config {
        let lines = engine::engine(config.engine).farewell(config);
        invocation
            .ui
            .say(lines.join("\n").replace("/etc/gpucloud/secrets.toml", "/etc/gpucloud/secrets.toml inside the lab"));
        invocation
            .ui
            .say(format!("Password    gpucloud-install lab exec {name} -- grep admin /etc/gpucloud/secrets.toml"));
        if let Some(instance) = config.resources.reachable() {
            let log_in = format!("lab exec {name} -- gpucloud-install instance ssh {instance}");
            invocation.ui.say(format!("Instance    gpucloud-install {log_in}"));
        }
    }
    if config.is_none() {
        invocation.ui.say(format!("Install     gpucloud-install lab up --name {name}"));
    }
    invocation.ui.say(format!("Shell       gpucloud-install lab shell {name}"));
    invocation.ui.say(format!("Take down   gpucloud-install lab down {name}"));
    Ok(Ending::Done)
}

fn running(invocation: &Invocation, name: &str) -> Result<Lab, Failure> {
    let lab = Lab::find(&invocation.host, name)?.as_it_is(&invocation.host);
    if hands::of(&lab).is_running(&invocation.host) {
        return Ok(lab);
    }
    let next = format!("gpucloud-install lab up --name {name}");
    Err(Failure::new(format!("lab {name} does not run"), "", next))
}

fn exec(invocation: &Invocation, options: &LabExec) -> Result<Ending, Failure> {
    let lab = running(invocation, &options.name)?;
    ended(Inside::new(&invocation.host, &lab).exec(&options.command)?)
}

fn shell(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let lab = running(invocation, name)?;
    ended(Inside::new(&invocation.host, &lab).exec(&["/bin/bash", "--login"].map(str::to_owned))?)
}

/// The exit status of a program that ran in place of this one becomes ours.
fn ended(code: i32) -> Result<Ending, Failure> {
    if code == 0 { Ok(Ending::Done) } else { Err(Failure::passed_on(code)) }
}

fn list(invocation: &Invocation) -> Result<Ending, Failure> {
    let labs = Lab::all(&invocation.host)?;
    let state = |lab: &Lab| {
        if hands::of(&lab.as_it_is(&invocation.host)).is_running(&invocation.host) { "running" } else { "stopped" }
    };
    let rows: Vec<Vec<String>> = labs
        .iter()
        .map(|lab| {
            let (name, system) = (lab.name.to_string(), lab.system.name().into());
            vec![name, kind(lab).into(), system, state(lab).into(), lab.address.to_string()]
        })
        .collect();
    let snapshots = lab::snapshots(&invocation.host)?;
    let listed: Vec<_> = labs
        .iter()
        .map(|l| json!({"name": l.name, "kind": kind(l), "system": l.system, "state": state(l), "address": l.address}))
        .collect();
    let kept: Vec<_> = snapshots
        .iter()
        .map(|(name, lab)| json!({"name": name, "system": lab.system, "address": lab.address}))
        .collect();
    let images: Vec<_> = image::all(&invocation.host)?
        .iter()
        .map(|image| json!({"system": image.system, "address": image.address}))
        .collect();
    let said_of_images = format!("kept: {} disks with a cloud, for the next lab up --kind vm", images.len());
    invocation.ui.document("lab", json!({"labs": listed, "snapshots": kept, "images": images}));
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    match rows.is_empty() {
        true => invocation.ui.say("No labs. gpucloud-install lab up makes one."),
        false => invocation.ui.say(text::table(&["LAB", "KIND", "SYSTEM", "STATE", "ADDRESS"], &rows)),
    }
    for (name, lab) in snapshots {
        invocation.ui.say(format!("snapshot {name}: {} at {}", lab.system.name(), lab.address));
    }
    if !images.is_empty() {
        invocation.ui.say(said_of_images);
    }
    Ok(Ending::Done)
}

fn kind(lab: &Lab) -> &'static str {
    match lab.kind {
        Kind::Container => "container",
        Kind::Vm(_) => "vm",
    }
}

fn status(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let lab = running(invocation, name)?;
    invocation.ui.say(format!("Lab {name}: {} at {}, running.", lab.system.name(), lab.address));
    let mut command = vec!["gpucloud-install".to_owned(), "status".into()];
    command.extend(invocation.ui.is_json().then(|| "--json".into()));
    ended(Inside::new(&invocation.host, &lab).exec(&command)?)
}

/// Starts a lab that is made.
fn start(invocation: &Invocation, lab: &Lab) -> Result<(), Failure> {
    let (host, jobs) = (&invocation.host, usize::from(invocation.global.jobs));
    Ok(lifecycle::make(host, lab, Base::of(lab).dir(), &Facts::gather(host)?, &invocation.ui.display(), jobs)?)
}

fn reboot(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let lab = running(invocation, name)?;
    invocation.ui.say("Shutting the host down ...");
    hands::of(&lab).shut_down(host)?;
    start(invocation, &lab)?;
    let healthy = Inside::new(host, &lab).wait_healthy()?;
    invocation.ui.document("lab", json!({"name": name, "healthy": healthy}));
    invocation.ui.say(if healthy {
        "The host is up and its cloud is healthy."
    } else {
        "The host is up; there is no complete cloud in it."
    });
    Ok(Ending::Done)
}

fn cut(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let lab = Lab::find(&invocation.host, name)?.as_it_is(&invocation.host);
    hands::of(&lab).cut(&invocation.host)?;
    invocation.ui.document("lab", json!({"name": name, "state": "stopped"}));
    invocation.ui.say(format!("The power is cut. gpucloud-install lab up --name {name} starts it again."));
    Ok(Ending::Done)
}

fn console(invocation: &Invocation, options: &LabConsole) -> Result<Ending, Failure> {
    let lab = Lab::find(&invocation.host, &options.name)?.as_it_is(&invocation.host);
    let file = match &lab.kind {
        Kind::Container => lab.container().console,
        Kind::Vm(vm) => lab.machine(vm).console(),
    };
    let lines = if options.follow { ["--lines=20", "--follow"] } else { ["--lines=+1", "--quiet"] };
    ended(Command::new("tail").args(lines).arg(file.display().to_string()).interactive(&invocation.host)?)
}

fn down(invocation: &Invocation, options: &LabDown) -> Result<Ending, Failure> {
    let host = &invocation.host;
    if !on_path("nsenter") {
        return Err(Failure::new("nsenter is missing", "", "apt-get install util-linux"));
    }
    if !options.purge && !lab::is_there(host, &options.name) && snapshots::is_snapshot(host, &options.name) {
        return snapshots::forget_snapshot(invocation, &options.name);
    }
    let wanted = if options.purge { Lab::names(host)? } else { vec![options.name.to_string()] };
    let labs: Vec<Lab> = wanted.iter().map(|name| Lab::to_take_down(host, name)).collect::<Result<_, _>>()?;
    let mut names: Vec<String> = labs.iter().map(|lab| lab.name.to_string()).collect();
    if options.purge {
        names.extend(lab::snapshots(host)?.into_iter().map(|(name, _)| format!("snapshot {name}")));
    }
    if !names.is_empty() {
        invocation.consent(&format!("Take down {}, and lose what is in it?", names.join(", ")), false)?;
    }
    let failed = lifecycle::take_down(host, &labs, options.purge, invocation.ui.display().as_ref())?;
    invocation.ui.document("lab", json!({"down": names, "failed": failed}));
    for failure in &failed {
        invocation.ui.say(format!("failed: {}", failure.what));
    }
    if failed.is_empty() {
        invocation.ui.say(if options.purge {
            "All labs and what they brought are gone.".into()
        } else {
            format!("Lab {} is gone.", names.join(", "))
        });
        return Ok(Ending::Done);
    }
    Ok(Ending::UndoIncomplete)
}
