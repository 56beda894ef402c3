//! What the cloud offers of the cards, as steps behind its start: the computed flavors, and the truth read back. Nova
//! takes what it is told of a card without a word where it does not find it; only Placement's count proves it.

use super::GpuError;
use super::flavors::CardFlavor;
use super::nova::Offered;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::devices::{self, Device, class_of};
use crate::cloud::resource::flavor::Flavor;
use crate::cloud::resource_action::Wanted;
use crate::cloud::session::SharedSession;
use crate::engine::Entrance;
use crate::host::{Error, Host};
use crate::plan::Step;
use std::time::Duration;

/// nova-compute counts its devices at its start and every minute after it (nova.conf, `update_resources_interval`).
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_secs(2);

/// The step that makes flavors.
pub const FLAVORS_STEP: &str = "gpu-flavors";

/// What the steps are made from.
pub struct OfferInput<'a> {
    /// The sizes.
    pub flavors: Vec<CardFlavor>,
    /// What Nova is told of.
    pub offered: &'a [Offered],
    /// The administrator.
    pub admin: SharedSession,
    /// By what one gets in.
    pub entrance: Entrance,
    /// The step behind which the cloud answers.
    pub after: &'a str,
}

/// The steps; none where no card is claimed.
pub fn steps(order: &OfferInput) -> Vec<Step> {
    let mut steps = Vec::new();
    if !order.flavors.is_empty() {
        let step = Step::new(FLAVORS_STEP, "Make flavors with cards").after(&[order.after]);
        steps.push(order.flavors.iter().map(|one| wanted(order, one)).fold(step, Step::with));
    }
    if !order.offered.is_empty() {
        let step = Step::new("gpu-offer", "See that the cloud counts the cards").after(&[order.after]);
        steps.push(step.with(counted(order.offered, &order.admin)));
    }
    steps
}

fn wanted(order: &OfferInput, flavor: &CardFlavor) -> Wanted {
    let flavor = Flavor {
        name: flavor.name.clone(),
        vcpus: flavor.vcpus,
        memory_mib: flavor.memory_mib,
        disk_gib: flavor.disk_gib,
        specs: flavor.specs.clone(),
        marked: true,
    };
    let (session, entrance) = (order.admin.clone(), &order.entrance);
    Wanted { resource: Box::new(flavor), session, cloud: entrance.admin, stands: entrance.stands }
}

fn counted(offered: &[Offered], admin: &SharedSession) -> Task {
    let (cards, session) = (offered.to_vec(), admin.clone());
    let (cards_again, session_again) = (cards.clone(), session.clone());
    let probe = move |host: &Host| {
        let Ok(devices) = session.look(host, devices::all) else {
            return Ok(Checked::Later("when the cloud answers".into()));
        };
        let missing = missing(&cards, &devices);
        Ok(Checked::done_if(missing.is_empty(), format!("wait until Placement counts {}", missing.join(", "))))
    };
    let work = move |host: &Host| {
        let mut last = Vec::new();
        let waited = host.wait_until("a count of the cards", LIMIT, POLL, || {
            match session_again.ask(devices::all) {
                Ok(devices) => last = missing(&cards_again, &devices),
                Err(error) if error.is_transient() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            Ok(last.is_empty())
        });
        waited.map_err(|error| match error {
            Error::TimedOut { seconds, .. } => GpuError::NotCounted { cards: last.join(", "), seconds }.into(),
            other => other,
        })
    };
    Task::new(ActionId::new("gpu", "counted"), "See that the cloud counts the cards", probe, work)
        .at_runtime()
        .asking_the_running_system()
}

/// The cards that Placement does not count as what they are.
fn missing(cards: &[Offered], devices: &[Device]) -> Vec<String> {
    let is_counted = |card: &&Offered| {
        let class = class_of(&card.vendor, &card.device);
        devices.iter().any(|device| device.address == card.address && device.class == class)
    };
    cards.iter().filter(|card| !is_counted(card)).map(|card| card.address.clone()).collect()
}
