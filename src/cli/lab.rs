//! Throw-away test hosts.

use crate::config::EngineName;
use crate::config::devstack::GitBase;
use crate::systems::LabSystem;
use clap::{Args, Subcommand};

/// Throw-away test hosts.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Make a host and install a cloud in it
    #[command(
        after_help = "Examples:\n  gpucloud-install lab up --yes\n  gpucloud-install lab up --name two --os debian12 --no-install"
    )]
    Up(LabUp),
    /// Run a program in a host; its output, its exit status
    Exec(LabExec),
    /// Open a shell in a host
    #[command(after_help = "Example:\n  gpucloud-install lab shell lab")]
    Shell(LabName),
    /// List hosts and snapshots
    #[command(after_help = "Example:\n  gpucloud-install lab list")]
    List,
    /// Show the state of a host and of its cloud
    #[command(after_help = "Example:\n  gpucloud-install lab status lab")]
    Status(LabName),
    /// Shut a host down, copy its disk to a snapshot, start it again
    #[command(after_help = "Example:\n  gpucloud-install lab save lab before-upgrade")]
    Save(LabSnapshot),
    /// Make a host from a snapshot and start it; it has the address of the host
    /// that was saved, which must be down
    #[command(
        after_help = "Examples:\n  gpucloud-install lab down lab\n  gpucloud-install lab restore before-upgrade lab"
    )]
    Restore(LabRestore),
    /// Reboot a host and wait until its cloud is healthy
    #[command(after_help = "Example:\n  gpucloud-install lab reboot lab")]
    Reboot(LabName),
    /// Take a host or a snapshot away without a trace
    #[command(
        after_help = "Examples:\n  gpucloud-install lab down lab --yes\n  gpucloud-install lab down --purge --yes"
    )]
    Down(LabDown),
}

/// A lab by name.
#[derive(Debug, Args)]
pub struct LabName {
    /// Its name
    #[arg(default_value = "lab")]
    pub name: String,
}

/// Options of `lab up`.
#[derive(Debug, Args)]
pub struct LabUp {
    /// Its name: small letters, digits, `-`, at most 11
    #[arg(long, default_value = "lab")]
    pub name: String,
    /// Its system; debian13 unless said
    #[arg(long, value_enum)]
    pub os: Option<LabSystem>,
    /// Profile of its cloud
    #[arg(long, default_value = "lab")]
    pub profile: String,
    /// Engine of its cloud
    #[arg(long, value_enum)]
    pub engine: Option<EngineName>,
    /// Where its cloud clones repositories from: an address, or a folder of
    /// this machine, which the host then sees
    #[arg(long)]
    pub git_base: Option<GitBase>,
    /// Let its instances run on this machine's KVM; without, they are emulated
    #[arg(long)]
    pub kvm: bool,
    /// Only make the host: no cloud
    #[arg(long)]
    pub no_install: bool,
}

/// Options of `lab exec`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install lab exec lab -- openstack --os-cloud gpucloud service list")]
pub struct LabExec {
    /// Its name
    pub name: String,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Options of `lab save`.
#[derive(Debug, Args)]
pub struct LabSnapshot {
    /// The host
    pub name: String,
    /// The snapshot
    pub snapshot: String,
}

/// Options of `lab restore`.
#[derive(Debug, Args)]
pub struct LabRestore {
    /// The snapshot
    pub snapshot: String,
    /// The new host
    pub name: String,
}

/// Options of `lab down`.
#[derive(Debug, Args)]
pub struct LabDown {
    /// Its name, or that of a snapshot
    #[arg(default_value = "lab")]
    pub name: String,
    /// All hosts and snapshots, and then the packages and images that labs brought
    #[arg(long, conflicts_with = "name")]
    pub purge: bool,
}
