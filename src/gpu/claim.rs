//! Claims: which cards instances get. A claim names a card by where it is, what it is, and who shares its group; at boot
//! it holds only if all of that is still so, since one more card renumbers the bus. The boot unit reads claims alone.

use super::verdict::{COLD_START, Judgement, Scene, Verdict};
use super::{Card, Inventory};
use crate::config::gpu::CardChoice;
use crate::facts::pci::Function;
use crate::host::pci::VFIO;
use crate::host::{Error, Host, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where they are noted.
pub const CLAIMS: &str = "/etc/gpucloud/claims.json";

/// All claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// What the kernel is told for them.
    pub arguments: BTreeSet<String>,
    /// Each of them.
    pub claims: Vec<Claim>,
    /// What this machine had when these cards were claimed: sizes of flavors stay as they are until the cards change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// Whether the initial file system has to keep its drivers from them (`early.rs`), where somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<bool>,
}

/// What a machine has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The filesystem of the instances' disks, in GiB.
    pub disk_gib: u64,
}

/// A claim on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The card.
    pub card: Member,
    /// Others of its board in its group: they are bound with it, and stay here.
    pub companions: Vec<Member>,
}

/// A function as it was when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it is.
    pub address: String,
    /// Vendor and device.
    pub ids: String,
    /// The board.
    pub subsystem: String,
    /// The port of the machine's own board that it hangs on: cards that are equal, and one further each, are told apart.
    #[serde(default)]
    pub port: Option<String>,
    /// The way to it from there, by slots alone: buses are renumbered, slots are not. Claims of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
}

impl Member {
    /// As it is now.
    pub fn of(function: &Function) -> Self {
        Self {
            address: function.address.clone(),
            ids: function.ids(),
            subsystem: function.subsystem.clone(),
            port: function.above.first().cloned(),
            way: Some(way(function)),
        }
    }

    /// Whether both are the same function in the same place, as far as both say.
    pub fn same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.address.clone(), one.ids.clone(), one.subsystem.clone(), one.port.clone());
        let ways = self.way.as_ref().zip(other.way.as_ref());
        place(self) == place(other) && ways.is_none_or(|(one, other)| one == other)
    }

    fn is(&self, function: &Function) -> bool {
        self.same(&Self::of(function))
    }

    /// Whether a function is one of its model, by the same maker, wherever it is.
    pub fn is_like(&self, function: &Function) -> bool {
        function.ids() == self.ids && function.subsystem == self.subsystem
    }
}

/// "03.0/10.0/00.0": device and function of each bridge, and its own.
fn way(function: &Function) -> String {
    let all = function.above.iter().chain([&function.address]);
    let slots: Vec<&str> = all.filter_map(|address| Some(address.rsplit_once(':')?.1)).collect();
    slots.join("/")
}

/// Whether both have the same cards.
pub fn same_cards(one: &[Claim], other: &[Claim]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.card.same(&other.card))
}

impl Claim {
    /// The card and its companions.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.card).chain(&self.companions)
    }

    fn of(card: &Card, judgement: &Judgement, scene: &Scene) -> Self {
        let companions = scene.functions.iter().filter(|one| judgement.companions.contains(&one.address));
        Self { card: Member::of(&card.function), companions: companions.map(Member::of).collect() }
    }
}

impl Claims {
    /// The same with what the machine has: as it was noted while these very cards were claimed, else as it is `now`.
    pub fn measured(mut self, noted: &Claims, now: Capacity) -> Self {
        let kept = noted.capacity.filter(|_| same_cards(&self.claims, &noted.claims));
        self.capacity = (!self.claims.is_empty()).then(|| kept.unwrap_or(now));
        self
    }

    /// Vendor and device of each card.
    pub fn ids(&self) -> Vec<String> {
        self.claims.iter().map(|claim| claim.card.ids.clone()).collect()
    }
}

/// The claims that are noted; none where there is no note.
///
/// # Errors
/// A note that is damaged.
pub fn noted(host: &Host) -> Result<Claims> {
    let Some(text) = files::read_text(host, CLAIMS)? else { return Ok(Claims::default()) };
    serde_json::from_str(&text).map_err(|error| Error::protocol(format!("read {CLAIMS}"), error))
}

/// How it is with a claim now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All of it is bound.
    Bound,
    /// These can be bound now: no driver has them.
    Free(Vec<String>),
    /// These are held by drivers, which let go of them at the next boot.
    Held(Vec<(String, String)>),
    /// The kernel does not keep devices apart yet.
    NoGroup,
    /// What is there is not what was claimed.
    Moved(String),
}

/// Looks at one.
pub fn state(claim: &Claim, functions: &[Function]) -> State {
    if let Some(what) = differs(claim, functions) {
        return State::Moved(what);
    }
    let members: Vec<&Function> =
        claim.members().filter_map(|member| functions.iter().find(|one| one.address == member.address)).collect();
    if members.iter().any(|member| member.group.is_none()) {
        return State::NoGroup;
    }
    let held: Vec<(String, String)> = members
        .iter()
        .filter_map(|member| Some((member.address.clone(), member.driver.clone().filter(|driver| driver != VFIO)?)))
        .collect();
    if !held.is_empty() {
        return State::Held(held);
    }
    let free: Vec<String> =
        members.iter().filter(|member| member.driver.is_none()).map(|member| member.address.clone()).collect();
    if free.is_empty() { State::Bound } else { State::Free(free) }
}

/// In what the machine differs from a claim.
fn differs(claim: &Claim, functions: &[Function]) -> Option<String> {
    for member in claim.members() {
        match functions.iter().find(|function| function.address == member.address) {
            Some(function) if member.is(function) => {}
            // A companion that was switched off is no loss.
            None if *member != claim.card => {}
            other => return Some(moved(member, other, functions)),
        }
    }
    let card = functions.iter().find(|function| function.address == claim.card.address)?;
    let group = card.group;
    let known = |address: &str| claim.members().any(|member| member.address == address);
    // What is made of a card (virtual functions) hangs where it hangs, and goes with the driver that made it.
    let is_made_of_it = |other: &Function| {
        let kind = |one: &Function| (one.above.clone(), one.vendor.clone(), one.class);
        !card.above.is_empty() && kind(other) == kind(card)
    };
    let stranger = functions
        .iter()
        .filter(|function| group.is_some() && function.group == group && !function.is_bridge())
        .find(|function| !known(&function.address) && !is_made_of_it(function))?;
    Some(format!("{} has come into the group of {}", stranger.address, claim.card.address))
}

fn moved(member: &Member, there: Option<&Function>, functions: &[Function]) -> String {
    let Member { address, ids, subsystem, .. } = member;
    let now = match there {
        Some(function) if function.ids() != *ids => format!("{address} is {} now, and was {ids}", function.ids()),
        Some(function) if function.subsystem != *subsystem => {
            format!("{address} is a {ids} of another maker now ({}, and was {subsystem})", function.subsystem)
        }
        Some(_) => format!("{address} is another {ids} now, in another slot"),
        None => format!("nothing is at {address} any more, where {ids} was"),
    };
    let same: Vec<&str> = functions
        .iter()
        .filter(|function| member.is_like(function) && function.address != *address)
        .map(|function| function.address.as_str())
        .collect();
    if same.is_empty() { now } else { format!("{now}; the same is at {}", same.join(", ")) }
}

/// Why a card that the answers name is not claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its address.
    pub address: String,
    /// Why not.
    pub reason: String,
    /// What to do.
    pub next: String,
}

/// The claims that the answers ask for, and what is refused. A card that is claimed stays so as long as it is chosen and
/// nothing stands in its way, also while an instance has it; what the kernel was told for it stays too.
pub fn wanted(
    choice: &CardChoice,
    inventory: &Inventory,
    noted: &Claims,
    renewed: &[String],
) -> (Claims, Vec<Refused>) {
    let mut claims = Claims::default();
    let mut refused = Vec::new();
    for (card, judgement) in &inventory.cards {
        let address = &card.function.address;
        let named = match choice {
            CardChoice::Word(_) => false,
            CardChoice::These(these) if these.iter().any(|one| one.as_str() == address) => true,
            CardChoice::These(_) => continue,
        };
        // What changed around a card is claimed anew by a person alone, however the cards were chosen.
        let what = moved_from(address, noted, inventory).filter(|_| named).or_else(|| card.moved.clone());
        if let Some(what) = what.filter(|_| !renewed.contains(address)) {
            refused.push(Refused { address: address.clone(), reason: what, next: renew(address) });
            continue;
        }
        let is_spoilt = inventory.scene.iommu.spoilt_by.is_some();
        let is_kept = card.claimed && !is_spoilt && (judgement.verdict == Verdict::InUse || is_bound(card));
        let can_be = !matches!(judgement.verdict, Verdict::Blocked | Verdict::InUse) || is_kept;
        let iommu = &inventory.scene.iommu;
        let by_hand = judgement.verdict == Verdict::Reboot && !iommu.on && iommu.kept_off_by.is_some();
        if can_be && !by_hand {
            claims.claims.push(Claim::of(card, judgement, &inventory.scene));
            claims.arguments.extend(judgement.arguments.iter().cloned());
        } else if named || card.claimed {
            // One that was claimed does not go without a word, however the cards were chosen.
            let (reason, next) = (judgement.reason.clone(), judgement.next.clone());
            let next = if card.claimed { format!("{next}; or: gpucloud-install gpu release {address}") } else { next };
            refused.push(Refused { address: address.clone(), reason, next });
        }
    }
    if let CardChoice::These(these) = choice {
        let known = |address: &str| inventory.cards.iter().any(|(card, _)| card.function.address == address);
        refused.extend(these.iter().filter(|one| !known(one.as_str())).map(|one| Refused {
            address: one.to_string(),
            reason: moved_from(one.as_str(), noted, inventory).unwrap_or_else(|| "there is no card".into()),
            next: "gpucloud-install gpu list shows where they are; gpucloud-install gpu claim names them anew".into(),
        }));
    }
    if matches!(choice, CardChoice::Word(_)) {
        refused.extend(noted.claims.iter().filter_map(|claim| gone(claim, inventory)));
    }
    refused.extend(whole_boards(&mut claims, inventory));
    if !claims.claims.is_empty() {
        // The kernel has what it was told: the reason for it cannot be seen any more.
        claims.arguments.extend(noted.arguments.iter().cloned());
    }
    (claims, refused)
}

/// A claimed card that is nowhere any more.
fn gone(claim: &Claim, inventory: &Inventory) -> Option<Refused> {
    let address = &claim.card.address;
    if inventory.scene.functions.iter().any(|one| one.address == *address || claim.card.is_like(one)) {
        return None;
    }
    Some(Refused {
        address: address.clone(),
        reason: format!("nothing is at {address} any more, where {} was", claim.card.ids),
        next: format!("{COLD_START}; or: gpucloud-install gpu release {address}"),
    })
}

fn is_bound(card: &Card) -> bool {
    card.function.driver.as_deref() == Some(VFIO)
}

fn renew(address: &str) -> String {
    format!("gpucloud-install gpu claim {address} claims what is there now; or take it out of gpu.cards")
}

/// What was claimed at this address, where that is not there any more.
fn moved_from(address: &str, noted: &Claims, inventory: &Inventory) -> Option<String> {
    let claim = noted.claims.iter().find(|claim| claim.card.address == address)?;
    let functions = &inventory.scene.functions;
    let there = functions.iter().find(|function| function.address == address);
    match there {
        Some(function) if claim.card.is(function) => None,
        there => Some(moved(&claim.card, there, functions)),
    }
}

/// A board of cards goes whole or not at all: claims on a part of one are dropped.
fn whole_boards(claims: &mut Claims, inventory: &Inventory) -> Vec<Refused> {
    let board: Vec<&str> = inventory.scene.board().iter().map(|card| card.function.address.as_str()).collect();
    let is_on_board = |claim: &Claim| board.contains(&claim.card.address.as_str());
    let claimed = claims.claims.iter().filter(|claim| is_on_board(claim)).count();
    if claimed == 0 || claimed == board.len() {
        return Vec::new();
    }
    let reason = format!("its board (HGX) goes whole or not at all, and {claimed} of {} were chosen", board.len());
    let refuse = |claim: &Claim| Refused {
        address: claim.card.address.clone(),
        reason: reason.clone(),
        next: format!("gpucloud-install gpu claim {}", board.join(" ")),
    };
    let refused = claims.claims.iter().filter(|claim| is_on_board(claim)).map(refuse).collect();
    claims.claims.retain(|claim| !is_on_board(claim));
    refused
}

/// The claim on a card as it is, where there is one.
pub fn of<'a>(claims: &'a Claims, function: &Function) -> Option<&'a Claim> {
    claims.claims.iter().find(|claim| claim.card.is(function))
}

/// The text of the note.
pub fn note(claims: &Claims) -> Result<String> {
    let text = serde_json::to_string_pretty(claims).map_err(|error| Error::protocol("write claims", error))?;
    Ok(format!("{text}\n"))
}
