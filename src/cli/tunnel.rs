//! The tunnel: verbs, their options and defaults. What they do: `command/tunnel.rs`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The tunnel.
#[derive(Debug, Subcommand)]
pub enum Tunnel {
    /// Hold the tunnel; its unit runs this, as an account that may nothing else
    #[command(hide = true)]
    Serve(TunnelServe),
    /// Show whether students outside reach their page, and how much of its plan is used
    #[command(after_help = "Example:\n  sudo gpucloud-install tunnel show --students 40 --hours 1.5")]
    Show(TunnelShow),
    /// Give the token by which the service knows this machine: typed, or on standard
    /// input
    #[command(after_help = "Example:\n  sudo gpucloud-install tunnel token <token.txt")]
    Token,
}

/// Options of `tunnel show`.
#[derive(Debug, Args)]
pub struct TunnelShow {
    /// How many students work at once
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub students: u32,
    /// For how many hours
    #[arg(long, value_name = "H", default_value_t = 1.5)]
    pub hours: f64,
}

/// Options of `tunnel serve`.
#[derive(Debug, Args)]
pub struct TunnelServe {
    /// What root tells
    #[arg(long, value_name = "FILE", default_value = crate::tunnel::told::FILE)]
    pub told: PathBuf,
    /// Where its state is noted, and files of programs are
    #[arg(long, value_name = "DIRECTORY")]
    pub state: PathBuf,
}
