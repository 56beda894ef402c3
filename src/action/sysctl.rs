//! A kernel parameter below `/proc/sys`, now. (Arguments of the kernel's command line are GRUB's: `gpu/steps.rs`; those of
//! the cloud's network are part of its state: `network/mod.rs`.)
//!
//! What sets it again at every boot is a drop-in, an action of its own that comes before: so that `systemd-sysctl`
//! never puts an older value back between the two (netavark 1.16 met that race).

use super::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result, sysctl};

/// Set a kernel parameter now. Its drop-in is a [`super::file::File`] before it.
#[derive(Debug, Clone)]
pub struct Sysctl {
    /// Dotted name, "net.ipv4.ip_forward".
    pub key: String,
    /// The wanted value.
    pub value: String,
}

impl Action for Sysctl {
    fn id(&self) -> ActionId {
        ActionId::new("sysctl", &self.key)
    }

    fn describe(&self) -> String {
        format!("Set {} to {}", self.key, self.value)
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let now = sysctl::read(host, &self.key)?;
        let was = now.as_deref().unwrap_or("unknown to this kernel");
        Ok(Checked::done_if(now.as_deref() == Some(self.value.as_str()), format!("{was} -> {}", self.value)))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match sysctl::read(host, &self.key)? {
            Some(value) => Undo::Sysctl { key: self.key.clone(), value },
            None => Undo::Nothing,
        })
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.value.clone())
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        sysctl::write(host, &self.key, &self.value)?;
        Ok(Applied::Done)
    }
}
