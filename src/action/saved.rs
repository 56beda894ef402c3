//! A file that another program is about to change: what it was goes to the journal, and comes back with `uninstall`.

use super::{Action, ActionId, Applied, Checked, Originals, Past, Undo};
use crate::host::{Host, Result, files};
use std::path::PathBuf;

/// Remember what is at a path.
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

    fn check(&self, _host: &Host, past: &Past) -> Result<Checked> {
        Ok(Checked::done_if(past.undo.is_some(), format!("remember, because {} changes it", self.by)))
    }

    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo> {
        Ok(Undo::Path {
            path: self.path.clone(),
            original: originals.remember(host, &self.path)?,
            made: files::missing_parents(host, &self.path),
        })
    }

    fn apply(&self, _host: &Host, _past: &Past) -> Result<Applied> {
        Ok(Applied::Done)
    }
}
