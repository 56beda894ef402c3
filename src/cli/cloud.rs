//! What of the cloud is worked with every day: instances, images, flavors, quotas.

use crate::config::resources::{ImageFormat, ResourceName};
use clap::{Args, Subcommand};

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
    /// Its name; where that makes no host name, it gets one near to it
    #[arg(value_parser = instance_name)]
    pub name: String,
    /// Name or id of its image
    #[arg(long)]
    pub image: Option<String>,
    /// Name or id of its flavor
    #[arg(long)]
    pub flavor: Option<String>,
    /// Name or id of its network
    #[arg(long)]
    pub network: Option<String>,
    /// Name of the key pair that may log in
    #[arg(long)]
    pub key: Option<String>,
    /// Name or id of a security group; may be repeated
    #[arg(long = "security-group", value_name = "NAME")]
    pub security_groups: Vec<String>,
    /// Without an address that others can reach
    #[arg(long)]
    pub no_floating_ip: bool,
    /// Boot from a volume of this size, made of the image; it goes with the instance
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub boot_volume: Option<u32>,
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
    /// Its name or id
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
    /// Its name or id
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
    /// Its name or id
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
    /// Its name or id
    pub name: String,
    /// Name or id of the new flavor
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
    /// Insist that it is a raw disk, where its content has neither a partition
    /// table nor a known file system
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ImageFormat>,
    /// A property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub property: Vec<(String, String)>,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Something by its name or id.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name or id
    pub name: String,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Volumes.
#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Make a volume
    #[command(after_help = "Example:\n  gpucloud-install volume create data --size-gib 20")]
    Create(VolumeSize),
    /// List volumes, and which instances have them
    #[command(after_help = "Example:\n  gpucloud-install volume list --json | jq .volumes")]
    List(Cloud),
    /// Make a volume larger, also while an instance has it
    #[command(
        after_help = "Inside the instance its file system is grown then: resize2fs /dev/vdb\n\nExample:\n  gpucloud-install volume extend data --size-gib 40"
    )]
    Extend(VolumeSize),
    /// Give a volume to an instance, as a disk more
    #[command(after_help = "Example:\n  gpucloud-install volume attach data demo")]
    Attach(VolumeOfInstance),
    /// Take a volume from the instance that has it; unmount it inside first
    #[command(after_help = "Example:\n  gpucloud-install volume detach data")]
    Detach(Named),
    /// Remove a volume with what is on it
    #[command(after_help = "Example:\n  gpucloud-install volume delete data --yes")]
    Delete(Named),
}

/// Options of `volume create` and `volume extend`.
#[derive(Debug, Args)]
pub struct VolumeSize {
    /// Its name; to extend it, its name or id
    pub name: String,
    /// Its size in GiB
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub size_gib: u32,
    /// Which cloud
    #[command(flatten)]
    pub cloud: Cloud,
}

/// Options of `volume attach`.
#[derive(Debug, Args)]
pub struct VolumeOfInstance {
    /// Name or id of the volume
    pub name: String,
    /// Name or id of the instance
    pub instance: String,
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
    /// Name or id of the project
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
    /// Name or id of the project
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

/// What Nova takes for a name (nova/api/validation/parameter_types.py), without the blanks at its ends that it cuts off,
/// and without what would be taken for an option.
fn instance_name(text: &str) -> Result<String, String> {
    let wrong = if text.trim() != text || text.is_empty() {
        "it is empty, or has blanks at its ends"
    } else if text.chars().count() > 255 {
        "it is longer than 255"
    } else if text.chars().any(char::is_control) {
        "it has control characters"
    } else if text.starts_with('-') {
        "it begins with `-`, as options do"
    } else {
        return Ok(text.to_owned());
    };
    Err(format!("`{}` is no name of an instance: {wrong}", text.escape_debug()))
}
