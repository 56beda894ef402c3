//! A symbolic link.

use super::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};

/// Make a symbolic link.
#[derive(Debug, Clone)]
pub struct Symlink {
    path: PathBuf,
    target: PathBuf,
}

impl Symlink {
    /// A link at `path` to `target`.
    pub fn new(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), target: target.into() }
    }
}

impl Action for Symlink {
    fn id(&self) -> ActionId {
        ActionId::new("link", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Link {} to {}", self.path.display(), self.target.display())
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let now = files::status(host, &self.path)?.and_then(|status| status.link);
        Ok(Checked::done_if(now.as_deref() == Some(&self.target), format!("link to {}", self.target.display())))
    }

    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo> {
        Ok(Undo::Path {
            path: self.path.clone(),
            original: originals.remember(host, &self.path)?,
            made: files::missing_parents(host, &self.path),
        })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        files::make_link(host, &self.path, &self.target)?;
        Ok(Applied::Done)
    }

    fn changes(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_quick(&self) -> bool {
        true
    }
}
