//! Undo records: small values from which a change can be taken back without the action, the answers or the template
//! that made it, so also by a newer release. Their format is the journal's, and is migrated with it. They are data:
//! what runs them is `undo/`, above all rooms. A new variant is one here, its arm there, a new schema of the journal
//! (`plan/journal/record.rs`) and its line in the frozen samples of `tests/fixtures/journal/`.

use super::originals::Original;
use crate::host::accounts::Owner;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// How one change is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "undo")]
pub enum Undo {
    /// Nothing to take back: what it changed goes with something else.
    Nothing,
    /// Put back what was at a path, remove the directories that were made for it.
    Path {
        /// The file or link.
        path: PathBuf,
        /// What was there.
        original: Original,
        /// Directories made on the way, outermost first.
        made: Vec<PathBuf>,
    },
    /// Keep what was edited in a file since another program left it.
    Edits {
        /// The file.
        path: PathBuf,
    },
    /// Remove a directory with all in it, or give an existing one its permissions back.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was there.
        original: Original,
        /// Directories made on the way, outermost first.
        made: Vec<PathBuf>,
        /// Whether it stays when somebody else put something into it.
        #[serde(default)]
        shared: bool,
    },
    /// Remove an account that did not exist.
    User {
        /// Its name.
        name: String,
    },
    /// Remove a group that did not exist.
    Group {
        /// Its name.
        name: String,
    },
    /// Take a user out of a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// Purge packages that were not there, then remove what they leave behind.
    Packages {
        /// The packages we added, dependencies included.
        added: Vec<String>,
        /// What they leave that was not there before.
        leaves: Leaves,
    },
    /// Stop and disable a unit.
    Unit {
        /// Its name.
        name: String,
        /// Whether it was enabled before.
        enabled: bool,
        /// Whether it ran before.
        active: bool,
    },
    /// Set a kernel parameter back.
    Sysctl {
        /// Its dotted name.
        key: String,
        /// What it was.
        value: String,
    },
    /// Drop a database that did not exist.
    Database {
        /// Its name.
        name: String,
    },
    /// Drop a database account that did not exist.
    DatabaseUser {
        /// Its name.
        name: String,
        /// Where it logs in from.
        host: String,
    },
    /// Run a program.
    Program {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Stop a container and everything in its control group.
    Container {
        /// Its name.
        name: String,
    },
    /// Run unstack.sh, and remove what it leaves.
    Devstack(Stacked),
    /// Put the network back as it was.
    Network(NetworkOriginal),
    /// Put rules of iptables back.
    Iptables {
        /// "nat".
        table: String,
        /// Lines of `iptables -S`.
        rules: Vec<String>,
    },
    /// Remove a resource of the cloud, if it carries our mark.
    Resource {
        /// Who made it, as clouds.yaml calls that.
        cloud: String,
        /// What it is.
        kind: ResourceKind,
        /// What it is called.
        name: String,
        /// By what ours is told from another, where no mark can stand: the key of a key pair.
        #[serde(default)]
        content: Option<String>,
    },
    /// Remove an nftables table of ours.
    NftTable {
        /// "inet" or "ip".
        family: String,
        /// Its name.
        table: String,
    },
}

impl Undo {
    /// What taking it back means, in words.
    pub fn describe(&self) -> String {
        match self {
            Undo::Nothing => "nothing to take back".into(),
            Undo::Path { path, original: Original::Absent, .. } => format!("Remove {}", path.display()),
            Undo::Path { path, .. } => format!("Put {} back as it was", path.display()),
            Undo::Edits { path } => format!("Keep what was edited in {}", path.display()),
            Undo::Directory { path, original: Original::Absent, shared: true, .. } => {
                format!("Remove {} if it is empty", path.display())
            }
            Undo::Directory { path, original: Original::Absent, .. } => {
                format!("Remove {} and all in it", path.display())
            }
            Undo::Directory { path, .. } => format!("Give {} its permissions back", path.display()),
            Undo::User { name } => format!("Remove user {name}"),
            Undo::Group { name } => format!("Remove group {name}"),
            Undo::Member { user, group } => format!("Take {user} out of group {group}"),
            Undo::Packages { added, .. } => format!("Remove {} packages", added.len()),
            Undo::Unit { name, .. } => format!("Stop and disable {name}"),
            Undo::Sysctl { key, value } => format!("Set {key} back to {value}"),
            Undo::Database { name } => format!("Drop database {name}"),
            Undo::DatabaseUser { name, host } => format!("Drop database user {name}@{host}"),
            Undo::Program { argv } => format!("Run {}", argv.join(" ")),
            Undo::Container { name } => format!("Stop container {name}"),
            Undo::Devstack(_) => "Run unstack.sh and remove what it leaves".into(),
            Undo::Network(_) => "Put the network back as it was".into(),
            Undo::Iptables { rules, .. } => format!("Put {} rules of iptables back", rules.len()),
            Undo::Resource { kind, name, .. } => format!("Remove {kind} {name}"),
            Undo::NftTable { family, table } => format!("Remove nftables table {family} {table}"),
        }
    }

    /// The file or link that changes when it is taken back.
    pub fn path(&self) -> Option<&Path> {
        if let Undo::Path { path, .. } = self { Some(path) } else { None }
    }

    /// The file or link that it is about: what we left there tells whether somebody has edited it since.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Undo::Path { path, .. } | Undo::Edits { path } => Some(path),
            _ => None,
        }
    }

    /// The kind of the resource that it removes, through the cloud's APIs and so before the cloud stops.
    pub fn resource(&self) -> Option<ResourceKind> {
        match self {
            Undo::Resource { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}

/// What was there of the network before us, and what of ours is to go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkOriginal {
    /// Kernel parameters: dotted name and value.
    pub sysctls: BTreeMap<String, String>,
    /// Addresses for which ARP came to be answered, by link.
    pub proxies: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Links that became ports of the bridge.
    pub ports: BTreeSet<String>,
    /// Addresses that the bridge got.
    pub addresses: BTreeSet<Ipv4Net>,
}

/// What stack.sh made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacked {
    /// The cloud's external network, for which it masquerades.
    pub range: Ipv4Net,
    /// What it leaves that was not there before.
    pub leaves: Leaves,
}

/// What packages make while they run, and leave when they are purged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leaves {
    /// Units that must stop before: those that a socket would start again, or that outlive their package.
    #[serde(default)]
    pub units: Vec<String>,
    /// Files, and directories with all in them. A `*` at the end of a name stands for the rest of it.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// Directories that go when nothing but empty directories is in them: the administrator may have put files there.
    #[serde(default)]
    pub shells: Vec<PathBuf>,
    /// Users and groups.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Network links.
    #[serde(default)]
    pub links: Vec<String>,
    /// Directories that were there, with the permissions that a package changes and leaves changed.
    #[serde(default)]
    pub permissions: Vec<Permissions>,
}

/// Permissions of a directory before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The directory.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub owner: Owner,
}

/// A kind of resource, those that others need first: they are removed in the opposite order. Journals of older releases
/// name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A project with its user and the user's role.
    Project,
    /// What a project may use.
    Quota,
    /// A disk image.
    Image,
    /// A size of instances.
    Flavor,
    /// A network with its subnet.
    Network,
    /// A router with its gateway and interfaces.
    Router,
    /// Rules for what may reach an instance.
    SecurityGroup,
    /// A public key.
    KeyPair,
    /// A disk of its own.
    Volume,
    /// An instance's place in a network.
    Port,
    /// An instance.
    Server,
    /// A floating address at a port.
    FloatingIp,
}

impl ResourceKind {
    /// As it stands in ids and messages: "security-group".
    pub fn as_str(self) -> &'static str {
        match self {
            ResourceKind::Project => "project",
            ResourceKind::Quota => "quota",
            ResourceKind::Image => "image",
            ResourceKind::Flavor => "flavor",
            ResourceKind::Network => "network",
            ResourceKind::Router => "router",
            ResourceKind::SecurityGroup => "security-group",
            ResourceKind::KeyPair => "key-pair",
            ResourceKind::Port => "port",
            ResourceKind::Server => "instance",
            ResourceKind::FloatingIp => "floating-ip",
            ResourceKind::Volume => "volume",
        }
    }
}

impl std::fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.as_str().replace('-', " "))
    }
}
