//! Who drives a function on the PCI bus: VFIO, which hands it to instances, or the driver that it had (kernel:
//! Documentation/ABI/testing/sysfs-bus-pci, `driver_override`; driver-api/vfio.rst).

use super::command::Command;
use super::{Host, Result, files};
use std::path::{Path, PathBuf};

/// The driver that hands devices to instances.
pub const VFIO: &str = "vfio-pci";

fn device(address: &str) -> PathBuf {
    Path::new("/sys/bus/pci/devices").join(address)
}

/// Who drives it.
pub fn driver(host: &Host, address: &str) -> Result<Option<String>> {
    let link = files::status(host, &device(address).join("driver"))?.and_then(|status| status.link);
    Ok(link.and_then(|link| Some(link.file_name()?.to_str()?.to_owned())))
}

/// Loads VFIO's driver.
///
/// # Errors
/// The kernel has none.
pub fn load_vfio(host: &Host) -> Result<()> {
    Command::new("modprobe").arg(VFIO).quiet().run(host)
}

/// Gives a function to VFIO. By its address: by ids, equal cards would go along, the console's too.
pub fn give_to_vfio(host: &Host, address: &str) -> Result<()> {
    files::set(host, &device(address).join("driver_override"), VFIO)?;
    if driver(host, address)?.is_some_and(|driver| driver != VFIO) {
        unbind(host, address)?;
    }
    probe(host, address)
}

/// Whether a function is marked for VFIO by its address: what other programs bind by ids is not.
pub fn is_marked(host: &Host, address: &str) -> Result<bool> {
    let mark = files::read_text(host, device(address).join("driver_override"))?;
    Ok(mark.is_some_and(|mark| mark.trim() == VFIO))
}

/// Gives a function back to whichever driver is made for it. One that has none gets one, if that is loaded.
pub fn give_back(host: &Host, address: &str) -> Result<()> {
    // An empty line ends it.
    files::set(host, &device(address).join("driver_override"), "\n")?;
    match driver(host, address)?.as_deref() {
        Some(VFIO) => {}
        Some(_) => return Ok(()),
        None => return probe(host, address),
    }
    unbind(host, address)?;
    probe(host, address)?;
    if driver(host, address)?.is_none() {
        // A driver that found no device when the machine booted was not loaded then. That none is made for it is no error.
        let alias = files::read_text(host, device(address).join("modalias"))?.unwrap_or_default();
        let _ = Command::new("modprobe").args(["--quiet", "--", alias.trim()]).quiet().output(host)?;
        probe(host, address)?;
    }
    Ok(())
}

fn unbind(host: &Host, address: &str) -> Result<()> {
    files::set(host, &device(address).join("driver/unbind"), address)
}

fn probe(host: &Host, address: &str) -> Result<()> {
    files::set(host, Path::new("/sys/bus/pci/drivers_probe"), address)
}
