//! Whose yes a change needs: a pure decision, from what it changes and who would tell if it cut this machine off.
//!
//! Silence is no yes. Where nobody answers who could see the change's effect, a person says it; unless there is nobody
//! to be cut off, or the change is known to leave this machine's own traffic alone.

use super::rules;
use super::state::Change;
use super::witness::{Surroundings, Witness};
use std::time::Duration;

/// How long an unconfirmed change lasts.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// Who is to say yes to a change, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Everybody who answered before still answers.
    Witnesses,
    /// A person types `network confirm` within this time.
    Person(Duration),
}

/// Whose yes it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// Nobody's: it cuts nobody off.
    Nobody,
    /// All of these answer afterwards.
    Witnesses(Vec<Witness>),
    /// A person's within this time. With `awaited` the run waits for it; else it ends, and the change waits.
    Person {
        /// How long.
        limit: Duration,
        /// Whether the run waits.
        awaited: bool,
    },
}

impl Consent {
    /// How long the change lasts without it.
    pub fn limit(&self) -> Duration {
        if let Consent::Person { limit, .. } = self { *limit } else { DEFAULT_LIMIT }
    }
}

/// Whose yes `changes` need. Who is around is only looked for where something could be cut off.
pub fn needed(changes: &[Change], confirmation: Confirmation, look_around: impl FnOnce() -> Surroundings) -> Consent {
    let risky: Vec<&Change> = changes.iter().filter(|change| change.may_cut_off()).collect();
    match confirmation {
        // Asked for: whatever changes waits for that yes, and is noted with it.
        Confirmation::Person(limit) if !changes.is_empty() => Consent::Person { limit, awaited: false },
        Confirmation::Person(_) => Consent::Nobody,
        Confirmation::Witnesses if risky.is_empty() => Consent::Nobody,
        Confirmation::Witnesses => of_witnesses(&risky, look_around()),
    }
}

fn of_witnesses(risky: &[&Change], around: Surroundings) -> Consent {
    let Surroundings { witnesses, has_way_out, has_people } = around;
    let filters = risky.iter().any(|change| matches!(change, Change::Table { .. }) && !is_harmless(change));
    let is_seen = witnesses.iter().any(|witness| witness.sees_rules() || !filters);
    let needs_none = risky.iter().all(|change| is_harmless(change)) || !(has_way_out || has_people);
    match (is_seen, needs_none) {
        (true, _) => Consent::Witnesses(witnesses),
        (false, true) if !witnesses.is_empty() => Consent::Witnesses(witnesses),
        (false, true) => Consent::Nobody,
        (false, false) => Consent::Person { limit: DEFAULT_LIMIT, awaited: true },
    }
}

/// Whether it is known to leave this machine's own traffic alone. Witnesses are asked all the same: a proof may err.
fn is_harmless(change: &Change) -> bool {
    match change {
        Change::Table { to: Some(table), .. } => rules::concerns_only_ports(table),
        Change::Table { to: None, .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::engine::{Engine, native::Native};
    use crate::host::nft::{Policy, Ruleset};
    use crate::network::witness::Question;
    use std::net::IpAddr;

    fn witness(question: Question) -> Witness {
        let address = IpAddr::from([192, 0, 2, 1]);
        Witness { role: "the gateway".into(), address, question, from: IpAddr::from([192, 0, 2, 10]) }
    }

    fn around(questions: &[Question]) -> Surroundings {
        let witnesses = questions.iter().cloned().map(witness).collect();
        Surroundings { witnesses, has_way_out: true, has_people: true }
    }

    fn table(to: Ruleset) -> Change {
        Change::Table { from: None, to: Some(Box::new(to)) }
    }

    fn ours() -> Ruleset {
        rules::ruleset(&sample(), &Native.services(&sample()))
    }

    fn dropping() -> Ruleset {
        let mut table = ours();
        table.chains.iter_mut().filter_map(|chain| chain.base.as_mut()).for_each(|base| base.policy = Policy::Drop);
        table
    }

    fn address() -> Change {
        Change::Address { address: "172.24.4.1/24".parse().unwrap(), comes: true }
    }

    const PERSON: Consent = Consent::Person { limit: DEFAULT_LIMIT, awaited: true };

    fn of(changes: &[Change], around: &Surroundings) -> Consent {
        needed(changes, Confirmation::Witnesses, || around.clone())
    }

    #[test]
    fn what_cuts_nothing_off_asks_nobody() {
        let changes = [Change::BridgeUp, Change::PortUp("eno2".into())];
        let nobody = || -> Surroundings { panic!("nobody needs to be asked") };
        assert_eq!(needed(&changes, Confirmation::Witnesses, nobody), Consent::Nobody);
    }

    #[test]
    fn silence_is_no_yes() {
        for change in [address(), table(dropping())] {
            assert_eq!(of(std::slice::from_ref(&change), &around(&[])), PERSON, "{change}");
        }
    }

    #[test]
    fn arp_tells_of_links_and_not_of_rules() {
        let arp = around(&[Question::Arp("eno1".into())]);
        assert_eq!(of(&[address()], &arp), Consent::Witnesses(arp.witnesses.clone()));
        assert_eq!(of(&[address(), table(dropping())], &arp), PERSON);
        let both = around(&[Question::Tcp(53), Question::Arp("eno1".into())]);
        assert_eq!(of(&[address(), table(dropping())], &both), Consent::Witnesses(both.witnesses.clone()));
    }

    #[test]
    fn our_own_table_needs_no_witness_but_has_those_there_are() {
        assert_eq!(of(&[table(ours())], &around(&[])), Consent::Nobody);
        let arp = around(&[Question::Arp("eno1".into())]);
        assert_eq!(of(&[table(ours())], &arp), Consent::Witnesses(arp.witnesses.clone()));
        assert_eq!(of(&[table(ours()), address()], &around(&[])), PERSON);
    }

    #[test]
    fn without_a_way_out_and_people_there_is_nobody_to_cut_off() {
        let alone = Surroundings { has_way_out: false, has_people: false, ..around(&[]) };
        assert_eq!(of(&[address(), table(dropping())], &alone), Consent::Nobody);
        let visited = Surroundings { has_people: true, ..alone };
        assert_eq!(of(&[address()], &visited), PERSON);
    }

    #[test]
    fn a_person_who_was_asked_for_is_asked() {
        let limit = Duration::from_secs(7);
        let asked = needed(&[address()], Confirmation::Person(limit), || around(&[Question::Ping]));
        assert_eq!(asked, Consent::Person { limit, awaited: false });
    }
}
