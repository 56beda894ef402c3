//! Cards for instances.

use crate::config::gpu::CardAddress;
use clap::{Args, Subcommand};

/// Cards for instances.
#[derive(Debug, Subcommand)]
pub enum Gpu {
    /// Each card with its verdict, and whether it is claimed
    #[command(after_help = "Example:\n  sudo gpucloud-install gpu list")]
    List,
    /// Claim cards for instances: this machine lets go of them, at its next boot where it must
    Claim(GpuClaim),
    /// Give cards back to this machine
    Release(GpuRelease),
    /// Prove cards: a throw-away guest gets each, looks, and gives it back; one that fails is given to nobody
    Test(GpuTest),
    /// Bind what is claimed (what a unit runs at boot)
    #[command(hide = true)]
    Bind,
    /// Give all that is claimed back to its drivers (what uninstall runs)
    #[command(hide = true)]
    Unbind,
}

/// Options of `gpu claim`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without addresses: all cards that nothing stands in the way of.\n\nExamples:\n  sudo gpucloud-install gpu claim\n  sudo gpucloud-install gpu claim 41:00.0 c1:00.0 --reboot"
)]
pub struct GpuClaim {
    /// Where the cards are (`gpu list` shows it)
    #[arg(value_name = "ADDRESS")]
    pub cards: Vec<CardAddress>,
    /// Reboot at once where that is needed
    #[arg(long)]
    pub reboot: bool,
}

/// Options of `gpu release`.
#[derive(Debug, Args)]
#[command(after_help = "Without addresses: all of them.\n\nExample:\n  sudo gpucloud-install gpu release 41:00.0")]
pub struct GpuRelease {
    /// Where the cards are (`gpu list` shows it)
    #[arg(value_name = "ADDRESS")]
    pub cards: Vec<CardAddress>,
}

/// Options of `gpu test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without addresses: all that are claimed, bound and free. It is due again after a new kernel.\nA card that fails is quarantined: it stays claimed, and the cloud is not told of it any more, until it passes.\n\nExamples:\n  sudo gpucloud-install gpu test\n  sudo gpucloud-install gpu test 41:00.0"
)]
pub struct GpuTest {
    /// Where the cards are (`gpu list` shows it)
    #[arg(value_name = "ADDRESS")]
    pub cards: Vec<CardAddress>,
}
