//! `lab`: throw-away hosts.

use super::Session;
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
use crate::lab::{self, Lab, System, base, keeper};
use crate::paths;
use crate::ui::text;
use serde_json::json;
use std::path::Path;

pub(super) fn run(session: &Session, verb: Verb) -> Result<Ending, Failure> {
    session.require_live()?;
    require_root(&session.host)?;
    match verb {
        Verb::Up(options) => up(session, &options),
        Verb::Exec(options) => exec(session, &options),
        Verb::Shell(lab) => shell(session, &lab.name),
        Verb::List => list(session),
        Verb::Status(lab) => status(session, &lab.name),
        Verb::Save(options) => save(session, &options),
        Verb::Restore(options) => restore(session, &options),
        Verb::Reboot(lab) => reboot(session, &lab.name),
        Verb::Down(options) => down(session, &options),
    }
}

fn name(text: &str) -> Result<LabName, Failure> {
    text.parse().map_err(|what: String| Failure::usage(what, "for example: gpucloud-install lab up --name test1"))
}

fn up(session: &Session, options: &LabUp) -> Result<Ending, Failure> {
    let host = &session.host;
    let lab = match known(host, options)? {
        Some(lab) => {
            session.consent(&format!("Go on with lab {}?", lab.name), true)?;
            lab
        }
        None => new(session, options)?,
    };
    let facts = Facts::gather(host)?;
    keeper::make(host, &lab, base::dir(lab.system), &facts, &session.ui.display(), usize::from(session.global.jobs))?;
    let inside = Inside::new(host, &lab);
    inside.take_program()?;
    if options.no_install {
        return farewell(session, &lab, None);
    }
    let config = install(session, options, &inside)?;
    farewell(session, &lab, Some(&config))
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

fn new(session: &Session, options: &LabUp) -> Result<Lab, Failure> {
    let (name, system) = (name(&options.name)?, options.os.unwrap_or(System::Debian13));
    session.consent(&format!("Make a lab host called {name} with {}?", system.name()), true)?;
    let network = network::probe(&session.host)?;
    let folder = options.git_base.as_ref().and_then(|base| base.folder()).map(Path::to_owned);
    if let Some(missing) = folder.as_ref().filter(|folder| !files::exists(&session.host, folder)) {
        let what = format!("there is no folder {}", missing.display());
        return Err(Failure::usage(what, "--git-base: the folder of a mirror, or an address"));
    }
    Lab::claim(&session.host, || {
        let address = lab::free_address(&session.host, &network)?;
        let stands_on = lab::stands_on(&session.host, base::dir(system));
        Ok(Lab { host_name: name.to_string(), name, system, address, kvm: options.kvm, folder, stands_on })
    })
}

/// Answers and apply, inside.
fn install(session: &Session, options: &LabUp, inside: &Inside) -> Result<Config, Failure> {
    if !inside.has_answers() {
        inside.run(&["gpucloud-install", "init", "--profile", &options.profile])?;
    }
    inside.change_answers(|answers| {
        let engine = options.engine;
        let config = match session.global.config.as_path() {
            path if path == Path::new(paths::ANSWERS) => answers,
            // What belongs to the host itself stays.
            path => Config { host: answers.host, ..Config::load(&session.host, path)? },
        };
        let git_base = options.git_base.clone().unwrap_or(config.cloud.git_base);
        let cloud = CloudAnswers { git_base, ..config.cloud };
        Ok(Config { engine: engine.unwrap_or(config.engine), cloud, ..config })
    })?;
    inside.apply(session.ui.display(), session.global.jobs)?;
    inside.answers()
}

fn farewell(session: &Session, lab: &Lab, config: Option<&Config>) -> Result<Ending, Failure> {
    let Lab { name, address, .. } = lab;
    session.ui.document(
        "lab",
        json!({"name": name, "system": lab.system.name(), "address": address, "installed": config.is_some()}),
    );
    session.ui.say(format!("Lab {name} is up at {address}."));
    if let Some(config) = config {
        let lines = engine::engine(config.engine).farewell(config);
        session
            .ui
            .say(lines.join("\n").replace("/etc/gpucloud/secrets.toml", "/etc/gpucloud/secrets.toml inside the lab"));
        session
            .ui
            .say(format!("Password    gpucloud-install lab exec {name} -- grep admin /etc/gpucloud/secrets.toml"));
        if let Some(instance) = config.resources.reachable() {
            let log_in = format!("lab exec {name} -- gpucloud-install instance ssh {instance}");
            session.ui.say(format!("Instance    gpucloud-install {log_in}"));
        }
    }
    if config.is_none() {
        session.ui.say(format!("Install     gpucloud-install lab up --name {name}"));
    }
    session.ui.say(format!("Shell       gpucloud-install lab shell {name}"));
    session.ui.say(format!("Take down   gpucloud-install lab down {name}"));
    Ok(Ending::Done)
}

fn running(session: &Session, name: &str) -> Result<Lab, Failure> {
    let lab = Lab::find(&session.host, name)?;
    if nspawn::is_running(&session.host, name) {
        return Ok(lab);
    }
    let next = format!("gpucloud-install lab up --name {name}");
    Err(Failure::new(format!("lab {name} does not run"), "", next))
}

fn exec(session: &Session, options: &LabExec) -> Result<Ending, Failure> {
    let lab = running(session, &options.name)?;
    passed_on(Inside::new(&session.host, &lab).program(&options.command)?, session)
}

fn shell(session: &Session, name: &str) -> Result<Ending, Failure> {
    let lab = running(session, name)?;
    passed_on(Inside::new(&session.host, &lab).program(&["/bin/bash", "--login"])?, session)
}

/// Runs a program with our own terminal; its exit status becomes ours.
fn passed_on(command: Command, session: &Session) -> Result<Ending, Failure> {
    let code = command.interactive(&session.host)?;
    if code == 0 { Ok(Ending::Done) } else { Err(Failure::passed_on(code)) }
}

fn list(session: &Session) -> Result<Ending, Failure> {
    let labs = Lab::all(&session.host)?;
    let state = |lab: &Lab| if nspawn::is_running(&session.host, lab.name.as_str()) { "running" } else { "stopped" };
    let rows: Vec<Vec<String>> = labs
        .iter()
        .map(|lab| vec![lab.name.to_string(), lab.system.name().into(), state(lab).into(), lab.address.to_string()])
        .collect();
    let snapshots = lab::snapshots(&session.host)?;
    let listed: Vec<_> = labs
        .iter()
        .map(|l| json!({"name": l.name, "system": l.system, "state": state(l), "address": l.address}))
        .collect();
    let kept: Vec<_> = snapshots
        .iter()
        .map(|(name, lab)| json!({"name": name, "system": lab.system, "address": lab.address}))
        .collect();
    session.ui.document("lab", json!({"labs": listed, "snapshots": kept}));
    if session.ui.is_json() {
        return Ok(Ending::Done);
    }
    match rows.is_empty() {
        true => session.ui.say("No labs. gpucloud-install lab up makes one."),
        false => session.ui.say(text::table(&["LAB", "SYSTEM", "STATE", "ADDRESS"], &rows)),
    }
    for (name, lab) in snapshots {
        session.ui.say(format!("snapshot {name}: {} at {}", lab.system.name(), lab.address));
    }
    Ok(Ending::Done)
}

fn status(session: &Session, name: &str) -> Result<Ending, Failure> {
    let lab = running(session, name)?;
    session.ui.say(format!("Lab {name}: {} at {}, running.", lab.system.name(), lab.address));
    let mut command = vec!["gpucloud-install", "status"];
    if session.ui.is_json() {
        command.push("--json");
    }
    passed_on(Inside::new(&session.host, &lab).program(&command)?, session)
}

fn save(session: &Session, options: &LabSnapshot) -> Result<Ending, Failure> {
    let host = &session.host;
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
    session.ui.say("Shutting the host down ...");
    nspawn::shut_down(host, lab.name.as_str())?;
    let saved = keeper::save(host, &lab, &dir);
    if was_running {
        keeper::make(host, &lab, base::dir(lab.system), &Facts::gather(host)?, &session.ui.display(), 4)?;
    }
    saved?;
    session.ui.say(format!("Saved. gpucloud-install lab restore {snapshot} NAME makes a host of it."));
    session.ui.document("lab", json!({"saved": snapshot}));
    Ok(Ending::Done)
}

fn restore(session: &Session, options: &LabRestore) -> Result<Ending, Failure> {
    let host = &session.host;
    let (snapshot, new) = (name(&options.snapshot)?, name(&options.name)?);
    let source = lab::snapshot_root(&snapshot);
    let lab = Lab::claim(host, || {
        let lab = Lab { name: new.clone(), ..lab::snapshot(host, &snapshot)? };
        refuse_taken(host, &lab)?;
        Ok(Lab { stands_on: lab::stands_on(host, source.clone()), ..lab })
    })?;
    keeper::make(host, &lab, source, &Facts::gather(host)?, &session.ui.display(), usize::from(session.global.jobs))?;
    Inside::new(host, &lab).wait_healthy()?;
    farewell(session, &lab, Inside::new(host, &lab).answers().ok().as_ref())
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

fn reboot(session: &Session, name: &str) -> Result<Ending, Failure> {
    let host = &session.host;
    let lab = running(session, name)?;
    session.ui.say("Shutting the host down ...");
    nspawn::shut_down(host, name)?;
    keeper::make(host, &lab, base::dir(lab.system), &Facts::gather(host)?, &session.ui.display(), 4)?;
    let healthy = Inside::new(host, &lab).wait_healthy()?;
    session.ui.document("lab", json!({"name": name, "healthy": healthy}));
    session.ui.say(if healthy {
        "The host is up and its cloud is healthy."
    } else {
        "The host is up; there is no complete cloud in it."
    });
    Ok(Ending::Done)
}

fn down(session: &Session, options: &LabDown) -> Result<Ending, Failure> {
    let host = &session.host;
    if !on_path("nsenter") {
        return Err(Failure::new("nsenter is missing", "", "apt-get install util-linux"));
    }
    if !options.purge && Lab::find(host, &options.name).is_err() && is_snapshot(host, &options.name) {
        return forget_snapshot(session, &options.name);
    }
    let labs = if options.purge { Lab::all(host)? } else { vec![Lab::find(host, &options.name)?] };
    let mut names: Vec<String> = labs.iter().map(|lab| lab.name.to_string()).collect();
    if options.purge {
        names.extend(lab::snapshots(host)?.into_iter().map(|(name, _)| format!("snapshot {name}")));
    }
    if !names.is_empty() {
        session.consent(&format!("Take down {}, and lose what is in it?", names.join(", ")), false)?;
    }
    let failed = keeper::take_down(host, &labs, options.purge, session.ui.display().as_ref())?;
    session.ui.document("lab", json!({"down": names, "failed": failed}));
    for failure in &failed {
        session.ui.say(format!("failed: {}", failure.what));
    }
    if failed.is_empty() {
        session.ui.say(if options.purge {
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

fn forget_snapshot(session: &Session, text: &str) -> Result<Ending, Failure> {
    if let Some(lab) = lab::standing_on(&session.host, &lab::snapshot_root(&name(text)?))? {
        let next = format!("gpucloud-install lab down {}", lab.name);
        return Err(Failure::new(format!("lab {} stands on snapshot {text}", lab.name), "", next).with(Ending::Refused));
    }
    session.consent(&format!("Remove snapshot {text}?"), false)?;
    files::remove_tree(&session.host, &lab::snapshot_dir(&name(text)?))?;
    session.ui.document("lab", json!({"down": [text], "failed": []}));
    session.ui.say(format!("Snapshot {text} is gone."));
    Ok(Ending::Done)
}
