//! Files that another program edits, in two parts around it: what was there before, and how it left them. `uninstall`
//! puts the former back, and keeps what somebody has edited since.

use crate::action::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result, files};
use std::path::PathBuf;

/// Remember what is at a path, before.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The file; it need not be there.
    pub path: PathBuf,
    /// Who changes it: "stack.sh".
    pub by: &'static str,
}

impl Action for Saved {
    fn id(&self) -> ActionId {
        ActionId::new("saved", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Remember {}, which {} changes", self.path.display(), self.by)
    }

    fn check(&self, _host: &Host, history: &History) -> Result<Checked> {
        Ok(Checked::done_if(history.undo.is_some(), format!("remember, because {} changes it", self.by)))
    }

    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo> {
        Ok(Undo::Path {
            path: self.path.clone(),
            original: originals.remember(host, &self.path)?,
            made: files::missing_parents(host, &self.path),
        })
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        Ok(Applied::Done)
    }
}

/// Remember how the other program left a file, behind it: taken back before [`Saved`] is.
pub struct LeftBehind {
    path: PathBuf,
}

impl LeftBehind {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Action for LeftBehind {
    fn id(&self) -> ActionId {
        ActionId::new("left", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Remember how {} was left", self.path.display())
    }

    fn check(&self, _host: &Host, history: &History) -> Result<Checked> {
        Ok(Checked::done_if(history.undo.is_some(), "so that later edits can be told from it"))
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Edits { path: self.path.clone() })
    }

    fn left(&self, host: &Host) -> Result<Option<String>> {
        Ok(files::read(host, &self.path)?.map(|content| files::hash(&content)))
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        Ok(Applied::Done)
    }
}
