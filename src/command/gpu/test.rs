//! `gpu test`: which cards are tested, and what becomes of those that fail. How a card is proven: `gpu/proof.rs`.

use super::super::Invocation;
use crate::cli::GpuTest;
use crate::config::Config;
use crate::config::gpu::CardAddress;
use crate::ending::Ending;
use crate::engine::native::virt_type;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::gpu::claim::{self, Claim, Claims};
use crate::gpu::health::CardHealth;
use crate::gpu::proof::{self, Proof};
use crate::gpu::quarantine::Quarantine;
use crate::host::Host;
use serde_json::json;

/// Proves cards; those that fail are quarantined, those that pass are let go.
pub(super) fn run(invocation: &Invocation, options: &GpuTest) -> Result<Ending, Failure> {
    let health = super::health(invocation)?;
    let host = invocation.host.observed(invocation.ui.observer());
    let applied = Config::load_applied(&host)?;
    let stands = applied.is_some();
    let config = applied.map_or_else(|| super::answers(invocation), Ok)?;
    let facts = Facts::gather(&host)?;
    let kvm = virt_type(&config, &facts) == "kvm";
    let host = host.paced(config.host.pace);
    let (claims, skipped) = to_test(&claim::noted(&host)?, &health, &options.cards, stands)?;
    for line in &skipped {
        invocation.ui.say(format!("Left out: {line}."));
    }
    let (before, mut proofs) = (Quarantine::read(&host)?, Vec::new());
    let tested = claims.iter().try_for_each(|claim| {
        let proof = test(&host, claim, kvm)?;
        invocation.ui.say(proof_in_words(&proof));
        proofs.push(proof);
        Ok::<(), Failure>(())
    });
    if Quarantine::read(&host)? != before {
        invocation.ui.say("Next: gpucloud-install apply tells the cloud which cards it may give.");
    }
    tested?;
    let passed = proofs.iter().all(|proof| proof.failure.is_none());
    invocation.ui.document("gpu test", json!({"tests": proofs, "passed": passed}));
    Ok(if passed { Ending::Done } else { Ending::Failed })
}

/// Proves one, and notes what came of it.
fn test(host: &Host, claim: &Claim, kvm: bool) -> Result<Proof, Failure> {
    let proof = proof::prove(host, claim, kvm)?;
    proof::note(host, &claim.card, proof.failure.is_none())?;
    let mut quarantine = Quarantine::read(host)?;
    match &proof.failure {
        Some(why) => quarantine.hold(claim.card.clone(), why.clone()),
        None => _ = quarantine.free(&claim.card),
    }
    quarantine.write(host)?;
    Ok(proof)
}

/// Claimed cards that are bound and free; those that were named, or all, and why some are left out.
fn to_test(
    claims: &Claims,
    health: &[CardHealth],
    named: &[CardAddress],
    stands: bool,
) -> Result<(Vec<Claim>, Vec<String>), Failure> {
    let refuse = |what: String, next: &str| Err(Failure::new(what, "", next).with(Ending::Refused));
    if let Some(one) = named.iter().find(|one| claims.claims.iter().all(|claim| claim.card.address != one.as_str())) {
        return refuse(format!("{one} is not claimed"), "gpucloud-install gpu list shows what is");
    }
    if stands && health.iter().any(|card| !card.asked) {
        return refuse("the cloud does not say who has the cards".into(), "gpucloud-install status");
    }
    let obstacle = |claim: &Claim| {
        let card = health.iter().find(|one| one.address == claim.card.address)?;
        match card.instances.as_slice() {
            [] if card.bound => None,
            [] => Some(format!("{} is not bound", card.address)),
            names => Some(format!("{} is with {}", card.address, names.join(", "))),
        }
    };
    let is_asked = |claim: &&Claim| named.is_empty() || named.iter().any(|one| one.as_str() == claim.card.address);
    let (mut free, mut skipped) = (Vec::new(), Vec::new());
    for claim in claims.claims.iter().filter(is_asked) {
        match obstacle(claim) {
            None => free.push(claim.clone()),
            Some(why) => skipped.push(why),
        }
    }
    if free.is_empty() || (!named.is_empty() && !skipped.is_empty()) {
        let what = if skipped.is_empty() { "no card is claimed".to_owned() } else { skipped.join("; ") };
        return refuse(what, "gpucloud-install gpu list; delete the instance that has it, or claim a card");
    }
    Ok((free, skipped))
}

fn proof_in_words(proof: &Proof) -> String {
    let address = &proof.address;
    match &proof.failure {
        Some(why) => format!("{address} FAILED in round {} of {}: {why}", proof.rounds + 1, proof::ROUNDS),
        None => {
            let reset = proof.resets.first().map_or_else(|| "no reset".to_owned(), |first| format!("reset by {first}"));
            let link = proof.link[1].as_ref().map_or_else(String::new, |link| format!(", link {link}"));
            format!("{address} passed: {} rounds in {:.0} s, {reset}{link}", proof.rounds, proof.seconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::claim::Member;
    use crate::gpu::health::Given;

    /// Which cards are tested, and which are left out; or why none is.
    fn said(cards: &[(&str, &[&str], bool, bool)], named: &[&str], stands: bool) -> String {
        let member = |address: &str| Member {
            address: address.into(),
            ids: "10de:2335".into(),
            subsystem: String::new(),
            port: None,
            way: None,
        };
        let claim = |address: &str| Claim { card: member(address), companions: Vec::new() };
        let claims = Claims { claims: cards.iter().map(|card| claim(card.0)).collect(), ..Claims::default() };
        let health = |(address, instances, bound, asked): &(&str, &[&str], bool, bool)| CardHealth {
            address: (*address).into(),
            instances: instances.iter().map(|name| (*name).to_owned()).collect(),
            bound: *bound,
            asked: *asked,
            quarantined: None,
            proven: false,
            owners: Vec::new(),
            given: Given::Idle,
            complaint: None,
        };
        let health: Vec<CardHealth> = cards.iter().map(health).collect();
        let named: Vec<CardAddress> = named.iter().map(|one| one.parse().unwrap()).collect();
        match to_test(&claims, &health, &named, stands) {
            Ok((free, skipped)) => {
                let free: Vec<String> = free.into_iter().map(|claim| claim.card.address).collect();
                format!("{}; {}", free.join(" "), skipped.join(" "))
            }
            Err(failure) => failure.what,
        }
    }

    #[test]
    fn only_cards_that_are_bound_and_surely_free_are_tested() {
        let (free, waits) = (("0000:41:00.0", &[][..], true, true), ("0000:81:00.0", &[][..], false, true));
        let taken = ("0000:c1:00.0", &["lab-1"][..], true, true);
        let all = said(&[free, waits, taken], &[], true);
        assert_eq!(all, "0000:41:00.0; 0000:81:00.0 is not bound 0000:c1:00.0 is with lab-1");
        assert_eq!(said(&[free, taken], &["c1:00.0"], true), "0000:c1:00.0 is with lab-1");
        assert_eq!(said(&[free], &["81:00.0"], true), "0000:81:00.0 is not claimed");
        // A cloud that stands and does not answer may have given it away.
        let unasked = ("0000:41:00.0", &[][..], true, false);
        assert_eq!(said(&[unasked], &[], true), "the cloud does not say who has the cards");
        assert_eq!(said(&[unasked], &[], false), "0000:41:00.0; ");
        assert_eq!(said(&[], &[], true), "no card is claimed");
    }
}
