//! Whether a card can be given to an instance, what stands in its way, and what to do: rules over facts, in the order
//! in which they hold, and all their words. They read nothing and change nothing. A new reason is a rule beside its kind
//! in [`Scene::blocked`] and its neighbours; what it needs to know is a field of [`Scene`] or of a card's details
//! (`facts/pci.rs`), and a machine in `tests/fixtures/machines` shows it. What stands in no way and is only worth saying
//! is in [`ready`].

use super::Card;
use crate::facts::card_users::User;
use crate::facts::iommu::{Iommu, Maker};
use crate::facts::needed::Needed;
use crate::facts::pci::{Function, NVIDIA};
use crate::host::pci::VFIO;
use serde::Serialize;
use std::collections::BTreeSet;

/// How it is with a card; the first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that this program may do helps.
    Blocked,
    /// Somebody has it now.
    InUse,
    /// The kernel has to be told something first, and that takes a boot.
    Reboot,
    /// Others of its board go with it.
    Companions,
    /// It can be claimed, or is.
    Ready,
}

impl Verdict {
    /// As it is written in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::InUse => "in-use",
            Self::Reboot => "reboot",
            Self::Companions => "companions",
            Self::Ready => "ready",
        }
    }
}

/// What was found about a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// How it is.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// What to do next.
    pub next: String,
    /// Other functions of its board that have to be bound with it, and stay with the host.
    pub companions: Vec<String>,
    /// What the kernel has to be told.
    pub arguments: Vec<String>,
}

/// A whole machine, as the rules see it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// All functions on the bus.
    pub functions: Vec<Function>,
    /// The cards among them, with what is known of each.
    pub cards: Vec<Card>,
    /// Switches between the cards of one board.
    pub switches: Vec<String>,
    /// Functions that draw the console.
    pub consoles: Vec<String>,
    /// What the machine needs for itself.
    pub needed: Vec<Needed>,
    /// Virtual functions, each with that of which it is one.
    pub virtual_functions: Vec<(String, String)>,
    /// Who uses what.
    pub users: Vec<User>,
    /// The IOMMU.
    pub iommu: Iommu,
    /// Where the firmware's screen lies in memory.
    pub framebuffers: Vec<(u64, u64)>,
}

/// Tells the kernel to keep its hands off the firmware's screen (kernel: drivers/firmware/sysfb.c, since 5.15).
const NO_FRAMEBUFFER: &str = "initcall_blacklist=sysfb_init";

/// What helps against a card that does not answer.
const COLD_START: &str = "dmesg | grep -i -e nvrm -e pcie: a card that fell off its bus comes back with a cold start; see the board's manual";

/// What a rule found: the reason, and what to do.
type Found = (String, String);

impl Scene {
    /// Judges one card.
    pub fn judge(&self, card: &Card) -> Judgement {
        let companions = self.companions(card);
        let arguments = self.arguments(card);
        let rules: [(Verdict, &dyn Fn() -> Option<Found>); 4] = [
            (Verdict::Blocked, &|| self.blocked(card)),
            (Verdict::InUse, &|| self.in_use(card, &companions)),
            (Verdict::Reboot, &|| self.reboot(card, &arguments)),
            (Verdict::Companions, &|| with_companions(card, &companions)),
        ];
        let first = rules.iter().find_map(|(verdict, rule)| Some((*verdict, rule()?)));
        let (verdict, (reason, next)) = first.unwrap_or_else(|| (Verdict::Ready, ready(card)));
        Judgement { verdict, reason, next, companions, arguments }
    }

    fn blocked(&self, card: &Card) -> Option<Found> {
        self.is_console(card)
            .or_else(|| self.lacks_iommu())
            .or_else(|| self.kernel_does_not_use_it())
            .or_else(|| self.cannot_go(card))
            .or_else(|| self.board_is_not_whole(card))
    }

    fn is_console(&self, card: &Card) -> Option<Found> {
        let address = &card.function.address;
        let next = "let another adapter draw the console: in the firmware \"primary display\" on the processor's or the \
                    management controller's graphics, or a second, cheap card in the first slot";
        self.consoles.contains(address).then(|| ("it draws this machine's console".into(), next.into()))
    }

    fn lacks_iommu(&self) -> Option<Found> {
        if self.iommu.on || self.iommu.table.is_some() {
            return None;
        }
        if let Some(inside) = &self.iommu.inside {
            let next = "on the machine below: give this one a virtual IOMMU (libvirt: <iommu model='intel'>), or install \
                        there";
            return Some((format!("this machine is virtual itself ({inside}) and was given no IOMMU"), next.into()));
        }
        let (name, next) = match self.iommu.maker {
            Maker::Intel => (
                "VT-d",
                "in the firmware, switch on \"VT-d\" (\"Intel Virtualization Technology for \
                                      Directed I/O\"); it is another switch than VT-x",
            ),
            Maker::Amd => (
                "AMD-Vi",
                "in the firmware, switch on \"IOMMU\" (under AMD CBS, NBIO; \"Auto\" may mean off) \
                                      and \"SVM\"",
            ),
            Maker::Other => ("an IOMMU", "see the board's manual: not every one has it"),
        };
        Some((format!("the firmware does not offer {name}: devices cannot be kept apart"), next.into()))
    }

    /// The firmware offers the IOMMU and the kernel was told to use it, and does not: to tell it once more helps nothing.
    fn kernel_does_not_use_it(&self) -> Option<Found> {
        let Iommu { on, table, asked, kept_off_by, .. } = &self.iommu;
        let refused = !on && table.is_some() && *asked && kept_off_by.is_none();
        let reason = "the kernel was asked to use the IOMMU, and does not: its messages say why";
        let next = "journalctl -k -b --grep 'DMAR|AMD-Vi|IOMMU'; a newer firmware often helps, or a kernel that is built with \
                    it";
        refused.then(|| (reason.into(), next.into()))
    }

    fn has_no_group(&self, card: &Card) -> Option<Found> {
        let reason = "the IOMMU is on, and does not cover it";
        let next = "another slot (the board's manual shows which hang on the processor); journalctl -k -b --grep DMAR";
        (self.iommu.on && card.function.group.is_none()).then(|| (reason.into(), next.into()))
    }

    /// Members of the card's group, without bridges, which nobody binds.
    fn members<'a>(&'a self, card: &'a Card) -> impl Iterator<Item = &'a Function> {
        let group = card.function.group;
        self.functions
            .iter()
            .filter(move |other| group.is_some() && other.group == group && !other.is_bridge())
            .filter(|other| other.address != card.function.address)
    }

    fn shares_its_group(&self, card: &Card) -> Option<Found> {
        let foreign: Vec<&Function> = self.members(card).filter(|other| other.slot() != card.function.slot()).collect();
        // What the machine needs says more than what is merely there.
        let needed = foreign.iter().find_map(|other| Some((other, self.needed_for(&other.address)?)));
        let (other, what) = match needed {
            Some((other, what)) => (other, what),
            None => {
                let other = foreign.first()?;
                (other, super::kind_of(other).to_owned())
            }
        };
        let more = match foreign.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let reason = format!("the IOMMU cannot tell it from {}, {what}{more}", other.address);
        let next = "another slot, best one at the processor (the board's manual shows which hang on the chipset); or the \
                    firmware's \"ACS\" switch. The kernel's ACS override only pretends, and is never set";
        Some((reason, next.into()))
    }

    fn own_board_is_needed(&self, card: &Card) -> Option<Found> {
        let own = self.functions.iter().filter(|other| other.slot() == card.function.slot());
        let (other, what) = own.filter_map(|other| Some((other, self.needed_for(&other.address)?))).next()?;
        let next = "let the machine do without it, then: gpucloud-install inventory";
        Some((format!("{} on its own board serves this machine: {what}", other.address), next.into()))
    }

    fn needed_for(&self, address: &str) -> Option<String> {
        if self.consoles.iter().any(|console| console == address) {
            return Some("the console".into());
        }
        let needed: Vec<&Needed> = self.needed.iter().filter(|needed| needed.address == address).collect();
        let root = needed.iter().find(|needed| needed.for_what.starts_with("the root"));
        root.or(needed.first()).map(|needed| needed.for_what.clone())
    }

    /// The cards that hang on switches: where there are some, NVIDIA's 3D controllers of the kind that is there most
    /// often. (A card of another kind beside the board is none of its.)
    pub fn board(&self) -> Vec<&Card> {
        let fits = |card: &&Card| card.function.class >> 8 == 0x0302 && card.function.vendor == NVIDIA;
        let cards: Vec<&Card> = self.cards.iter().filter(|_| !self.switches.is_empty()).filter(fits).collect();
        let count = |card: &Card| cards.iter().filter(|other| other.function.device == card.function.device).count();
        let most = cards.iter().map(|card| count(card)).max().unwrap_or_default();
        cards.iter().filter(|card| count(card) == most).copied().collect()
    }

    /// What stands in the way of one card, whatever its board.
    fn cannot_go(&self, card: &Card) -> Option<Found> {
        does_not_answer(card)
            .or_else(|| has_no_place(card))
            .or_else(|| self.has_no_group(card))
            .or_else(|| self.shares_its_group(card))
            .or_else(|| self.own_board_is_needed(card))
    }

    fn board_is_not_whole(&self, card: &Card) -> Option<Found> {
        let board = self.board();
        if !board.iter().any(|one| one.function.address == card.function.address) {
            return None;
        }
        let count = board.len();
        let missing = !count.is_power_of_two();
        let held: Vec<String> =
            board.iter().filter(|one| self.cannot_go(one).is_some()).map(|one| one.function.address.clone()).collect();
        let (why, next) = match (missing, held.as_slice()) {
            (true, _) => (format!("{count} cards answer, which is no whole board"), COLD_START),
            (false, []) => return None,
            (false, held) => (format!("{} cannot be given away", held.join(", ")), "see there what helps that one"),
        };
        Some((format!("its board (HGX) goes whole or not at all: {why}"), next.into()))
    }

    fn in_use(&self, card: &Card, companions: &[String]) -> Option<Found> {
        // What is made of it goes with it.
        let virtual_ones = self.virtual_functions.iter().filter(|(_, of)| *of == card.function.address);
        let own = std::iter::once(&card.function.address).chain(companions).chain(virtual_ones.map(|(one, _)| one));
        let addresses: BTreeSet<&String> = own.collect();
        let users: Vec<&User> = self.users.iter().filter(|user| addresses.contains(&user.address)).collect();
        let first = users.first()?;
        let mut names: Vec<String> = users.iter().map(|user| format!("{} ({})", user.name, user.pid)).collect();
        names.dedup();
        let next = match first.name.as_str() {
            name if name.starts_with("instance-") => {
                "gpucloud-install instance list; delete the one that has it".into()
            }
            "nvidia-persistenced" => "systemctl disable --now nvidia-persistenced".into(),
            "Xorg" | "Xwayland" | "gdm3" | "gnome-shell" | "sddm" | "lightdm" | "kwin_wayland" => {
                "systemctl set-default multi-user.target; reboot (the desktop holds it)".into()
            }
            _ => format!("end it: kill {}", first.pid),
        };
        Some((format!("{} has it open", names.join(", ")), next))
    }

    /// What the running kernel lacks for this card.
    fn arguments(&self, card: &Card) -> Vec<String> {
        let mut all = Vec::new();
        if !self.iommu.on && self.iommu.table.is_some() {
            all.extend((self.iommu.maker == Maker::Intel).then(|| "intel_iommu=on".to_owned()));
            all.push("iommu=pt".into());
        }
        all.extend(self.holds_the_screen(card).then(|| NO_FRAMEBUFFER.to_owned()));
        all
    }

    /// Whether the firmware's screen lies in the card's memory: then the card's memory cannot be given away.
    fn holds_the_screen(&self, card: &Card) -> bool {
        let lies_in = |(first, last): &(u64, u64)| {
            card.details.bars.iter().any(|bar| bar.begins <= *first && *last < bar.begins.saturating_add(bar.size))
        };
        self.framebuffers.iter().any(lies_in)
    }

    fn reboot(&self, card: &Card, arguments: &[String]) -> Option<Found> {
        if arguments.is_empty() {
            return None;
        }
        if let Some(argument) = self.iommu.kept_off_by.as_ref().filter(|_| !self.iommu.on) {
            let next =
                format!("take {argument} out of /etc/default/grub (or /etc/kernel/cmdline), then: update-grub; reboot");
            return Some((format!("the kernel was told to leave the IOMMU off ({argument})"), next));
        }
        let reason = match self.iommu.on {
            false => "the IOMMU is there, and the running kernel does not use it",
            true => "the firmware's screen lies in its memory",
        };
        let next = format!(
            "gpucloud-install gpu claim {}: tells the kernel {}, and reboots when you say so",
            card.function.address,
            arguments.join(" ")
        );
        Some((reason.into(), next))
    }

    /// Other functions in the card's slot that are in its group. As long as the IOMMU is off, all of the slot.
    fn companions(&self, card: &Card) -> Vec<String> {
        let group = card.function.group;
        self.functions
            .iter()
            .filter(|other| other.slot() == card.function.slot() && other.address != card.function.address)
            .filter(|other| other.group == group && !other.is_bridge())
            .map(|other| other.address.clone())
            .collect()
    }
}

fn does_not_answer(card: &Card) -> Option<Found> {
    let reason = "it does not answer on its bus";
    card.details.silent.then(|| (reason.into(), COLD_START.into()))
}

fn has_no_place(card: &Card) -> Option<Found> {
    let reason = "the firmware left no room for its memory";
    let next =
        "in the firmware, switch on \"Above 4G Decoding\" (and \"Resizable BAR\" only with it), and boot by UEFI";
    card.details.unplaced.then(|| (reason.into(), next.into()))
}

fn with_companions(card: &Card, companions: &[String]) -> Option<Found> {
    if companions.is_empty() {
        return None;
    }
    let reason =
        format!("{} of its board share its group: all are bound, the card alone is passed", companions.join(", "));
    Some((reason, next_for(card)))
}

fn ready(card: &Card) -> Found {
    let reason = match (card.claimed, card.function.driver.as_deref()) {
        (true, Some(VFIO)) => "it is claimed and bound",
        (true, _) => "it is claimed, and not bound yet",
        (false, _) => "nothing stands in its way",
    };
    (reason.into(), next_for(card))
}

fn next_for(card: &Card) -> String {
    let address = &card.function.address;
    match (card.claimed, card.function.driver.as_deref()) {
        (true, Some(VFIO)) => "gpucloud-install gpu release gives it back".into(),
        (true, _) => "systemctl reboot: it is bound at boot (journalctl -u gpucloud-gpu says how that went)".into(),
        (false, None | Some(VFIO)) => format!("gpucloud-install gpu claim {address}"),
        (false, Some(driver)) => {
            format!("gpucloud-install gpu claim {address}: {driver} lets it go at the next boot")
        }
    }
}
