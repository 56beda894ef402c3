//! Whatever stands in the answers, the secrets, the journal, a captured tree or a file that answers name: an error or a value, never a panic.
//!
//! The first byte chooses what the rest is.

#![no_main]

use gpucloud::cloud::{disk_image, public_key};
use gpucloud::config::Config;
use gpucloud::config::secrets::Secrets;
use gpucloud::facts::Facts;
use gpucloud::host::{Host, files};
use gpucloud::plan::journal::{DIRECTORY, Journal};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

/// Files of a captured tree that facts are read from.
const CAPTURED: [&str; 9] = [
    "/etc/os-release",
    "/etc/hostname",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/apt.conf",
    "/sys/bus/pci/devices/0000:01:00.0/class",
    "/sys/bus/pci/devices/0000:01:00.0/vendor",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let host = Host::at(dir.path());
    let put = |path: &str| files::write(&host, Path::new(path), rest, 0o644, None).expect("a file");
    match choice % 6 {
        0 => drop(Config::parse(&String::from_utf8_lossy(rest), Path::new("fuzz"))),
        1 => {
            put("/etc/gpucloud/secrets.toml");
            drop(Secrets::load(&host, &["admin"]));
        }
        2 => {
            put(&format!("{DIRECTORY}/journal.jsonl"));
            if let Ok(journal) = Journal::read(&host, DIRECTORY) {
                journal.entries().for_each(|(_, entry)| drop(entry.describe_undo()));
            }
        }
        3 => drop(public_key::keys_in(rest)),
        4 => drop(disk_image::judge(&mut Cursor::new(rest))),
        _ => {
            put(CAPTURED[usize::from(choice / 6) % CAPTURED.len()]);
            drop(Facts::gather(&host));
        }
    }
});
