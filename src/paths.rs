//! Names of ours that more than one room knows: where our files lie on a host, and what is ours in its kernel. What
//! only one room writes and reads stands in that room.

/// The answers, where `--config` names no other file.
pub const ANSWERS: &str = "/etc/gpucloud/gpucloud.toml";
/// The variable that names another file with answers.
pub const ANSWERS_VARIABLE: &str = "GPUCLOUD_CONFIG";
/// Where units, and the continuation after a boot, find this program: not on a disk that the network may take away.
pub const PROGRAM: &str = "/usr/local/bin/gpucloud-install";
/// Generated passwords and keys, 0600.
pub const SECRETS: &str = "/etc/gpucloud/secrets.toml";
/// Journal, and what runs note for those after them.
pub const STATE: &str = "/var/lib/gpucloud";
/// What was changed, and what was there before.
pub const JOURNAL: &str = "/var/lib/gpucloud/journal.jsonl";
/// The answers of the last complete apply, 0600.
pub const APPLIED: &str = "/var/lib/gpucloud/applied.toml";
/// Where tasks without a trace of their own note that they were done, and for which version.
pub const STAMPS: &str = "/var/lib/gpucloud/stamps";
/// Where images lie before they go to Glance.
pub const IMAGES: &str = "/var/lib/gpucloud/images";
/// What a run, and its continuation after a boot, take along of the environment in which it was asked for, 0600.
pub const ENVIRONMENT: &str = "/var/lib/gpucloud/run.environment";
/// What whoever logs in is told until the installation that goes on after a boot has ended (pam_motd).
pub const GOES_ON: &str = "/etc/motd.d/gpucloud";
/// What a boot takes away with it.
pub const RUNTIME: &str = "/run/gpucloud";
/// One log for each run that changed something.
pub const LOGS: &str = "/var/log/gpucloud";

/// The external bridge of Open vSwitch.
pub const BRIDGE: &str = "br-ex";
/// Our nftables table, of the family inet.
pub const TABLE: &str = "gpucloud";
/// Keys and tokens of notebooks, and what is noted of the classroom, 0700.
pub const CLASSROOM: &str = "/var/lib/gpucloud/classroom";
/// What students had in notebooks that were deleted, 0700.
pub const HOMES: &str = "/var/lib/gpucloud/homes";
/// This machine's link in the network of the notebooks.
pub const CLASS_LINK: &str = "gcportal0";
/// What the portal knows, and who is logged in there: root's, with the portal's account as its group.
pub const PORTAL: &str = "/var/lib/gpucloud-portal";
/// What the tunnel knows, and how it is: root's, with the tunnel's account as its group.
pub const TUNNEL: &str = "/var/lib/gpucloud-tunnel";
/// How the tunnel is, and files of the program that holds it; gone when it ends.
pub const TUNNEL_STATE: &str = "/run/gpucloud-tunnel";
/// The volume group that volumes are cut from.
pub const VOLUME_GROUP: &str = "gpucloud-volumes";
