//! Labs: throw-away test hosts with a real systemd, in which the whole installation runs; then gone without a trace.
//!
//! What a lab changes on this machine are actions of the same runner (`steps.rs`). What all labs share (packages, base
//! images, forwarding) has one journal, what belongs to one lab has its own; `down` is the undo of the latter, and the
//! last lab gives forwarding back.
//!
//! The root of a lab is an overlay over a base image or a snapshot, or a copy where overlays cannot be made; what labs
//! stand on is neither renewed nor removed meanwhile.
//!
//! A lab is a container, or a virtual machine with a kernel of its own ([`Kind`]). `hands.rs` is all that differs once it
//! is made: how it is started, entered, stopped. A virtual machine's disk (`disk.rs`) is made of the same root, in which
//! a cloud is installed as in a container's, and may be kept (`image.rs`); what stands on its board is in `cards.rs`. For
//! people with Vagrant, `vagrant_box.rs` packs such a disk.

pub mod base;
pub mod cards;
pub mod disk;
mod error;
pub mod hands;
pub mod image;
pub mod inside;
pub mod lifecycle;
pub mod network;
mod signals;
pub mod steps;
pub mod vagrant_box;

use crate::config::values::LabName;
use crate::facts::hardware::EMULATED_PACE;
use crate::facts::network::Network;
use crate::host::command::Command;
use crate::host::nspawn::Container;
use crate::host::overlay::{self, Overlay};
use crate::host::qemu::Machine;
use crate::host::ssh::Login;
use crate::host::{Host, files};
pub use crate::systems::LabSystem as System;
use cards::Board;
pub use error::LabError;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where everything of labs lies.
pub const DIRECTORY: &str = "/var/lib/gpucloud-lab";

/// Processors of a virtual machine.
const VM_PROCESSORS: u32 = 2;
/// In its directory while it is made from the snapshot that this names.
pub const RESTORING: &str = "restoring";
/// In its directory, once its own files were written.
const SETTINGS: &str = "settings.written";
/// Beside the disks of a virtual machine: they hold the state in which it ran.
const RUNNING: &str = "running";
/// What is remembered of a lab, in its directory.
const NOTE: &str = "lab.json";

/// What is remembered of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    /// Its name.
    pub name: LabName,
    /// Its system.
    pub system: System,
    /// Its address; this machine has the same with a 1 at the end.
    pub address: Ipv4Addr,
    /// Name of the machine inside.
    pub host_name: String,
    /// Whether its guests run on this machine's KVM.
    #[serde(default)]
    pub kvm: bool,
    /// A folder of this machine that it sees at the same place and cannot change: a mirror of repositories.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// The root file system that its own is laid over; a copy of one where overlays cannot be made.
    #[serde(default)]
    pub stands_on: Option<PathBuf>,
    /// What it is. (Labs of releases that knew containers only have no such note.)
    #[serde(default)]
    pub kind: Kind,
    /// Whether its root has a kernel: a virtual machine's has, also while it is a container in which its cloud is
    /// installed.
    #[serde(default)]
    pub has_kernel: bool,
}

/// What a lab is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A container, on this machine's kernel.
    #[default]
    Container,
    /// A virtual machine.
    Vm(Vm),
}

/// What a virtual machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Memory, in GiB.
    pub memory_gib: u32,
    /// Whether its processors are this machine's, by KVM; else they are emulated.
    pub kvm: bool,
    /// What stands on its board.
    pub board: Board,
    /// The image below its disk, where that has a cloud already (`image.rs`).
    #[serde(default)]
    pub image: Option<PathBuf>,
}

impl Vm {
    /// How many times longer everything may take than on a real machine.
    pub fn pace(&self) -> u32 {
        if self.kvm { 1 } else { EMULATED_PACE }
    }
}

impl Lab {
    /// Where it lies.
    pub fn dir(&self) -> PathBuf {
        lab_dir(self.name.as_str())
    }

    /// The same lab while its cloud is installed: in a container.
    pub fn as_container(&self) -> Self {
        Self { kind: Kind::Container, ..self.clone() }
    }

    /// The same lab as what it is now: a virtual machine is a container until its disk is made.
    pub fn as_it_is(&self, host: &Host) -> Self {
        if image::is_made(host, self) { self.clone() } else { self.as_container() }
    }

    /// The container that it is.
    pub fn container(&self) -> Container {
        let console = self.dir().join("console.log");
        Container {
            name: self.name.to_string(),
            root: self.root(),
            console,
            kvm: self.kvm,
            folder: self.folder.clone(),
        }
    }

    /// The virtual machine that it is.
    pub fn machine(&self, vm: &Vm) -> Machine {
        let disks = (0..=vm.board.disks()).map(|n| self.disk(n)).collect();
        let [_, _, third, fourth] = self.address.octets();
        Machine {
            name: format!("gpucloud-lab-{}", self.name),
            dir: self.dir(),
            memory_mib: vm.memory_gib * 1024,
            processors: VM_PROCESSORS,
            kvm: vm.kvm,
            iommu: vm.board.iommu,
            disks,
            link: self.link(),
            // Locally administered, as libvirt's are; one for each address.
            mac: format!("52:54:00:4e:{third:02x}:{fourth:02x}"),
            devices: vm.board.devices(),
        }
    }

    /// A disk of a virtual machine: the host's own is number 0.
    pub fn disk(&self, number: usize) -> PathBuf {
        self.dir().join(format!("disk{number}.qcow2"))
    }

    /// How root logs in where it is a virtual machine.
    pub fn login(&self) -> Login {
        Login { address: self.address, dir: self.dir() }
    }

    /// Its root file system; a virtual machine has one only until its disk is made of it.
    pub fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// Where a path of its root is seen from here.
    pub fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// How many times longer everything may take in it than on a real machine.
    pub fn pace(&self) -> u32 {
        match &self.kind {
            Kind::Container => 1,
            Kind::Vm(vm) => vm.pace(),
        }
    }

    /// The overlay that its root is, unless that is a copy.
    pub fn overlay(&self) -> Option<Overlay> {
        let below = self.stands_on.clone()?;
        let (changes, work) = (self.dir().join("changes"), self.dir().join("work"));
        Some(Overlay { below, changes, work, shown: self.root() })
    }

    /// This machine's address on its link.
    pub fn gateway(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.address.octets();
        Ipv4Addr::new(a, b, c, 1)
    }

    /// This machine's end of its link, as systemd-nspawn names it. (15 letters at most: `LabName`.)
    pub fn link(&self) -> String {
        format!("ve-{}", self.name)
    }

    /// The lab called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(host: &Host, name: &str) -> Result<Self, LabError> {
        read_note(host, &lab_dir(name))?.ok_or_else(|| LabError::NoLab { name: name.to_owned() })
    }

    /// The lab called `name`, to be taken down: of one whose note is damaged its name is enough, since a journal of its own
    /// knows what was changed for it.
    ///
    /// # Errors
    /// There is none.
    pub fn to_take_down(host: &Host, name: &str) -> Result<Self, LabError> {
        match Self::find(host, name) {
            Err(error @ LabError::Note { .. }) => {
                host.warn(&error.to_string());
                let name: LabName = name.parse().map_err(|_| LabError::NoLab { name: name.to_owned() })?;
                Ok(Self {
                    host_name: name.to_string(),
                    name,
                    system: System::Debian13,
                    address: Ipv4Addr::UNSPECIFIED,
                    kvm: false,
                    folder: None,
                    stands_on: None,
                    // Its processes are looked for as those of a container too.
                    kind: Kind::Vm(Vm { memory_gib: 0, kvm: false, board: Board::default(), image: None }),
                    has_kernel: true,
                })
            }
            found => found,
        }
    }

    /// Names of all labs, be their notes readable or not.
    pub fn names(host: &Host) -> Result<Vec<String>, LabError> {
        let all = files::list(host, Path::new(DIRECTORY).join("labs"))?;
        Ok(all.into_iter().filter(|name| is_there(host, name)).collect())
    }

    /// All labs, by name.
    pub fn all(host: &Host) -> Result<Vec<Self>, LabError> {
        notes_in(host, &Path::new(DIRECTORY).join("labs"))
    }

    /// Makes a lab of what `choose` decides and writes it down. One terminal at a time: two would choose one address.
    pub fn claim<E: From<LabError>>(host: &Host, choose: impl FnOnce() -> Result<Self, E>) -> Result<Self, E> {
        let _lock = lock(host)?;
        let lab = choose()?;
        lab.note(host, &lab.dir())?;
        Ok(lab)
    }

    /// Writes down in `dir` what is to be remembered.
    pub fn note(&self, host: &Host, dir: &Path) -> Result<(), LabError> {
        let path = dir.join(NOTE);
        let text =
            serde_json::to_string_pretty(self).map_err(|source| LabError::Note { path: path.clone(), source })?;
        Ok(files::write(host, &path, text.as_bytes(), 0o644, None)?)
    }
}

/// Held by whoever decides what labs there are.
fn lock(host: &Host) -> Result<impl Drop + use<>, LabError> {
    let directory = Path::new(DIRECTORY);
    files::make_parents(host, directory)?;
    // Inside are programs that anybody could start, and files that belong to other accounts inside than here.
    files::make_dir(host, directory, 0o700, None)?;
    Ok(files::lock(host, &directory.join("lock"))?)
}

/// Whether a lab has this name, be its note readable or not.
pub fn is_there(host: &Host, name: &str) -> bool {
    files::exists(host, lab_dir(name).join(NOTE))
}

/// What a new lab stands on, where its root need not be a copy of `source`.
pub fn stands_on(host: &Host, source: PathBuf) -> Option<PathBuf> {
    overlay::works(host, Path::new(DIRECTORY)).then_some(source)
}

/// A lab that stands on `source`, which must not change as long as that is so.
pub fn standing_on(host: &Host, source: &Path) -> Result<Option<Lab>, LabError> {
    let stands = |lab: &Lab| lab.stands_on.as_deref() == Some(source) && files::exists(host, lab.root());
    Ok(Lab::all(host)?.into_iter().find(stands))
}

/// A tree or a file with all that belongs to it; what is not written in it takes no room in the copy either.
fn copy(host: &Host, from: &Path, to: &Path) -> crate::host::Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    Command::new("cp").args(["--archive", "--reflink=auto", &from, &to]).run(host)
}

/// Forgets a lab: it is no longer listed, and nothing of it is found by the next one of its name.
fn forget(host: &Host, lab: &Lab) -> Result<(), LabError> {
    let gone = Path::new(DIRECTORY).join("gone").join(lab.name.as_str());
    files::remove_tree(host, &gone)?;
    files::make_parents(host, &gone)?;
    files::rename(host, &lab.dir(), &gone)?;
    Ok(files::remove_tree(host, &gone)?)
}

fn lab_dir(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join("labs").join(name)
}

/// Where the snapshot called `name` lies.
pub fn snapshot_dir(name: &LabName) -> PathBuf {
    Path::new(DIRECTORY).join("snapshots").join(name.as_str())
}

/// Its root file system.
pub fn snapshot_root(name: &LabName) -> PathBuf {
    snapshot_dir(name).join("root")
}

/// All snapshots: their names, and the labs they were.
pub fn snapshots(host: &Host) -> Result<Vec<(String, Lab)>, LabError> {
    let dir = Path::new(DIRECTORY).join("snapshots");
    let mut found = Vec::new();
    for name in files::list(host, &dir)? {
        found.extend(read_note(host, &dir.join(&name))?.map(|lab| (name, lab)));
    }
    Ok(found)
}

/// The lab that a snapshot was.
pub fn snapshot(host: &Host, name: &LabName) -> Result<Lab, LabError> {
    read_note(host, &snapshot_dir(name))?.ok_or_else(|| LabError::NoSnapshot { name: name.to_string() })
}

fn notes_in(host: &Host, dir: &Path) -> Result<Vec<Lab>, LabError> {
    let mut labs = Vec::new();
    for name in files::list(host, dir)? {
        match read_note(host, &dir.join(name)) {
            Ok(note) => labs.extend(note),
            // The others can be used all the same.
            Err(error) => host.warn(&error.to_string()),
        }
    }
    Ok(labs)
}

fn read_note(host: &Host, dir: &Path) -> Result<Option<Lab>, LabError> {
    let path = dir.join(NOTE);
    let Some(text) = files::read_text(host, &path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|source| LabError::Note { path, source })
}

/// The first network of 10.78.0.0/16 that neither a lab, a snapshot, an image nor this machine uses.
pub fn free_address(host: &Host, network: &Network) -> Result<Ipv4Addr, LabError> {
    let mut taken: Vec<Ipv4Addr> = Lab::all(host)?.iter().map(|lab| lab.address).collect();
    taken.extend(snapshots(host)?.iter().map(|(_, lab)| lab.address));
    taken.extend(image::all(host)?.iter().map(|image| image.address));
    taken.extend(network.nics.iter().flat_map(|nic| nic.ipv4().collect::<Vec<_>>()));
    let free = (0..=255_u8).find(|n| !taken.iter().any(|a| a.octets()[..3] == [10, 78, *n]));
    free.map(|n| Ipv4Addr::new(10, 78, n, 2)).ok_or(LabError::NoNetwork)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    /// As releases wrote them that knew containers only.
    #[test]
    fn notes_of_older_labs_are_read_as_containers() {
        let oldest = r#"{"name":"lab","system":"debian13","address":"10.78.0.2","host_name":"lab"}"#;
        let older = r#"{"name":"two","system":"debian12","address":"10.78.1.2","host_name":"two","kvm":true,
            "folder":"/srv/git","stands_on":"/var/lib/gpucloud-lab/base/debian12"}"#;
        for text in [oldest, older] {
            let lab: Lab = serde_json::from_str(text).unwrap();
            assert_eq!((lab.kind, lab.has_kernel), (Kind::Container, false));
        }
    }

    #[test]
    fn a_lab_whose_note_is_damaged_can_be_taken_down() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        files::write(&host, &lab_dir("torn").join(NOTE), b"{\"name\": \"to", 0o644, None).unwrap();
        assert_eq!((Lab::all(&host).unwrap().len(), Lab::names(&host).unwrap()), (0, vec!["torn".to_owned()]));
        assert_eq!(Lab::to_take_down(&host, "torn").unwrap().dir(), lab_dir("torn"));
        assert!(matches!(Lab::to_take_down(&host, "none"), Err(LabError::NoLab { .. })));
        let said = Failure::from(Lab::find(&host, "torn").unwrap_err());
        assert_eq!(said.next, "gpucloud-install lab down torn");
    }

    #[test]
    fn the_note_of_a_virtual_machine_is_read_back() {
        let vm = Vm { memory_gib: 2, kvm: false, board: Board::default(), image: Some("/x".into()) };
        let text = r#"{"name":"lab","system":"debian13","address":"10.78.7.2","host_name":"lab"}"#;
        let lab = Lab { kind: Kind::Vm(vm.clone()), has_kernel: true, ..serde_json::from_str(text).unwrap() };
        assert_eq!(serde_json::from_str::<Lab>(&serde_json::to_string(&lab).unwrap()).unwrap(), lab);
        assert_eq!((lab.machine(&vm).mac.as_str(), lab.machine(&vm).disks.len()), ("52:54:00:4e:07:02", 2));
    }
}
