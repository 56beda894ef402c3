//! Mirrors of what DevStack clones.

use crate::config::devstack::{Branch, Extra, GitBase};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Mirrors.
#[derive(Debug, Subcommand)]
pub enum Mirror {
    /// Fetch what is missing, each repository at its pinned commit; goes on where
    /// it stopped
    #[command(
        after_help = "Examples:\n  sudo gpucloud-install mirror create /srv/git\n  sudo gpucloud-install mirror create /srv/git --with cinder --branch master"
    )]
    Create(MirrorCreate),
    /// Look whether everything that its lock names is there and whole
    #[command(after_help = "Example:\n  gpucloud-install mirror verify /srv/git")]
    Verify(MirrorVerify),
}

/// Options of `mirror create`.
#[derive(Debug, Args)]
pub struct MirrorCreate {
    /// The folder
    pub folder: PathBuf,
    /// Where to fetch from: an address, or another folder
    #[arg(long, default_value = "https://opendev.org")]
    pub from: GitBase,
    /// The branch
    #[arg(long, default_value = crate::systems::NEWEST_BRANCH)]
    pub branch: Branch,
    /// A service beyond those that every cloud has; may be repeated
    #[arg(long, value_enum)]
    pub with: Vec<Extra>,
}

/// Options of `mirror verify`.
#[derive(Debug, Args)]
pub struct MirrorVerify {
    /// The folder
    pub folder: PathBuf,
}
