//! GPUs, from a card in a slot to a flavor that gives it to an instance.
//!
//! ```text
//! families    which devices are cards at all
//! verdict     what stands between a card and an instance, and all words about it (pure)
//! board       what goes for a whole board of cards (pure)
//! in_use      who uses a card, and how that ends (pure)
//! claim       which cards are claimed, and whether the machine is still as it was then
//! steps       how a claim gets onto the machine: kernel arguments, note, boot unit
//! early       what the initial file system does ahead of it
//! bind        what the boot unit does about it
//! quarantine  cards that failed, and are given to nobody
//! nova        what Nova is told of the cards (pure)
//! flavors     sizes of instances with cards, computed (pure)
//! offer       those flavors, and whether the cloud counts the cards, as steps of a plan
//! proof       a guest looks at a card and gives it back, before anybody gets it
//! health      whether each claimed card is bound, counted, in use and by whom
//! mend        what `recover` does about them
//! capture     what others may see of a machine
//! error       what goes wrong
//! ```

pub mod bind;
mod board;
pub mod capture;
pub mod claim;
pub mod early;
mod error;
pub mod families;
pub mod flavors;
pub mod health;
mod in_use;
pub mod mend;
pub mod nova;
pub mod offer;
pub mod proof;
pub mod quarantine;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use error::GpuError;

use crate::config::gpu::GpuAnswers;
use crate::facts::pci::{self, Details, Function};
use crate::facts::{card_users, iommu, needed, pci_names};
use crate::host::{Host, Result};
use claim::{Capacity, Claims, Refused};
use families::Sort;
use nova::ForNova;
use quarantine::Quarantine;
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
    /// What is not as it was claimed, around it: then it is not bound.
    #[serde(skip)]
    pub moved: Option<String>,
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

/// What the answers ask for of the cards, and what comes of it.
#[derive(Debug, Clone, Default)]
pub struct CardPlan {
    /// What is claimed.
    pub claims: Claims,
    /// What is asked for and cannot be claimed.
    pub refused: Vec<Refused>,
    /// What Nova is told of them.
    pub for_nova: ForNova,
    /// Whether cards were claimed before.
    pub had_cards: bool,
    /// Whether one that was claimed goes back to its driver: Nova has to forget it first.
    pub gives_back: bool,
}

impl CardPlan {
    /// From the answers and the machine, whose bus is not looked at where no card is wanted. `renewed` are cards that a
    /// person claimed just now, `now` is what the machine has.
    ///
    /// # Errors
    /// A file of sysfs, or a note, that cannot be read.
    pub fn make(host: &Host, answers: &GpuAnswers, renewed: &[String], now: Capacity) -> Result<Self> {
        let noted = claim::noted(host)?;
        let had_cards = !noted.claims.is_empty();
        if answers.cards.is_none() {
            return Ok(Self { had_cards, gives_back: had_cards, ..Self::default() });
        }
        let inventory = inventory(host, &answers.also())?;
        let (claims, refused) = claim::wanted(&answers.cards, &inventory, &inventory.claims, renewed);
        let mut claims = claims.measured(&inventory.claims, now);
        claims.early = early::is_wanted(host, &claims, &noted, &inventory.scene.functions)?;
        let for_nova = ForNova::of(&claims, &inventory, &Quarantine::read(host)?);
        let gives_back = !steps::going(host, noted, &claims)?.claims.is_empty();
        Ok(Self { claims, refused, for_nova, had_cards, gives_back })
    }
}

/// Looks at all cards; `also` names ids that count as cards.
///
/// # Errors
/// A file of sysfs that cannot be read.
pub fn inventory(host: &Host, also: &[String]) -> Result<Inventory> {
    let (functions, iommu) = (pci::functions(host)?, iommu::read(host)?);
    let sort = |function| families::sort(function, &functions, also, iommu.inside.is_some());
    let sorted: Vec<(&Function, Sort)> = functions.iter().map(|function| (function, sort(function))).collect();
    let shown = sorted.iter().filter(|(_, sort)| *sort != Sort::Other);
    let names = pci_names::look_up(host, shown.map(|(one, _)| (one.vendor.as_str(), one.device.as_str())))?;
    let name = |function: &Function| names.of(&function.vendor, &function.device);
    let (mut cards, mut apart, mut switches, mut consoles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut virtual_functions = Vec::new();
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
                if let Some(physical) = details.physical {
                    virtual_functions.push((function.address.clone(), physical));
                    apart.push(put_apart("a virtual function of another card"));
                    continue;
                }
                let (mut function, name) = (function.clone(), name(function));
                if let Some(group) = function.group.filter(|_| iommu.on) {
                    function.group = iommu::keeps_apart(host, &group.to_string())?.then_some(group);
                }
                let mig = families::has_mig(&function.vendor, &name);
                cards.push(Card { function, details, name, mig, claimed: false, moved: None });
            }
        }
    }
    let claims = claim::noted(host)?;
    for card in &mut cards {
        let claim = claim::of(&claims, &card.function);
        card.claimed = claim.is_some();
        card.moved = claim.and_then(|claim| match claim::state(claim, &functions) {
            claim::State::Moved(what) => Some(what),
            _ => None,
        });
    }
    let users = card_users::read(host, &functions)?;
    let scene = Scene {
        cards: cards.clone(),
        switches,
        consoles,
        needed: needed::read(host, &functions)?,
        carried: needed::carried(host, &functions)?,
        virtual_functions,
        users,
        iommu,
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
