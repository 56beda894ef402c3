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

/// Claimed cards, as Nova knows their kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForNova {
    /// All of them: flavors ask for their models, also while none can be had.
    pub claimed: Vec<Offered>,
    /// Those that can be had.
    pub offered: Vec<Offered>,
}

impl ForNova {
    /// From what is claimed, and how it is with each card now.
    pub fn of(claims: &Claims, inventory: &Inventory, quarantine: &Quarantine) -> Self {
        let functions = &inventory.scene.functions;
        let is_here = |claim: &claim::Claim| matches!(claim::state(claim, functions), State::Bound | State::Free(_));
        let card = |address: &str| inventory.cards.iter().map(|(card, _)| card).find(|c| c.function.address == address);
        let told = |claim: &claim::Claim| card(&claim.card.address).map(Offered::of);
        let good = claims.claims.iter().filter(|claim| is_here(claim) && !quarantine.holds(&claim.card));
        Self { claimed: claims.claims.iter().filter_map(told).collect(), offered: good.filter_map(told).collect() }
    }
}

/// From so many equal cards on, Placement has to be told how to look for them (placement,
/// `[workarounds] optimize_for_wide_provider_trees`: else a flavor with that many takes it too long).
const MANY: usize = 8;

/// The keys. Cards are counted by Placement in every cloud: that cannot be switched off on a host that once did it, and
/// costs nothing where there is no card. `had_cards`: what an earlier apply wrote goes where it is not wanted any more.
pub fn settings(claims: &Claims, cards: &ForNova, had_cards: bool) -> Vec<Setting> {
    let mut keys =
        vec![Key::new("pci", "report_in_placement", "True"), Key::new("filter_scheduler", "pci_in_placement", "True")];
    // All memory of an instance with a card is locked: none can be promised twice. Cards are PCI Express, which the older
    // machine has not; ports left free are for volumes and addresses that are added later (nova.conf, `num_pcie_ports`:
    // none by default).
    let with_cards = [
        ("DEFAULT", "ram_allocation_ratio", "1.0".to_owned()),
        ("DEFAULT", "reserved_host_memory_mb", claims.capacity.as_ref().map_or(0, kept_memory_mib).to_string()),
        ("libvirt", "hw_machine_type", "x86_64=q35".to_owned()),
        ("libvirt", "num_pcie_ports", "16".to_owned()),
    ];
    let has_cards = claims.capacity.is_some();
    let wanted = |value: &str, is_wanted: bool| if is_wanted { vec![value.to_owned()] } else { Vec::new() };
    let key = |section: &str, name: &str, values| Key { section: section.into(), name: name.into(), values };
    keys.extend(with_cards.iter().map(|(section, name, value)| key(section, name, wanted(value, has_cards))));
    let mut models: BTreeMap<(&str, &str), Vec<&Offered>> = BTreeMap::new();
    for card in &cards.claimed {
        models.entry((&card.vendor, &card.device)).or_default().push(card);
    }
    // What else may come to stand there is not given away.
    let by_address = |card: &Offered| {
        json!({"address": card.address, "vendor_id": card.vendor, "product_id": card.device}).to_string()
    };
    keys.push(key("pci", "device_spec", cards.offered.iter().map(by_address).collect()));
    let aliases = models.iter().map(|((vendor, device), cards)| alias(vendor, device, cards));
    keys.push(key("pci", "alias", aliases.collect()));
    let mut settings: Vec<Setting> = keys.into_iter().map(|key| Setting::new(Conf::Nova, key)).collect();
    let many = models.values().any(|cards| cards.len() >= MANY);
    for (section, name, value) in [
        ("workarounds", "optimize_for_wide_provider_trees", "True"),
        ("placement", "max_allocation_candidates", "1000"),
        ("placement", "allocation_candidates_generation_strategy", "breadth-first"),
    ] {
        settings.push(Setting::new(Conf::Placement, key(section, name, wanted(value, many))));
    }
    settings.retain(|setting| had_cards || !setting.key.values.is_empty());
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

    fn all(cards: Vec<Offered>) -> ForNova {
        ForNova { claimed: cards.clone(), offered: cards }
    }

    #[test]
    fn a_cloud_without_cards_only_counts_and_one_with_cards_names_each() {
        let none = file_of(&keys_of(&settings(&Claims::default(), &ForNova::default(), false), Conf::Nova));
        let capacity = Some(Capacity { processors: 64, memory_mib: 515_000, disk_gib: 1800 });
        let claims = Claims { capacity, ..Claims::default() };
        let other = Offered {
            address: "0000:09:00.0".into(),
            device: "2204".into(),
            device_type: "type-PCI",
            ..offered(1)[0].clone()
        };
        let cards = all([offered(2), vec![other]].concat());
        let some = file_of(&keys_of(&settings(&claims, &cards, false), Conf::Nova));
        insta::assert_snapshot!(format!("{none}\n{some}"));
    }

    #[test]
    fn what_was_written_for_cards_goes_with_them_and_a_model_that_cannot_be_had_keeps_its_alias() {
        let left = settings(&Claims::default(), &ForNova::default(), true);
        let values = |name: &str| left.iter().find(|one| one.key.name == name).unwrap().key.values.clone();
        assert!(
            ["device_spec", "alias", "hw_machine_type", "max_allocation_candidates"].map(values).concat().is_empty()
        );
        let held = ForNova { claimed: offered(1), offered: Vec::new() };
        let told = file_of(&keys_of(&settings(&Claims::default(), &held, false), Conf::Nova));
        assert!(told.contains("alias") && !told.contains("device_spec"), "{told}");
    }

    #[test]
    fn placement_is_told_how_to_look_only_among_many_equal_cards() {
        let told =
            |count| !keys_of(&settings(&Claims::default(), &all(offered(count)), false), Conf::Placement).is_empty();
        assert_eq!((told(7), told(8)), (false, true));
    }
}
