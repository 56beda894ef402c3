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

impl Finding {
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
