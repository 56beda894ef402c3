//! Throw-away test hosts.

use crate::config::EngineName;
use crate::config::devstack::GitBase;
use crate::systems::LabSystem;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Throw-away test hosts.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Make a host and install a cloud in it
    ///
    /// A container unless said otherwise: quick, on this machine's kernel. A
    /// virtual machine (--kind vm) has a kernel of its own, real reboots, power
    /// cuts, an IOMMU and stand-ins for display devices; it runs on KVM where that
    /// boots a kernel, else it is emulated, some twelve times slower.
    #[command(
        after_help = "Examples:\n  gpucloud-install lab up --yes\n  gpucloud-install lab up --name two --os debian12 --no-install\n  gpucloud-install lab up --name board --kind vm --cards profiles/cards/companions.toml --no-install"
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
    /// Show what a virtual machine wrote to its serial line
    #[command(
        after_help = "Examples:\n  gpucloud-install lab console board\n  gpucloud-install lab console board --follow"
    )]
    Console(LabConsole),
    /// Copy a host to a snapshot: a container is shut down for that and started
    /// again, a virtual machine stops for seconds and is saved as it runs
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
    /// Cut a host's power: all its processes end at once; `lab up` starts it again
    #[command(after_help = "Example:\n  gpucloud-install lab cut lab && gpucloud-install lab up --name lab --yes")]
    Cut(LabName),
    /// Pack a box for Vagrant with libvirt: a host without a cloud, for networks
    /// without internet
    ///
    /// Vagrant logs in to it as `vagrant` with its key that everybody has, and the
    /// password is `vagrant`: such a machine belongs on a network of its own.
    #[command(
        after_help = "Example:\n  gpucloud-install lab box debian13.box\n  vagrant box add --name gpucloud-debian13 --provider libvirt debian13.box"
    )]
    Box(LabBox),
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
    /// What it is; a container unless said
    #[arg(long, value_enum)]
    pub kind: Option<LabKind>,
    /// Its system; debian13 unless said
    #[arg(long, value_enum)]
    pub os: Option<LabSystem>,
    /// With --kind vm: what stands on its board, a file like those in
    /// profiles/cards/; without, a console and four cards
    #[arg(long, value_name = "FILE")]
    pub cards: Option<PathBuf>,
    /// With --kind vm: its memory; 8 with a cloud, 2 without
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub memory: Option<u32>,
    /// Profile of its cloud; `vagrant` for a virtual machine, else `lab`
    #[arg(long)]
    pub profile: Option<String>,
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

/// What a lab can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabKind {
    /// On this machine's kernel
    Container,
    /// With a kernel of its own
    Vm,
}

/// Options of `lab console`.
#[derive(Debug, Args)]
pub struct LabConsole {
    /// Its name
    #[arg(default_value = "lab")]
    pub name: String,
    /// Go on showing what it writes
    #[arg(long)]
    pub follow: bool,
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

/// Options of `lab box`.
#[derive(Debug, Args)]
pub struct LabBox {
    /// Where to write it; nothing may be there
    pub file: PathBuf,
    /// Its system
    #[arg(long, value_enum, default_value = "debian13")]
    pub os: LabSystem,
    /// A file with the public keys that log in; without, the one of which every
    /// Vagrant has the other half, from the package `vagrant`
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
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
