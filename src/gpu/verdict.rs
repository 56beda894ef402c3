//! Whether a card can be given to an instance, what stands in its way, and what to do: rules over facts, in the order
//! in which they hold, and all their words. They read nothing and change nothing. A new reason is a rule beside its kind
//! in [`Scene::blocked`] and its neighbours; what it needs to know is a field of [`Scene`] or of a card's details
//! (`facts/pci.rs`), and a machine in `tests/fixtures/machines` shows it. What
//! a whole board of cards needs is in `board.rs`, who uses a card in `in_use.rs`.

use super::{Card, families};
use crate::facts::card_users::User;
use crate::facts::iommu::{Iommu, Maker};
use crate::facts::needed::Needed;
use crate::facts::pci::Function;
use crate::host::pci::VFIO;
use serde::Serialize;

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
    /// What hangs on functions, needed or not.
    pub carried: Vec<Needed>,
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
pub(super) const COLD_START: &str = "dmesg | grep -i -e nvrm -e pcie: a card that fell off its bus comes back with a cold start; see the board's manual";

/// What a rule found: the reason, and what to do.
pub(super) type Found = (String, String);

impl Scene {
    /// Judges one card.
    pub fn judge(&self, card: &Card) -> Judgement {
        let companions = self.companions(card);
        let arguments = self.arguments(card);
        let rules: [(Verdict, &dyn Fn() -> Option<Found>); 4] = [
            (Verdict::Blocked, &|| self.blocked(card)),
            (Verdict::InUse, &|| self.in_use(card, &companions)),
            (Verdict::Reboot, &|| self.reboot(card, &arguments)),
            (Verdict::Companions, &|| self.with_companions(card, &companions)),
        ];
        let first = rules.iter().find_map(|(verdict, rule)| Some((*verdict, rule()?)));
        let (verdict, (reason, next)) = first.unwrap_or_else(|| (Verdict::Ready, self.ready(card)));
        Judgement { verdict, reason, next, companions, arguments }
    }

    fn blocked(&self, card: &Card) -> Option<Found> {
        self.lacks_iommu()
            .or_else(|| self.kernel_does_not_use_it())
            .or_else(|| self.is_spoilt())
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
        if self.iommu.xen {
            let next =
                "boot a kernel without Xen: what it is told stands in /etc/default/grub, its entry in GRUB's menu";
            return Some(("Xen runs below this kernel, and has the IOMMU".into(), next.into()));
        }
        if self.iommu.on || self.iommu.table.is_some() {
            return None;
        }
        if let Some(inside) = &self.iommu.inside {
            let next = "on the machine below: give this one a virtual IOMMU (libvirt: <iommu model='intel'>; others call it \
                        vIOMMU), or install there";
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

    fn is_spoilt(&self) -> Option<Found> {
        let argument = self.iommu.spoilt_by.as_ref()?;
        let why = match argument.split_once('=').map_or(argument.as_str(), |(name, _)| name) {
            "pcie_acs_override" => "to pretend that devices are apart: whoever has a card could reach its neighbours",
            "intremap" | "nointremap" => "to let devices interrupt whom they like, with which VFIO refuses",
            _ => "never to load VFIO",
        };
        let next = format!(
            "take {argument} out of /etc/default/grub (or /etc/kernel/cmdline, /etc/modprobe.d), then: update-grub; reboot"
        );
        Some((format!("the kernel was told {why} ({argument})"), next))
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

    /// What is on a card's own board: in its slot, or behind the same switch on the card.
    fn board_of(&self, card: &Card) -> impl Fn(&Function) -> bool {
        let is_own = |bridge: &&String| {
            let switch = self.functions.iter().find(|one| one.address == **bridge);
            switch.is_some_and(families::is_switch_of_a_card)
        };
        let switches: Vec<String> = card.function.above.iter().filter(is_own).cloned().collect();
        let slot = card.function.slot().to_owned();
        move |other| other.slot() == slot || switches.iter().any(|switch| other.above.contains(switch))
    }

    /// Whether it is made of the card, and goes with the next boot.
    fn is_made_of(&self, card: &Card, other: &Function) -> bool {
        self.virtual_functions.iter().any(|(one, of)| *one == other.address && *of == card.function.address)
    }

    fn shares_its_group(&self, card: &Card) -> Option<Found> {
        let is_its_own = self.board_of(card);
        let is_foreign = |other: &&Function| !is_its_own(other) && !self.is_made_of(card, other);
        let foreign: Vec<&Function> = self.members(card).filter(is_foreign).collect();
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
        let is_its_own = self.board_of(card);
        let own = || self.functions.iter().filter(|other| is_its_own(other));
        let carried = |other: &Function| {
            let found = self.carried.iter().find(|carried| carried.address == other.address)?;
            (other.address != card.function.address).then(|| found.for_what.clone())
        };
        let needed = own().find_map(|other| Some((other, self.needed_for(&other.address)?)));
        let (other, what) = needed.or_else(|| own().find_map(|other| Some((other, carried(other)?))))?;
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

    /// What stands in the way of one card, whatever its board.
    pub(super) fn cannot_go(&self, card: &Card) -> Option<Found> {
        self.is_console(card)
            .or_else(|| does_not_answer(card))
            .or_else(|| has_no_place(card))
            .or_else(|| self.has_no_group(card))
            .or_else(|| self.shares_its_group(card))
            .or_else(|| self.own_board_is_needed(card))
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
        let next =
            format!("{}: tells the kernel {}, and reboots when you say so", self.claim_of(card), arguments.join(" "));
        Some((reason.into(), next))
    }

    /// Other functions of the card's board that are in its group. As long as the IOMMU is off, all of the board.
    fn companions(&self, card: &Card) -> Vec<String> {
        let (group, is_its_own) = (card.function.group, self.board_of(card));
        self.functions
            .iter()
            .filter(|other| other.address != card.function.address && !other.is_bridge())
            .filter(|other| other.group == group && is_its_own(other) && !self.is_made_of(card, other))
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

impl Scene {
    fn with_companions(&self, card: &Card, companions: &[String]) -> Option<Found> {
        if companions.is_empty() {
            return None;
        }
        let shared = "of its board share its group: all are bound, the card alone is passed";
        let state = claim_state(card).map(|state| format!("{state}; ")).unwrap_or_default();
        Some((format!("{state}{} {shared}", companions.join(", ")), self.next_for(card)))
    }

    fn ready(&self, card: &Card) -> Found {
        (claim_state(card).unwrap_or_else(|| "nothing stands in its way".into()), self.next_for(card))
    }

    /// Where one of a board is claimed, all are.
    fn claim_of(&self, card: &Card) -> String {
        let address = &card.function.address;
        match self.board().iter().any(|one| one.function.address == *address) {
            true => "gpucloud-install gpu claim".to_owned(),
            false => format!("gpucloud-install gpu claim {address}"),
        }
    }

    fn next_for(&self, card: &Card) -> String {
        let claim = self.claim_of(card);
        match (card.claimed, card.function.driver.as_deref()) {
            (true, Some(VFIO)) => "gpucloud-install gpu release gives it back".into(),
            (true, _) if card.moved.is_some() => format!("{claim}: claims what is there now"),
            (true, _) => "systemctl reboot: it is bound at boot (journalctl -u gpucloud-gpu says how that went)".into(),
            (false, None | Some(VFIO)) => claim,
            (false, Some(driver)) => format!("{claim}: {driver} lets it go at the next boot"),
        }
    }
}

/// How it is with its claim, where it has one.
fn claim_state(card: &Card) -> Option<String> {
    card.claimed.then(|| match (card.function.driver.as_deref(), &card.moved) {
        (_, Some(what)) => format!("it is claimed, and not bound: {what}"),
        (Some(VFIO), None) => "it is claimed and bound".into(),
        (_, None) => "it is claimed, and not bound yet".into(),
    })
}
