//! What `recover` does about cards, as steps: what is claimed and has no driver is bound before Nova starts, and an
//! instance that runs without its card is started anew, since nobody can use it as it is. Where these come in the order
//! stands in `recovery/steps.rs`.

use super::GpuError;
use super::bind::{self, When};
use super::claim::{self, State};
use super::health::{self, Admin};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::SharedSession;
use crate::cloud::devices::Owner;
use crate::cloud::resource::server;
use crate::facts::pci;
use crate::host::{Error, Host, Result};
use serde_json::json;
use std::time::Duration;

/// From Nova's order until the guest's process has the card.
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_secs(3);

/// Binds what is claimed and free.
pub fn bound() -> Task {
    let probe = |host: &Host| {
        let claims = claim::noted(host)?.claims;
        if claims.is_empty() {
            return Ok(Checked::Done);
        }
        let functions = pci::functions(host)?;
        let is_free = |claim: &&claim::Claim| matches!(claim::state(claim, &functions), State::Free(_));
        let free: Vec<&str> = claims.iter().filter(is_free).map(|claim| claim.card.address.as_str()).collect();
        Ok(Checked::done_if(free.is_empty(), format!("bind {}", free.join(", "))))
    };
    let work = |host: &Host| bind::bind(host, &claim::noted(host)?, When::Now).map(drop);
    Task::new(ActionId::new("gpu", "bound-again"), "Bind the cards for instances", probe, work).at_runtime()
}

/// Starts those anew that run without their card. They are looked for when the cloud answers.
pub fn given_again(admin: SharedSession, cloud: &'static str) -> Task {
    let again = admin.clone();
    let probe = move |host: &Host| {
        let Some(lost) = lost(host, (&admin, cloud))? else {
            return Ok(Checked::Later("when the cloud answers".into()));
        };
        let names: Vec<&str> = lost.iter().map(|owner| owner.name.as_str()).collect();
        Ok(Checked::done_if(names.is_empty(), format!("start {} anew, with its card", names.join(", "))))
    };
    let work = move |host: &Host| {
        for owner in lost(host, (&again, cloud))?.unwrap_or_default() {
            let order = |session: &_| server::act(session, &owner.id, "reboot", json!({"type": "HARD"})).map(drop);
            again.ask(order)?;
            let waited = host.wait_until("a card in an instance", LIMIT, POLL, || {
                let still = lost(host, (&again, cloud))?;
                Ok(still.is_some_and(|still| still.iter().all(|other| other.id != owner.id)))
            });
            waited.map_err(|error| match error {
                Error::TimedOut { seconds, .. } => GpuError::NotGiven { name: owner.name.clone(), seconds }.into(),
                other => other,
            })?;
        }
        Ok(())
    };
    Task::new(ActionId::new("gpu", "given-again"), "Give instances their cards back", probe, work)
        .at_runtime()
        .asking_the_running_system()
}

/// Those that run without their card; `None` where the cloud does not say.
fn lost(host: &Host, admin: Admin) -> Result<Option<Vec<Owner>>> {
    let cards = health::cards(host, Some(admin))?;
    let is_told = cards.iter().all(|card| card.asked);
    Ok(is_told.then(|| cards.into_iter().filter_map(|card| card.runs_without).collect()))
}
