//! `[volumes]`: whether the native engine's cloud has a volume service, and on what it keeps volumes.

use super::EngineName;
use super::values::as_text;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The largest file that is made for volumes, in GiB: ext4 takes no more (16 TiB).
pub(super) const LARGEST: u32 = 16 << 10;

/// What keeps volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeBackend {
    /// Nothing: the cloud has no volume service.
    None,
    /// Cinder, with logical volumes.
    Lvm,
}

/// Whether there are volumes, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumeAnswers {
    /// What keeps them.
    pub backend: VolumeBackend,
    /// The disk that they lie on.
    pub device: VolumeDevice,
    /// GiB of the file that they lie in where no disk is named.
    pub size_gib: u32,
    /// Whether what a deleted volume held is overwritten.
    pub wipe: bool,
}

impl Default for VolumeAnswers {
    fn default() -> Self {
        Self { backend: VolumeBackend::None, device: VolumeDevice(String::new()), size_gib: 30, wipe: true }
    }
}

impl VolumeAnswers {
    /// Whether a cloud with these answers has volumes.
    pub fn are_wanted(&self) -> bool {
        self.backend == VolumeBackend::Lvm
    }

    /// What is wrong with them by themselves, in words.
    pub(super) fn check(&self, engine: EngineName) -> Result<(), String> {
        if self.are_wanted() && engine == EngineName::Devstack {
            return Err("volumes.backend: with DevStack, volumes are devstack.services = [\"cinder\"]".into());
        }
        if !(1..=LARGEST).contains(&self.size_gib) {
            return Err(format!("volumes.size_gib: {} is not between 1 and {LARGEST}", self.size_gib));
        }
        Ok(())
    }
}

/// A disk or partition by its path below /dev, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeDevice(String);

impl VolumeDevice {
    /// Its path; none where volumes lie in a file.
    pub fn path(&self) -> Option<&Path> {
        Some(Path::new(&self.0)).filter(|path| !path.as_os_str().is_empty())
    }
}

impl std::fmt::Display for VolumeDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for VolumeDevice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+=@".contains(c);
        let below_dev = text.strip_prefix("/dev/").is_some_and(|rest| !rest.is_empty());
        if text.is_empty() || below_dev && text.chars().all(plain) && !text.split('/').any(|part| part == "..") {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("`{text}` is no disk or partition by its path (/dev/sdb, /dev/disk/by-id/...)"))
    }
}

as_text!(VolumeDevice);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_named_by_its_path_below_dev() {
        for good in ["/dev/sdb", "/dev/nvme0n1p3", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1.0"] {
            assert_eq!(good.parse::<VolumeDevice>().unwrap().path(), Some(Path::new(good)));
        }
        assert_eq!("".parse::<VolumeDevice>().unwrap().path(), None);
        for bad in ["sdb", "/dev/", "/dev/../etc/passwd", "/srv/file", "/dev/sd b", "/dev/sd\"b", "--yes"] {
            assert!(bad.parse::<VolumeDevice>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn devstack_has_a_service_of_its_own_for_volumes() {
        let wanted = VolumeAnswers { backend: VolumeBackend::Lvm, ..VolumeAnswers::default() };
        assert_eq!(wanted.check(EngineName::Native), Ok(()));
        assert!(wanted.check(EngineName::Devstack).unwrap_err().contains("devstack.services"));
        assert_eq!(VolumeAnswers::default().check(EngineName::Devstack), Ok(()));
        assert!(VolumeAnswers { size_gib: 0, ..wanted }.check(EngineName::Native).is_err());
    }
}
