//! What a service that does not work has to be told: what is wrong, what shows it, and whether waiting may help. Probes
//! (`engine/probe.rs`) make them; whoever waits for a service goes by them.

use std::fmt;

/// What is wrong with a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// In words: "MariaDB does not answer".
    pub what: String,
    /// What shows it, where that says more; may be empty.
    pub evidence: String,
    /// What to do about it, where that is known; may be empty.
    pub next: String,
    /// Whether it may pass by itself: a service that starts. A wrong password does not.
    pub wait: bool,
    /// Whether the service does not work. What a person has set on purpose is only told.
    pub grave: bool,
}

impl Complaint {
    /// One that may pass by itself.
    pub fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), evidence: String::new(), next: String::new(), wait: true, grave: true }
    }

    /// One for which waiting does not help.
    pub fn lasting(what: impl Into<String>) -> Self {
        Self { wait: false, ..Self::passing(what) }
    }

    /// What somebody wants so, and is to be told.
    pub fn wanted(what: impl Into<String>) -> Self {
        Self { grave: false, ..Self::lasting(what) }
    }

    /// With what shows it.
    pub fn seen(self, evidence: impl ToString) -> Self {
        Self { evidence: evidence.to_string(), ..self }
    }

    /// With what to do about it.
    pub fn mended_by(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }
}

impl std::error::Error for Complaint {}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.evidence.as_str() {
            "" => f.write_str(&self.what),
            evidence => write!(f, "{} ({evidence})", self.what),
        }
    }
}
