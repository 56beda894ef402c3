//! `lab up`: a host is made, or what is missing of it; its cloud too.

use super::{farewell, name};
use crate::cli::{LabKind, LabUp};
use crate::command::{Invocation, absolute};
use crate::config::{CloudAnswers, ComputeAnswers, Config, HostAnswers, Virt};
use crate::ending::Ending;
use crate::facts::kvm::Kvm;
use crate::facts::{Facts, hardware};
use crate::failure::Failure;
use crate::finding::bytes;
use crate::host::{Host, files, qemu};
use crate::lab::base::Base;
use crate::lab::cards::Board;
use crate::lab::inside::Inside;
use crate::lab::{self, Kind, Lab, System, Vm, image, lifecycle};
use crate::paths;
use serde_json::json;
use std::path::Path;

pub(super) fn up(invocation: &Invocation, options: &LabUp) -> Result<Ending, Failure> {
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
        None => new(invocation, options, &facts)?,
    };
    let lab = match &lab.kind {
        Kind::Vm(vm) if !options.no_install && vm.image.is_none() && !image::is_made(host, &lab) => {
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
    let (container, vm) = (options.kind != Some(LabKind::Vm), options.kind == Some(LabKind::Vm));
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
    if !lab::is_there(host, &options.name) {
        return Ok(None);
    }
    let lab = Lab::find(host, &options.name)?;
    if let Some(snapshot) = files::read_text(host, lab.dir().join(lab::RESTORING))? {
        let next = format!(
            "gpucloud-install lab down {name}; gpucloud-install lab restore {snapshot} {name}",
            name = lab.name
        );
        return Err(
            Failure::new(format!("lab {} was not restored to its end", lab.name), "", next).with(Ending::Refused)
        );
    }
    let kind = if lab.has_kernel { LabKind::Vm } else { LabKind::Container };
    let is_another = options.os.is_some_and(|system| system != lab.system)
        || options.kind.is_some_and(|wanted| wanted != kind)
        || options.cards.is_some() && image::is_made(host, &lab);
    if !is_another {
        return Ok(Some(lab));
    }
    let what = format!("lab {} is there already, and is another one ({})", lab.name, lab.system.name());
    Err(Failure::new(what, "", format!("gpucloud-install lab down {}", lab.name)).with(Ending::Refused))
}

fn new(invocation: &Invocation, options: &LabUp, facts: &Facts) -> Result<Lab, Failure> {
    let host = &invocation.host;
    let (name, system) = (name(&options.name)?, options.os.unwrap_or(System::Debian13));
    let board = options.cards.as_ref().map(|file| Board::load(host, &absolute(file))).transpose()?.unwrap_or_default();
    let has_kernel = options.kind == Some(LabKind::Vm);
    let kind = if has_kernel { "virtual machine" } else { "host" };
    invocation.consent(&format!("Make a lab {kind} called {name} with {}?", system.name()), true)?;
    let folder = options.git_base.as_ref().and_then(|base| base.folder()).map(Path::to_owned);
    if let Some(missing) = folder.as_ref().filter(|folder| !files::exists(host, folder)) {
        let what = format!("there is no folder {}", missing.display());
        return Err(Failure::usage(what, "--git-base: the folder of a mirror, or an address"));
    }
    let kind = match has_kernel {
        false => Kind::Container,
        true => Kind::Vm(virtual_machine(invocation, options, board, facts)?),
    };
    let base = Base { system, has_kernel };
    Lab::claim(host, || {
        if lab::is_there(host, &options.name) {
            let next = format!("gpucloud-install lab up --name {}", options.name);
            return Err(Failure::new("another command has just begun to make it", "", next).with(Ending::Refused));
        }
        let address = lab::free_address(host, &facts.network)?;
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
    let available = hardware::available_memory(host)?;
    if available >= u64::from(memory_gib) << 30 {
        return Ok(());
    }
    let what =
        format!("{} of memory are available here, and the virtual machine has {memory_gib} GiB", bytes(available));
    let next = "--memory GIB: 4 are enough for a cloud, 1 for a host without; or end something (free -h)";
    Err(Failure::new(what, "", next).with(Ending::Refused))
}

/// Tries this machine's KVM with the kernel that the host will have.
fn virtual_machine(invocation: &Invocation, options: &LabUp, board: Board, facts: &Facts) -> Result<Vm, Failure> {
    let host = &invocation.host;
    let base = Base { system: options.os.unwrap_or(System::Debian13), has_kernel: true };
    let memory_gib = options.memory.unwrap_or(if options.no_install { 2 } else { 8 });
    refuse_without_memory(host, memory_gib)?;
    lifecycle::share(host, Some(base), true, &invocation.ui.display(), usize::from(invocation.global.jobs))?;
    let kvm = *facts.kvm == Kvm::Works && qemu::boots_with_kvm(host, &base.dir().join("vmlinuz"));
    if !kvm {
        invocation.ui.say("KVM boots no kernel here: the virtual machine is emulated, some twelve times slower.");
    }
    Ok(Vm { memory_gib, kvm, board, image: None })
}

/// Answers and apply, inside.
fn install(invocation: &Invocation, options: &LabUp, inside: &Inside, pace: u32) -> Result<Config, Failure> {
    if !inside.has_answers()? {
        let usual = if inside.lab().has_kernel { "vagrant" } else { "lab" };
        let profile = options.profile.as_deref().unwrap_or(usual);
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
    Ok(inside.answers()?)
}

/// What a processor can do is another thing in the container in which the cloud is installed than on the board: what is
/// found out would differ, and emulated processors offer a KVM that is emulated too.
fn without_kvm(config: Config) -> Config {
    Config { compute: ComputeAnswers { virt: Virt::Qemu }, ..config }
}
