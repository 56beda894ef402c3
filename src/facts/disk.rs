//! A disk of the answers: what it is, and what is on it or uses it. Asked only where the answers name one: `lsblk` tells
//! of users, `wipefs` of everything that a file system, LVM, RAID or a partition table leaves in its places.

use crate::host::command::Command;
use crate::host::{Error, Host, Result, files};
use serde::Deserialize;
use std::path::Path;

/// A disk or partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// As lsblk calls it: "disk", "part", "lvm".
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Who uses it: where it is mounted, and what lies on it (partitions, logical volumes, RAID).
    pub users: Vec<String>,
    /// What its content says that it is: "gpt", "ext4", "LVM2_member".
    pub content: Vec<String>,
}

/// The disk at `path`; none where there is none.
///
/// # Errors
/// lsblk's or wipefs' own.
pub fn look(host: &Host, path: &Path) -> Result<Option<Disk>> {
    if !files::leads_somewhere(host, path) {
        return Ok(None);
    }
    let name = path.display().to_string();
    let lsblk = Command::new("lsblk").args(["--json", "--bytes", "--output", "NAME,TYPE,SIZE,RO,MOUNTPOINTS", &name]);
    let wipefs = Command::new("wipefs").args(["--json", "--no-act", &name]);
    let unread = |error| Error::protocol("read what is on a disk", error);
    let disk = described(&lsblk.quiet().read(host)?).map_err(unread)?;
    let content = content(&wipefs.quiet().read(host)?).map_err(unread)?;
    Ok(disk.map(|disk| Disk { content, ..disk }))
}

#[derive(Deserialize)]
struct Listing {
    blockdevices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    size: u64,
    ro: bool,
    /// A null stands for none.
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Device>,
}

fn described(text: &str) -> serde_json::Result<Option<Disk>> {
    let listing: Listing = serde_json::from_str(text)?;
    Ok(listing.blockdevices.into_iter().next().map(|device| Disk {
        kind: device.kind,
        size: device.size,
        read_only: device.ro,
        users: device.mountpoints.into_iter().flatten().chain(device.children.into_iter().map(|on| on.name)).collect(),
        content: Vec::new(),
    }))
}

/// wipefs says nothing at all of an empty disk.
fn content(text: &str) -> serde_json::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Found {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        #[serde(rename = "type")]
        kind: String,
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found: Found = serde_json::from_str(text)?;
    let mut kinds: Vec<String> = found.signatures.into_iter().map(|signature| signature.kind).collect();
    kinds.dedup();
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_disk_are_its_mounts_and_what_lies_on_it() {
        let text = r#"{"blockdevices": [{"name":"vda","type":"disk","size":25769803776,"ro":false,"mountpoints":[null],
            "children":[{"name":"vda1","type":"part","size":3145728,"ro":false,"mountpoints":[null]},
                        {"name":"vda2","type":"part","size":25765591552,"ro":false,"mountpoints":["/"]}]}]}"#;
        let disk = described(text).unwrap().unwrap();
        assert_eq!((disk.kind.as_str(), disk.size, disk.read_only), ("disk", 25769803776, false));
        assert_eq!(disk.users, ["vda1", "vda2"]);
        let swap = r#"{"blockdevices": [{"name":"sdb","type":"disk","size":1,"ro":true,"mountpoints":["[SWAP]"]}]}"#;
        assert_eq!(described(swap).unwrap().unwrap().users, ["[SWAP]"]);
    }

    #[test]
    fn what_wipefs_finds_is_the_content() {
        let text = r#"{"signatures": [
            {"device":"vda","offset":"0x200","type":"gpt","uuid":"x","label":null},
            {"device":"vda","offset":"0x5fffffe00","type":"gpt","uuid":"x","label":null},
            {"device":"vda","offset":"0x1fe","type":"PMBR","uuid":null,"label":null}]}"#;
        assert_eq!(content(text).unwrap(), ["gpt", "PMBR"]);
        assert_eq!(content("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_disk_that_is_not_there_is_none() {
        assert_eq!(look(&Host::live(), Path::new("/dev/gpucloud-no-such-disk")).unwrap(), None);
    }
}
