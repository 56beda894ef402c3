//! A directory with permissions and owner. Taken back, it goes with all that services put into it, when it was not
//! there before us.

use super::file::Access;
use super::originals::Original;
use super::{Action, ActionId, Applied, Checked, History, Lifetime, Originals, Undo, WhenOrphaned};
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};

/// Make a directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    access: Access,
    lifetime: Lifetime,
    shared: bool,
}

impl Directory {
    /// A directory 0755 root:root.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            access: Access::new(0o755, "root", "root"),
            lifetime: Lifetime::Installed,
            shared: false,
        }
    }

    /// Other permission bits and owner.
    pub fn access(mut self, mode: u32, user: &str, group: &str) -> Self {
        self.access = Access::new(mode, user, group);
        self
    }

    /// The administrator puts files there: undone, it stays when it is not empty.
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Taken back, with all in it, at the end of the run.
    pub fn for_the_run(mut self) -> Self {
        self.lifetime = Lifetime::Run;
        self
    }
}

impl Action for Directory {
    fn id(&self) -> ActionId {
        ActionId::new("directory", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Make directory {}", self.path.display())
    }

    fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    fn when_orphaned(&self) -> WhenOrphaned {
        WhenOrphaned::Keep
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let status = files::directory_status(host, &self.path)?;
        let right = status.is_some_and(|status| self.access.is_right(host, &status));
        Ok(Checked::done_if(right, format!("make, {}", self.access)))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let original = match files::directory_status(host, &self.path)? {
            Some(status) => Original::Directory { mode: status.mode, owner: status.owner },
            None => Original::Absent,
        };
        Ok(Undo::Directory {
            path: self.path.clone(),
            original,
            made: files::missing_parents(host, &self.path),
            shared: self.shared,
        })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        files::make_parents(host, &self.path)?;
        let (mode, owner) = self.access.numbers(host)?;
        files::make_dir(host, &self.path, mode, owner)?;
        Ok(Applied::Done)
    }

    fn changes(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_quick(&self) -> bool {
        true
    }
}
