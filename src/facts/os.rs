//! Distribution, kernel and name of the machine.

use super::assignments;
use crate::host::ovs::Datapath;
use crate::host::{Host, Result, files};
use serde::Serialize;
use std::cell::OnceCell;

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
    let modules = Modules::new(host, &kernel, container.is_some());
    let mut missing_for_volumes = Vec::new();
    for module in FOR_VOLUMES {
        if !modules.has(module)? {
            missing_for_volumes.push(module);
        }
    }
    Ok(Os {
        missing_for_volumes,
        openvswitch_module: modules.has("openvswitch")?,
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

/// What the kernel can do by modules. Its lists are long: they are read once, and not where all are loaded.
struct Modules<'a> {
    host: &'a Host,
    kernel: &'a str,
    container: bool,
    lists: OnceCell<String>,
}

impl<'a> Modules<'a> {
    fn new(host: &'a Host, kernel: &'a str, container: bool) -> Self {
        Self { host, kernel, container, lists: OnceCell::new() }
    }

    /// Loaded, there to be loaded, or part of the kernel; a container cannot load one.
    fn has(&self, module: &str) -> Result<bool> {
        if files::exists(self.host, format!("/sys/module/{module}")) {
            return Ok(true);
        }
        if self.container {
            return Ok(false);
        }
        // modules.dep writes `dm-mod.ko`, and a module is loaded as `dm_mod`.
        let (name, dashed) = (format!("/{module}.ko"), format!("/{}.ko", module.replace('_', "-")));
        Ok(self.lists()?.lines().any(|line| {
            let path = line.split(':').next().unwrap_or(line);
            path.contains(&name) || path.contains(&dashed)
        }))
    }

    fn lists(&self) -> Result<&str> {
        if self.lists.get().is_none() {
            let list = |name: &str| files::read_text(self.host, format!("/lib/modules/{}/{name}", self.kernel));
            let [to_load, built_in] = [list("modules.dep")?, list("modules.builtin")?].map(Option::unwrap_or_default);
            return Ok(self.lists.get_or_init(|| to_load + "\n" + &built_in));
        }
        Ok(self.lists.get().map_or("", String::as_str))
    }
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
        let has = |module: &str, kernel: &str, container| Modules::new(&host, kernel, container).has(module);
        let dependent = "kernel/drivers/md/dm-crypt.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n";
        write("/lib/modules/6.1/modules.dep", dependent);
        assert!(!has("dm_mod", "6.1", false).unwrap());
        write(
            "/lib/modules/6.1/modules.dep",
            "kernel/drivers/scsi/iscsi_tcp.ko.xz: kernel/drivers/scsi/libiscsi.ko.xz\n",
        );
        write("/lib/modules/6.1/modules.builtin", "kernel/drivers/md/dm-mod.ko\n");
        assert!(has("dm_mod", "6.1", false).unwrap() && has("iscsi_tcp", "6.1", false).unwrap());
        assert!(!has("iscsi_tcp", "6.1", true).unwrap() && !has("dm_mod", "6.2", false).unwrap());
        write("/sys/module/dm_mod/version", "4");
        assert!(has("dm_mod", "6.2", true).unwrap());
    }
}
