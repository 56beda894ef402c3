//! What Nova is told of the cards (nova.conf, `[pci]`), as settings that either engine writes down. Pure. A card is named
//! once it is bound: one that waits for a boot would be taken from its driver by the first instance. What a key needs is
//! a line of [`settings`]; what Nova made of it is read back in `offer.rs`.

use super::claim::{self, Claims, State};
use super::flavors::kept_memory_mib;
use super::quarantine::Quarantine;
use super::{Card, Inventory};
use crate::cloud::devices::alias_of;
use crate::engine::settings::{Conf, Setting};
use crate::ini::Key;
use serde_json::json;
use std::collections::BTreeMap;

/// A card that instances can have now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Where it is.
    pub address: String,
    /// Vendor, four hexadecimal digits.
    pub vendor: String,
    /// Device, four hexadecimal digits.
    pub device: String,
    /// "type-PF", "type-PCI" (see [`Card::device_type`]).
    pub device_type: &'static str,
}

impl Offered {
    fn of(card: &Card) -> Self {
        let function = &card.function;
        Self {
            address: function.address.clone(),
            vendor: function.vendor.clone(),
            device: function.device.clone(),
            device_type: card.device_type(),
        }
    }
}

/// Which of the claimed cards Nova is told of.
pub fn offered(claims: &Claims, inventory: &Inventory, quarantine: &Quarantine) -> Vec<Offered> {
    let functions = &inventory.scene.functions;
    let is_here = |claim: &&claim::Claim| matches!(claim::state(claim, functions), State::Bound | State::Free(_));
    let good = claims.claims.iter().filter(is_here).filter(|claim| !quarantine.holds(&claim.card));
    let card = |address: &str| inventory.cards.iter().map(|(card, _)| card).find(|c| c.function.address == address);
    good.filter_map(|claim| card(&claim.card.address)).map(Offered::of).collect()
}

/// More cards of one kind than this, and Placement has to be told how to look for them (nova,
/// doc/source/admin/pci-passthrough.rst, "PCI tracking in Placement").
const MANY: usize = 8;

/// The keys. Cards are counted by Placement in every cloud: that cannot be switched off on a host that once did it, and
/// costs nothing where there is no card.
pub fn settings(claims: &Claims, offered: &[Offered]) -> Vec<Setting> {
    let mut keys =
        vec![Key::new("pci", "report_in_placement", "True"), Key::new("filter_scheduler", "pci_in_placement", "True")];
    if let Some(capacity) = &claims.capacity {
        // All memory of an instance with a card is locked: none can be promised twice.
        keys.push(Key::new("DEFAULT", "ram_allocation_ratio", "1.0"));
        keys.push(Key::new("DEFAULT", "reserved_host_memory_mb", kept_memory_mib(capacity).to_string()));
        // Cards are PCI Express, which the older machine has not; ports left free are for volumes and addresses that
        // are added later (nova.conf, `num_pcie_ports`: none by default).
        keys.push(Key::new("libvirt", "hw_machine_type", "x86_64=q35"));
        keys.push(Key::new("libvirt", "num_pcie_ports", "16"));
    }
    let mut models: BTreeMap<(&str, &str), Vec<&Offered>> = BTreeMap::new();
    for card in offered {
        models.entry((&card.vendor, &card.device)).or_default().push(card);
    }
    let repeated = |name: &str, values: Vec<String>| {
        let key = Key { section: "pci".into(), name: name.into(), values };
        (!key.values.is_empty()).then_some(key)
    };
    let by_address = |card: &Offered| json!({"address": card.address}).to_string();
    keys.extend(repeated("device_spec", offered.iter().map(by_address).collect()));
    keys.extend(repeated(
        "alias",
        models.iter().map(|((vendor, device), cards)| alias(vendor, device, cards)).collect(),
    ));
    let mut settings: Vec<Setting> = keys.into_iter().map(|key| Setting::new(Conf::Nova, key)).collect();
    if models.values().any(|cards| cards.len() > MANY) {
        let breadth = Key::new("placement", "allocation_candidates_generation_strategy", "breadth-first");
        settings.push(Setting::new(Conf::Placement, breadth));
    }
    settings
}

/// One line for each name: with Placement Nova refuses a second. Cards on another memory node than the instance are
/// better than none.
fn alias(vendor: &str, device: &str, cards: &[&Offered]) -> String {
    let device_type = cards.first().map_or("type-PCI", |card| card.device_type);
    let name = alias_of(vendor, device);
    json!({"name": name, "vendor_id": vendor, "product_id": device, "device_type": device_type,
        "numa_policy": "preferred"})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::claim::Capacity;
    use super::*;
    use crate::engine::settings::{file_of, keys_of};

    fn offered(count: usize) -> Vec<Offered> {
        let card = |at| Offered {
            address: format!("0000:{at:02x}:00.0"),
            vendor: "10de".into(),
            device: "20b2".into(),
            device_type: "type-PF",
        };
        (1..=count).map(card).collect()
    }

    #[test]
    fn a_cloud_without_cards_only_counts_and_one_with_cards_names_each() {
        let none = file_of(&keys_of(&settings(&Claims::default(), &[]), Conf::Nova));
        let capacity = Some(Capacity { processors: 64, memory_mib: 515_000, disk_gib: 1800 });
        let claims = Claims { capacity, ..Claims::default() };
        let audio = Offered {
            address: "0000:09:00.0".into(),
            device: "2204".into(),
            device_type: "type-PCI",
            ..offered(1)[0].clone()
        };
        let some = file_of(&keys_of(&settings(&claims, &[offered(2), vec![audio]].concat()), Conf::Nova));
        insta::assert_snapshot!(format!("{none}\n{some}"));
    }

    #[test]
    fn placement_is_told_how_to_look_only_among_many_equal_cards() {
        let told = |count| !keys_of(&settings(&Claims::default(), &offered(count)), Conf::Placement).is_empty();
        assert_eq!((told(8), told(9)), (false, true));
    }
}
