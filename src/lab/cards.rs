//! What stands in the slots of a virtual lab's board: stand-ins for display devices, each in the situation that a real
//! one can be in. No driver of a GPU takes them; kernel, IOMMU, VFIO and the hypervisor take them as they take a real
//! card. Files with examples: `profiles/cards/`. Which of them cannot be saved as it runs: [`Board::unsavable`].

use super::LabError;
use crate::host::{Host, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Whether the firmware offers an IOMMU.
    #[serde(default = "yes")]
    pub iommu: bool,
    /// What the kernel is told on its command line.
    #[serde(default = "iommu_on")]
    pub kernel: String,
    /// Its cards, in the order of their slots.
    #[serde(default, rename = "card")]
    pub cards: Vec<Card>,
}

/// A card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// In which situation it is.
    pub is: Situation,
}

/// The situation of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Situation {
    /// The one with the console, on the board itself.
    Console,
    /// In a group of its own: one function behind a port of its own.
    Alone,
    /// With an audio function, in one group with it.
    WithAudio,
    /// Behind a bridge, in one group with a disk.
    WithDisk,
    /// Behind a bridge, in one group with that alone.
    BehindBridge,
    /// One that can make virtual functions. QEMU has only a disk controller that can; its state cannot be saved.
    SrIov,
}

fn yes() -> bool {
    true
}

fn iommu_on() -> String {
    "intel_iommu=on iommu=pt".into()
}

impl Default for Board {
    /// One of each that matters for a cloud.
    fn default() -> Self {
        use Situation::{Alone, Console, SrIov, WithAudio, WithDisk};
        let cards = [Console, WithAudio, WithDisk, SrIov, Alone].map(|is| Card { is }).to_vec();
        Self { iommu: yes(), kernel: iommu_on(), cards }
    }
}

impl Board {
    /// The board that a file describes.
    ///
    /// # Errors
    /// The file is not there, or not understood: with the place in it.
    pub fn load(host: &Host, path: &Path) -> Result<Self, LabError> {
        let wrong = |what: String| LabError::Board { path: path.to_owned(), what };
        let text = files::read_text(host, path)?.ok_or_else(|| wrong("there is no such file".into()))?;
        let board: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        board.check().map_err(wrong)?;
        Ok(board)
    }

    fn check(&self) -> Result<(), String> {
        if self.cards.iter().filter(|card| card.is == Situation::Console).count() > 1 {
            return Err("a board has one console".into());
        }
        if self.cards.len() > MOST_CARDS {
            return Err(format!("a board has {MOST_CARDS} slots"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || " =._,:-".contains(c);
        match self.kernel.chars().find(|c| !plain(*c)) {
            Some(bad) => Err(format!("kernel: '{bad}' cannot stand there")),
            None => Ok(()),
        }
    }

    /// How many disks its cards need beside the host's own.
    pub fn disks(&self) -> usize {
        self.cards.iter().filter(|card| card.is == Situation::WithDisk).count()
    }

    /// What cannot be saved while the host runs, if there is such a card.
    pub fn unsavable(&self) -> Option<&'static str> {
        self.cards.iter().any(|card| card.is == Situation::SrIov).then_some("sr-iov")
    }

    /// As QEMU is told.
    pub fn devices(&self) -> Vec<String> {
        let mut disks = 0;
        self.cards.iter().enumerate().flat_map(|(n, card)| devices(card.is, n + 1, &mut disks)).collect()
    }
}

/// Slots 1 to 16 of the root bus.
const MOST_CARDS: usize = 16;

/// The devices of one card in `slot`; its port, its bridge and what it shares them with have the slot's number.
fn devices(situation: Situation, slot: usize, disks: &mut usize) -> Vec<String> {
    let port = format!("pcie-root-port,id=port{slot},chassis={slot},addr={slot:#x}");
    let bridge = format!("pcie-pci-bridge,id=bridge{slot},bus=port{slot}");
    let on_bridge = format!("secondary-vga,bus=bridge{slot},addr=1");
    match situation {
        Situation::Console => vec![format!("VGA,addr={slot:#x}")],
        Situation::Alone => vec![port, format!("bochs-display,bus=port{slot}")],
        Situation::WithAudio => vec![
            port,
            format!("bochs-display,bus=port{slot},addr=0.0,multifunction=on"),
            format!("ich9-intel-hda,bus=port{slot},addr=0.1"),
        ],
        Situation::BehindBridge => vec![port, bridge, on_bridge],
        Situation::WithDisk => {
            *disks += 1;
            vec![port, bridge, on_bridge, format!("virtio-blk-pci,bus=bridge{slot},addr=2,drive=disk{disks}")]
        }
        Situation::SrIov => vec![
            port,
            format!("nvme-subsys,id=subsystem{slot}"),
            format!(
                "nvme,serial=card{slot},subsys=subsystem{slot},sriov_max_vfs=4,sriov_vq_flexible=8,\
                 sriov_vi_flexible=4,bus=port{slot}"
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Board, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cards.toml"), text).unwrap();
        Board::load(&Host::at(dir.path()), Path::new("/cards.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_stands_in_which_slot() {
        let board =
            read("iommu = false\nkernel = \"\"\n[[card]]\nis = \"with-disk\"\n[[card]]\nis = \"alone\"\n").unwrap();
        assert_eq!((board.iommu, board.kernel.as_str(), board.disks(), board.unsavable()), (false, "", 1, None));
        insta::assert_snapshot!(board.devices().join("\n"), @r"
        pcie-root-port,id=port1,chassis=1,addr=0x1
        pcie-pci-bridge,id=bridge1,bus=port1
        secondary-vga,bus=bridge1,addr=1
        virtio-blk-pci,bus=bridge1,addr=2,drive=disk1
        pcie-root-port,id=port2,chassis=2,addr=0x2
        bochs-display,bus=port2
        ");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (text, said) in [
            ("[[card]]\nis = \"gpu\"\n", "unknown variant `gpu`"),
            ("iomu = true\n", "unknown field `iomu`"),
            ("[[card]]\nis = \"console\"\n[[card]]\nis = \"console\"\n", "one console"),
            ("kernel = \"a\\nb\"\n", "cannot stand there"),
        ] {
            let what = read(text).unwrap_err();
            assert!(what.contains(said) && what.contains("/cards.toml"), "{what}");
        }
    }

    #[test]
    fn the_examples_are_understood() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/cards");
        let mut found = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            Board::load(&Host::at("/"), &entry.unwrap().path()).unwrap();
            found += 1;
        }
        assert_eq!(found, 5, "one for each verdict");
    }
}
