//! What a row of the service table is, and what follows from its rows: start order, status layers, the ports to
//! close, the order of recovery, which unit restarts when a file changes.
//!
//! The rows themselves are in each engine: `native/services.rs`, `devstack/services.rs`. A port of a row is open to
//! administrators and instances, to this machine alone, or on loopback: its [`Scope`].

use crate::complaint::Complaint;
use crate::config::{Config, Virt};
use crate::plan::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Layers of a cloud; a layer works only on top of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Database, queue, cache.
    Foundation,
    /// Open vSwitch and OVN.
    Switch,
    /// Keystone.
    Identity,
    /// The other APIs and their workers.
    Control,
    /// Hypervisor, agents, consoles.
    Compute,
    /// Horizon.
    Dashboard,
    /// The page of students.
    Portal,
}

impl Layer {
    /// All, from the bottom up.
    pub const ALL: [Layer; 7] = [
        Layer::Foundation,
        Layer::Switch,
        Layer::Identity,
        Layer::Control,
        Layer::Compute,
        Layer::Dashboard,
        Layer::Portal,
    ];

    /// Its name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Foundation => "foundation",
            Layer::Switch => "switch",
            Layer::Identity => "identity",
            Layer::Control => "control",
            Layer::Compute => "compute",
            Layer::Dashboard => "dashboard",
            Layer::Portal => "portal",
        }
    }
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// On loopback only.
    Loopback,
    /// On the host's address.
    Host,
    /// On every address, although only this machine has business there: closed to all others.
    Machine,
    /// On every address, for everybody: it lets in whom it knows.
    Everybody,
}

/// A TCP port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Where.
    pub scope: Scope,
    /// TCP port.
    pub port: u16,
    /// What for.
    pub purpose: &'static str,
}

/// What a probe said: content, or a complaint.
pub type Answer = Result<(), Complaint>;

/// How to see that a service works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// systemd's word is all there is.
    Active,
    /// Something accepts connections on this port of loopback.
    Port(u16),
    /// MariaDB answers on its socket, takes changes, and has connections left.
    Sql,
    /// RabbitMQ accepts connections, and our login and a message where the secrets are known.
    Queue,
    /// memcached answers on this port of loopback.
    Cache(u16),
    /// OVN's databases answer, and the daemon between them is active and connected to both.
    Northd,
    /// OVN's daemon of this chassis is connected to the southbound database.
    OvnController,
    /// libvirt finds an emulator; one that runs on KVM where that is asked for.
    Emulator {
        /// Whether it must run on KVM.
        kvm: bool,
    },
    /// An API answers: without a token at this port, with one as this service of the catalog.
    Api {
        /// Port of the host's address.
        port: u16,
        /// Path of its root there.
        path: &'static str,
        /// Type in the catalog; none for APIs without a catalog entry (metadata).
        service: Option<&'static str>,
    },
    /// Nova has a heartbeat of this hypervisor that is newer than its unit's start, and Placement what it offers.
    Compute,
    /// Neutron sees the OVN chassis and agent of this host alive.
    NetworkAgents,
    /// The group that volumes are cut from is there, with all its disks.
    VolumeGroup,
    /// Cinder has a heartbeat of this program of this machine that is newer than its unit's start.
    Volumes(&'static str),
    /// A page that contains this text.
    Page {
        /// Port of the host's address.
        port: u16,
        /// Path on it.
        path: &'static str,
        /// What it must contain.
        contains: &'static str,
        /// The file with the portal's own authority, whose certificate it must show; none: it is asked over plain HTTP.
        trust: Option<&'static str>,
    },
    /// The tunnel's process says that the portal is reached through it.
    Tunnel,
}

impl Probe {
    /// libvirt's, for instances that run as the answers say.
    pub fn emulator(config: &Config) -> Self {
        Probe::Emulator { kvm: config.compute.virt == Virt::Kvm }
    }
}

/// How the unit of a service of ours is made; the distribution's services have their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// What it is, in words.
    pub description: String,
    /// Program and arguments, absolute.
    pub exec: String,
    /// Account it runs as.
    pub user: &'static str,
    /// "notify" where the program tells systemd that it is ready, else "simple".
    pub kind: &'static str,
    /// "mixed", or "process" where children (guests, proxies) must survive a restart.
    pub kill_mode: &'static str,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Service {
    /// Stable name: "nova-api".
    pub id: &'static str,
    /// On which machine of a cloud it runs.
    pub role: Role,
    /// Its systemd unit.
    pub unit: String,
    /// On which layer it stands.
    pub layer: Layer,
    /// Services (by id) that must run before.
    pub after: &'static [&'static str],
    /// Files and drop-in directories that it reads only at its start.
    pub inputs: Vec<PathBuf>,
    /// Its ports.
    pub listens: Vec<Listen>,
    /// Directories that it writes to: a full disk below one keeps it from working.
    pub stores: &'static [&'static str],
    /// How to see that it works.
    pub probe: Probe,
    /// How long a start may take before it counts as failed.
    pub time_limit: Duration,
    /// Its unit file, when it is ours.
    pub unit_file: Option<UnitFile>,
}

/// The services, each unit once: two rows may share one (Apache serves APIs and dashboard).
pub fn by_unit(services: &[Service]) -> impl Iterator<Item = &Service> {
    let is_first = |service: &Service| services.iter().find(|other| other.unit == service.unit).map(|other| other.id);
    services.iter().filter(move |service| is_first(service) == Some(service.id))
}

/// The unit of the service called `id`.
pub fn unit_of<'a>(services: &'a [Service], id: &str) -> Option<&'a str> {
    services.iter().find(|service| service.id == id).map(|service| service.unit.as_str())
}
