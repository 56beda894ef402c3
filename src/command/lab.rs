//! `lab`: throw-away hosts.

use super::Invocation;
use crate::cli::{Lab as Verb, LabConsole, LabDown, LabExec, LabKind, LabRestore, LabSnapshot, LabUp};
use crate::config::values::LabName;
use crate::config::{CloudAnswers, ComputeAnswers, Config, HostAnswers, Virt};
use crate::ending::Ending;
use crate::engine;
use crate::facts::kvm::Kvm;
use crate::facts::{self, Facts, network};
use crate::failure::Failure;
use crate::finding::bytes;
use crate::host::command::{Command, on_path};
use crate::host::{Host, files, qemu};
use crate::installation::require_root;
use crate::lab::base::Base;
use crate::lab::cards::Board;
use crate::lab::inside::Inside;
use crate::lab::{self, Kind, Lab, System, Vm, hands, image, lifecycle};
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
        Verb::Cut(lab) => cut(invocation, &lab.name),
        Verb::Console(options) => console(invocation, &options),
        Verb::Box(options) => super::lab_box::run(invocation, &options),
        Verb::Down(options) => down(invocation, &options),
    }
}

fn name(text: &str) -> Result<LabName, Failure> {
    text.parse().map_err(|what: String| Failure::usage(what, "for example: gpucloud-install lab up --name test1"))
}

fn up(invocation: &Invocation, options: &LabUp) -> Result<Ending, Failure> {
    let host = &invocation.host;
    refuse_unfit(options)?;
    let known = known(host, options)?;
    let facts = Facts::gather(host)?;
    let (sink, jobs) = (invocation.ui.display(), usize::from(invocation.global.jobs));
    let lab = match known {
        Some(lab) => {
            invocation.consent(&format!("Go on with lab {}?", lab.name), true)?;
            lab
        }
        None => new(invocation, options)?,
    };
    let lab = match &lab.kind {
        Kind::Vm(vm) if !options.no_install && !image::is_made(host, &lab) => {
            let made_of = made_of(invocation, options, &lab, vm)?;
            with_image(invocation, options, &lab, vm, &made_of, &facts)?
        }
        _ => lab,
    };
    lifecycle::make(host, &lab, Base::of(&lab).dir(), &facts, &sink, jobs)?;
    let inside = Inside::new(host, &lab);
    inside.take_program()?;
    if options.no_install {
        return farewell(invocation, &lab, None);
    }
    if matches!(lab.kind, Kind::Vm(_)) {
        invocation.ui.say("Waiting for its cloud ...");
        if inside.wait_healthy()? {
            return farewell(invocation, &lab, Some(&inside.answers()?));
        }
    }
    // One that was made without a cloud gets it where it is.
    let config = install(invocation, options, &inside, lab.pace())?;
    farewell(invocation, &lab, Some(&config))
}

/// What one kind alone has.
fn refuse_unfit(options: &LabUp) -> Result<(), Failure> {
    let (container, vm) = (options.kind == LabKind::Container, options.kind == LabKind::Vm);
    let unfit = [
        ("--cards", container && options.cards.is_some(), "is for virtual machines: lab up --kind vm"),
        ("--memory", container && options.memory.is_some(), "is for virtual machines: lab up --kind vm"),
        ("--kvm", vm && options.kvm, "is for containers: a virtual machine has a kernel of its own"),
    ];
    match unfit.iter().find(|(_, given, _)| *given) {
        Some((option, _, why)) => {
            Err(Failure::usage(format!("{option} {why}"), "gpucloud-install lab up --help has examples of both"))
        }
        None => Ok(()),
    }
}

/// The lab with an image that has its cloud: one that is kept, or a new one.
fn with_image(
    invocation: &Invocation,
    options: &LabUp,
    lab: &Lab,
    vm: &Vm,
    made_of: &str,
    facts: &Facts,
) -> Result<Lab, Failure> {
    let (host, jobs) = (&invocation.host, usize::from(invocation.global.jobs));
    let container = lab.as_container();
    lifecycle::make(host, &container, Base::of(lab).dir(), facts, &invocation.ui.display(), jobs)?;
    let inside = Inside::new(host, &container);
    inside.take_program()?;
    install(invocation, options, &inside, vm.pace())?;
    invocation.ui.say("Making its disk ...");
    let image = image::keep(host, lab, vm, made_of, &inside)?;
    let lab = Lab { kind: Kind::Vm(Vm { image: Some(image), ..vm.clone() }), ..lab.clone() };
    lab.note(host, &lab.dir())?;
    Ok(lab)
}

/// Everything that goes into an image.
fn made_of(invocation: &Invocation, options: &LabUp, lab: &Lab, vm: &Vm) -> Result<String, Failure> {
    let host = &invocation.host;
    let program = files::read(host, Path::new("/proc/self/exe"))?.unwrap_or_default();
    let answers = match invocation.global.config.as_path() {
        path if path == Path::new(paths::ANSWERS) => String::new(),
        path => files::read_text(host, path)?.unwrap_or_default(),
    };
    let git_base = options.git_base.as_ref().map(ToString::to_string);
    let all = json!({"program": files::hash(&program), "profile": options.profile, "engine": options.engine,
        "git_base": git_base, "system": lab.system, "pace": vm.pace(), "kernel": vm.board.kernel, "answers": answers});
    Ok(all.to_string())
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
    let host = &invocation.host;
    let (name, system) = (name(&options.name)?, options.os.unwrap_or(System::Debian13));
    let board = options.cards.as_ref().map(|file| Board::load(host, file)).transpose()?.unwrap_or_default();
    let kind = if options.kind == LabKind::Vm { "virtual machine" } else { "host" };
    invocation.consent(&format!("Make a lab {kind} called {name} with {}?", system.name()), true)?;
    let network = network::probe(host)?;
    let folder = options.git_base.as_ref().and_then(|base| base.folder()).map(Path::to_owned);
    if let Some(missing) = folder.as_ref().filter(|folder| !files::exists(host, folder)) {
        let what = format!("there is no folder {}", missing.display());
        return Err(Failure::usage(what, "--git-base: the folder of a mirror, or an address"));
    }
    let kind = match options.kind {
        LabKind::Container => Kind::Container,
        LabKind::Vm => Kind::Vm(virtual_machine(invocation, options, board)?),
    };
    let has_kernel = options.kind == LabKind::Vm;
    let base = Base { system, has_kernel };
    Lab::claim(host, || {
        let address = lab::free_address(host, &network)?;
        let stands_on = lab::stands_on(host, base.dir());
        let host_name = name.to_string();
        let new = Lab { host_name, name, system, address, kvm: options.kvm, folder, stands_on, kind, has_kernel };
        Ok(kept(invocation, options, &new)?.unwrap_or(new))
    })
}

/// The same lab, standing on an image that is kept: that has its cloud's name and address.
fn kept(invocation: &Invocation, options: &LabUp, lab: &Lab) -> Result<Option<Lab>, Failure> {
    let Kind::Vm(vm) = lab.kind.clone() else { return Ok(None) };
    if options.no_install {
        return Ok(None);
    }
    let found = image::find(&invocation.host, &made_of(invocation, options, lab, &vm)?)?;
    Ok(found.map(|(image, of)| {
        let kind = Kind::Vm(Vm { image: Some(image), ..vm });
        Lab { host_name: of.host_name, address: of.address, kind, ..lab.clone() }
    }))
}

/// It would run out of memory while it boots, or others would.
fn refuse_without_memory(host: &Host, memory_gib: u32) -> Result<(), Failure> {
    let available = facts::hardware::available_memory(host)?;
    if available >= u64::from(memory_gib) << 30 {
        return Ok(());
    }
    let what =
        format!("{} of memory are available here, and the virtual machine has {memory_gib} GiB", bytes(available));
    let next = "--memory GIB: 4 are enough for a cloud, 1 for a host without; or end something (free -h)";
    Err(Failure::new(what, "", next).with(Ending::Refused))
}

/// Tries this machine's KVM with the kernel that the host will have.
fn virtual_machine(invocation: &Invocation, options: &LabUp, board: Board) -> Result<Vm, Failure> {
    let host = &invocation.host;
    let base = Base { system: options.os.unwrap_or(System::Debian13), has_kernel: true };
    let memory_gib = options.memory.unwrap_or(if options.no_install { 2 } else { 8 });
    refuse_without_memory(host, memory_gib)?;
    lifecycle::share(host, Some(base), true, &invocation.ui.display(), usize::from(invocation.global.jobs))?;
    let kvm = *Facts::gather(host)?.kvm == Kvm::Works && qemu::boots_with_kvm(host, &base.dir().join("vmlinuz"));
    if !kvm {
        invocation.ui.say("KVM boots no kernel here: the virtual machine is emulated, some twelve times slower.");
    }
    Ok(Vm { memory_gib, kvm, board, image: None })
}

/// Answers and apply, inside.
fn install(invocation: &Invocation, options: &LabUp, inside: &Inside, pace: u32) -> Result<Config, Failure> {
    if !inside.has_answers()? {
        let profile = match (options.profile.as_deref(), options.kind) {
            (Some(profile), _) => profile,
            (None, LabKind::Container) => "lab",
            (None, LabKind::Vm) => "vagrant",
        };
        inside.run(&["gpucloud-install", "init", "--profile", profile])?;
    }
    inside.change_answers(|answers| {
        let engine = options.engine;
        let config = match invocation.global.config.as_path() {
            path if path == Path::new(paths::ANSWERS) => answers,
            // What belongs to the host itself stays.
            path => Config { host: answers.host, ..Config::load(&invocation.host, path)? },
        };
        let config = Config { host: HostAnswers { pace, ..config.host }, ..config };
        let config = if inside.lab().has_kernel { without_kvm(config) } else { config };
        let git_base = options.git_base.clone().unwrap_or(config.cloud.git_base);
        let cloud = CloudAnswers { git_base, ..config.cloud };
        Ok(Config { engine: engine.unwrap_or(config.engine), cloud, ..config })
    })?;
    inside.apply(invocation.ui.display(), invocation.global.jobs)?;
    inside.answers()
}

/// What a processor can do is another thing in the container in which the cloud is installed than on the board: what is
/// found out would differ, and emulated processors offer a KVM that is emulated too.
fn without_kvm(config: Config) -> Config {
    Config { compute: ComputeAnswers { virt: Virt::Qemu }, ..config }
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
    let state = |lab: &Lab| if hands::of(lab).is_running(&invocation.host) { "running" } else { "stopped" };
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
    invocation.ui.document("lab", json!({"labs": listed, "snapshots": kept}));
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

/// Starts a lab that is made.
fn start(invocation: &Invocation, lab: &Lab) -> Result<(), Failure> {
    let (host, jobs) = (&invocation.host, usize::from(invocation.global.jobs));
    lifecycle::make(host, lab, Base::of(lab).dir(), &Facts::gather(host)?, &invocation.ui.display(), jobs)
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
    if let Kind::Vm(_) = lab.kind {
        lifecycle::copy_disks(host, &lab::snapshot_dir(&snapshot), &lab.dir())?;
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
    let lab = Lab::find(&invocation.host, name)?;
    hands::of(&lab).cut(&invocation.host)?;
    invocation.ui.document("lab", json!({"name": name, "state": "stopped"}));
    invocation.ui.say(format!("The power is cut. gpucloud-install lab up --name {name} starts it again."));
    Ok(Ending::Done)
}

fn console(invocation: &Invocation, options: &LabConsole) -> Result<Ending, Failure> {
    let lab = Lab::find(&invocation.host, &options.name)?;
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
