//! What this machine is. Nothing here writes.
//!
//! Facts are *read* (files below a root) or *probed* (netlink, processes, the network). With `--sysroot` the root is
//! a captured tree: then probes are unknown, and nothing live is asked.
//!
//! A new fact is a field in the file of its subject (`hardware`: processors, memory, clocks), filled where that file
//! reads or probes.

pub mod apt;
mod assignments;
pub mod card_users;
pub mod disk;
pub mod filters;
pub mod hardware;
pub mod iommu;
pub mod kvm;
pub mod listeners;
pub mod lvm;
pub mod needed;
pub mod network;
pub mod os;
pub mod pci;
pub mod pci_names;
pub mod proxy;
pub mod reach;
pub mod resolver;
pub mod software;
pub mod storage;

#[cfg(test)]
mod decorated;

use crate::host::{Host, Result};
use serde::Serialize;

/// Everything known of a machine.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Whether the running system was asked; in a captured tree filesystems, network and KVM are unknown.
    pub live: bool,
    /// Distribution, kernel, name.
    pub os: os::Os,
    /// Processors and memory.
    pub hardware: hardware::Hardware,
    /// Filesystems below which things will be put.
    pub storage: storage::Storage,
    /// Links, addresses, default route.
    pub network: network::Network,
    /// Packet filters beside ours.
    pub filters: filters::Filters,
    /// Display controllers on the PCI bus.
    pub displays: Vec<pci::Function>,
    /// Whether KVM works.
    pub kvm: kvm::OnDemand,
    /// Databases, queues and clouds that are here already.
    pub software: software::Software,
    /// The administrator's own sections for DevStack's local.conf; they may hold secrets.
    #[serde(skip)]
    pub own_devstack_lines: Vec<String>,
}

impl Facts {
    /// Looks at everything but what takes its time: the outside network ([`reach`]), who listens where
    /// ([`listeners`]), and what is on a disk ([`disk`]). Whether KVM works is proved when it is read first.
    pub fn gather(host: &Host) -> Result<Self> {
        Ok(Self {
            live: host.is_live(),
            os: os::read(host)?,
            hardware: hardware::read(host)?,
            storage: storage::read(host)?,
            network: network::probe(host)?,
            filters: filters::read(host)?,
            displays: pci::displays(host)?,
            kvm: if host.is_live() { kvm::OnDemand::default() } else { kvm::Kvm::NoDevice.into() },
            software: software::read(host)?,
            own_devstack_lines: software::own_devstack_lines(host)?,
        })
    }
}
