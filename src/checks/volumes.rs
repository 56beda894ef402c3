//! What the cloud's volumes need, where the answers want them: a kernel that has logical volumes and iSCSI, LVM's
//! configuration, and an empty disk or room for a file. A disk that holds something is refused before anything.

use super::{Outcome, Subject};
use crate::facts::disk::Disk;
use crate::finding::{Finding, bytes};

/// Id of the findings.
const ID: &str = "volumes";
/// No smaller disk is worth a volume group.
const SMALLEST: u64 = 1 << 30;

/// What the machine must have: nothing of it is asked of the disk.
pub(super) fn machine(s: &Subject) -> Vec<Finding> {
    if !s.config.volumes.are_wanted() {
        return Vec::new();
    }
    kernel(s).into_iter().chain(configuration(s)).chain(room(s)).collect()
}

fn kernel(s: &Subject) -> Option<Finding> {
    let none = "or volumes.backend = \"none\"";
    if s.facts.os.container.is_some() {
        let what = "volumes need a kernel of their own: a container makes no logical volumes";
        return Some(Finding::stop(ID, what, format!("a whole machine, or gpucloud-install lab up --kind vm; {none}")));
    }
    let missing = &s.facts.os.missing_for_volumes;
    let next = format!(
        "the distribution's kernel has them: apt-get install linux-image-amd64 (Ubuntu: linux-image-generic); {none}"
    );
    let what = format!("this kernel lacks what volumes need: {}", missing.join(", "));
    (!missing.is_empty()).then(|| Finding::stop(ID, what, next))
}

/// Where LVM is the administrator's already, ours must not undo what theirs says.
fn configuration(s: &Subject) -> Option<Finding> {
    let lines = &s.facts.software.lvm_lines;
    let what = "LVM is told something here that the cloud's own lines in /etc/lvm/lvmlocal.conf would replace";
    let next =
        "move lines of lvmlocal.conf to lvm.conf; say use_devicesfile with lvmdevices(8) instead of a global_filter";
    (!lines.is_empty()).then(|| Finding::stop(ID, what, next).seen(lines.join("; ")))
}

/// A file that grows to more than there is stops every service that writes to the same disk.
fn room(s: &Subject) -> Option<Finding> {
    let (wanted, free) = (u64::from(s.config.volumes.size_gib) << 30, s.facts.storage.data.free);
    let is_file = s.config.volumes.device.path().is_none();
    let what = format!("volumes may fill {}, and {} are free below /var/lib", bytes(wanted), bytes(free));
    let warn = || Finding::warn(ID, what, "a smaller volumes.size_gib, or a disk in volumes.device");
    (is_file && !s.is_begun() && wanted > free).then(warn)
}

/// The disk of the answers; not asked once the group is there.
pub(super) fn disk(s: &Subject) -> Outcome {
    s.seen.volume_disk.judged(|disk| {
        let name = s.config.volumes.device.to_string();
        let finding = disk.as_ref().map_or_else(|| Some(missing(&name)), |disk| unfit(&name, disk));
        vec![finding.unwrap_or_else(|| Finding::pass(ID, format!("{name} is empty, and nobody's")))]
    })
}

fn missing(name: &str) -> Finding {
    Finding::stop(ID, format!("volumes.device: there is no {name}"), "lsblk lists the disks of this machine")
}

/// Why volumes cannot lie there.
fn unfit(name: &str, disk: &Disk) -> Option<Finding> {
    let stop = |what: String, next: String| Some(Finding::stop(ID, format!("volumes.device: {name} {what}"), next));
    let another = "lsblk lists the others; name one, or none (a file)";
    if ["lvm", "rom"].contains(&disk.kind.as_str()) {
        return stop(format!("is no disk, but \"{}\"", disk.kind), another.into());
    }
    if disk.read_only {
        return stop("is read-only".into(), another.into());
    }
    if !disk.users.is_empty() {
        return stop(format!("is in use: {}", disk.users.join(", ")), another.into());
    }
    if !disk.content.is_empty() {
        let next = format!("where nobody needs what is on it: wipefs --all {name}; else {another}");
        return stop(format!("is not empty: {}", disk.content.join(", ")), next);
    }
    if disk.size < SMALLEST {
        return stop(format!("has {} only", bytes(disk.size)), another.into());
    }
    None
}
