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
use crate::gpu::proof;
use crate::gpu::quarantine::Quarantine;
use serde_json::json;

/// Proves cards; those that fail are quarantined, those that pass are let go.
pub(super) fn run(invocation: &Invocation, options: &GpuTest) -> Result<Ending, Failure> {
    let health = super::health(invocation)?;
    let host = invocation.host.observed(invocation.ui.observer());
    let config = Config::load_applied(&host)?.map_or_else(|| super::answers(invocation), Ok)?;
    let facts = Facts::gather(&host)?;
    let kvm = virt_type(&config, &facts) == "kvm";
    let host = host.paced(config.host.pace);
    let claims = to_test(&claim::noted(&host)?, &health, &options.cards)?;
    let (mut quarantine, mut proofs) = (Quarantine::read(&host)?, Vec::new());
    let before = quarantine.clone();
    for claim in &claims {
        let proof = proof::prove(&host, claim, kvm)?;
        proof::note(&host, &claim.card, proof.failure.is_none())?;
        match &proof.failure {
            Some(why) => quarantine.hold(claim.card.clone(), why.clone()),
            None => _ = quarantine.free(&claim.card),
        }
        quarantine.write(&host)?;
        invocation.ui.say(proof_in_words(&proof));
        proofs.push(proof);
    }
    let failed = proofs.iter().any(|proof| proof.failure.is_some());
    if quarantine != before {
        let next = "gpucloud-install apply tells the cloud which cards it may give";
        invocation.ui.say(format!("Next: {next}."));
    }
    invocation.ui.document("gpu test", json!({"tests": proofs, "passed": !failed}));
    Ok(if failed { Ending::Failed } else { Ending::Done })
}

/// Claimed cards that are free; those that were named, or all.
fn to_test(claims: &Claims, health: &[CardHealth], named: &[CardAddress]) -> Result<Vec<Claim>, Failure> {
    let refuse = |what: String, next: &str| Err(Failure::new(what, "", next).with(Ending::Refused));
    let claim = |address: &str| claims.claims.iter().find(|claim| claim.card.address == address);
    if let Some(one) = named.iter().find(|one| claim(one.as_str()).is_none()) {
        return refuse(format!("{one} is not claimed"), "gpucloud-install gpu list shows what is");
    }
    let is_asked = |address: &str| named.is_empty() || named.iter().any(|one| one.as_str() == address);
    let asked: Vec<&Claim> = claims.claims.iter().filter(|claim| is_asked(&claim.card.address)).collect();
    let of = |claim: &Claim| health.iter().find(|one| one.address == claim.card.address);
    let had: Vec<String> = asked
        .iter()
        .filter_map(|claim| of(claim).filter(|one| !one.instances.is_empty()))
        .map(|one| format!("{} is with {}", one.address, one.instances.join(", ")))
        .collect();
    let free: Vec<Claim> =
        asked.into_iter().filter(|claim| of(claim).is_none_or(|one| one.instances.is_empty())).cloned().collect();
    if free.is_empty() || (!named.is_empty() && !had.is_empty()) {
        let what = if had.is_empty() { "no card is claimed".to_owned() } else { had.join("; ") };
        return refuse(what, "gpucloud-install gpu list; delete the instance that has it, or claim a card");
    }
    Ok(free)
}

fn proof_in_words(proof: &proof::Proof) -> String {
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
