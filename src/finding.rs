//! Findings: what a check, an engine or an action has to say of this machine (pass, warn, stop), with what to do about
//! it.

use serde::Serialize;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Pass,
    /// The installation works, but something will not.
    Warn,
    /// The installation cannot work.
    Stop,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the check.
    pub id: &'static str,
    /// How grave it is.
    pub level: Level,
    /// In words.
    pub what: String,
    /// What was seen.
    pub evidence: String,
    /// What to do about it; empty when nothing.
    pub next: String,
}

/// A check, as `doctor --list` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Stable name, which its findings have too.
    pub id: &'static str,
    /// What is so when all is well.
    pub description: &'static str,
}

/// Why a check could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// In words; evidence.
    pub why: String,
    /// What to do about it.
    pub next: &'static str,
}

impl Unasked {
    /// It could not be read.
    pub fn unread(why: impl ToString) -> Self {
        Self { why: why.to_string(), next: "repair that, and look again" }
    }
}

impl Finding {
    /// A check that could not be asked: nobody knows, and that is said.
    pub fn unasked(check: &Described, unasked: Unasked) -> Self {
        let what = format!("could not be asked whether {}", check.description);
        Self::warn(check.id, what, unasked.next).seen(unasked.why)
    }

    /// All is well.
    pub fn pass(id: &'static str, what: impl Into<String>) -> Self {
        Self { id, level: Level::Pass, what: what.into(), evidence: String::new(), next: String::new() }
    }

    /// Something will not work.
    pub fn warn(id: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { id, level: Level::Warn, what: what.into(), evidence: String::new(), next: next.into() }
    }

    /// Nothing will work.
    pub fn stop(id: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Stop, ..Self::warn(id, what, next) }
    }

    /// With what was seen.
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }
}

/// Bytes as a person reads them, in binary units.
pub fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 40 => format!("{:.1} TiB", n as f64 / (1_u64 << 40) as f64),
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / (1_u64 << 30) as f64),
        n => format!("{} MiB", n >> 20),
    }
}
