//! Display devices on the PCI bus, from sysfs. (IOMMU groups and verdicts belong to the GPU room.)

use crate::host::{Host, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/pci/devices";
/// PCI base class "display controller": VGA 0x0300, 3D 0x0302, other 0x0380.
const DISPLAY_CLASS: &str = "0x03";
/// NVIDIA's vendor id.
pub const NVIDIA: &str = "10de";

/// A display device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Display {
    /// "0000:41:00.0".
    pub address: String,
    /// Vendor id, four hexadecimal digits.
    pub vendor: String,
    /// Device id, four hexadecimal digits.
    pub device: String,
    /// Class, "0x030000".
    pub class: String,
    /// Kernel driver that holds it.
    pub driver: Option<String>,
    /// Whether the firmware drew its screen here: the console.
    pub boot_vga: bool,
}

/// Reads them.
pub fn displays(host: &Host) -> Result<Vec<Display>> {
    let mut found = Vec::new();
    for address in files::list(host, DEVICES)? {
        let dir = Path::new(DEVICES).join(&address);
        let class = field(host, &dir, "class")?;
        if class.starts_with(DISPLAY_CLASS) {
            found.push(display(host, address, &dir, class)?);
        }
    }
    Ok(found)
}

fn display(host: &Host, address: String, dir: &Path, class: String) -> Result<Display> {
    let driver = files::status(host, &dir.join("driver"))?.and_then(|status| status.link);
    Ok(Display {
        address,
        vendor: field(host, dir, "vendor")?.trim_start_matches("0x").to_owned(),
        device: field(host, dir, "device")?.trim_start_matches("0x").to_owned(),
        class,
        driver: driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
        boot_vga: field(host, dir, "boot_vga")? == "1",
    })
}

fn field(host: &Host, dir: &Path, name: &str) -> Result<String> {
    let path: PathBuf = dir.join(name);
    Ok(files::read_text(host, path)?.unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_devices_are_found_by_class() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let put = |address: &str, name: &str, text: &str| {
            files::write(&host, &Path::new(DEVICES).join(address).join(name), text.as_bytes(), 0o644, None).unwrap();
        };
        for (address, class) in [("0000:01:00.0", "0x030200\n"), ("0000:02:00.0", "0x020000\n")] {
            put(address, "class", class);
            put(address, "vendor", "0x10de\n");
            put(address, "device", "0x2335\n");
        }
        let displays = displays(&host).unwrap();
        assert_eq!(displays.len(), 1);
        assert_eq!(
            (displays[0].vendor.as_str(), displays[0].device.as_str(), displays[0].boot_vga),
            ("10de", "2335", false)
        );
    }
}
