//! How instances reach the world.

use clap::{Args, Subcommand};

/// How instances reach the world, and the world them.
#[derive(Debug, Subcommand)]
pub enum Network {
    /// Show what is, what should be, and the difference
    #[command(after_help = "Example:\n  sudo gpucloud-install network show")]
    Show,
    /// Show what `network apply` would change
    #[command(after_help = "Example:\n  sudo gpucloud-install network plan")]
    Plan,
    /// Make the network what the answers say, and nothing else
    Apply(NetworkApply),
    /// Take back a change that nobody confirmed yet
    #[command(after_help = "Example:\n  sudo gpucloud-install network revert")]
    Revert,
    /// Keep a change that waits for a yes
    #[command(after_help = "Example:\n  sudo gpucloud-install network confirm")]
    Confirm,
    /// Try each hop between instances and the world
    Probe(NetworkProbe),
    /// Write one page for the people of the campus network
    #[command(after_help = "Example:\n  sudo gpucloud-install network report > for-the-campus.txt")]
    Report,
    /// Bring back the state of the last complete apply (what units run)
    #[command(hide = true)]
    Keep,
}

/// Options of `network apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "A change that could cut this machine off is taken back unless everybody who answered before\nstill answers. Where nobody did who could tell, it waits two minutes for `network confirm`.\n\nExamples:\n  sudo gpucloud-install network apply\n  sudo gpucloud-install network apply --until-confirmed 120"
)]
pub struct NetworkApply {
    /// Take the change back after so many seconds, unless somebody types `network confirm`
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(5..=3600))]
    pub until_confirmed: Option<u16>,
}

/// Options of `network probe`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo gpucloud-install network probe --from ada@192.0.2.7")]
pub struct NetworkProbe {
    /// A machine outside, as ssh names it, from which an address of the cloud is tried too
    #[arg(long, value_name = "USER@HOST")]
    pub from: Option<String>,
}
