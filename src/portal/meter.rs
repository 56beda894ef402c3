//! How many requests came through the tunnel in this month (UTC): services count them, and end what goes beyond the plan.

use crate::host::{Host, Result, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where it is noted.
pub const FILE: &str = "/var/lib/gpucloud-portal/sessions/requests.json";
/// Bytes of what is noted: root reads what the portal's account wrote.
const LONGEST: u64 = 1 << 10;

/// The count of one month.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// "2026-12".
    pub month: String,
    /// Requests in it.
    pub requests: u64,
}

/// Counts, and notes what was counted.
#[derive(Debug)]
pub struct Meter {
    file: Option<PathBuf>,
    count: Mutex<Count>,
}

/// The same beside this file of sessions.
pub fn file_beside(sessions: &Path) -> PathBuf {
    sessions.with_file_name("requests.json")
}

/// What was noted there; nothing of another month than this one.
pub fn noted(host: &Host, file: &Path) -> Count {
    let bytes = files::read_at_most(host, file, LONGEST).ok().flatten().unwrap_or_default();
    let count: Count = serde_json::from_slice(&bytes).unwrap_or_default();
    let month = this_month();
    if count.month == month { count } else { Count { month, requests: 0 } }
}

impl Meter {
    /// Goes on with what was noted in `file`.
    pub fn load(host: &Host, file: PathBuf) -> Self {
        Self { count: Mutex::new(noted(host, &file)), file: Some(file) }
    }

    /// Counts one; returns how many there were in this month.
    pub fn count(&self) -> u64 {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.requests += 1;
        count.requests
    }

    /// How many there were in this month.
    pub fn requests(&self) -> u64 {
        self.count.lock().unwrap_or_else(PoisonError::into_inner).requests
    }

    /// Notes it, and begins anew in a new month.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, host: &Host) -> Result<()> {
        let now = {
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            // A clock that was wrong at the boot has not counted what was noted of this month.
            if let (Some(file), true) = (&self.file, count.month != this_month()) {
                *count = noted(host, file);
            }
            count.clone()
        };
        let Some(file) = self.file.as_ref().filter(|file| noted(host, file) != now) else { return Ok(()) };
        files::write(host, file, &serde_json::to_vec(&now).unwrap_or_default(), 0o600, None)
    }
}

fn this_month() -> String {
    jiff::Timestamp::now().strftime("%Y-%m").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_there_again_and_another_month_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (host, file) = (Host::at(dir.path()), PathBuf::from("/requests.json"));
        let meter = Meter::load(&host, file.clone());
        assert_eq!((meter.count(), meter.count()), (1, 2));
        meter.note(&host).unwrap();
        assert_eq!(noted(&host, &file).requests, 2);
        assert_eq!(Meter::load(&host, file.clone()).count(), 3);
        std::fs::write(dir.path().join("requests.json"), r#"{"month":"1999-12","requests":7}"#).unwrap();
        assert_eq!(Meter::load(&host, file.clone()).requests(), 0);
        std::fs::write(dir.path().join("requests.json"), "nonsense").unwrap();
        assert_eq!(noted(&host, &file).requests, 0);
    }
}
