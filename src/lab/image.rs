//! Disks of virtual machines. A disk is made once, of a root file system, and shown to the host below another one that
//! takes what is written. With a cloud in it, it is an image that is kept, for as long as base images are (`base.rs`): the next host with the
//! same answers costs no installation. Such a cloud is bound to its address: two hosts of one image do not run at once.
//!
//! What lies together stays together: a disk names the one below it without a directory, and each directory has its own
//! link to that, so that an image may go while hosts and snapshots of it stay.

use super::inside::Inside;
use super::{DIRECTORY, Kind, Lab, LabError, Vm, base, disk, hands};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::engine::{openvswitch, pace};
use crate::host::command::Command;
use crate::host::qemu::{self, Disk};
use crate::host::{Error, Host, Result, files, overlay, ssh};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The disk that is never written to.
pub const RAW: &str = "disk.raw";
/// The key that logs in, and the host's own.
pub const KEYS: [&str; 3] = ["key", "key.pub", "known_hosts"];
/// How large a host's disk is; it takes what is in it.
const DISK_GIB: u64 = 24;
/// How long another command may make an image.
const IMAGE_LIMIT: Duration = Duration::from_secs(600);
/// How large a disk is that a card has for company.
const CARD_DISK_MIB: u32 = 256;

/// The disks of a virtual machine.
pub fn disks(lab: &Lab, vm: &Vm) -> Task {
    let (lab, vm, first) = (lab.clone(), vm.clone(), lab.disk(0));
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &first), "make"));
    let id = ActionId::new("lab-disks", &lab.name);
    Task::new(id, "Make the disks", probe, move |host| make_disks(host, &lab, &vm))
}

fn make_disks(host: &Host, lab: &Lab, vm: &Vm) -> Result<()> {
    let dir = lab.dir();
    match &vm.image {
        Some(image) => take_along(host, image, &dir)?,
        None if files::exists(host, dir.join(RAW)) => {}
        None => make_raw(host, lab, vm, &dir)?,
    }
    forget_root(host, lab)?;
    for n in 1..=vm.board.disks() {
        qemu::make_disk(host, &lab.disk(n), &Disk::Empty { mib: CARD_DISK_MIB })?;
    }
    qemu::make_disk(host, &lab.disk(0), &Disk::Above { raw: RAW.into() })
}

/// A disk of the lab's root, in `dir`.
fn make_raw(host: &Host, lab: &Lab, vm: &Vm, dir: &Path) -> Result<()> {
    // From now on the root is no container's: one that goes on as one gets a container's files again.
    files::remove(host, &lab.dir().join(super::SETTINGS))?;
    write_settings(host, lab, vm)?;
    make_keys(host, lab, dir)?;
    let partial = dir.join("disk.partial");
    disk::make(host, &lab.root(), &partial, DISK_GIB)?;
    files::rename(host, &partial, &dir.join(RAW))
}

/// The root, once a disk was made of it.
fn forget_root(host: &Host, lab: &Lab) -> Result<()> {
    overlay::unmount(host, &lab.root())?;
    ["root", "changes", "work"].iter().try_for_each(|part| files::remove_tree(host, &lab.dir().join(part)))
}

/// What a host on a board has otherwise than a container.
fn write_settings(host: &Host, lab: &Lab, vm: &Vm) -> Result<()> {
    let write = |path: &str, text: &str| files::write(host, &lab.real(path), text.as_bytes(), 0o644, None);
    // The link keeps the name that it had in the container, where the cloud was installed.
    let link = format!("[Match]\nMACAddress={}\n\n[Link]\nName=host0\n", lab.machine(vm).mac);
    write("/etc/systemd/network/10-host0.link", &link)?;
    disk::write_boot_files(host, &lab.root(), &vm.board.kernel)?;
    write("/etc/ssh/sshd_config.d/lab.conf", "AcceptEnv *\nUseDNS no\nLoginGraceTime 600\n")?;
    // A container has none, and needs one that does nothing.
    files::remove_tree(host, &lab.real("/etc/systemd/system/iscsid.service.d"))?;
    if vm.kvm {
        return Ok(());
    }
    write("/etc/systemd/system.conf.d/20-lab-emulated.conf", &pace::systemd_limits(vm.pace()))
}

/// A key that logs in, and one that the host shows.
fn make_keys(host: &Host, lab: &Lab, dir: &Path) -> Result<()> {
    let read = |path: &Path| {
        let missing = || Error::protocol("make a key", format!("{} is missing", path.display()));
        files::read_text(host, path)?.ok_or_else(missing)
    };
    let own = dir.join(KEYS[0]);
    ssh::make_key(host, &own, "gpucloud-lab")?;
    let authorized = lab.real("/root/.ssh/authorized_keys");
    files::make_parents(host, &authorized)?;
    files::set_permissions(host, &lab.real("/root/.ssh"), 0o700, None)?;
    files::write(host, &authorized, read(&dir.join(KEYS[1]))?.as_bytes(), 0o600, None)?;
    remove_host_keys(host, &lab.root())?;
    let ssh = lab.real("/etc/ssh");
    let shown = ssh.join("ssh_host_ed25519_key");
    ssh::make_key(host, &shown, &lab.host_name)?;
    let known = format!("{} {}", lab.address, read(&ssh.join("ssh_host_ed25519_key.pub"))?);
    files::write(host, &dir.join(KEYS[2]), known.as_bytes(), 0o600, None)
}

/// Removes the keys that a host shows, which the package made in the base image: all hosts would have the same.
pub fn remove_host_keys(host: &Host, root: &Path) -> Result<()> {
    let ssh = root.join("etc/ssh");
    let names = files::list(host, &ssh)?;
    names.iter().filter(|name| name.starts_with("ssh_host_")).try_for_each(|name| files::remove(host, &ssh.join(name)))
}

/// What a disk needs beside it, in another directory.
pub fn take_along(host: &Host, from: &Path, to: &Path) -> Result<()> {
    for name in [RAW].iter().chain(&KEYS) {
        files::remove(host, &to.join(name))?;
        let (from, to) = (from.join(name).display().to_string(), to.join(name).display().to_string());
        Command::new("cp").args(["--archive", "--link", &from, &to]).run(host)?;
    }
    Ok(())
}

fn images() -> PathBuf {
    Path::new(DIRECTORY).join("images")
}

/// The hosts that kept images were made of.
pub fn all(host: &Host) -> std::result::Result<Vec<Lab>, LabError> {
    super::notes_in(host, &images())
}

/// An image with a cloud that was made of the same (`made_of`: everything that went into it), at an address that no lab
/// has.
pub fn find(host: &Host, made_of: &str) -> std::result::Result<Option<(PathBuf, Lab)>, LabError> {
    forget_old(host)?;
    let taken: Vec<_> = Lab::all(host)?.iter().map(|lab| lab.address).collect();
    for name in files::list(host, images())?.iter().filter(|name| name.starts_with(&key(made_of))) {
        let dir = images().join(name);
        if let Some(lab) = super::read_note(host, &dir)?.filter(|lab| !taken.contains(&lab.address)) {
            return Ok(Some((dir, lab)));
        }
    }
    Ok(None)
}

fn key(made_of: &str) -> String {
    files::hash(made_of.as_bytes())[..16].to_owned()
}

/// Keeps the disk of what will be a virtual machine, in whose root `inside` a cloud was installed at a container's speed.
/// The container is shut down for that.
pub fn keep(host: &Host, lab: &Lab, vm: &Vm, made_of: &str, inside: &Inside) -> std::result::Result<PathBuf, LabError> {
    inside.run(&openvswitch::for_another_kernel())?;
    inside.run(&WITHOUT_LEAVE)?;
    hands::of(&lab.as_container()).shut_down(host)?;
    let _lock = files::lock_within(host, &lock_file(), "the end of another image", IMAGE_LIMIT)?;
    let [_, _, third, _] = lab.address.octets();
    let dir = images().join(format!("{}-{third}", key(made_of)));
    let partial = files::sibling(&dir, ".partial");
    files::remove_tree(host, &partial)?;
    files::make_parents(host, &partial.join(RAW))?;
    make_raw(host, lab, vm, &partial)?;
    lab.note(host, &partial)?;
    // One that was made before goes; hosts of it have links of their own to the disk.
    files::remove_tree(host, &dir)?;
    files::rename(host, &partial, &dir)?;
    Ok(dir)
}

/// At its shutdown nobody waits for the cloud's services to take their leave, of which nobody uses one: what they know
/// stands in the database, which ends in order. (20 s before, most of them nova-compute's and the conductor's.)
const WITHOUT_LEAVE: [&str; 3] = [
    "sh",
    "-c",
    "dir=/run/systemd/system/gpucloud-.service.d; mkdir -p $dir && \
     printf '[Service]\\nTimeoutStopSec=1\\n' >$dir/without-leave.conf && systemctl daemon-reload",
];

/// Held by whoever makes or forgets an image.
fn lock_file() -> PathBuf {
    Path::new(DIRECTORY).join("images.lock")
}

/// Images older than base images may be, and what a kill left: packages of an old one would be upgraded in every lab.
fn forget_old(host: &Host) -> Result<()> {
    let Some(_lock) = files::try_lock(host, &lock_file(), Duration::ZERO)? else { return Ok(()) };
    for name in files::list(host, images())? {
        let dir = images().join(name);
        let age =
            files::modified(host, dir.join(RAW)).map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
        if age.is_none_or(|age| age > base::MAX_AGE) {
            files::remove_tree(host, &dir)?;
        }
    }
    Ok(())
}

/// Whether a lab is a virtual machine that has its disk.
pub fn is_made(host: &Host, lab: &Lab) -> bool {
    matches!(lab.kind, Kind::Vm(_)) && files::exists(host, lab.disk(0))
}
