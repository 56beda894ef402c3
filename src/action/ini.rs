//! Single keys in a configuration file that another program made and goes on to own.

use super::{Action, ActionId, Applied, Change, Checked, History, Originals, Undo};
use crate::host::accounts::Owner;
use crate::host::{Host, Result, files};
use crate::ini::{self, Key};
use std::path::{Path, PathBuf};

/// Set keys; what else stands in the file stays. It goes with the file: nothing to take back.
#[derive(Debug, Clone)]
pub struct IniKeys {
    /// The file.
    pub path: PathBuf,
    /// The keys.
    pub keys: Vec<Key>,
}

impl IniKeys {
    fn merged(&self, text: &str) -> String {
        self.keys.iter().fold(text.to_owned(), |text, key| ini::set(&text, key))
    }
}

impl Action for IniKeys {
    fn id(&self) -> ActionId {
        ActionId::new("ini", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Set {} keys in {}", self.keys.len(), self.path.display())
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let Some(text) = files::read_text(host, &self.path)? else {
            return Ok(Checked::Later("when its owner has made it".into()));
        };
        let differs = |key: &&Key| ini::values(&text, &key.section, &key.name) != key.values;
        let words = |key: &Key| format!("[{}] {} = {}", key.section, key.name, key.values.join(" | "));
        let left: Vec<String> = self.keys.iter().filter(differs).map(words).collect();
        Ok(if left.is_empty() { Checked::Done } else { Checked::Needed(Change::new(left.join("; "))) })
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        let text = files::read_text(host, &self.path)?.unwrap_or_default();
        let status = files::status(host, &self.path)?;
        let mode = status.as_ref().map_or(0o640, |status| status.mode);
        let owner: Option<Owner> = status.filter(|_| host.is_live()).map(|status| status.owner);
        files::write(host, &self.path, self.merged(&text).as_bytes(), mode, owner)?;
        Ok(Applied::Done)
    }

    fn changes(&self) -> Option<&Path> {
        Some(&self.path)
    }
}
