//! A program that has to read its files again once ours are gone: GRUB, the initial file system. The action does nothing
//! by itself; begun ahead of the files, it is taken back behind them, and the program reads what is left.

use super::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result};

/// A program that is run when it is taken back.
pub struct RunOnUndo {
    /// First part of its name.
    pub name: &'static str,
    /// What has to be told, in words.
    pub what: &'static str,
    /// The program, and its arguments.
    pub argv: &'static [&'static str],
}

impl Action for RunOnUndo {
    fn id(&self) -> ActionId {
        ActionId::new(self.name, "undo")
    }

    fn describe(&self) -> String {
        format!("Remember that {} has to be told", self.what)
    }

    fn check(&self, _: &Host, history: &History) -> Result<Checked> {
        Ok(Checked::done_if(history.undo.is_some(), "for uninstall"))
    }

    fn prepare(&self, _: &Host, _: &Originals) -> Result<Undo> {
        Ok(Undo::Program { argv: self.argv.iter().map(|word| (*word).to_owned()).collect() })
    }

    fn apply(&self, _: &Host, _: &History) -> Result<Applied> {
        Ok(Applied::Done)
    }
}
