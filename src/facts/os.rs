//! Distribution, kernel and name of the machine.

use super::assignments;
use crate::host::ovs::Datapath;
use crate::host::{Host, Result, files};
use serde::Serialize;

/// Distribution, kernel, name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Os {
    /// "debian", "ubuntu".
    pub id: String,
    /// "12", "24.04".
    pub version: String,
    /// "Debian GNU/Linux 12 (bookworm)".
    pub pretty_name: String,
    /// "bookworm".
    pub codename: String,
    /// Kernel release, "6.1.0-25-amd64".
    pub kernel: String,
    /// Name of the machine, perhaps with a domain.
    pub host_name: String,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// Whether this is a container, and of which kind.
    pub container: Option<String>,
    /// Whether the kernel can forward for Open vSwitch (module `openvswitch`); without, packets pass a daemon.
    pub openvswitch_module: bool,
    /// Modules that volumes need and this kernel has not: of logical volumes, of iSCSI's initiator.
    pub missing_for_volumes: Vec<&'static str>,
}

/// What logical volumes and iSCSI need of the kernel.
const FOR_VOLUMES: [&str; 2] = ["dm_mod", "iscsi_tcp"];

impl Os {
    /// The name up to the first dot, in small letters.
    pub fn short_host_name(&self) -> String {
        self.host_name.split('.').next().unwrap_or_default().to_lowercase()
    }

    /// Which code can move the packets of Open vSwitch here.
    pub fn datapath(&self) -> Datapath {
        if self.openvswitch_module { Datapath::System } else { Datapath::Netdev }
    }

    /// "debian12", "ubuntu24.04".
    pub fn label(&self) -> String {
        format!("{}{}", self.id, self.version)
    }
}

/// Reads them.
pub fn read(host: &Host) -> Result<Os> {
    let release = release(host)?;
    let release = assignments::read(&release);
    let field = |name: &str| release.get(name).cloned().unwrap_or_default();
    let text =
        |path: &str| -> Result<String> { Ok(files::read_text(host, path)?.unwrap_or_default().trim().to_owned()) };
    let kernel = text("/proc/sys/kernel/osrelease")?;
    let container = files::read_text(host, "/run/systemd/container")?.map(|kind| kind.trim().to_owned());
    let mut missing_for_volumes = Vec::new();
    for module in FOR_VOLUMES {
        if !has_module(host, module, &kernel, container.is_some())? {
            missing_for_volumes.push(module);
        }
    }
    Ok(Os {
        missing_for_volumes,
        openvswitch_module: has_module(host, "openvswitch", &kernel, container.is_some())?,
        id: field("ID"),
        version: field("VERSION_ID"),
        pretty_name: field("PRETTY_NAME"),
        codename: field("VERSION_CODENAME"),
        kernel,
        host_name: if host.is_live() { text("/proc/sys/kernel/hostname")? } else { text("/etc/hostname")? },
        systemd: crate::host::systemd::is_booted(host),
        container,
    })
}

/// The administrator's file, else the distribution's (os-release(5)).
fn release(host: &Host) -> Result<String> {
    match files::read_text(host, "/etc/os-release")? {
        Some(text) => Ok(text),
        None => Ok(files::read_text(host, "/usr/lib/os-release")?.unwrap_or_default()),
    }
}

/// Loaded, there to be loaded, or part of the kernel; a container cannot load one.
fn has_module(host: &Host, module: &str, kernel: &str, container: bool) -> Result<bool> {
    if files::exists(host, format!("/sys/module/{module}")) {
        return Ok(true);
    }
    if container {
        return Ok(false);
    }
    // modules.dep writes `dm-mod.ko`, and a module is loaded as `dm_mod`.
    let (name, dashed) = (format!("/{module}.ko"), format!("/{}.ko", module.replace('_', "-")));
    let is_it = |line: &str| {
        let path = line.split(':').next().unwrap_or(line);
        path.contains(&name) || path.contains(&dashed)
    };
    for list in ["modules.dep", "modules.builtin"] {
        let list = files::read_text(host, format!("/lib/modules/{kernel}/{list}"))?;
        if list.is_some_and(|list| list.lines().any(is_it)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_module_is_found_loaded_in_a_list_or_in_the_kernel_and_in_no_container() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let write =
            |path: &str, text: &str| files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
        let dependent = "kernel/drivers/md/dm-crypt.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n";
        write("/lib/modules/6.1/modules.dep", dependent);
        assert!(!has_module(&host, "dm_mod", "6.1", false).unwrap());
        write(
            "/lib/modules/6.1/modules.dep",
            "kernel/drivers/scsi/iscsi_tcp.ko.xz: kernel/drivers/scsi/libiscsi.ko.xz\n",
        );
        write("/lib/modules/6.1/modules.builtin", "kernel/drivers/md/dm-mod.ko\n");
        assert!(
            has_module(&host, "dm_mod", "6.1", false).unwrap() && has_module(&host, "iscsi_tcp", "6.1", false).unwrap()
        );
        assert!(
            !has_module(&host, "iscsi_tcp", "6.1", true).unwrap()
                && !has_module(&host, "dm_mod", "6.2", false).unwrap()
        );
        write("/sys/module/dm_mod/version", "4");
        assert!(has_module(&host, "dm_mod", "6.2", true).unwrap());
    }
}
