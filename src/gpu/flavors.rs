//! Sizes of instances with cards, computed from what the machine has and what is claimed: each card comes with its share
//! of processors, memory and disk. Pure: what the machine had is noted with the claims, so that sizes stay what they are
//! until the cards change. A new size is a line of [`computed`], and a row in `docs/gpu.md`.

use super::claim::{Capacity, Claims};
use crate::cloud::devices::alias_of;
use serde::Serialize;
use std::collections::BTreeMap;

/// A size of instances with cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardFlavor {
    /// "gpu1.small".
    pub name: String,
    /// How many cards.
    pub cards: usize,
    /// Processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in GiB.
    pub disk_gib: u32,
    /// What else Nova is told of it.
    pub specs: BTreeMap<String, String>,
}

/// What stays with the machine itself, in MiB: the cloud's own services take 6 GiB natively and 10 GiB by DevStack, and
/// an instance with a card has all of its memory locked. A small machine keeps half of what it has.
pub fn kept_memory_mib(capacity: &Capacity) -> u64 {
    (capacity.memory_mib / 8).max(12 << 10).min(capacity.memory_mib / 2)
}

/// The most disk that is given unasked, in GiB.
const DISK_GIB: u64 = 100;

/// All sizes. A card's share is what there is, without what the machine keeps, by all cards: `large` is the whole of it,
/// `small` half, so that others fit beside it. Two, four, eight cards at once, and all of them, where there are so many.
/// With cards of more than one model, each name ends in the model's ids.
pub fn computed(claims: &Claims) -> Vec<CardFlavor> {
    let Some(capacity) = claims.capacity else { return Vec::new() };
    let mut models: BTreeMap<&str, usize> = BTreeMap::new();
    for claim in &claims.claims {
        *models.entry(&claim.card.ids).or_default() += 1;
    }
    let one = Share::of(&capacity, claims.claims.len());
    let mut flavors = Vec::new();
    for (ids, count) in &models {
        let (vendor, device) = ids.split_once(':').unwrap_or((ids, ""));
        let suffix = if models.len() > 1 { format!(".{}", ids.replace(':', "-")) } else { String::new() };
        let flavor = |cards: usize, size: &str, share: Share| CardFlavor {
            name: format!("gpu{cards}.{size}{suffix}"),
            cards,
            vcpus: share.vcpus,
            memory_mib: share.memory_mib,
            disk_gib: share.disk_gib,
            specs: BTreeMap::from([(
                "pci_passthrough:alias".to_owned(),
                format!("{}:{cards}", alias_of(vendor, device)),
            )]),
        };
        flavors.push(flavor(1, "small", one.half()));
        flavors.extend(numbers(*count).into_iter().map(|cards| flavor(cards, "large", one.times(cards))));
    }
    flavors
}

/// 1, 2, 4 and on up to `count`, and `count` itself.
fn numbers(count: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < count);
    powers.chain([count]).collect()
}

/// What one card comes with.
#[derive(Debug, Clone, Copy)]
struct Share {
    vcpus: u32,
    memory_mib: u32,
    disk_gib: u32,
}

impl Share {
    fn of(capacity: &Capacity, cards: usize) -> Self {
        let cards = u64::try_from(cards).unwrap_or(u64::MAX).max(1);
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let processors = u64::from(capacity.processors);
        let kept = (processors / 8).max(2).min(processors / 2);
        let memory = (capacity.memory_mib - kept_memory_mib(capacity)) / cards;
        // A quarter of the filesystem holds images, and the disks of instances without a card.
        let disk = capacity.disk_gib * 3 / 4 / cards;
        Self {
            vcpus: small((processors - kept) / cards).max(1),
            memory_mib: small(rounded(memory)),
            disk_gib: small(disk.min(DISK_GIB)).max(1),
        }
    }

    fn half(self) -> Self {
        Self {
            vcpus: (self.vcpus / 2).max(1),
            memory_mib: rounded(u64::from(self.memory_mib / 2)).try_into().unwrap_or(u32::MAX),
            disk_gib: (self.disk_gib / 2).max(1),
        }
    }

    fn times(self, cards: usize) -> Self {
        let times = |value: u32| value.saturating_mul(cards.try_into().unwrap_or(u32::MAX));
        Self {
            vcpus: times(self.vcpus),
            memory_mib: times(self.memory_mib),
            disk_gib: self.disk_gib.max(times(self.disk_gib).min(400)),
        }
    }
}

/// Down to whole GiB; a small machine's to a quarter of one, and never nothing.
fn rounded(mib: u64) -> u64 {
    let unit = if mib >= 2048 { 1024 } else { 256 };
    (mib / unit * unit).max(256)
}

#[cfg(test)]
mod tests {
    use super::super::claim::{Claim, Member};
    use super::*;

    fn claims(ids: &[&str], capacity: Capacity) -> Claims {
        let claim = |(at, ids): (usize, &&str)| Claim {
            card: Member {
                address: format!("0000:{:02x}:00.0", at + 1),
                ids: (*ids).to_owned(),
                subsystem: String::new(),
                port: None,
                way: None,
            },
            companions: Vec::new(),
        };
        let claims = ids.iter().enumerate().map(claim).collect();
        Claims { claims, capacity: Some(capacity), ..Claims::default() }
    }

    fn shown(claims: &Claims) -> String {
        let line = |one: CardFlavor| {
            let CardFlavor { name, vcpus, memory_mib, disk_gib, specs, .. } = one;
            format!("{name}: {vcpus} vCPUs, {memory_mib} MiB, {disk_gib} GiB, {specs:?}")
        };
        computed(claims).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_card_comes_with_its_share_and_the_machine_keeps_its_own() {
        let box_of_four = Capacity { processors: 64, memory_mib: 515_000, disk_gib: 1800 };
        let small_lab = Capacity { processors: 2, memory_mib: 7_900, disk_gib: 9 };
        let all = [
            ("four equal cards", claims(&["10de:20b2"; 4], box_of_four)),
            ("three equal cards", claims(&["10de:20b2"; 3], box_of_four)),
            ("two models", claims(&["10de:2204", "10de:2684", "10de:2204"], box_of_four)),
            ("a small virtual lab", claims(&["1234:1111"; 2], small_lab)),
        ];
        let text = all.map(|(name, claims)| format!("{name}\n{}", shown(&claims))).join("\n\n");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn nobody_is_promised_more_than_there_is() {
        for (processors, memory_mib, disk_gib, cards) in [
            (1, 2000, 5, 1),
            (4, 16_000, 100, 2),
            (8, 32_000, 200, 3),
            (128, 2_000_000, 30_000, 8),
            (16, 64_000, 400, 7),
        ] {
            let capacity = Capacity { processors, memory_mib, disk_gib };
            let all = claims(&vec!["10de:2335"; cards], capacity);
            let largest =
                computed(&all).into_iter().find(|one| one.cards == cards && one.name.contains("large")).unwrap();
            let left = memory_mib.saturating_sub(u64::from(largest.memory_mib));
            assert!(left >= kept_memory_mib(&capacity), "{capacity:?} with {cards}: {largest:?}");
            assert!(u64::from(largest.disk_gib) <= disk_gib, "{capacity:?}: {largest:?}");
        }
    }
}
