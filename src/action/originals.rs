//! What was at a path before us, and the store of contents that were replaced.

use crate::host::accounts::Owner;
use crate::host::{Host, Result, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What was at a path before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "was")]
pub enum Original {
    /// Nothing.
    Absent,
    /// A file; its content is the blob of this hash.
    File {
        /// Name of the blob.
        hash: String,
        /// Permission bits.
        mode: u32,
        /// Numeric owner.
        owner: Owner,
    },
    /// A symbolic link.
    Link {
        /// Where it pointed to.
        target: PathBuf,
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Numeric owner.
        owner: Owner,
    },
}

/// Contents that were replaced, as 0600 files named by their hash: the journal itself holds only the hash.
#[derive(Debug, Clone)]
pub struct Originals {
    host: Host,
    dir: PathBuf,
}

impl Originals {
    /// The store in `dir` (0700, made on first use).
    pub fn new(host: &Host, dir: impl Into<PathBuf>) -> Self {
        Self { host: host.clone(), dir: dir.into() }
    }

    /// Keeps `content` and returns its name.
    pub fn put(&self, content: &[u8]) -> Result<String> {
        let hash = files::hash(content);
        let path = self.dir.join(&hash);
        if !files::exists(&self.host, &path) {
            files::make_parents(&self.host, &self.dir)?;
            files::make_dir(&self.host, &self.dir, 0o700, None)?;
            files::write(&self.host, &path, content, 0o600, None)?;
        }
        Ok(hash)
    }

    /// The content called `hash`.
    pub fn get(&self, hash: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(hash);
        files::read(&self.host, &path)?.ok_or_else(|| crate::host::Error::Io {
            doing: "restore from",
            path,
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// What is at `path` now, its content kept.
    pub fn remember(&self, host: &Host, path: &Path) -> Result<Original> {
        let Some(status) = files::status(host, path)? else { return Ok(Original::Absent) };
        if let Some(target) = status.link {
            return Ok(Original::Link { target });
        }
        if status.is_dir {
            return Ok(Original::Directory { mode: status.mode, owner: status.owner });
        }
        let content = files::read(host, path)?.unwrap_or_default();
        Ok(Original::File { hash: self.put(&content)?, mode: status.mode, owner: status.owner })
    }
}
