//! Whether devices can be kept apart: the IOMMU, what firmware and kernel say of it, and what else of the machine as a
//! whole decides whether a card can be given away.

use super::hardware;
use crate::host::{Host, Result, files};
use serde::Serialize;
use std::path::Path;

/// Where devices that cannot be told apart are listed.
pub const GROUPS: &str = "/sys/kernel/iommu_groups";
/// EFI's variable, with four bytes of attributes before its value (UEFI 2.10, 3.3).
pub const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What is known of the IOMMU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Iommu {
    /// Whose processor it is.
    pub maker: Maker,
    /// The firmware's table of it, "DMAR" (Intel) or "IVRS" (AMD); none where it has none, or has it switched off.
    pub table: Option<&'static str>,
    /// Whether the kernel uses it: there are groups.
    pub on: bool,
    /// An argument of the running kernel that keeps it off.
    pub kept_off_by: Option<String>,
    /// Whether the running kernel was told to use it, or does without being told.
    pub asked: bool,
    /// An argument of the running kernel with which a card cannot be given away, however it stands otherwise.
    pub spoilt_by: Option<String>,
    /// Whether Xen runs below this kernel: it has the IOMMU.
    pub xen: bool,
    /// Whether only signed modules are loaded, where the machine can tell.
    pub secure_boot: Option<bool>,
    /// The hypervisor in which this machine runs itself, as it calls itself.
    pub inside: Option<String>,
}

/// Whose processor it is: firmware menus and kernel arguments have other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// VT-d.
    Intel,
    /// AMD-Vi.
    Amd,
    /// Another.
    #[default]
    Other,
}

/// Reads it.
pub fn read(host: &Host) -> Result<Iommu> {
    let arguments = files::read_text(host, "/proc/cmdline")?.unwrap_or_default();
    let table = |name: &str| files::exists(host, Path::new("/sys/firmware/acpi/tables").join(name));
    let table = ["DMAR", "IVRS"].into_iter().find(|name| table(name));
    let processor = hardware::read(host)?;
    let maker = match processor.vendor.as_str() {
        "GenuineIntel" => Maker::Intel,
        "AuthenticAMD" | "HygonGenuine" => Maker::Amd,
        _ => Maker::Other,
    };
    // An emulated board has Intel's IOMMU also with AMD's processor: the table says which.
    let maker = match table {
        Some("DMAR") => Maker::Intel,
        Some(_) => Maker::Amd,
        None => maker,
    };
    let secure_boot = files::read(host, Path::new(SECURE_BOOT))?;
    let product = files::read_text(host, "/sys/class/dmi/id/product_name")?;
    let product = product.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    Ok(Iommu {
        maker,
        table,
        on: has_groups(host)?,
        kept_off_by: kept_off_by(&arguments, maker).map(str::to_owned),
        asked: maker == Maker::Amd
            || last(&arguments, "intel_iommu").is_some_and(|one| has_part("intel_iommu", "on", one)),
        spoilt_by: arguments.split_whitespace().find(|argument| spoils(argument)).map(str::to_owned),
        xen: files::read_text(host, "/sys/hypervisor/type")?.is_some_and(|kind| kind.trim() == "xen"),
        secure_boot: secure_boot.map(|value| value.get(4) == Some(&1)),
        inside: processor.hypervisor.then(|| product.unwrap_or_else(|| "of a kind that it does not say".into())),
    })
}

/// Arguments have parts: "intel_iommu=on,sm_on".
fn has_part(name: &str, part: &str, argument: &str) -> bool {
    let values = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
    values.is_some_and(|values| values.split(',').any(|value| value == part))
}

/// The last of this name: the kernel goes by it.
fn last<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    arguments.split_whitespace().rfind(|one| one.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// Each maker's own argument concerns the other one's machines nothing.
fn kept_off_by(arguments: &str, maker: Maker) -> Option<&str> {
    let own = match maker {
        Maker::Intel => Some("intel_iommu"),
        Maker::Amd => Some("amd_iommu"),
        Maker::Other => None,
    };
    let own = own.and_then(|name| last(arguments, name).filter(|one| has_part(name, "off", one)));
    let keeps_off = |one: &&str| ["off", "soft"].iter().any(|part| has_part("iommu", part, one));
    own.or_else(|| arguments.split_whitespace().find(keeps_off))
}

/// Devices that only pretend to be apart (a patch that some distributions carry); interrupts that a device may send to
/// anybody, with which VFIO refuses (kernel: vfio_iommu_type1.c, "No interrupt remapping support"); a driver that may not be
/// loaded.
fn spoils(argument: &str) -> bool {
    const DRIVERS: [&str; 4] = ["vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1"];
    let forbidden = argument.strip_prefix("module_blacklist=").unwrap_or_default().replace('-', "_");
    pretends(argument)
        || ["intremap=off", "nointremap"].contains(&argument)
        || forbidden.split(',').any(|module| DRIVERS.contains(&module))
}

/// Whether an argument makes groups that keep nothing apart.
pub fn pretends(argument: &str) -> bool {
    argument.starts_with("pcie_acs_override=")
}

/// Whether devices are in groups that keep them apart. With VFIO's unsafe mode each has one that keeps nothing apart
/// (kernel: drivers/vfio/group.c, "vfio-noiommu").
fn has_groups(host: &Host) -> Result<bool> {
    for group in files::list(host, GROUPS)? {
        if keeps_apart(host, &group)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether this group is one of the IOMMU's.
pub fn keeps_apart(host: &Host, group: &str) -> Result<bool> {
    let name = files::read_text(host, Path::new(GROUPS).join(group).join("name"))?.unwrap_or_default();
    Ok(name.trim() != "vfio-noiommu")
}

/// Whether a region of /proc/iomem is the firmware's screen, by its name.
pub fn is_screen(name: &str) -> bool {
    const NAMES: [&str; 8] =
        ["BOOTFB", "efifb", "vesafb", "efidrm", "vesadrm", "simpledrm", "simplefb", "simple-framebuffer"];
    NAMES.contains(&name.split('.').next().unwrap_or_default().trim())
}

/// Regions of memory in which the firmware's screen lies, by their first and last byte (/proc/iomem; root alone reads
/// addresses there).
pub fn framebuffers(host: &Host) -> Result<Vec<(u64, u64)>> {
    let text = files::read_text(host, "/proc/iomem")?.unwrap_or_default();
    let region = |line: &str| -> Option<(u64, u64)> {
        let (range, name) = line.split_once(" : ")?;
        let (first, last) = range.trim().split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        is_screen(name).then_some((hex(first)?, hex(last)?))
    };
    Ok(text.lines().filter_map(region).filter(|(_, last)| *last > 0).collect())
}
