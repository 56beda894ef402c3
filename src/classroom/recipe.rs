//! What the image of notebooks is made of, as it stands in this program: packages of the distribution, locks of Python's
//! packages, files, units, modules. Whatever changes here makes another version of the image ([`Recipe::version`]). How it
//! is built: `image.rs`.

use super::driver::Driver;
use crate::config::classroom::PythonPackage;
use crate::host::files;
use crate::resources::file;
use include_dir::{Dir, DirEntry, include_dir};
use std::path::PathBuf;

/// What it consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Linux.
    Kernel,
    /// What finds the disk.
    InitialFileSystem,
    /// The disk.
    Disk,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Kernel, Part::InitialFileSystem, Part::Disk];

    /// Its file, and what its name in the cloud begins with; of an image with a driver for cards where `has_driver`.
    pub fn file_name(self, has_driver: bool) -> String {
        let name = if has_driver { "notebook-nvidia" } else { "notebook" };
        match self {
            Part::Kernel => format!("{name}-kernel"),
            Part::InitialFileSystem => format!("{name}-initramfs"),
            Part::Disk => name.to_owned(),
        }
    }
}

/// Files that are laid over the root.
pub(super) static FILES: Dir = include_dir!("$CARGO_MANIFEST_DIR/profiles/notebook/root");
/// The first program of the initial file system.
pub(super) const INIT: &str = include_str!("../../profiles/notebook/init");
/// Run before the packages of an image with a driver are installed.
pub(super) const BEFORE_DRIVER: &str = include_str!("../../profiles/notebook/before-driver");
/// The environments: where they lie below `/opt/notebook`, and what is in them.
const SERVER: (&str, &str) = ("server", include_str!("../../profiles/notebook/server.lock"));
pub(super) const KERNEL: (&str, &str) = ("kernel", include_str!("../../profiles/notebook/kernel.lock"));
/// [`KERNEL`]'s, with CUDA's libraries.
const CUDA: (&str, &str) = ("kernel", include_str!("../../profiles/notebook/cuda.lock"));

/// Packages of the distribution, beside its essential ones and a kernel.
const PACKAGES: [&str; 17] = [
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "dbus",
    "udev",
    "kmod",
    "iproute2",
    "netbase",
    "procps",
    "ca-certificates",
    "python3",
    "openssh-server",
    "busybox-static",
    "e2fsprogs",
    "less",
    "tar",
    "zstd",
];
/// Loaded before anything else, in this order: what the disk and its file system need, then the drive that tells the
/// notebook what it is, and its network, which udev would look for one by one. What a kernel has built in is not there.
pub(super) const MODULES: [&str; 25] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "crc32c-cryptoapi",
    "crc16",
    "mbcache",
    "jbd2",
    "ext4",
    "scsi_common",
    "scsi_mod",
    "libata",
    "ata_piix",
    "libahci",
    "ahci",
    "cdrom",
    "sr_mod",
    "isofs",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio-rng",
];
pub(super) const UNITS: [&str; 9] = [
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "ssh.service",
    "notebook-setup.service",
    "notebook-home.service",
    "notebook.service",
    "notebook-card.service",
    "notebook-space.timer",
];
/// What only takes time at a boot, or does work that nobody asks of a notebook: measured emulated, where each program that
/// is started counts, a third of the time until JupyterLab answers.
pub(super) const MASKED: [&str; 37] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrmachine.service",
    "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service",
    "systemd-update-done.service",
    "motd-news.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "modprobe@dm_mod.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-pstore.service",
    "systemd-network-generator.service",
    "systemd-hostnamed.socket",
    // Where it is Ubuntu's way in, its port is open long before there is anybody to answer.
    "ssh.socket",
    // Nobody has a password here.
    "serial-getty@ttyS0.service",
    "run-lock.mount",
];
/// Raised where how it is made changes, and none of what is hashed.
const GENERATION: &str = "1";

/// What the image is made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// `ID` of this machine's os-release: the image is of the same family, and comes from the same mirror.
    pub distribution: String,
    /// Python packages beside those of the lock.
    pub packages: Vec<PythonPackage>,
    /// For notebooks with cards.
    pub driver: Option<Driver>,
}

impl Recipe {
    fn is_ubuntu(&self) -> bool {
        self.distribution == "ubuntu"
    }

    /// A release whose Python the locks are made for.
    pub(super) fn codename(&self) -> &'static str {
        if self.is_ubuntu() { "noble" } else { "trixie" }
    }

    pub(super) fn packages(&self) -> Vec<&'static str> {
        let system = match &self.driver {
            Some(driver) => driver.packages(),
            None if self.is_ubuntu() => vec!["linux-image-virtual"],
            None => vec!["linux-image-cloud-amd64"],
        };
        [&PACKAGES[..], &system].concat()
    }

    /// The locks of both environments.
    pub(super) fn locks(&self) -> [(&'static str, &'static str); 2] {
        [SERVER, if self.driver.is_some() { CUDA } else { KERNEL }]
    }

    /// Another one for everything that makes another image; the day's packages of the distribution are not among it.
    pub fn version(&self) -> String {
        let [server, kernel] = self.locks();
        let others = [GENERATION, INIT, server.1, kernel.1, self.codename()];
        let mut all = [&self.packages()[..], &MODULES, &UNITS, &MASKED, &others].concat().join("\n");
        all.extend(self.packages.iter().map(|package| format!("\n{package}")));
        all.push_str(self.driver.map_or("", |_| BEFORE_DRIVER));
        for file in texts(&FILES) {
            all.push_str(&format!("\n{}\n{}", file.path().display(), file.contents_utf8().unwrap_or_default()));
        }
        files::hash(all.as_bytes()).chars().take(8).collect()
    }

    /// What a part is called in the cloud: notebooks of an older one go on with that.
    pub fn name(&self, part: Part) -> String {
        format!("{}-{}", self.file_name(part), self.version())
    }

    /// The file of a part.
    pub fn file_name(&self, part: Part) -> String {
        part.file_name(self.driver.is_some())
    }

    pub(super) fn file(&self, part: Part) -> PathBuf {
        file(&self.file_name(part))
    }

    /// What it is, in words.
    pub fn what(&self) -> &'static str {
        if self.driver.is_some() { "the image of notebooks with cards" } else { "the image of notebooks" }
    }
}

/// All files below `dir`.
pub(super) fn texts(dir: &'static Dir) -> Vec<&'static include_dir::File<'static>> {
    let below = |entry: &'static DirEntry| match entry {
        DirEntry::Dir(dir) => texts(dir),
        DirEntry::File(file) => vec![file],
    };
    dir.entries().iter().flat_map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(distribution: &str, packages: &[&str]) -> Recipe {
        let packages = packages.iter().map(|name| name.parse().unwrap()).collect();
        Recipe { distribution: distribution.into(), packages, driver: None }
    }

    #[test]
    fn another_recipe_is_another_image() {
        let plain = recipe("debian", &[]);
        assert_eq!(plain.version(), recipe("debian", &[]).version());
        assert_ne!(plain.version(), recipe("debian", &["torch"]).version());
        assert_ne!(plain.version(), recipe("ubuntu", &[]).version());
        assert_eq!(plain.name(Part::Disk), format!("notebook-{}", plain.version()));
    }

    #[test]
    fn no_package_that_slows_the_start_is_in_a_lock_and_nobodys_key_in_the_files() {
        for (name, lock) in [SERVER, KERNEL, CUDA] {
            assert!(!lock.contains("rfc3987-syntax==") && !lock.contains("lark=="), "{name}");
        }
        let paths: Vec<String> = texts(&FILES).iter().map(|file| file.path().display().to_string()).collect();
        assert!(paths.iter().any(|path| path == "usr/local/sbin/notebook-setup"), "{paths:?}");
        assert!(!paths.iter().any(|path| path.contains("ssh_host") || path.contains("authorized")), "{paths:?}");
    }
}
