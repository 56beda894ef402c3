//! How the tunnel is, noted by its process. `engine/probe.rs` reads it for `status`, and decides there what is grave.

use crate::host::command::harmless;
use crate::host::{Host, Result, files};
use crate::paths::TUNNEL_STATE;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes of what is noted: who writes it is nobody.
const LONGEST: u64 = 16 << 10;

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum State {
    /// It is being held, and nobody was seen through it yet.
    Connecting,
    /// The portal is reached through it.
    Up,
    /// It is not reached, and held anew.
    Lost(String),
    /// The service refuses us: nothing is tried until something else is told.
    Refused(String),
}

/// Where it is noted.
pub fn file() -> PathBuf {
    Path::new(TUNNEL_STATE).join("state.json")
}

/// Notes it.
///
/// # Errors
/// It cannot be written.
pub fn note(host: &Host, file: &Path, state: &State) -> Result<()> {
    let text = serde_json::to_vec(state).unwrap_or_default();
    files::write(host, file, &text, 0o644, None)
}

/// What was noted; none: nothing that can be read.
pub fn noted(host: &Host) -> Option<State> {
    let bytes = files::read_at_most(host, &file(), LONGEST).ok().flatten()?;
    // Who wrote it may nothing, and repeats what a service said.
    Some(match serde_json::from_slice(&bytes).ok()? {
        State::Lost(why) => State::Lost(harmless(&why)),
        State::Refused(why) => State::Refused(harmless(&why)),
        other => other,
    })
}
