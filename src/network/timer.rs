//! What takes an unconfirmed change back in time, whatever becomes of this program.

use crate::host::{Error, Host, Result, files, systemd};
use crate::paths::PROGRAM;
use std::time::Duration;

/// The unit of the timer, and of what it starts.
const UNIT: &str = "gpucloud-network-rollback";

/// Runs `network revert` once, unless it is stopped before.
pub trait RollbackTimer: Send + Sync {
    /// Begins.
    fn start(&self, limit: Duration) -> Result<()>;
    /// Ends; one that does not run is fine.
    fn stop(&self) -> Result<()>;
    /// Whether it still runs.
    fn is_armed(&self) -> Result<bool>;
}

/// A transient timer of systemd's: it outlives this program and the SSH session that it was typed in, not a boot.
pub struct SystemdTimer(pub Host);

impl RollbackTimer for SystemdTimer {
    fn start(&self, limit: Duration) -> Result<()> {
        let host = &self.0.unstoppable();
        let program = match files::exists(host, PROGRAM) {
            true => PROGRAM.into(),
            false => std::env::current_exe().map_err(|error| Error::protocol("find this program", error))?,
        };
        let after = format!("--on-active={}s", limit.as_secs());
        let options = ["--collect".to_owned(), "--timer-property=AccuracySec=1s".to_owned(), after];
        let words = [&program.display().to_string(), "network", "revert"];
        systemd::start_transient(host, UNIT, &options, &words.map(str::to_owned))
    }

    fn stop(&self) -> Result<()> {
        systemd::stop_transient(&self.0.unstoppable(), &format!("{UNIT}.timer"))
    }

    fn is_armed(&self) -> Result<bool> {
        Ok(systemd::unit(&self.0, &format!("{UNIT}.timer"))?.is_active())
    }
}
