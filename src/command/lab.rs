//! `lab`: throw-away hosts.

use super::Invocation;
use crate::cli::{Lab as Verb, LabDown, LabExec, LabRestore, LabSnapshot, LabUp};
use crate::config::values::LabName;
use crate::config::{CloudAnswers, Config};
use crate::ending::Ending;
use crate::engine;
use crate::facts::{Facts, network};
use crate::failure::Failure;
use crate::host::command::{Command, on_path};
use crate::host::{Host, files, nspawn};
use crate::installation::require_root;
use crate::lab::inside::Inside;
use crate::lab::{self, Lab, System, base, lifecycle};
use crate::paths;
use crate::ui::text;
use serde_json::json;
use std::path::Path;

pub(super) fn run(invocation: &Invocation, verb: Verb) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    match verb {
        Verb::Up(options) => up(invocation, &options),
        Verb::Exec(options) => exec(invocation, &options),
        Verb::Shell(lab) => shell(invocation, &lab.name),
        Verb::List => list(invocation),
        Verb::Status(lab) => status(invocation, &lab.name),
        Verb::Save(options) => save(invocation, &options),
        Verb::Restore(options) => restore(invocation, &options),
        Verb::Reboot(lab) => reboot(invocation, &lab.name),
        Verb::Down(options) => down(invocation, &options),
    }
}

fn name(text: &str) -> Result<LabName, Failure> {
    text.parse().map_err(|what: String| Failure::usage(what, "for example: gpucloud-install lab up --name test1"))
}

fn up(invocation: &Invocation, options: &LabUp) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let lab = match known(host, options)? {
        Some(lab) => {
            invocation.consent(&format!("Go on with lab {}?", lab.name), true)?;
            lab
        }
        None => new(invocation, options)?,
    };
    let facts = Facts::gather(host)?;
    lifecycle::make(
        host,
        &lab,
        base::dir(lab.system),
        &facts,
        &invocation.ui.display(),
        usize::from(invocation.global.jobs),
    )?;
    let inside = Inside::new(host, &lab);
    inside.take_program()?;
    if options.no_install {
        return farewell(invocation, &lab, None);
    }
    let config = install(invocation, options, &inside)?;
    farewell(invocation, &lab, Some(&config))
}

/// The lab of that name, where there is one: `up` makes what is missing of it.
fn known(host: &Host, options: &LabUp) -> Result<Option<Lab>, Failure> {
    let Ok(lab) = Lab::find(host, &options.name) else { return Ok(None) };
    if options.os.is_none_or(|system| system == lab.system) {
        return Ok(Some(lab));
    }
    let what = format!("lab {} is there already, with {}", lab.name, lab.system.name());
    Err(Failure::new(what, "", format!("gpucloud-install lab down {}", lab.name)).with(Ending::Refused))
}

fn new(invocation: &Invocation, options: &LabUp) -> Result<Lab, Failure> {
    let (name, system) = (name(&options.name)?, options.os.unwrap_or(System::Debian13));
    invocation.consent(&format!("Make a lab host called {name} with {}?", system.name()), true)?;
    let network = network::probe(&invocation.host)?;
    let folder = options.git_base.as_ref().and_then(|base| base.folder()).map(Path::to_owned);
    if let Some(missing) = folder.as_ref().filter(|folder| !files::exists(&invocation.host, folder)) {
        let what = format!("there is no folder {}", missing.display());
        return Err(Failure::usage(what, "--git-base: the folder of a mirror, or an address"));
    }
    Lab::claim(&invocation.host, || {
        let address = lab::free_address(&invocation.host, &network)?;
        let stands_on = lab::stands_on(&invocation.host, base::dir(system));
        Ok(Lab { host_name: name.to_string(), name, system, address, kvm: options.kvm, folder, stands_on })
    })
}

/// Answers and apply, inside.
fn install(invocation: &Invocation, options: &LabUp, inside: &Inside) -> Result<Config, Failure> {
    if !inside.has_answers() {
        inside.run(&["gpucloud-install", "init", "--profile", &options.profile])?;
    }
    inside.change_answers(|answers| {
        let engine = options.engine;
        let config = match invocation.global.config.as_path() {
            path if path == Path::new(paths::ANSWERS) => answers,
            // What belongs to the host itself stays.
            path => Config { host: answers.host, ..Config::load(&invocation.host, path)? },
        };
        let git_base = options.git_base.clone().unwrap_or(config.cloud.git_base);
        let cloud = CloudAnswers { git_base, ..config.cloud };
        Ok(Config { engine: engine.unwrap_or(config.engine), cloud, ..config })
    })?;
    inside.apply(invocation.ui.display(), invocation.global.jobs)?;
    inside.answers()
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
    let lab = Lab::find(&invocation.host, name)?;
    if nspawn::is_running(&invocation.host, name) {
        return Ok(lab);
    }
    let next = format!("gpucloud-install lab up --name {name}");
    Err(Failure::new(format!("lab {name} does not run"), "", next))
}

fn exec(invocation: &Invocation, options: &LabExec) -> Result<Ending, Failure> {
    let lab = running(invocation, &options.name)?;
    passed_on(Inside::new(&invocation.host, &lab).program(&options.command)?, invocation)
}

fn shell(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let lab = running(invocation, name)?;
    passed_on(Inside::new(&invocation.host, &lab).program(&["/bin/bash", "--login"])?, invocation)
}

/// Runs a program with our own terminal; its exit status becomes ours.
fn passed_on(command: Command, invocation: &Invocation) -> Result<Ending, Failure> {
    let code = command.interactive(&invocation.host)?;
    if code == 0 { Ok(Ending::Done) } else { Err(Failure::passed_on(code)) }
}

fn list(invocation: &Invocation) -> Result<Ending, Failure> {
    let labs = Lab::all(&invocation.host)?;
    let state = |lab: &Lab| if nspawn::is_running(&invocation.host, lab.name.as_str()) { "running" } else { "stopped" };
    let rows: Vec<Vec<String>> = labs
        .iter()
        .map(|lab| vec![lab.name.to_string(), lab.system.name().into(), state(lab).into(), lab.address.to_string()])
        .collect();
    let snapshots = lab::snapshots(&invocation.host)?;
    let listed: Vec<_> = labs
        .iter()
        .map(|l| json!({"name": l.name, "system": l.system, "state": state(l), "address": l.address}))
        .collect();
    let kept: Vec<_> = snapshots
        .iter()
        .map(|(name, lab)| json!({"name": name, "system": lab.system, "address": lab.address}))
        .collect();
    invocation.ui.document("lab", json!({"labs": listed, "snapshots": kept}));
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    match rows.is_empty() {
        true => invocation.ui.say("No labs. gpucloud-install lab up makes one."),
        false => invocation.ui.say(text::table(&["LAB", "SYSTEM", "STATE", "ADDRESS"], &rows)),
    }
    for (name, lab) in snapshots {
        invocation.ui.say(format!("snapshot {name}: {} at {}", lab.system.name(), lab.address));
    }
    Ok(Ending::Done)
}

fn status(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let lab = running(invocation, name)?;
    invocation.ui.say(format!("Lab {name}: {} at {}, running.", lab.system.name(), lab.address));
    let mut command = vec!["gpucloud-install", "status"];
    if invocation.ui.is_json() {
        command.push("--json");
    }
    passed_on(Inside::new(&invocation.host, &lab).program(&command)?, invocation)
}

fn save(invocation: &Invocation, options: &LabSnapshot) -> Result<Ending, Failure> {
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
    let was_running = nspawn::is_running(host, lab.name.as_str());
    invocation.ui.say("Shutting the host down ...");
    nspawn::shut_down(host, lab.name.as_str())?;
    let saved = lifecycle::save(host, &lab, &dir);
    if was_running {
        lifecycle::make(host, &lab, base::dir(lab.system), &Facts::gather(host)?, &invocation.ui.display(), 4)?;
    }
    saved?;
    invocation.ui.say(format!("Saved. gpucloud-install lab restore {snapshot} NAME makes a host of it."));
    invocation.ui.document("lab", json!({"saved": snapshot}));
    Ok(Ending::Done)
}

fn restore(invocation: &Invocation, options: &LabRestore) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let (snapshot, new) = (name(&options.snapshot)?, name(&options.name)?);
    let source = lab::snapshot_root(&snapshot);
    let lab = Lab::claim(host, || {
        let lab = Lab { name: new.clone(), ..lab::snapshot(host, &snapshot)? };
        refuse_taken(host, &lab)?;
        Ok(Lab { stands_on: lab::stands_on(host, source.clone()), ..lab })
    })?;
    lifecycle::make(
        host,
        &lab,
        source,
        &Facts::gather(host)?,
        &invocation.ui.display(),
        usize::from(invocation.global.jobs),
    )?;
    Inside::new(host, &lab).wait_healthy()?;
    farewell(invocation, &lab, Inside::new(host, &lab).answers().ok().as_ref())
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

fn reboot(invocation: &Invocation, name: &str) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let lab = running(invocation, name)?;
    invocation.ui.say("Shutting the host down ...");
    nspawn::shut_down(host, name)?;
    lifecycle::make(host, &lab, base::dir(lab.system), &Facts::gather(host)?, &invocation.ui.display(), 4)?;
    let healthy = Inside::new(host, &lab).wait_healthy()?;
    invocation.ui.document("lab", json!({"name": name, "healthy": healthy}));
    invocation.ui.say(if healthy {
        "The host is up and its cloud is healthy."
    } else {
        "The host is up; there is no complete cloud in it."
    });
    Ok(Ending::Done)
}

fn down(invocation: &Invocation, options: &LabDown) -> Result<Ending, Failure> {
    let host = &invocation.host;
    if !on_path("nsenter") {
        return Err(Failure::new("nsenter is missing", "", "apt-get install util-linux"));
    }
    if !options.purge && Lab::find(host, &options.name).is_err() && is_snapshot(host, &options.name) {
        return forget_snapshot(invocation, &options.name);
    }
    let labs = if options.purge { Lab::all(host)? } else { vec![Lab::find(host, &options.name)?] };
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

fn is_snapshot(host: &Host, text: &str) -> bool {
    name(text).is_ok_and(|name| lab::snapshot(host, &name).is_ok())
}

fn forget_snapshot(invocation: &Invocation, text: &str) -> Result<Ending, Failure> {
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
