//! Boards of cards with switches between them (HGX): all of their cards go, or none. What a card of one is told goes for the
//! others too. Pure, as `verdict.rs` is.

use super::Card;
use super::verdict::{COLD_START, Found, Scene};
use crate::facts::pci::NVIDIA;

impl Scene {
    /// The cards that hang on switches: where there are some, NVIDIA's 3D controllers of the kind that is there most
    /// often. (A card of another kind beside the board is none of its.)
    pub fn board(&self) -> Vec<&Card> {
        let fits = |card: &&Card| card.function.class >> 8 == 0x0302 && card.function.vendor == NVIDIA;
        let cards: Vec<&Card> = self.cards.iter().filter(|_| !self.switches.is_empty()).filter(fits).collect();
        let count = |card: &Card| cards.iter().filter(|other| other.function.device == card.function.device).count();
        let most = cards.iter().map(|card| count(card)).max().unwrap_or_default();
        cards.iter().filter(|card| count(card) == most).copied().collect()
    }

    /// The others of a card's board; none where it is on none.
    pub(super) fn others_of_its_board(&self, card: &Card) -> Vec<&Card> {
        let board = self.board();
        let is_it = |one: &&&Card| one.function.address == card.function.address;
        match board.iter().any(|one| is_it(&one)) {
            true => board.iter().filter(|one| !is_it(one)).copied().collect(),
            false => Vec::new(),
        }
    }

    /// How many cards a whole board with these switches has: eight with four (H100, H200) or six (A100), sixteen with twelve
    /// (V100 and A100 in pairs; NVIDIA, "HGX" and "DGX" system guides). With fewer, switches are missing themselves.
    fn whole_board(&self, cards: usize) -> usize {
        match self.switches.len() {
            12.. => 16,
            4..12 => 8,
            _ => cards.next_power_of_two(),
        }
    }

    pub(super) fn board_is_not_whole(&self, card: &Card) -> Option<Found> {
        let others = self.others_of_its_board(card);
        if others.is_empty() {
            return None;
        }
        let count = others.len() + 1;
        let held: Vec<&str> = others
            .iter()
            .filter(|one| self.cannot_go(one).is_some())
            .map(|one| one.function.address.as_str())
            .collect();
        let (why, next) = match (count == self.whole_board(count), held.as_slice()) {
            (false, _) => (format!("{count} cards answer, which is no whole board"), COLD_START),
            (true, []) => return None,
            (true, held) => (format!("{} cannot be given away", held.join(", ")), "see there what helps that one"),
        };
        Some((format!("its board (HGX) goes whole or not at all: {why}"), next.into()))
    }
}
