//! Who uses a card: programs that have a device file of it open, and what they are.

use super::pci;
use crate::host::{Error, Host, Result, files};
use procfs::process::{FDTarget, Process, all_processes};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a captured tree has what was found.
pub const CAPTURED: &str = "/run/gpucloud/card-users.json";

/// A program that has a card open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct User {
    /// The card's address.
    pub address: String,
    /// What it is: "Xorg", "instance-00000003".
    pub name: String,
    /// Its process number.
    pub pid: i32,
    /// Whether it is a virtual machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_guest: bool,
    /// The service that it belongs to, "ollama.service".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// All of them. In a captured tree, what was found there.
pub fn read(host: &Host, functions: &[pci::Function]) -> Result<Vec<User>> {
    if !host.is_live() {
        let text = files::read_text(host, CAPTURED)?.unwrap_or_default();
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        return serde_json::from_str(&text).map_err(|error| Error::protocol(format!("read {CAPTURED}"), error));
    }
    let mut files_of = Vec::new();
    for function in functions.iter().filter(|function| function.driver.is_some()) {
        files_of.extend(device_files(host, function)?.into_iter().map(|file| (file, function.address.clone())));
    }
    if files_of.is_empty() {
        return Ok(Vec::new());
    }
    let mut users: Vec<User> =
        all_processes().into_iter().flatten().flatten().flat_map(|process| used_by(&process, &files_of)).collect();
    users.sort();
    users.dedup();
    Ok(users)
}

/// Device files through which a function is used.
fn device_files(host: &Host, function: &pci::Function) -> Result<Vec<String>> {
    let dir = Path::new(pci::DEVICES).join(&function.address);
    let names = |below: &str| files::list(host, dir.join(below));
    let mut found: Vec<String> = names("drm")?.iter().map(|name| format!("/dev/dri/{name}")).collect();
    for card in names("sound")? {
        found.extend(names(&format!("sound/{card}"))?.iter().map(|name| format!("/dev/snd/{name}")));
    }
    found.extend(names("vfio-dev")?.iter().map(|name| format!("/dev/vfio/devices/{name}")));
    match (function.driver.as_deref(), function.group) {
        (Some("vfio-pci"), Some(group)) => found.push(format!("/dev/vfio/{group}")),
        (Some("nvidia"), _) => {
            // NVIDIA's driver says which file is which card's (README of the driver, "Using the /proc File System").
            let about = Path::new("/proc/driver/nvidia/gpus").join(&function.address).join("information");
            let text = files::read_text(host, about)?.unwrap_or_default();
            let minor = text.lines().find_map(|line| line.strip_prefix("Device Minor:")).map(str::trim);
            found.extend(minor.map(|minor| format!("/dev/nvidia{minor}")));
        }
        _ => {}
    }
    Ok(found)
}

fn used_by(process: &Process, files_of: &[(String, String)]) -> Vec<User> {
    // systemd keeps the files of logind's sessions, and uses nothing.
    if process.pid() == 1 {
        return Vec::new();
    }
    let Ok(open) = process.fd() else { return Vec::new() };
    let paths = open.flatten().filter_map(|file| match file.target {
        FDTarget::Path(path) => Some(path),
        _ => None,
    });
    let addresses = paths.flat_map(|path| {
        files_of.iter().filter(move |(file, _)| Path::new(file) == path).map(|(_, address)| address.clone())
    });
    let addresses: Vec<String> = addresses.collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    let (guest, service, pid) = (guest_of(process), service_of(process), process.pid());
    let (is_guest, name) = (guest.is_some(), guest.unwrap_or_else(|| name_of(process)));
    let user = |address| User { address, name: name.clone(), pid, is_guest, service: service.clone() };
    addresses.into_iter().map(user).collect()
}

/// The unit of the system that a process is in (systemd.io, "Control Group APIs": the path ends in the unit's name).
fn service_of(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    groups.0.iter().find_map(|group| {
        let unit = group.pathname.strip_prefix("/system.slice/")?.split('/').next()?;
        unit.ends_with(".service").then(|| unit.to_owned())
    })
}

/// The name that libvirt gave a virtual machine (qemu(1), `-name guest=NAME,...`).
fn guest_of(process: &Process) -> Option<String> {
    let words = process.cmdline().ok()?;
    words.iter().find_map(|word| Some(word.strip_prefix("guest=")?.split(',').next()?.to_owned()))
}

/// The name of a program's file.
fn name_of(process: &Process) -> String {
    let words = process.cmdline().unwrap_or_default();
    let program = words.first().and_then(|word| Path::new(word).file_name()?.to_str());
    program.map(str::to_owned).unwrap_or_else(|| process.stat().map(|stat| stat.comm).unwrap_or_default())
}
