//! The command line as types, nothing else; subcommands with verbs of their own have a file in `cli/`.

mod cloud;
mod gpu;
mod lab;
mod mirror;
mod network;
pub mod notebook;
pub mod portal;
pub mod tunnel;

pub use cloud::*;
pub use gpu::*;
pub use lab::*;
pub use mirror::*;
pub use network::*;
pub use notebook::Notebook;
pub use portal::Portal;
pub use tunnel::Tunnel;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::sync::LazyLock;

const EXAMPLES: &str = "\
Examples:
  sudo gpucloud-install             asks, shows the plan, installs
  gpucloud-install lab up --yes     a healthy cloud in a throw-away host
  sudo gpucloud-install plan        what apply would change, and nothing done
  sudo gpucloud-install status      what is up, layer by layer";

/// What `--help` adds to the short page of `-h`.
const MORE: &str = "\
Examples:
  sudo gpucloud-install             asks, shows the plan, installs
  gpucloud-install lab up --yes     a healthy cloud in a throw-away host
  sudo gpucloud-install plan        what apply would change, and nothing done
  sudo gpucloud-install status      what is up, layer by layer

Files:
  /etc/gpucloud/gpucloud.toml       the answers; edit, then: plan, apply
  /etc/gpucloud/secrets.toml        the passwords, for root alone
  /var/lib/gpucloud/journal.jsonl   every change, and how it is taken back
  /var/log/gpucloud                 what each run did

Exit status:
  0 done   1 failed   2 wrong usage   3 stopped by a check   4 stopped midway
  5 reboot needed   6 undo incomplete   130 interrupted";

/// Install a private GPU cloud on this machine: planned, resumable, undoable.
#[derive(Debug, Parser)]
#[command(name = "gpucloud-install", bin_name = "gpucloud-install", version = version(), max_term_width = 80)]
#[command(after_help = EXAMPLES, after_long_help = MORE)]
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

/// Options of `inventory`.
#[derive(Debug, Args)]
pub struct Inventory {
    /// Pack what verdicts are drawn from into this file (tar.gz): no serial numbers, addresses or names of this machine.
    /// Unpacked, it is a tree for --sysroot
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The answer file
    #[arg(long, global = true, value_name = "FILE", env = crate::paths::ANSWERS_VARIABLE, default_value = crate::paths::ANSWERS)]
    pub config: PathBuf,
    /// Print one JSON document on standard output, prose on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// How a run shows its progress, on standard error
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
    /// Ask nothing
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Read the machine's facts from a captured tree; nothing can be applied
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// How many steps run at a time (1: in plan order)
    #[arg(long, global = true, hide_short_help = true, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
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
    Doctor(Doctor),
    /// Bring back what is down, layer by layer, until all of the cloud answers
    #[command(after_help = "Example:\n  sudo gpucloud-install recover")]
    Recover,
    /// Take back everything that was changed
    Uninstall(Uninstall),
    /// How instances reach the world, and the world them
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install network probe")]
    Network(Network),
    /// Show network links, and each card with what stands between it and an instance
    #[command(
        after_help = "Example:\n  gpucloud-install inventory --json | jq '.gpus[] | {address, verdict}'\n  sudo gpucloud-install inventory --capture machine.tar.gz"
    )]
    Inventory(Inventory),
    /// Cards for instances: claim them, give them back
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install gpu claim")]
    Gpu(Gpu),
    /// A folder with all that DevStack clones, for machines that reach no Git host
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install mirror create /srv/git")]
    Mirror(Mirror),
    /// Instances of the cloud: launch, look at, log in, end
    #[command(subcommand, after_help = "Example:\n  gpucloud-install instance launch one --image guest")]
    Instance(Instance),
    /// Disk images of the cloud
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install image add ubuntu-24.04")]
    Image(Image),
    /// Volumes of the cloud: disks that outlive an instance
    #[command(subcommand, after_help = "Example:\n  gpucloud-install volume create data --size-gib 20")]
    Volume(Volume),
    /// Sizes of instances
    #[command(subcommand, after_help = "Example:\n  gpucloud-install flavor list")]
    Flavor(Flavor),
    /// What a project may use, and uses
    #[command(subcommand, after_help = "Example:\n  gpucloud-install quota show")]
    Quota(Quota),
    /// Notebooks: a JupyterLab for each student, in an instance of its own
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install notebook create ada")]
    Notebook(Notebook),
    /// The page that students open: where it is, and by what browsers know it
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install portal show")]
    Portal(Portal),
    /// The way to that page for students outside
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install tunnel show")]
    Tunnel(Tunnel),
    /// Throw-away test hosts with a whole cloud in them
    #[command(subcommand, after_help = "Example:\n  sudo gpucloud-install lab up --yes")]
    Lab(Lab),
    /// Print what bash, zsh or fish complete
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
    /// Run a program that believes this machine has another host name
    #[command(hide = true)]
    RunAsHost(RunAsHost),
}

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gpucloud-install init --profile workstation --output my.toml")]
pub struct Init {
    /// The kind of use: workstation, lab, devstack, vagrant
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

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo gpucloud-install doctor")]
pub struct Doctor {
    /// List the checks, and ask none of them
    #[arg(long)]
    pub list: bool,
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

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  gpucloud-install completions bash \\\n    > ~/.local/share/bash-completion/completions/gpucloud-install"
)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpucloud-install man | man -l -\n  sudo gpucloud-install man --output /usr/local/share/man/man1"
)]
pub struct Man {
    /// A folder for the pages of all commands
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Options of `run-as-host`.
#[derive(Debug, Args)]
pub struct RunAsHost {
    /// The host name
    pub name: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<std::ffi::OsString>,
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
