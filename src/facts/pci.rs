//! The PCI bus, from sysfs (kernel: Documentation/ABI/testing/sysfs-bus-pci). One file and two links are read of each
//! function, since a server has hundreds; more only of those that are asked about ([`details`]).

use crate::host::{Host, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where all functions are listed.
pub const DEVICES: &str = "/sys/bus/pci/devices";
/// NVIDIA's vendor id.
pub const NVIDIA: &str = "10de";

/// A function of a device on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Function {
    /// "0000:41:00.0".
    pub address: String,
    /// Base class, subclass and interface, 24 bits: 0x030200 is a 3D controller (PCI Code and ID Assignment).
    #[serde(serialize_with = "as_hexadecimal")]
    pub class: u32,
    /// Vendor id, four hexadecimal digits.
    pub vendor: String,
    /// Device id, four hexadecimal digits.
    pub device: String,
    /// Vendor and id of the board, "10de:18be".
    pub subsystem: String,
    /// Kernel driver that holds it.
    pub driver: Option<String>,
    /// Its IOMMU group; none where the IOMMU is off.
    #[serde(rename = "iommu_group")]
    pub group: Option<u32>,
    /// The bridges above it, the outermost first.
    pub above: Vec<String>,
}

impl Function {
    /// Its device: what all functions of one slot have in common, "0000:41:00".
    pub fn slot(&self) -> &str {
        self.address.rsplit_once('.').map_or(&self.address, |(slot, _)| slot)
    }

    /// Vendor and device, "10de:2335".
    pub fn ids(&self) -> String {
        format!("{}:{}", self.vendor, self.device)
    }

    /// Whether it is a display controller: VGA 0x0300, 3D 0x0302, other 0x0380.
    pub fn is_display(&self) -> bool {
        self.class >> 16 == 0x03
    }

    /// Whether it is a bridge to other devices, or the host's own: it is in the group of what is behind it, no driver of a
    /// device has it, and nobody binds it (kernel: drivers/vfio, a group is viable with it).
    pub fn is_bridge(&self) -> bool {
        matches!(self.class >> 8, 0x0600 | 0x0604)
    }

    /// Whether it is a controller of disks.
    pub fn is_storage(&self) -> bool {
        self.class >> 16 == 0x01
    }

    /// Whether it is a network adapter.
    pub fn is_network(&self) -> bool {
        self.class >> 16 == 0x02
    }
}

/// What one asks about a card.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Details {
    /// Whether the firmware drew its screen here: the console.
    pub console: bool,
    /// The memory node that it is next to; none where there is only one.
    pub numa_node: Option<u32>,
    /// Its link as it is now and as it could be: "16.0 GT/s x16". Idle cards lower it.
    pub link: Option<String>,
    /// The best link.
    pub link_possible: Option<String>,
    /// Where its memory lies: first byte and bytes of each region.
    pub bars: Vec<Bar>,
    /// How many virtual functions it can have, where it can.
    pub virtual_functions: u32,
    /// How many of them are there.
    pub virtual_functions_made: u32,
    /// Whether it is such a virtual function.
    pub is_virtual: bool,
    /// Of which function.
    #[serde(skip)]
    pub physical: Option<String>,
    /// Whether it does not answer when it is asked what it is ([`answers`]).
    #[serde(skip)]
    pub silent: bool,
    /// How many slices of it (vGPU) are made: each is a device of its own for somebody's guest.
    #[serde(skip)]
    pub slices: usize,
    /// Whether the kernel found no place for a part of its memory.
    #[serde(skip)]
    pub unplaced: bool,
    /// How it can be reset, the kernel's first choice first: "flr", "bus".
    pub resets: Vec<String>,
}

/// A region of a card's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Its first byte; above 4 GiB where the firmware decodes that.
    pub begins: u64,
    /// Bytes.
    pub size: u64,
}

/// As sysfs writes a class: "0x030200".
fn as_hexadecimal<S: serde::Serializer>(class: &u32, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{class:#08x}"))
}

/// All functions, by address.
pub fn functions(host: &Host) -> Result<Vec<Function>> {
    files::list(host, DEVICES)?.into_iter().map(|address| function(host, address)).collect()
}

/// All display controllers.
pub fn displays(host: &Host) -> Result<Vec<Function>> {
    Ok(functions(host)?.into_iter().filter(Function::is_display).collect())
}

fn function(host: &Host, address: String) -> Result<Function> {
    let dir = Path::new(DEVICES).join(&address);
    let known = match files::read_text(host, dir.join("uevent"))? {
        Some(text) => text,
        None => told_by_files(host, &dir)?,
    };
    let value = |name: &str| known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let ids = value("PCI_ID").unwrap_or_default().to_lowercase();
    let (vendor, device) = ids.split_once(':').unwrap_or_default();
    let group = target(host, &dir.join("iommu_group"))?.and_then(|group| group.file_name()?.to_str()?.parse().ok());
    let above = target(host, &dir)?.map(|path| addresses_in(&path)).unwrap_or_default();
    Ok(Function {
        class: value("PCI_CLASS").and_then(|class| u32::from_str_radix(class, 16).ok()).unwrap_or_default(),
        vendor: vendor.to_owned(),
        device: device.to_owned(),
        subsystem: value("PCI_SUBSYS_ID").unwrap_or_default().to_lowercase(),
        driver: value("DRIVER").map(str::to_owned),
        group,
        above: above.into_iter().filter(|one| *one != address).collect(),
        address,
    })
}

/// What `uevent` says, from the files that say each: of a tree that somebody copied without it.
fn told_by_files(host: &Host, dir: &Path) -> Result<String> {
    let hex = |name: &str| -> Result<String> {
        let text = files::read_text(host, dir.join(name))?.unwrap_or_default();
        Ok(text.trim().trim_start_matches("0x").to_owned())
    };
    let pair = |of: &str| -> Result<String> {
        Ok(format!("{}:{}", hex(&format!("{of}vendor"))?, hex(&format!("{of}device"))?))
    };
    let driver = target(host, &dir.join("driver"))?;
    let driver = driver.as_deref().and_then(|path| path.file_name()?.to_str()).map(|name| format!("\nDRIVER={name}"));
    let (class, ids, board) = (hex("class")?, pair("")?, pair("subsystem_")?);
    Ok(format!("PCI_CLASS={class}\nPCI_ID={ids}\nPCI_SUBSYS_ID={board}{}", driver.unwrap_or_default()))
}

/// How much of a function's configuration everybody may read; it begins with its ids.
pub const HEADER: u64 = 64;

/// The header of a function's configuration, as the function itself answers; empty where nobody can ask.
fn configuration(host: &Host, address: &str) -> Result<Vec<u8>> {
    Ok(files::read_at_most(host, &Path::new(DEVICES).join(address).join("config"), HEADER)?.unwrap_or_default())
}

fn is_silent(header: &[u8]) -> bool {
    header.get(..4).is_some_and(|ids| ids == [0xff; 4])
}

/// Whether a function answers when it is asked what it is: of one that is not there any more all bits are set (kernel:
/// `pci_device_is_present`). True of one that nobody can ask.
///
/// # Errors
/// A file of sysfs that cannot be read.
pub fn answers(host: &Host, address: &str) -> Result<bool> {
    Ok(!is_silent(&configuration(host, address)?))
}

/// More about one of them.
pub fn details(host: &Host, function: &Function) -> Result<Details> {
    let dir = Path::new(DEVICES).join(&function.address);
    let field = |name: &str| -> Result<String> {
        Ok(files::read_text(host, dir.join(name))?.unwrap_or_default().trim().to_owned())
    };
    let number = |name: &str| -> Result<u32> { Ok(field(name)?.parse().unwrap_or_default()) };
    let link = |when: &str| -> Result<Option<String>> {
        let (speed, width) = (field(&format!("{when}_link_speed"))?, field(&format!("{when}_link_width"))?);
        let speed = speed.trim_end_matches(" PCIe");
        Ok((!speed.is_empty() && !speed.starts_with("Unknown") && width != "0").then(|| format!("{speed} x{width}")))
    };
    let physical = target(host, &dir.join("physfn"))?.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let (resource, first) = (field("resource")?, configuration(host, &function.address)?);
    Ok(Details {
        // The kernel's own word for it is younger than "boot_vga", and holds for 3D controllers too.
        console: field("boot_vga")? == "1" || field("boot_display")? == "1",
        numa_node: field("numa_node")?.parse().ok(),
        link: link("current")?,
        link_possible: link("max")?,
        bars: bars(&resource),
        virtual_functions: number("sriov_totalvfs")?,
        virtual_functions_made: number("sriov_numvfs")?,
        is_virtual: physical.is_some(),
        physical,
        silent: is_silent(&first),
        slices: files::list(host, &dir)?.iter().filter(|name| is_uuid(name)).count(),
        unplaced: is_unplaced(&resource, &first),
        resets: field("reset_method")?.split_whitespace().map(str::to_owned).collect(),
    })
}

/// Regions of a device, in the first six lines of `resource`: first, last byte, flags (kernel: include/linux/ioport.h).
/// What follows is the ROM, and windows of bridges.
fn regions(text: &str) -> impl Iterator<Item = (u64, u64, u64)> {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    text.lines().take(6).filter_map(move |line| {
        let mut words = line.split_whitespace().map(hex);
        Some((words.next()??, words.next()??, words.next()??))
    })
}

fn bars(text: &str) -> Vec<Bar> {
    const MEMORY: u64 = 0x200;
    let is_memory = |(begins, last, flags): &(u64, u64, u64)| flags & MEMORY != 0 && last > begins;
    regions(text).filter(is_memory).map(|(begins, last, _)| Bar { begins, size: last - begins + 1 }).collect()
}

/// Whether the device has a large region (64 bits, or prefetchable) for which the kernel found no place: it sets all that
/// it knows of such a one to zero (kernel: drivers/pci/setup-bus.c, `reset_resource`), while the kind still stands in the
/// device's own register (PCI Local Bus Specification 3.0, 6.2.5.1).
fn is_unplaced(text: &str, header: &[u8]) -> bool {
    const FIRST: usize = 0x10;
    const PORTS: u32 = 1;
    const WIDE: u32 = 4;
    const PREFETCHABLE: u32 = 8;
    if is_silent(header) {
        return false;
    }
    let register = |n: usize| header.get(FIRST + 4 * n..FIRST + 4 * n + 4)?.try_into().ok().map(u32::from_le_bytes);
    let mut is_upper_half = false;
    for (n, (first, last, _)) in regions(text).enumerate() {
        let kind = register(n).filter(|_| !is_upper_half).unwrap_or_default();
        let is_memory = kind & PORTS == 0;
        is_upper_half = is_memory && kind & WIDE != 0;
        if is_memory && kind & (WIDE | PREFETCHABLE) != 0 && (first, last) == (0, 0) {
            return true;
        }
    }
    false
}

/// The name of a mediated device (kernel: driver-api/vfio-mediated-device.rst).
fn is_uuid(name: &str) -> bool {
    let parts: Vec<usize> = name.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Where a link leads to, as it is written.
pub fn target(host: &Host, link: &Path) -> Result<Option<PathBuf>> {
    Ok(files::status(host, link)?.and_then(|status| status.link))
}

/// The functions that a path of sysfs leads through, the outermost first.
pub fn addresses_in(path: &Path) -> Vec<String> {
    let parts = path.components().filter_map(|part| part.as_os_str().to_str());
    parts.filter(|part| is_address(part)).map(str::to_owned).collect()
}

/// "0000:41:00.0": domain (four digits, or more), bus, device, function.
pub fn is_address(text: &str) -> bool {
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [domain, bus, rest] = parts[..] else { return false };
    let Some((device, function)) = rest.split_once('.') else { return false };
    hex(domain, 4..=8) && hex(bus, 2..=2) && hex(device, 2..=2) && hex(function, 1..=1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_names() {
        let path = Path::new("../../../devices/pci0000:40/0000:40:01.1/10000:e1:00.0/nvme/nvme0");
        assert_eq!(addresses_in(path), ["0000:40:01.1", "10000:e1:00.0"]);
        assert!(!is_address("0000.41:00:0") && !is_address("pci0000:40") && !is_address("0000:41:00"));
    }

    #[test]
    fn regions_of_memory_are_read_and_ports_and_the_rom_are_not() {
        let text = "0x00000000c2000000 0x00000000c2ffffff 0x0000000000040200\n\
                    0x0000038000000000 0x00000383ffffffff 0x000000000014220c\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000001000 0x000000000000107f 0x0000000000040101\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x00000000c3000000 0x00000000c307ffff 0x0000000000046200\n";
        let sizes: Vec<u64> = bars(text).iter().map(|bar| bar.size >> 20).collect();
        assert_eq!(sizes, [16, 16384]);
    }

    /// Two regions of 64 bits behind one of 32, as NVIDIA's cards have them.
    #[test]
    fn a_large_region_without_a_place_is_seen_in_the_device_s_own_register() {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(&[0xde, 0x10, 0x04, 0x22]);
        for (at, kind) in [(0x10, 0x00), (0x14, 0x0c), (0x1c, 0x0c)] {
            header[at] = kind;
        }
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        let small = "0x00000000c2000000 0x00000000c2ffffff 0x0000000000040200\n";
        let large = "0x0000038000000000 0x00000383ffffffff 0x000000000014220c\n";
        assert!(!is_unplaced(&[small, large, none, large, none, none].concat(), &header));
        assert!(is_unplaced(&[small, none, none, large, none, none].concat(), &header));
        assert!(!is_unplaced(&none.repeat(6), &[0xff; 64]) && !is_unplaced(&none.repeat(6), &[]));
    }
}
