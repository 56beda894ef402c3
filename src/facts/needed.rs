//! What of the PCI bus this machine itself needs: the controllers of disks that it uses, through partitions, LVM, RAID,
//! encryption, caches and several paths; serial consoles; the adapters that its routes go by, through bonds, bridges and
//! VLANs. From /proc and sysfs alone, so that a captured tree tells it too: a file that is read here is a line of
//! `gpu/capture.rs`. A new use of disks is one more in [`disks`].

use super::pci;
use crate::host::{Host, Result, files};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

const BLOCKS: &str = "/sys/class/block";
const LINKS: &str = "/sys/class/net";
/// Where terminals are listed.
pub const TERMINALS: &str = "/sys/class/tty";
const BTRFS: &str = "/sys/fs/btrfs";
/// What all ports of Open vSwitch in the kernel hang on: the cloud's bridges are its.
const OPEN_VSWITCH: &str = "ovs-system";
/// How deep devices are stacked at most; a tree that was tampered with may turn in a circle.
const DEPTH: usize = 16;

/// A function that this machine needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Needed {
    /// Its address.
    pub address: String,
    /// For what, in words: "the root file system (nvme0n1p2)", "the network (eno1)".
    pub for_what: String,
}

/// All of them, among `functions`.
pub fn read(host: &Host, functions: &[pci::Function]) -> Result<Vec<Needed>> {
    let mut all = BTreeSet::new();
    for (what, disk) in disks(host)? {
        all.extend(controllers(host, &disk, DEPTH)?.into_iter().map(|address| (address, format!("{what} ({disk})"))));
    }
    if holds_zfs(host)? {
        // Which disks a pool has, only its own programs tell.
        let storage = functions.iter().filter(|one| one.is_storage()).map(|controller| controller.address.clone());
        let disks = blocks(host)?.into_iter().flat_map(|(_, ways)| ways);
        all.extend(storage.chain(disks).map(|address| (address, "ZFS (all disks count)".into())));
    }
    for console in consoles(host)? {
        let ports = way_to(host, &Path::new(TERMINALS).join(&console))?;
        all.extend(ports.into_iter().map(|address| (address, format!("the console ({console})"))));
    }
    for link in ways(host)? {
        let adapters = adapters(host, &link, DEPTH)?;
        all.extend(adapters.into_iter().map(|address| (address, format!("the network ({link})"))));
    }
    Ok(without_bridges(all, functions))
}

/// What hangs on each function, needed or not: disks, and network links that are up or that others are made of. Who claims a
/// card takes all of it from this machine, also a disk that a guest was given, or a link whose routes stand in a table of
/// their own.
pub fn carried(host: &Host, functions: &[pci::Function]) -> Result<Vec<Needed>> {
    let mut all = BTreeSet::new();
    for (block, ways) in blocks(host)? {
        all.extend(ways.into_iter().map(|address| (address, format!("the disk {block}"))));
    }
    for link in files::list(host, LINKS)? {
        let dir = Path::new(LINKS).join(&link);
        let flags = files::read_text(host, dir.join("flags"))?.unwrap_or_default();
        // Kernel: include/uapi/linux/if.h, IFF_UP; where nobody says it, it may be.
        let is_down = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 1 == 0);
        if !is_down || files::list(host, &dir)?.iter().any(|name| name.starts_with("upper_")) {
            all.extend(way_to(host, &dir)?.into_iter().map(|address| (address, format!("the network link {link}"))));
        }
    }
    Ok(without_bridges(all, functions))
}

/// Disks, each with the functions on the way to it; none where nothing of the bus is.
fn blocks(host: &Host) -> Result<Vec<(String, Vec<String>)>> {
    let way = |block: String| Ok((way_to(host, &Path::new(BLOCKS).join(&block))?, block));
    let all: Result<Vec<_>> = files::list(host, BLOCKS)?.into_iter().map(way).collect();
    Ok(all?.into_iter().filter(|(ways, _)| !ways.is_empty()).map(|(ways, block)| (block, ways)).collect())
}

fn without_bridges(all: BTreeSet<(String, String)>, functions: &[pci::Function]) -> Vec<Needed> {
    let is_bridge = |address: &str| functions.iter().any(|one| one.address == address && one.is_bridge());
    let kept = all.into_iter().filter(|(address, _)| !is_bridge(address));
    kept.map(|(address, for_what)| Needed { address, for_what }).collect()
}

/// The functions on the way to a device. It is not the last one alone: a disk behind Intel's VMD needs that too, which has a
/// bus of its own below it.
fn way_to(host: &Host, link: &Path) -> Result<Vec<String>> {
    Ok(pci::target(host, link)?.map(|path| pci::addresses_in(&path)).unwrap_or_default())
}

/// Terminals on which the kernel has its console, "ttyS4": a serial port may be a card's.
pub fn consoles(host: &Host) -> Result<Vec<String>> {
    let text = files::read_text(host, Path::new(TERMINALS).join("console/active"))?.unwrap_or_default();
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Block devices in use, by what they are used for.
fn disks(host: &Host) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for mount in mounts(host)? {
        let what = match mount.point.as_str() {
            "/" => "the root file system".to_owned(),
            point => point.to_owned(),
        };
        let disks = match mount.number.starts_with("0:") {
            // Some have a number of their own, and several disks.
            true => of_many(host, &mount)?,
            false => numbered(host, &mount.number)?.into_iter().collect(),
        };
        found.extend(disks.into_iter().map(|disk| (what.clone(), disk)));
    }
    let swaps = files::read_text(host, "/proc/swaps")?.unwrap_or_default();
    for line in swaps.lines().skip(1) {
        let device = line.split_whitespace().next().unwrap_or_default();
        found.extend(named(host, device)?.map(|disk| ("swap".to_owned(), disk)));
    }
    // What others are made of is in use, also where nothing is mounted: volumes of guests, an opened LUKS.
    for block in files::list(host, BLOCKS)? {
        let is_made = !slaves(host, &block)?.is_empty();
        found.extend(is_made.then(|| ("what is made of it".to_owned(), block)));
    }
    Ok(found)
}

/// A file system that is mounted.
struct Mount {
    number: String,
    point: String,
    kind: String,
    source: String,
}

/// proc(5), "mountinfo": number, parent, device, root, point, options, tags, "-", kind, source.
fn mounts(host: &Host) -> Result<Vec<Mount>> {
    let text = files::read_text(host, "/proc/self/mountinfo")?.unwrap_or_default();
    let mount = |line: &str| -> Option<Mount> {
        let (first, last) = line.split_once(" - ")?;
        let (first, mut last) = (first.split(' ').collect::<Vec<_>>(), last.split(' '));
        Some(Mount {
            number: (*first.get(2)?).to_owned(),
            point: (*first.get(4)?).to_owned(),
            kind: last.next()?.to_owned(),
            source: last.next()?.to_owned(),
        })
    };
    Ok(text.lines().filter_map(mount).collect())
}

fn holds_zfs(host: &Host) -> Result<bool> {
    Ok(mounts(host)?.iter().any(|mount| mount.kind == "zfs"))
}

/// The block device with this number, "259:2".
fn numbered(host: &Host, number: &str) -> Result<Option<String>> {
    let target = pci::target(host, &Path::new("/sys/dev/block").join(number))?;
    Ok(target.as_deref().and_then(last_name))
}

/// The block device that a file below /dev is: by its name, or by the name that device-mapper has for it.
pub fn named(host: &Host, device: &str) -> Result<Option<String>> {
    let Some(name) = device.strip_prefix("/dev/") else { return Ok(None) };
    if files::exists(host, Path::new(BLOCKS).join(name)) {
        return Ok(Some(name.to_owned()));
    }
    let mapped = name.strip_prefix("mapper/").unwrap_or(name);
    for block in files::list(host, BLOCKS)? {
        let known = files::read_text(host, Path::new(BLOCKS).join(&block).join("dm/name"))?;
        if known.is_some_and(|known| known.trim() == mapped) {
            return Ok(Some(block));
        }
    }
    Ok(None)
}

/// All disks of a file system with several: of the btrfs that has this one, of every btrfs where the source is no disk's name
/// ("/dev/root"); bcachefs names its own.
fn of_many(host: &Host, mount: &Mount) -> Result<Vec<String>> {
    if mount.kind != "btrfs" {
        let named = mount.source.split(':').map(|source| named(host, source));
        return Ok(named.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect());
    }
    let disk = named(host, &mount.source)?;
    let mut all: Vec<String> = disk.iter().cloned().collect();
    for id in files::list(host, BTRFS)? {
        let disks = files::list(host, Path::new(BTRFS).join(id).join("devices"))?;
        if disk.as_ref().is_none_or(|disk| disks.contains(disk)) {
            all.extend(disks);
        }
    }
    Ok(all)
}

/// The functions behind a block device: its own, or those of what it is made of.
fn controllers(host: &Host, disk: &str, depth: usize) -> Result<Vec<String>> {
    let Some(path) = pci::target(host, &Path::new(BLOCKS).join(disk))? else { return Ok(Vec::new()) };
    if let Some(subsystem) = path_part(&path, "nvme-subsystem") {
        // With several paths to a disk, the disk has none of them.
        return of_subsystem(host, &subsystem);
    }
    let mut found = pci::addresses_in(&path);
    for below in slaves(host, disk)? {
        if depth > 0 {
            found.extend(controllers(host, &below, depth - 1)?);
        }
    }
    Ok(found)
}

/// What a block device is made of; a partition is part of a disk that may be made of others.
fn slaves(host: &Host, disk: &str) -> Result<Vec<String>> {
    let dir = Path::new(BLOCKS).join(disk);
    if !files::leads_somewhere(host, dir.join("partition")) {
        return files::list(host, dir.join("slaves"));
    }
    let whole = pci::target(host, &dir)?.and_then(|path| last_name(path.parent()?));
    match whole {
        Some(whole) => files::list(host, Path::new(BLOCKS).join(whole).join("slaves")),
        None => Ok(Vec::new()),
    }
}

fn of_subsystem(host: &Host, subsystem: &str) -> Result<Vec<String>> {
    let dir = Path::new("/sys/class/nvme-subsystem").join(subsystem);
    let mut found = Vec::new();
    for name in files::list(host, &dir)? {
        found.extend(way_to(host, &dir.join(name))?);
    }
    Ok(found)
}

/// Links that some route goes by, over IPv4 or IPv6, and Open vSwitch's: a network of storage has no default route, and
/// homes may lie on it all the same. What each link has for itself alone (fe80::/64, ff00::/8) is no route.
pub fn ways(host: &Host) -> Result<Vec<String>> {
    let text = |path: &str| files::read_text(host, path).map(Option::unwrap_or_default);
    // proc(5): "Iface Destination Gateway ...", below a line of headings.
    let four = text("/proc/net/route")?;
    let mut links: BTreeSet<String> =
        four.lines().skip(1).filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    // Destination, in hexadecimal, its length, ..., device; `lo` has the kernel's refusal and the machine's own addresses.
    let six = text("/proc/net/ipv6_route")?;
    let words = six.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let routed = words.filter(|words| !words.first().is_some_and(|to| to.starts_with("fe80") || to.starts_with("ff")));
    links.extend(routed.filter_map(|words| words.last().map(|link| (*link).to_owned())));
    links.remove("lo");
    if files::exists(host, Path::new(LINKS).join(OPEN_VSWITCH)) {
        links.insert(OPEN_VSWITCH.into());
    }
    Ok(links.into_iter().collect())
}

/// The functions behind a link: its own, or those of the links that it is made of.
fn adapters(host: &Host, link: &str, depth: usize) -> Result<Vec<String>> {
    let dir = Path::new(LINKS).join(link);
    let mut found = way_to(host, &dir)?;
    for name in files::list(host, &dir)? {
        if let Some(below) = name.strip_prefix("lower_").filter(|_| depth > 0) {
            found.extend(adapters(host, below, depth - 1)?);
        }
    }
    Ok(found)
}

fn last_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The part of a path behind the one that is called `name`.
fn path_part(path: &Path, name: &str) -> Option<String> {
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    parts.find(|part| part == name)?;
    parts.next().map(|part| part.into_owned())
}
