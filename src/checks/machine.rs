//! The machine itself: system, memory, disk, card, virtualisation, clock.

use super::Subject;
use crate::config::{EngineName, Virt};
use crate::facts::{kvm::Kvm, pci::NVIDIA};
use crate::finding::{Finding, bytes};
use crate::systems;

const GIB: u64 = 1 << 30;
/// Below this the native engine's services (2.6 to 3.5 GiB measured) leave nothing for a guest.
const MEMORY_NEEDED: u64 = 5 * GIB;
/// What the project asks for: 4 x 32 GB, less what firmware and kernel keep.
const MEMORY_WANTED: u64 = 120 * GIB;
/// The installation puts 2.2 GiB below /var/lib, /usr and /opt; images and instances need room too.
const DISK_NEEDED: u64 = 6 * GIB;
/// What the project asks for: 1 TB.
const DISK_WANTED: u64 = 900 * GIB;
/// No machine's clock is before the release of what it installs: 2026-09-30.
const RELEASED: i64 = 1_790_726_400;

pub(super) fn system(s: &Subject) -> Vec<Finding> {
    let os = &s.facts.os;
    let engine = s.config.engine;
    let suits = |system: &systems::Supported| system.native || engine == EngineName::Devstack;
    vec![match systems::find(&os.id, &os.version) {
        Some(system) if suits(system) => Finding::pass("system", format!("{} is supported", os.pretty_name)),
        Some(_) => {
            let what = format!("{} is not supported by the native engine: its Python is too old", os.pretty_name);
            Finding::stop("system", what, "engine = \"devstack\" in gpucloud.toml; or a newer system")
        }
        None if engine == EngineName::Devstack && s.config.devstack.force => {
            let what = format!("{} is not supported, and devstack.force says to try it", os.pretty_name);
            Finding::warn("system", what, "where stack.sh fails, its log says why")
        }
        None if engine == EngineName::Devstack && systems::is_newer(&os.id, &os.version) => {
            let what = format!("{} is newer than what was tried", os.pretty_name);
            Finding::warn("system", what, "devstack.branch = \"master\" is most likely to know it")
        }
        None => {
            let next = format!("use one of: {}", systems::names(suits));
            Finding::stop("system", format!("{} is not supported", os.pretty_name), next)
        }
    }]
}

pub(super) fn systemd(s: &Subject) -> Vec<Finding> {
    if s.facts.os.systemd {
        return Vec::new();
    }
    let next = "on this machine only throw-away hosts work: gpucloud-install lab up";
    vec![Finding::stop("systemd", "systemd is not running as the first process here", next)]
}

pub(super) fn memory(s: &Subject) -> Vec<Finding> {
    let memory = s.facts.hardware.memory;
    let finding = if memory < MEMORY_NEEDED {
        let what = format!("{} of memory are too few: the cloud's own services need 4 GiB", bytes(memory));
        Finding::stop("memory", what, "use a machine with at least 8 GiB, better 128 GiB")
    } else if memory < MEMORY_WANTED {
        let guests = (memory - 4 * GIB) / (16 * GIB);
        let what = format!("{} of memory: room for {} at a time", bytes(memory), instances(guests, "16 GiB"));
        Finding::warn("memory", what, "128 GiB (4 x 32 GB) are recommended for a class")
    } else {
        Finding::pass("memory", format!("{} of memory", bytes(memory)))
    };
    vec![finding]
}

pub(super) fn storage(s: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for filesystem in [&s.facts.storage.data, &s.facts.storage.programs] {
        let below = filesystem.below.display();
        if !filesystem.writable {
            findings.push(Finding::stop(
                "storage",
                format!("the filesystem below {below} is mounted read-only"),
                "mount it read-write",
            ));
        } else if filesystem.free < DISK_NEEDED && !s.is_begun() {
            let what = format!("below {below} only {} are free; the installation needs 6 GiB", bytes(filesystem.free));
            findings.push(Finding::stop(
                "storage",
                what,
                "free space there, or enlarge the volume: lvextend -r -l +100%FREE VOLUME",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(data_size(s));
    }
    findings
}

/// "3 instances with 16 GiB", in words where there are few.
fn instances(n: u64, size: &str) -> String {
    match n {
        0 => format!("no instance with {size}"),
        1 => format!("one instance with {size}"),
        n => format!("{n} instances with {size}"),
    }
}

fn data_size(s: &Subject) -> Finding {
    let data = &s.facts.storage.data;
    if data.size >= DISK_WANTED {
        return Finding::pass(
            "storage",
            format!("{} below {}, {} free", bytes(data.size), data.below.display(), bytes(data.free)),
        );
    }
    let disks = data.free / (100 * GIB);
    let room = instances(disks, "100 GiB");
    let what = format!("{} are free below {}: room for {room}", bytes(data.free), data.below.display());
    Finding::warn("storage", what, "1 TB is recommended; on LVM: lvextend -r -l +100%FREE VOLUME")
}

/// NVIDIA's device ids grow with the generation, but for 0x20xx, which is Ampere's first (A100, A30) before Turing's
/// last (0x21xx): 0x2200 is the first of the GeForce 30 series (GA102). (pci.ids)
fn is_new_enough(device: &str) -> bool {
    u16::from_str_radix(device, 16).is_ok_and(|id| id >= 0x2200 || (0x2080..0x2100).contains(&id))
}

pub(super) fn gpu(s: &Subject) -> Vec<Finding> {
    let cards: Vec<_> = s.facts.displays.iter().filter(|display| display.vendor == NVIDIA).collect();
    let usable = cards.iter().filter(|card| is_new_enough(&card.device)).count();
    vec![match (cards.len(), usable) {
        (0, _) => Finding::warn(
            "gpu",
            "no NVIDIA card here: instances will have none",
            "a card of the 3000 series or newer is recommended",
        ),
        (n, 0) => Finding::warn(
            "gpu",
            format!("{n} NVIDIA card(s), none of the 3000 series or newer"),
            "older cards may work, but are not tried",
        ),
        (_, n) => Finding::pass("gpu", format!("{n} NVIDIA card(s) of the 3000 series or newer")),
    }]
}

pub(super) fn virtualization(s: &Subject) -> Vec<Finding> {
    let (id, virt) = (super::VIRTUALIZATION, s.config.compute.virt);
    let firmware = "switch on VT-x or AMD-V in the firmware, and load the module: modprobe kvm_intel or kvm_amd";
    vec![match (&*s.facts.kvm, virt) {
        (Kvm::Works, Virt::Qemu) => {
            Finding::pass(id, "instances are emulated, because compute.virt says so; KVM would work")
        }
        (Kvm::Works, _) => Finding::pass(id, "instances run on KVM: a small machine was run on it"),
        (other, Virt::Kvm) => {
            Finding::stop(id, "compute.virt says \"kvm\", but KVM does not work", firmware).seen(other.to_string())
        }
        (other, _) => Finding::warn(id, "KVM does not work: instances are emulated, ten times slower", firmware)
            .seen(other.to_string()),
    }]
}

pub(super) fn clock(_: &Subject) -> Vec<Finding> {
    let now = jiff::Timestamp::now();
    if now.as_second() >= RELEASED {
        return Vec::new();
    }
    let what = format!("the clock says {now}, before this release was made");
    vec![Finding::stop("clock", what, super::network::SET_CLOCK)]
}
