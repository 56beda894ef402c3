//! A directory with permissions and owner. What the services put into it later is data: undone, it goes with it when
//! the directory was not there before.

use super::undo::Original;
use super::{Action, ActionId, Applied, Checked, Lifetime, Originals, Past, Undo, WhenOrphaned};
use crate::host::{Host, Result, files, users};
use std::path::{Path, PathBuf};

/// Make a directory.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    mode: u32,
    user: String,
    group: String,
    lifetime: Lifetime,
    shared: bool,
}

impl Directory {
    /// A directory 0755 root:root.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: 0o755,
            user: "root".into(),
            group: "root".into(),
            lifetime: Lifetime::Installed,
            shared: false,
        }
    }

    /// Other permission bits.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Another owner.
    pub fn owner(mut self, user: &str, group: &str) -> Self {
        (self.user, self.group) = (user.into(), group.into());
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

    fn check(&self, host: &Host, _past: &Past) -> Result<Checked> {
        let right = files::status(host, &self.path)?.is_some_and(|status| {
            let owner = || users::owner(&self.user, &self.group).is_ok_and(|owner| owner == status.owner);
            status.is_dir && status.mode == self.mode && (!host.is_live() || owner())
        });
        Ok(Checked::done_if(right, format!("make, {:04o} {}:{}", self.mode, self.user, self.group)))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let original = match files::status(host, &self.path)? {
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

    fn apply(&self, host: &Host, _past: &Past) -> Result<Applied> {
        files::make_parents(host, &self.path)?;
        files::make_dir(host, &self.path, self.mode, files::owner(host, &self.user, &self.group)?)?;
        Ok(Applied::Done)
    }

    fn changes(&self) -> Option<&Path> {
        Some(&self.path)
    }
}
