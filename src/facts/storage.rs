//! Filesystems: what counts is the one below the directory that fills, not the size of the disk. A server ISO of
//! Ubuntu makes a root volume of 100 GB on a disk of any size.

use crate::host::{Host, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The filesystem below a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// The directory that was asked about.
    pub below: PathBuf,
    /// Bytes in all.
    pub size: u64,
    /// Bytes that root can still write.
    pub free: u64,
    /// Whether it can be written at all.
    pub writable: bool,
}

/// Filesystems below which things will be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Below /var/lib: databases, images, instances.
    pub data: Filesystem,
    /// Below /opt: the virtual environment.
    pub programs: Filesystem,
}

/// Reads them.
pub fn read(host: &Host) -> Result<Storage> {
    Ok(Storage { data: below(host, "/var/lib")?, programs: below(host, "/opt")? })
}

fn below(host: &Host, directory: &str) -> Result<Filesystem> {
    let stat = files::filesystem(host, Path::new(directory))?;
    let unit = stat.fragment_size();
    Ok(Filesystem {
        below: directory.into(),
        size: stat.blocks() * unit,
        free: stat.blocks_available() * unit,
        writable: !stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    })
}
