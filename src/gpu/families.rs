//! Which display devices are cards for instances and which are not (a management controller's, the processor's own, a
//! virtual machine's), by who makes them; and what a family of cards can do, by its name. A new maker or family is a row,
//! with its source.

use crate::facts::pci::{Function, NVIDIA};

/// Makers of display controllers that draw a server's console and compute nothing: their vendor ids (pci.ids).
const CONSOLE_MAKERS: &[(&str, &str)] = &[
    ("1a03", "the management controller's (ASPEED)"),
    ("102b", "the management controller's (Matrox)"),
    ("18ca", "the management controller's (XGI)"),
    ("126f", "the management controller's (Silicon Motion)"),
    ("1234", "a virtual machine's display (QEMU)"),
    ("1b36", "a virtual machine's display (Red Hat)"),
    ("1af4", "a virtual machine's display (virtio)"),
    ("15ad", "a virtual machine's display (VMware)"),
    ("1414", "a virtual machine's display (Microsoft)"),
    ("80ee", "a virtual machine's display (VirtualBox)"),
    ("1013", "a virtual machine's display (Cirrus)"),
];
/// The same of makers that make cards too: vendor and device (pci.ids, "ES1000", "Rage XL", "RV100").
const CONSOLES: &[&str] = &["1002:515e", "1002:5969", "1002:4752", "1002:4754", "1002:5159"];
/// Processors that count as accelerators, and have this machine's own memory: AMD's MI300A.
const APUS: &[&str] = &["1002:74a0"];
/// Switches on a card itself, above all of its functions: Intel's Arc has its sound behind one (pci.ids).
const SWITCHES_OF_CARDS: &[&str] = &["8086:4fa0", "8086:4fa1", "8086:4fa4", "8086:e2ff", "8086:e2f0", "8086:e2f1"];
const AMD_CARDS: &str = "1002";
const AMD_PROCESSORS: &str = "1022";
const INTEL: &str = "8086";
/// "Processing accelerators" (PCI Code and ID Assignment, base class 12h): AMD's Instinct.
const ACCELERATOR: u32 = 0x12;
/// "Other bridge": an NVSwitch has it (pci.ids, "GA100 [A100 NVSwitch]").
const OTHER_BRIDGE: u32 = 0x0680;

/// What a function is for this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A card that an instance can have.
    Card,
    /// A display controller that is none, and why not.
    Apart(&'static str),
    /// A switch between the cards of one board (HGX).
    NvSwitch,
    /// Something else.
    Other,
}

/// Whether a bridge is a part of a card.
pub fn is_switch_of_a_card(bridge: &Function) -> bool {
    SWITCHES_OF_CARDS.contains(&bridge.ids().as_str())
}

/// Sorts one of `functions`; `also` names ids that count as cards, `inside` is whether this machine is virtual itself: what
/// stands on its first bus was given to it.
pub fn sort(function: &Function, functions: &[Function], also: &[String], inside: bool) -> Sort {
    if also.contains(&function.ids()) {
        return Sort::Card;
    }
    if function.vendor == NVIDIA && function.class >> 8 == OTHER_BRIDGE {
        return Sort::NvSwitch;
    }
    if APUS.contains(&function.ids().as_str()) {
        return Sort::Apart("the processor's own graphics");
    }
    if function.vendor == AMD_CARDS && function.class >> 16 == ACCELERATOR {
        return Sort::Card;
    }
    if !function.is_display() {
        return Sort::Other;
    }
    if CONSOLES.contains(&function.ids().as_str()) {
        return Sort::Apart("the management controller's (ATI)");
    }
    if let Some((_, why)) = CONSOLE_MAKERS.iter().find(|(vendor, _)| *vendor == function.vendor) {
        return Sort::Apart(why);
    }
    if !inside && is_in_the_processor(function, functions) {
        return Sort::Apart("the processor's own graphics");
    }
    match function.vendor.as_str() {
        NVIDIA | AMD_CARDS | INTEL => Sort::Card,
        _ => Sort::Apart("of a maker whose cards are not known here"),
    }
}

/// On the first bus cards are never; AMD's newer ones are behind a bridge, with functions of the processor in their slot.
fn is_in_the_processor(function: &Function, functions: &[Function]) -> bool {
    let beside = || functions.iter().filter(|other| other.slot() == function.slot());
    let on_first_bus = || function.above.is_empty() && function.address.split(':').nth(1) == Some("00");
    match function.vendor.as_str() {
        INTEL => on_first_bus(),
        AMD_CARDS => on_first_bus() || beside().any(|other| other.vendor == AMD_PROCESSORS),
        _ => false,
    }
}

/// Words in the names of cards that can be cut into slices by hardware (NVIDIA MIG user guide, "Supported GPUs").
const MIG: &[&str] = &[
    "A30", "A100", "H100", "H200", "H800", "H20", "GH200", "B200", "GB200", "B300", "GB300", "PRO 6000", "PRO 5000",
    "PRO 4500",
];

/// Whether a card of this name can do MIG.
pub fn has_mig(vendor: &str, name: &str) -> bool {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let has = |known: &str| {
        let known: Vec<&str> = known.split(' ').collect();
        words.windows(known.len()).any(|window| window == known)
    };
    // "RTX PRO 6000 Blackwell", not "Quadro RTX 6000".
    vendor == NVIDIA && MIG.iter().any(|known| has(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mig_is_told_by_whole_words() {
        for (name, expected) in [
            ("GA100 [A100 PCIe 80GB]", true),
            ("GH100 [H100 SXM5 80GB]", true),
            ("GB202GL [RTX PRO 6000 Blackwell Workstation Edition]", true),
            ("GA102GL [A40]", false),
            ("TU102GL [Quadro RTX 6000/8000]", false),
            ("AD102GL [L40S]", false),
            ("GA102 [GeForce RTX 3090]", false),
        ] {
            assert_eq!(has_mig(NVIDIA, name), expected, "{name}");
        }
        assert!(!has_mig("1002", "A100"));
    }
}
