//! GPUs: what each card of this machine is, and what stands between it and an instance (`verdict.rs`); which devices
//! are cards at all (`families.rs`); which are claimed for instances (`claim.rs`), how that gets onto the machine
//! (`steps.rs`), and what the boot unit does about it (`bind.rs`); what
//! others may see of a machine (`capture.rs`).

pub mod bind;
pub mod capture;
pub mod claim;
pub mod families;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod verdict;

use crate::facts::pci::{self, Details, Function};
use crate::facts::{card_users, iommu, needed, pci_names};
use crate::host::{Host, Result};
use claim::Claims;
use families::Sort;
use serde::Serialize;
use verdict::{Judgement, Scene};

/// A card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// What the bus says of it.
    #[serde(flatten)]
    pub function: Function,
    /// What is known beyond that.
    #[serde(flatten)]
    pub details: Details,
    /// As people call it.
    pub name: String,
    /// Whether it can be cut into slices by hardware.
    pub mig: bool,
    /// Whether it is claimed for instances.
    pub claimed: bool,
}

impl Card {
    /// How Nova calls it (nova.conf, `[pci] alias`, `device_type`): one that could have virtual functions is a physical
    /// function, also when it has none.
    pub fn device_type(&self) -> &'static str {
        if self.details.virtual_functions > 0 { "type-PF" } else { "type-PCI" }
    }
}

/// A display controller that no instance can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Apart {
    /// Its address.
    pub address: String,
    /// As people call it.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// Everything about the cards of a machine.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The machine.
    pub scene: Scene,
    /// Each card with what was found about it.
    pub cards: Vec<(Card, Judgement)>,
    /// What is no card.
    pub apart: Vec<Apart>,
    /// What is claimed.
    pub claims: Claims,
}

/// Looks at all cards; `also` names ids that count as cards.
///
/// # Errors
/// A file of sysfs that cannot be read.
pub fn inventory(host: &Host, also: &[String]) -> Result<Inventory> {
    let functions = pci::functions(host)?;
    let sorted: Vec<(&Function, Sort)> =
        functions.iter().map(|function| (function, families::sort(function, &functions, also))).collect();
    let shown = sorted.iter().filter(|(_, sort)| *sort != Sort::Other);
    let names = pci_names::look_up(host, shown.map(|(one, _)| (one.vendor.as_str(), one.device.as_str())))?;
    let name = |function: &Function| names.of(&function.vendor, &function.device);
    let (mut cards, mut apart, mut switches, mut consoles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (function, sort) in sorted {
        let put_apart = |why: &str| Apart { address: function.address.clone(), name: name(function), why: why.into() };
        let about = || pci::details(host, function);
        match sort {
            Sort::Other => {}
            Sort::NvSwitch => switches.push(function.address.clone()),
            Sort::Apart(why) => {
                consoles.extend(about()?.console.then(|| function.address.clone()));
                apart.push(put_apart(why));
            }
            Sort::Card => {
                let details = about()?;
                consoles.extend(details.console.then(|| function.address.clone()));
                if details.is_virtual {
                    apart.push(put_apart("a virtual function of another card"));
                    continue;
                }
                let (function, name) = (function.clone(), name(function));
                let mig = families::has_mig(&function.vendor, &name);
                cards.push(Card { function, details, name, mig, claimed: false });
            }
        }
    }
    let claims = claim::noted(host)?;
    for card in &mut cards {
        card.claimed = claim::holds(&claims, &card.function);
    }
    let users = card_users::read(host, &functions)?;
    let scene = Scene {
        cards: cards.clone(),
        switches,
        consoles,
        needed: needed::read(host)?,
        users,
        iommu: iommu::read(host)?,
        framebuffers: iommu::framebuffers(host)?,
        functions,
    };
    let cards = cards.into_iter().map(|card| (card.clone(), scene.judge(&card))).collect();
    Ok(Inventory { scene, cards, apart, claims })
}

/// What a function is, in a word.
pub fn kind_of(function: &Function) -> &'static str {
    match function.class >> 8 {
        0x0106 => "a SATA controller",
        0x0108 => "an NVMe disk",
        class if class >> 8 == 0x01 => "a disk controller",
        class if class >> 8 == 0x02 => "a network adapter",
        class if class >> 8 == 0x03 => "another display controller",
        0x0403 => "a sound device",
        0x0c03 => "a USB controller",
        class if class >> 8 == 0x06 => "a part of the board",
        _ => "another device",
    }
}
