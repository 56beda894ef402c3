//! What `recover` does about cards, as steps: what is claimed and has no driver is bound before Nova starts, and an
//! instance that runs without its card is started anew, since nobody can use it as it is. Where these come in the order
//! stands in `recovery/steps.rs`.

use super::GpuError;
use super::bind::{self, When};
use super::claim::{self, State};
use super::health::{self, CardHealth, Given};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::devices::Owner;
use crate::cloud::resource::server;
use crate::cloud::{Id, SharedSession};
use crate::facts::pci;
use crate::host::{Error, Host};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From Nova's order until the guest's process has the card.
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_secs(3);

/// Binds what is claimed and free. What cannot be bound is told, and keeps no service down: `status` says it too.
pub fn bound() -> Task {
    let tried = Arc::new(AtomicBool::new(false));
    let tried_again = tried.clone();
    let probe = move |host: &Host| {
        let claims = claim::noted(host)?.claims;
        if claims.is_empty() || tried.load(Ordering::Relaxed) {
            return Ok(Checked::Done);
        }
        let functions = pci::functions(host)?;
        let is_free = |claim: &&claim::Claim| matches!(claim::state(claim, &functions), State::Free(_));
        let free: Vec<&str> = claims.iter().filter(is_free).map(|claim| claim.card.address.as_str()).collect();
        Ok(Checked::done_if(free.is_empty(), format!("bind {}", free.join(", "))))
    };
    let work = move |host: &Host| {
        tried_again.store(true, Ordering::Relaxed);
        match bind::bind(host, &claim::noted(host)?, When::Now) {
            Ok(outcome) => outcome.left.iter().for_each(|(address, why)| host.warn(&format!("{address}: {why}"))),
            Err(error) => host.warn(&error.to_string()),
        }
        Ok(())
    };
    Task::new(ActionId::new("gpu", "bound-again"), "Bind the cards for instances", probe, work).at_runtime()
}

/// Starts those anew that run without their card. They are looked for when the cloud answers.
pub fn given_again(admin: SharedSession, cloud: &'static str) -> Task {
    let again = admin.clone();
    let probe = move |host: &Host| {
        let cards = health::cards(host, Some((&admin, cloud)))?;
        if cards.iter().any(|card| !card.asked) {
            return Ok(Checked::Later("when the cloud answers".into()));
        }
        let lost = lost(&cards);
        let names: Vec<&str> = lost.iter().map(|owner| owner.name.as_str()).collect();
        Ok(Checked::done_if(names.is_empty(), format!("start {} anew, with its card", names.join(", "))))
    };
    let work = move |host: &Host| {
        let look = |host: &Host| health::cards(host, Some((&again, cloud)));
        for owner in lost(&look(host)?) {
            again.ask(|session| server::act(session, &owner.id, "reboot", json!({"type": "HARD"})).map(drop))?;
            let not_given = |seconds| GpuError::NotGiven { name: owner.name.clone(), seconds };
            let waited =
                host.wait_until("a card in an instance", LIMIT, POLL, || match anew(&look(host)?, &owner.id) {
                    Some(Anew::Failed) => Err(not_given(0).into()),
                    found => Ok(found == Some(Anew::Has)),
                });
            waited.map_err(|error| match error {
                Error::TimedOut { seconds, .. } => not_given(seconds).into(),
                other => other,
            })?;
        }
        Ok(())
    };
    Task::new(ActionId::new("gpu", "given-again"), "Give instances their cards back", probe, work)
        .at_runtime()
        .asking_the_running_system()
}

/// Those that run without a card of theirs, each once.
fn lost(cards: &[CardHealth]) -> Vec<Owner> {
    let mut lost: Vec<Owner> = cards.iter().filter_map(CardHealth::runs_without).cloned().collect();
    lost.dedup_by(|a, b| a.id == b.id);
    lost
}

/// How far an instance that was started anew is.
#[derive(Debug, PartialEq, Eq)]
enum Anew {
    /// It has all its cards.
    Has,
    /// Nova gave it up.
    Failed,
    /// It is being started.
    Starts,
}

/// `None` where the cloud does not say.
fn anew(cards: &[CardHealth], id: &Id) -> Option<Anew> {
    let owned = |card: &&CardHealth| card.owners.iter().any(|owner| owner.id == *id);
    let its: Vec<&CardHealth> = cards.iter().filter(owned).collect();
    let owner = its.first()?.owners.iter().find(|owner| owner.id == *id)?;
    let has_all = owner.task.is_none() && its.iter().all(|card| card.given == Given::Open);
    Some(match owner.status.as_str() {
        "ERROR" => Anew::Failed,
        "ACTIVE" if has_all => Anew::Has,
        _ => Anew::Starts,
    })
}
