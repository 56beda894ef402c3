//! Kernel parameters below `/proc/sys`.

use super::{Host, Result, files};
use std::path::PathBuf;

/// Where the kernel shows `key` ("net.ipv4.ip_forward"; a `/` keeps a dot inside a link's name).
fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(if key.contains('/') { key.to_owned() } else { key.replace('.', "/") })
}

/// The present value, or `None` where this kernel has no such parameter.
pub fn read(host: &Host, key: &str) -> Result<Option<String>> {
    Ok(files::read_text(host, path(key))?.map(|value| value.trim().to_owned()))
}

/// Sets a value now; it lasts until the next boot.
pub fn write(host: &Host, key: &str, value: &str) -> Result<()> {
    files::set(host, &path(key), &format!("{value}\n"))
}
