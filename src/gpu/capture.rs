//! What verdicts are drawn from, as an archive that somebody else may see: the same files, with nothing that names the
//! machine or its people. No serial numbers, hardware addresses, IP addresses, host names, labels or paths of their own:
//! what is not needed is not read, and of files that hold more, a few words are written anew.
//!
//! Unpacked, it is a tree for `--sysroot`. A file that a verdict comes to need (`facts/`) is a line here too; a test holds
//! each machine of `tests/fixtures/machines` against its own capture.

use super::{Inventory, in_use};
use crate::facts::card_users::{CAPTURED, User};
use crate::facts::pci::{self, DEVICES};
use crate::facts::{iommu, needed};
use crate::host::{Error, Host, Result, files};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// What is read of each card.
const OF_A_CARD: [&str; 11] = [
    "boot_vga",
    "boot_display",
    "numa_node",
    "current_link_speed",
    "current_link_width",
    "max_link_speed",
    "max_link_width",
    "resource",
    "sriov_totalvfs",
    "sriov_numvfs",
    "reset_method",
];
/// Words in arguments of the kernel that say something of cards; others may name the machine.
const TELLING: [&str; 9] = ["iommu", "intremap", "vfio", "pci", "video", "efifb", "sysfb", "nomodeset", "nouveau"];
/// Mount points that every machine has; others become "/data".
const KNOWN_POINTS: [&str; 8] = ["/", "/boot", "/boot/efi", "/usr", "/var", "/opt", "/home", "/srv"];
/// Fields of /proc/cpuinfo that are read.
const OF_A_PROCESSOR: [&str; 4] = ["processor", "vendor_id", "model name", "flags"];

/// A tree of files and links, by their paths.
#[derive(Debug, Default)]
struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Debug)]
enum Entry {
    File(Vec<u8>),
    Link(PathBuf),
}

/// The archive: a tar, compressed by gzip.
///
/// # Errors
/// A file that cannot be read.
pub fn archive(host: &Host, inventory: &Inventory) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    tree.bus(host, inventory)?;
    tree.disks(host)?;
    tree.links(host)?;
    tree.machine(host)?;
    let users: Vec<User> = inventory.scene.users.iter().map(nameless_user).collect();
    let users = serde_json::to_vec(&users).map_err(|e| Error::protocol("write who has a card open", e))?;
    tree.put(Path::new(CAPTURED), users);
    tree.pack().map_err(|error| Error::protocol("pack what was read", error))
}

impl Tree {
    fn put(&mut self, path: &Path, content: impl Into<Vec<u8>>) {
        self.0.insert(path.to_owned(), Entry::File(content.into()));
    }

    /// A file as it is, where there is one, at the path that it really has.
    fn copy(&mut self, host: &Host, path: &Path, at: &Path) -> Result<()> {
        if let Some(content) = files::read(host, path)? {
            self.put(at, content);
        }
        Ok(())
    }

    /// A link as it is, and where it leads to.
    fn link(&mut self, host: &Host, path: &Path) -> Result<Option<PathBuf>> {
        let Some(target) = pci::target(host, path)? else { return Ok(None) };
        let real = resolved(path, &target);
        self.0.insert(path.to_owned(), Entry::Link(target));
        Ok(Some(real))
    }

    fn bus(&mut self, host: &Host, inventory: &Inventory) -> Result<()> {
        for function in &inventory.scene.functions {
            let dir = Path::new(DEVICES).join(&function.address);
            let Some(real) = self.link(host, &dir)? else { continue };
            let known = files::read_text(host, dir.join("uevent"))?.unwrap_or_default();
            let told = |line: &&str| ["DRIVER=", "PCI_"].iter().any(|name| line.starts_with(name));
            let lines: Vec<&str> = known.lines().filter(told).collect();
            self.put(&real.join("uevent"), format!("{}\n", lines.join("\n")));
            if let Some(group) = function.group {
                let members = PathBuf::from(format!("/sys/kernel/iommu_groups/{group}/devices"));
                self.0
                    .insert(real.join("iommu_group"), Entry::Link(format!("/sys/kernel/iommu_groups/{group}").into()));
                self.0.insert(members.join(&function.address), Entry::Link(real.clone()));
            }
            if let Some(target) = pci::target(host, &dir.join("physfn"))? {
                self.0.insert(real.join("physfn"), Entry::Link(target));
            }
            let is_asked = inventory.cards.iter().any(|(card, _)| card.function.address == function.address)
                || inventory.apart.iter().any(|other| other.address == function.address);
            for name in OF_A_CARD.iter().filter(|_| is_asked) {
                self.copy(host, &dir.join(name), &real.join(name))?;
            }
            let slices = inventory.cards.iter().find(|(card, _)| card.function.address == function.address);
            for number in 0..slices.map_or(0, |(card, _)| card.details.slices) {
                self.put(&real.join(format!("00000000-0000-0000-0000-{number:012}/uevent")), "");
            }
            // Further on there is a serial number.
            if let Some(first) = files::read_at_most(host, &dir.join("config"), pci::HEADER)?.filter(|_| is_asked) {
                self.put(&real.join("config"), first);
            }
        }
        Ok(())
    }

    fn disks(&mut self, host: &Host) -> Result<()> {
        let class = Path::new("/sys/class/block");
        for name in files::list(host, class)? {
            let dir = class.join(&name);
            let Some(real) = self.link(host, &dir)? else { continue };
            // That it is there is all that is read of it.
            self.put(&real.join("size"), "0\n");
            if files::leads_somewhere(host, dir.join("partition")) {
                self.put(&real.join("partition"), "1\n");
            }
            for below in files::list(host, dir.join("slaves"))? {
                let target = Path::new("/sys/class/block").join(&below);
                self.0.insert(real.join("slaves").join(below), Entry::Link(target));
            }
        }
        for number in files::list(host, "/sys/dev/block")? {
            self.link(host, &Path::new("/sys/dev/block").join(number))?;
        }
        for (number, id) in files::list(host, "/sys/fs/btrfs")?.iter().enumerate() {
            for disk in files::list(host, Path::new("/sys/fs/btrfs").join(id).join("devices"))? {
                let path = format!("/sys/fs/btrfs/{number}/devices/{disk}");
                self.0.insert(path.into(), Entry::Link(class.join(disk)));
            }
        }
        for subsystem in files::list(host, "/sys/class/nvme-subsystem")? {
            let dir = Path::new("/sys/class/nvme-subsystem").join(&subsystem);
            for name in files::list(host, &dir)? {
                self.link(host, &dir.join(name))?;
            }
        }
        let mounts = files::read_text(host, "/proc/self/mountinfo")?.unwrap_or_default();
        let mounts: Result<Vec<Option<String>>> = mounts.lines().map(|line| nameless_mount(host, line)).collect();
        let mounts: Vec<String> = mounts?.into_iter().flatten().collect();
        self.put(Path::new("/proc/self/mountinfo"), lines(&mounts));
        let swaps = files::read_text(host, "/proc/swaps")?.unwrap_or_default();
        let mut kept: Vec<String> = swaps.lines().take(1).map(str::to_owned).collect();
        for device in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
            kept.extend(needed::named(host, device)?.map(|name| format!("/dev/{name}\tpartition\t0\t0\t-2")));
        }
        self.put(Path::new("/proc/swaps"), lines(&kept));
        Ok(())
    }

    fn links(&mut self, host: &Host) -> Result<()> {
        let class = Path::new("/sys/class/net");
        let names = files::list(host, class)?;
        let nameless = |name: &str| nameless_link(&names, name);
        for name in &names {
            let dir = class.join(name);
            let Some(target) = pci::target(host, &dir)? else { continue };
            let target = target.with_file_name(nameless(name));
            let link = class.join(nameless(name));
            let real = resolved(&link, &target);
            self.0.insert(link, Entry::Link(target));
            self.put(&real.join("uevent"), "");
            self.copy(host, &dir.join("flags"), &real.join("flags"))?;
            let stacked = ["lower_", "upper_"];
            for name in files::list(host, &dir)? {
                let found = stacked.iter().find_map(|kind| Some((kind, nameless(name.strip_prefix(kind)?))));
                if let Some((kind, other)) = found {
                    self.0.insert(real.join(format!("{kind}{other}")), Entry::Link(class.join(other)));
                }
            }
        }
        // Without addresses: what reads it asks only for the links.
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT".to_owned();
        let route = |link: String| format!("{link}\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0");
        let ways = needed::ways(host)?.into_iter().map(|link| route(nameless(&link)));
        let routes: Vec<String> = std::iter::once(head).chain(ways).collect();
        self.put(Path::new("/proc/net/route"), lines(&routes));
        Ok(())
    }

    fn machine(&mut self, host: &Host) -> Result<()> {
        let terminals = Path::new(needed::TERMINALS);
        self.copy(host, &terminals.join("console/active"), &terminals.join("console/active"))?;
        for console in needed::consoles(host)? {
            self.link(host, &terminals.join(console))?;
        }
        let groups = Path::new(iommu::GROUPS);
        for group in files::list(host, groups)? {
            let name = groups.join(group).join("name");
            self.copy(host, &name, &name)?;
        }
        let text = |path: &str| files::read_text(host, path).map(Option::unwrap_or_default);
        let arguments = text("/proc/cmdline")?;
        // What stands behind a name may be anybody's.
        let name = |one: &&str| one.split_once('=').map_or(*one, |(name, _)| name).to_owned();
        let telling = |one: &&str| TELLING.iter().any(|word| name(one).contains(word)) || *one == "quiet";
        let arguments: Vec<&str> = arguments.split_whitespace().filter(telling).collect();
        self.put(Path::new("/proc/cmdline"), format!("{}\n", arguments.join(" ")));
        let processor = text("/proc/cpuinfo")?;
        let known = |line: &&str| OF_A_PROCESSOR.iter().any(|name| line.starts_with(name)) || line.is_empty();
        let processor: Vec<String> = processor.lines().filter(known).map(str::to_owned).collect();
        self.put(Path::new("/proc/cpuinfo"), lines(&processor));
        let memory = text("/proc/iomem")?;
        let screen: Vec<String> = memory
            .lines()
            .filter(|line| line.split_once(" : ").is_some_and(|(_, name)| iommu::is_screen(name)))
            .map(str::to_owned)
            .collect();
        self.put(Path::new("/proc/iomem"), lines(&screen));
        for table in ["DMAR", "IVRS"] {
            let path = Path::new("/sys/firmware/acpi/tables").join(table);
            if files::exists(host, &path) {
                self.put(&path, "");
            }
        }
        for path in ["/sys/class/dmi/id/product_name", "/sys/hypervisor/type", iommu::SECURE_BOOT] {
            self.copy(host, Path::new(path), Path::new(path))?;
        }
        Ok(())
    }

    fn pack(&self) -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, entry) in &self.0 {
            let path = path.strip_prefix("/").unwrap_or(path);
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match entry {
                Entry::File(content) => {
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        tar.into_inner()?.finish()
    }
}

/// The name of a link. One that is named by its hardware address ("enx001122334455") gets a number in its stead.
fn nameless_link(all: &[String], name: &str) -> String {
    let kind = ["enx", "wlx"].into_iter().find(|kind| name.strip_prefix(kind).is_some_and(|rest| rest.len() == 12));
    let number = all.iter().position(|one| one == name);
    kind.map_or_else(|| name.to_owned(), |kind| format!("{kind}{}", number.unwrap_or_default()))
}

/// A user of a card by its kind: guests and programs of their own are called as people like.
fn nameless_user(user: &User) -> User {
    if in_use::is_known(user) {
        return user.clone();
    }
    let name = if user.is_guest { "a guest" } else { "a program" };
    User { name: name.into(), service: user.service.as_ref().map(|_| "a.service".into()), ..user.clone() }
}

/// Where a link at `path` leads to, without looking at the machine.
fn resolved(path: &Path, target: &Path) -> PathBuf {
    let mut real = PathBuf::new();
    for part in path.parent().unwrap_or(path).join(target).components() {
        match part {
            Component::ParentDir => _ = real.pop(),
            Component::CurDir => {}
            part => real.push(part),
        }
    }
    real
}

/// A line of mountinfo without names: its number, a mount point that every machine has or "/data", its kind, its block
/// device.
fn nameless_mount(host: &Host, line: &str) -> Result<Option<String>> {
    let Some((first, last)) = line.split_once(" - ") else { return Ok(None) };
    let first: Vec<&str> = first.split(' ').collect();
    let last: Vec<&str> = last.split(' ').collect();
    let ([_, _, number, _, point, ..], [kind, source, ..]) = (first.as_slice(), last.as_slice()) else {
        return Ok(None);
    };
    if !source.starts_with("/dev/") && *kind != "zfs" && number.starts_with("0:") {
        return Ok(None);
    }
    let point = if KNOWN_POINTS.contains(point) { point } else { "/data" };
    // A name of LVM or RAID is often the machine's: the kernel's own says the same.
    let mut sources = Vec::new();
    for source in source.split(':') {
        sources.push(needed::named(host, source)?.map_or("/dev/root".to_owned(), |name| format!("/dev/{name}")));
    }
    let source = if *kind == "zfs" { "pool".to_owned() } else { sources.join(":") };
    Ok(Some(format!("1 0 {number} / {point} rw - {kind} {source} rw")))
}

fn lines(all: &[String]) -> String {
    all.iter().map(|line| format!("{line}\n")).collect()
}
