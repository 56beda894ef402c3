//! The command line as types, nothing else.

use crate::config::EngineName;
use crate::config::devstack::{Branch, Extra, GitBase};
use crate::config::resources::ResourceName;
use crate::systems::LabSystem;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::sync::LazyLock;

const EXAMPLES: &str = "\
Examples:
  sudo gpucloud-install             asks, shows the plan, installs
  gpucloud-install lab up --yes     a healthy cloud in a throw-away host
  sudo gpucloud-install plan        what apply would change, and nothing done
  sudo gpucloud-install status      what is up, layer by layer

Exit status:
  0 done   1 failed   2 wrong usage   3 stopped by a check   4 stopped midway
  5 reboot needed   6 undo incomplete   130 interrupted";

/// Names the answer file, as `--config` does.
pub const CONFIG_VARIABLE: &str = "GPUCLOUD_CONFIG";

/// Install a private GPU cloud on this machine: planned, resumable, undoable.
#[derive(Debug, Parser)]
#[command(name = "gpucloud-install", bin_name = "gpucloud-install", version = version(), max_term_width = 80)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; without it: ask, plan, apply.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The version, and of which sources where `bootstrap.sh` built it: it tells by that whether to build again.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let sources = option_env!("GPUCLOUD_SOURCES").map(|hash| format!(" (sources {hash})"));
        format!("{}{}", env!("CARGO_PKG_VERSION"), sources.unwrap_or_default())
    });
    &VERSION
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The answer file
    #[arg(long, global = true, value_name = "FILE", env = CONFIG_VARIABLE, default_value = crate::config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Print one JSON document on standard output, prose on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// How a run shows its progress, on standard error
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
    /// Ask nothing
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Read the machine's facts from a captured tree; nothing can be applied
    #[arg(long, global = true, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// How many steps run at a time (1: in plan order)
    #[arg(long, global = true, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Show the output of programs too
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Lines
    Plain,
    /// One JSON event a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an answer file from a profile and this machine's facts; asks nothing
    Init(Init),
    /// Show what apply would change; change nothing
    Plan(Plan),
    /// Make the machine what the answers say
    Apply(Apply),
    /// Show what is up, layer by layer
    #[command(after_help = "Example:\n  sudo gpucloud-install status --json | jq .healthy")]
    Status,
    /// Look for what is wrong: machine, pending changes, services
    #[command(after_help = "Example:\n  sudo gpucloud-install doctor")]
    Doctor,
    /// Bring back what is down, layer by layer, until all of the cloud answers
    #[command(after_help = "Example:\n  sudo gpucloud-install recover")]
    Recover,
    /// Take back everything that was changed
    Uninstall(Uninstall),
    /// How instances reach the world, and the world them
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install network probe")]
    Network(Network),
    /// Show network links and display devices
    #[command(after_help = "Example:\n  gpucloud-install inventory --json | jq .nics")]
    Inventory,
    /// A folder with all that DevStack clones, for machines that reach no Git host
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install mirror create /srv/git")]
    Mirror(Mirror),
    /// Instances of the cloud: launch, look at, log in, end
    #[command(subcommand, after_help = "Example:\n  gpucloud-install instance launch one --image guest")]
    Instance(Instance),
    /// Disk images of the cloud
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install image add ubuntu-24.04")]
    Image(Image),
    /// Sizes of instances
    #[command(subcommand, after_help = "Example:\n  gpucloud-install flavor list")]
    Flavor(Flavor),
    /// What a project may use, and uses
    #[command(subcommand, after_help = "Example:\n  gpucloud-install quota show")]
    Quota(Quota),
    /// Throw-away test hosts with a whole cloud in them
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install lab up --yes")]
    Lab(Lab),
}

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install init --profile workstation --output my.toml")]
pub struct Init {
    /// The kind of use: workstation, lab
    #[arg(long, default_value = "workstation")]
    pub profile: String,
    /// Where to write; `-` for standard output. Default: the file of --config
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo gpucloud-install plan --diff | less")]
pub struct Plan {
    /// Show the content of files as diffs
    #[arg(long)]
    pub diff: bool,
}

/// Options of `apply`.
#[derive(Debug, Default, Args)]
#[command(
    after_help = "A run goes on when its terminal is closed; `apply` again watches it.\n\nExample:\n  sudo gpucloud-install apply --yes --progress plain"
)]
pub struct Apply {
    /// Run in this terminal instead of a unit of its own
    #[arg(long)]
    pub foreground: bool,
    /// Start the run and do not watch it
    #[arg(long, conflicts_with = "foreground")]
    pub detach: bool,
    /// Destroy what users have, where stack.sh has to run anew
    #[arg(long)]
    pub and_lose_all_instances: bool,
    /// Be the run itself (what the unit starts)
    #[arg(long, hide = true)]
    pub worker: bool,
}

/// Options of `uninstall`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo gpucloud-install uninstall --yes")]
pub struct Uninstall {
    /// Remove the answers and the logs too
    #[arg(long)]
    pub purge: bool,
    /// Destroy what users have in the cloud
    #[arg(long)]
    pub and_lose_all_instances: bool,
}

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
    after_help = "A change that could cut this machine off is taken back unless everybody who answered before\nstill answers.\n\nExamples:\n  sudo gpucloud-install network apply\n  sudo gpucloud-install network apply --until-confirmed 120"
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

/// Which cloud is meant.
#[derive(Debug, Clone, Args)]
pub struct Cloud {
    /// Name in /etc/openstack/clouds.yaml; the project's user unless said, and
    /// the administrator where only that one may
    #[arg(long, value_name = "NAME", env = "OS_CLOUD")]
    pub cloud: Option<String>,
}

/// Instances.
#[derive(Debug, Subcommand)]
pub enum Instance {
    /// Make an instance and wait until it answers SSH
    Launch(Launch),
    /// List instances
    #[command(after_help = "Example:\n  gpucloud-install instance list --json | jq .instances")]
    List(Cloud),
    /// Show one instance
    #[command(after_help = "Example:\n  gpucloud-install instance show demo")]
    Show(OneInstance),
    /// Log in, or run a command there
    Ssh(Ssh),
    /// Show what its console printed last, and where it is in a browser
    Console(Console),
    /// Shut it down
    #[command(after_help = "Example:\n  gpucloud-install instance stop demo")]
    Stop(OneInstance),
    /// Start it again
    #[command(after_help = "Example:\n  gpucloud-install instance start demo")]
    Start(OneInstance),
    /// Give it another flavor; it reboots
    Resize(Resize),
    /// End it; its disk is lost, its floating address is given back
    #[command(after_help = "Example:\n  gpucloud-install instance delete one --yes")]
    Delete(OneInstance),
}

/// Options of `instance launch`.
#[derive(Debug, Args)]
#[command(
    after_help = "What is not said is the only one that there is.\n\nExamples:\n  gpucloud-install instance launch one\n  gpucloud-install instance launch two --image ubuntu-24.04 --flavor ds2G"
)]
pub struct Launch {
    /// Its name
    pub name: ResourceName,
    /// Name of its image
    #[arg(long)]
    pub image: Option<String>,
    /// Name of its flavor
    #[arg(long)]
    pub flavor: Option<String>,
    /// Name of its network
    #[arg(long)]
    pub network: Option<String>,
    /// Name of the key pair that may log in
    #[arg(long)]
    pub key: Option<String>,
    /// Name of a security group; may be repeated
    #[arg(long = "security-group", value_name = "NAME")]
    pub security_groups: Vec<String>,
    /// Without an address that others can reach
    #[arg(long)]
    pub no_floating_ip: bool,
    /// How long to wait until it answers SSH, in seconds; 0: not at all
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub wait: u64,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// One instance.
#[derive(Debug, Args)]
pub struct OneInstance {
    /// Its name
    pub name: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Options of `instance ssh`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpucloud-install instance ssh demo\n  gpucloud-install instance ssh demo -- uname -a"
)]
pub struct Ssh {
    /// Its name
    pub name: String,
    /// Who logs in; by its image unless said
    #[arg(long)]
    pub user: Option<String>,
    /// Program and arguments; without: a shell
    #[arg(last = true)]
    pub command: Vec<String>,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Options of `instance console`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install instance console demo --lines 200")]
pub struct Console {
    /// Its name
    pub name: String,
    /// How many lines
    #[arg(long, default_value_t = 40)]
    pub lines: u32,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Options of `instance resize`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install instance resize demo --flavor m1.large")]
pub struct Resize {
    /// Its name
    pub name: String,
    /// The new flavor
    #[arg(long)]
    pub flavor: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Images.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Download where needed, verify, and give an image to the cloud
    Add(ImageAdd),
    /// List images, and what the catalogue knows
    #[command(after_help = "Example:\n  gpucloud-install image list --json | jq .images")]
    List(Cloud),
    /// Remove an image
    #[command(after_help = "Example:\n  gpucloud-install image delete old --yes")]
    Delete(Named),
}

/// Options of `image add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo gpucloud-install image add ubuntu-24.04\n  sudo gpucloud-install image add mine --from /srv/mine.qcow2"
)]
pub struct ImageAdd {
    /// Its name in the cloud
    pub name: ResourceName,
    /// A name of the catalogue, a file or an address; by its name unless said
    #[arg(long)]
    pub from: Option<String>,
    /// A property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub property: Vec<(String, String)>,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Something by its name.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    pub name: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Flavors.
#[derive(Debug, Subcommand)]
pub enum Flavor {
    /// Make a flavor
    Add(FlavorAdd),
    /// List flavors
    #[command(after_help = "Example:\n  gpucloud-install flavor list --json | jq .flavors")]
    List(Cloud),
    /// Remove a flavor; instances that have it keep it
    #[command(after_help = "Example:\n  gpucloud-install flavor delete old --yes")]
    Delete(Named),
}

/// Options of `flavor add`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install flavor add big --vcpus 8 --memory-mib 32768 --disk-gib 100")]
pub struct FlavorAdd {
    /// Its name
    pub name: ResourceName,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub vcpus: u32,
    /// Memory in MiB
    #[arg(long, value_name = "MIB")]
    pub memory_mib: u32,
    /// Disk in GiB; 0: as large as the image
    #[arg(long, value_name = "GIB", default_value_t = 10)]
    pub disk_gib: u32,
    /// An extra spec; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub spec: Vec<(String, String)>,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Quotas.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Show what a project may use, and uses
    #[command(after_help = "Example:\n  gpucloud-install quota show --project demo")]
    Show(QuotaShow),
    /// Change what a project may use
    #[command(after_help = "Example:\n  gpucloud-install quota set memory_mib=262144 instances=20 storage_gib=-1")]
    Set(QuotaSet),
}

/// Options of `quota show`.
#[derive(Debug, Args)]
pub struct QuotaShow {
    /// The project
    #[arg(long, default_value = "demo")]
    pub project: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Options of `quota set`.
#[derive(Debug, Args)]
pub struct QuotaSet {
    /// NAME=LIMIT; -1: none. Names: those of `quota show`
    #[arg(required = true, value_parser = key_and_limit, allow_hyphen_values = true)]
    pub limits: Vec<(String, i64)>,
    /// The project
    #[arg(long, default_value = "demo")]
    pub project: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn key_and_limit(text: &str) -> Result<(String, i64), String> {
    let (key, value) = key_and_value(text)?;
    let limit = value.parse::<i64>().ok().filter(|limit| *limit >= -1);
    Ok((key, limit.ok_or_else(|| format!("`{value}` is neither a number nor -1"))?))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn each(command: &clap::Command, check: &dyn Fn(&clap::Command)) {
        if command.is_hide_set() {
            return;
        }
        check(command);
        command.get_subcommands().filter(|command| command.get_name() != "help").for_each(|inner| each(inner, check));
    }

    #[test]
    fn every_help_teaches_by_an_example_and_fits_80_columns() {
        let mut program = Cli::command();
        program.build();
        each(&program, &|command| {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        });
    }
}
