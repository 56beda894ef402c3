//! PCI devices as Placement counts them: each is a resource provider below its hypervisor's, named by its address, with
//! one resource class made of its ids (nova, doc/source/admin/pci-passthrough.rst, "PCI tracking in Placement";
//! nova/compute/pci_placement_translator.py).

use super::{ApiError, Id, Session};
use crate::facts::pci;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A device that instances can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// "0000:41:00.0".
    pub address: String,
    /// "CUSTOM_PCI_10DE_2335".
    pub class: String,
    /// Whether somebody can get it, if nobody has it.
    pub usable: bool,
    /// The instances that have it.
    pub held_by: Vec<Id>,
}

#[derive(Deserialize)]
struct Providers {
    resource_providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Provider {
    uuid: Id,
    name: String,
    parent_provider_uuid: Option<Id>,
}

/// What a resource provider offers, by resource class.
#[derive(Deserialize)]
pub(super) struct Inventories {
    pub(super) inventories: BTreeMap<String, Inventory>,
}

/// How much of one class.
#[derive(Deserialize)]
pub(super) struct Inventory {
    pub(super) total: u64,
    #[serde(default)]
    reserved: u64,
}

#[derive(Deserialize)]
struct Allocations {
    allocations: BTreeMap<String, Value>,
}

/// All devices, by address.
pub fn all(session: &Session) -> Result<Vec<Device>, ApiError> {
    let found: Providers = session.get("placement", "/resource_providers")?;
    let mut devices = Vec::new();
    for provider in found.resource_providers.iter().filter(|provider| provider.parent_provider_uuid.is_some()) {
        let Some(address) = address_in(&provider.name) else { continue };
        let of_provider = |what: &str| format!("/resource_providers/{}/{what}", provider.uuid);
        // One that Nova takes away meanwhile is gone.
        let Some(offers) = if_there(session.get::<Inventories>("placement", &of_provider("inventories")))? else {
            continue;
        };
        let Some((class, inventory)) = offers.inventories.into_iter().next() else { continue };
        let Some(taken) = if_there(session.get::<Allocations>("placement", &of_provider("allocations")))? else {
            continue;
        };
        let held_by = taken.allocations.into_keys().filter_map(|id| Id::try_from(id).ok()).collect();
        devices.push(Device { address, class, usable: inventory.total > inventory.reserved, held_by });
    }
    devices.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(devices)
}

fn if_there<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

/// A provider is called HYPERVISOR_ADDRESS, the address in capitals.
fn address_in(name: &str) -> Option<String> {
    let (_, address) = name.rsplit_once('_')?;
    pci::is_address(address).then(|| address.to_lowercase())
}

/// The resource class of devices with these ids ("10de", "2335").
pub fn class_of(vendor: &str, device: &str) -> String {
    format!("CUSTOM_PCI_{}_{}", vendor.to_uppercase(), device.to_uppercase())
}

/// By what name a flavor asks for devices with these ids.
pub fn alias_of(vendor: &str, device: &str) -> String {
    format!("gpu-{vendor}-{device}")
}

/// What one of our flavors asks for ("gpu-10de-2335:2"): how many of which class.
pub(super) fn asked_for(alias: &str) -> Option<(usize, String)> {
    let (name, count) = alias.split_once(':')?;
    let (vendor, device) = name.strip_prefix("gpu-")?.split_once('-')?;
    Some((count.parse().ok()?, class_of(vendor, device)))
}

/// Why an instance gets no devices, if so: which of those that its flavor asks for are taken, and by whom. For whoever
/// was told that there is no valid host: Nova says the same where memory or disk are short.
pub fn shortage(session: &Session, instance: &Id) -> Result<Option<String>, ApiError> {
    let found: Detail<Asking> = session.get("compute", &format!("/servers/{instance}"))?;
    let alias = found.server.flavor.extra_specs.get("pci_passthrough:alias").cloned().unwrap_or_default();
    let Some((count, class)) = asked_for(&alias) else { return Ok(None) };
    let devices: Vec<Device> = all(session)?.into_iter().filter(|device| device.class == class).collect();
    let free = devices.iter().filter(|device| device.usable && device.held_by.is_empty()).count();
    if free >= count {
        return Ok(None);
    }
    let mut owners = Vec::new();
    for id in devices.iter().flat_map(|device| &device.held_by) {
        owners.push(owner(session, id)?.name);
    }
    owners.dedup();
    let had = if owners.is_empty() { String::new() } else { format!(", the others with {}", owners.join(", ")) };
    Ok(Some(format!("{alias} is asked for; free: {free} of {}{had}", devices.len())))
}

/// An instance that has a device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Owner {
    /// Its id.
    pub id: Id,
    /// As people call it; its id, where Nova knows it no more.
    pub name: String,
    /// "ACTIVE", "SHUTOFF", "ERROR"; empty where Nova knows it no more.
    pub status: String,
    /// What Nova is doing with it, "suspending"; none where it does nothing.
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    pub task: Option<String>,
    /// As libvirt calls it, "instance-00000001"; only the administrator is told.
    #[serde(default, rename = "OS-EXT-SRV-ATTR:instance_name")]
    pub domain: String,
}

/// Who that is.
pub fn owner(session: &Session, id: &Id) -> Result<Owner, ApiError> {
    let found = if_there(session.get::<Detail<Owner>>("compute", &format!("/servers/{id}")))?;
    let gone =
        || Owner { id: id.clone(), name: id.to_string(), status: String::new(), task: None, domain: String::new() };
    Ok(found.map_or_else(gone, |found| found.server))
}

#[derive(Deserialize)]
struct Detail<T> {
    server: T,
}

#[derive(Deserialize)]
struct Asking {
    flavor: AskingFlavor,
}

#[derive(Deserialize)]
struct AskingFlavor {
    #[serde(default)]
    extra_specs: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_the_end_of_its_name() {
        assert_eq!(address_in("box_1.internal_0000:C1:00.0").as_deref(), Some("0000:c1:00.0"));
        for other in ["box.internal", "box.internal_br-ex", "0000:C1:00.0", "box_0000:C1:00.0.1"] {
            assert_eq!(address_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_flavor_of_ours_says_what_it_asks_for() {
        let asked = asked_for(&format!("{}:2", alias_of("10de", "20b2")));
        assert_eq!(asked, Some((2, "CUSTOM_PCI_10DE_20B2".to_owned())));
        assert_eq!((asked_for("a100:1"), asked_for("gpu-10de-20b2"), asked_for("")), (None, None, None));
    }
}
