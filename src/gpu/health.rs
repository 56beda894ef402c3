//! How the claimed cards are now: bound as they were claimed, counted by Placement, in use and by whom, quarantined. A
//! new complaint is a function beside [`of_bus`]; what it asks of the machine is read in `facts/`.

use super::claim::{self, Claim, State};
use super::proof;
use super::quarantine::Quarantine;
use crate::cloud::devices::{self, Device, Owner};
use crate::cloud::{ApiError, Session, SharedSession};
use crate::complaint::Complaint;
use crate::facts::card_users;
use crate::facts::pci::{self, Function};
use crate::host::{Host, Result, files};
use serde::Serialize;
use std::collections::BTreeMap;

/// A claimed card, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardHealth {
    /// Where it is.
    pub address: String,
    /// Names of the instances that have it; empty, too, where the cloud did not say.
    pub instances: Vec<String>,
    /// The same with all that is known of them.
    #[serde(skip)]
    pub owners: Vec<Owner>,
    /// How it is with it in the first one's machine.
    #[serde(skip)]
    pub given: Given,
    /// Whether it is bound, with all that belongs to it.
    #[serde(skip)]
    pub bound: bool,
    /// Whether the cloud said who has it.
    #[serde(skip)]
    pub asked: bool,
    /// Why it is given to nobody, where it is quarantined.
    pub quarantined: Option<String>,
    /// Whether it was tested under the kernel that runs.
    pub proven: bool,
    /// What is wrong with it.
    #[serde(skip)]
    pub complaint: Option<Complaint>,
}

impl CardHealth {
    /// The instance that runs without it although it is its own, and that Nova does nothing with: one that is being
    /// suspended has given its card away, and is not to be disturbed.
    pub fn runs_without(&self) -> Option<&Owner> {
        let [only] = self.owners.as_slice() else { return None };
        let is_lost = self.bound && self.given == Given::RunsWithout && only.status == "ACTIVE" && only.task.is_none();
        is_lost.then_some(only)
    }
}

/// How it is with a card and the machine of whoever it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Given {
    /// It has it open.
    Open,
    /// It runs, and has it not.
    RunsWithout,
    /// It does not run, or nobody has it.
    #[default]
    Idle,
}

/// Who asks the cloud, and how clouds.yaml calls that: commands for other clients name it.
pub type Admin<'a> = (&'a SharedSession, &'static str);

/// Each claimed card; none where none is claimed. Without an administrator only the machine is looked at.
///
/// # Errors
/// A file of sysfs, or a note, that cannot be read.
pub fn cards(host: &Host, admin: Option<Admin>) -> Result<Vec<CardHealth>> {
    let claims = claim::noted(host)?.claims;
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let (functions, quarantine) = (pci::functions(host)?, Quarantine::read(host)?);
    let counted = admin.map(|(session, _)| session.look(host, counted));
    let cloud = admin.map_or("", |(_, cloud)| cloud);
    let users = card_users::read(host, &functions)?;
    let one = |claim: &Claim| -> Result<CardHealth> {
        let proven = proof::is_proven(host, &claim.card)?;
        let address = &claim.card.address;
        let quarantined = quarantine.reason(&claim.card).map(str::to_owned);
        let of_machine = of_machine(claim, &functions).or(of_bus(host, address)?);
        let bound = claim::state(claim, &functions) == State::Bound;
        let asked = matches!(counted, Some(Ok(_)));
        let mut card = CardHealth {
            address: address.clone(),
            instances: Vec::new(),
            bound,
            asked,
            quarantined,
            proven,
            owners: Vec::new(),
            given: Given::Idle,
            complaint: of_machine,
        };
        match &counted {
            Some(Ok(counted)) => {
                let found = counted.get(address);
                let owners = found.map(Vec::as_slice).unwrap_or_default();
                card.given = match users.iter().any(|user| user.address == *address) {
                    true => Given::Open,
                    false if owners.first().is_some_and(|owner| is_running(host, owner)) => Given::RunsWithout,
                    false => Given::Idle,
                };
                card.owners = owners.to_vec();
                card.instances = owners.iter().map(|owner| owner.name.clone()).collect();
                card.complaint = card
                    .complaint
                    .or_else(|| of_cloud(address, found.is_some(), card.quarantined.is_some()))
                    .or_else(|| of_owners(address, owners, card.given, cloud));
            }
            Some(Err(error)) => {
                card.complaint = card.complaint.or_else(|| Some(Complaint::passing(error.to_string())));
            }
            None => {}
        }
        Ok(card)
    };
    claims.iter().map(one).collect()
}

/// Whether an instance's machine runs (libvirt, qemu driver: a file for each process).
fn is_running(host: &Host, owner: &Owner) -> bool {
    !owner.domain.is_empty() && files::exists(host, format!("/run/libvirt/qemu/{}.pid", owner.domain))
}

/// What is wrong with a card that answers nothing.
fn of_bus(host: &Host, address: &str) -> Result<Option<Complaint>> {
    let what = format!("{address} does not answer any more: it fell off its bus, or did not come back from a reset");
    let next = "gpucloud-install gpu list names its instance: delete that; then power the machine off, wait, and on";
    Ok((!pci::answers(host, address)?).then(|| Complaint::lasting(what).mended_by(next)))
}

/// By address: who has it.
type Counted = BTreeMap<String, Vec<Owner>>;

fn counted(session: &Session) -> std::result::Result<Counted, ApiError> {
    let with_owners = |device: Device| {
        let owners: std::result::Result<Vec<Owner>, ApiError> =
            device.held_by.iter().map(|id| devices::owner(session, id)).collect();
        Ok((device.address, owners?))
    };
    devices::all(session)?.into_iter().map(with_owners).collect()
}

/// What the machine shows against a claim.
fn of_machine(claim: &Claim, functions: &[Function]) -> Option<Complaint> {
    let address = &claim.card.address;
    match claim::state(claim, functions) {
        State::Bound => None,
        State::Free(_) => {
            Some(Complaint::lasting(format!("{address} is not bound")).mended_by("gpucloud-install apply binds it"))
        }
        State::Held(held) => {
            let holders: Vec<String> = held.iter().map(|(at, driver)| format!("{driver} has {at}")).collect();
            let what = format!("{address} is not bound: {}", holders.join(", "));
            Some(Complaint::lasting(what).mended_by("systemctl reboot: it is bound at boot"))
        }
        State::NoGroup => {
            let what = format!("{address} is not bound: the kernel does not use the IOMMU");
            Some(Complaint::lasting(what).mended_by("gpucloud-install inventory says what it has to be told"))
        }
        State::Moved(what) => {
            let next = format!("gpucloud-install gpu claim {address} claims what is there now; or gpu release");
            Some(Complaint::lasting(format!("{address} is not bound: {what}")).mended_by(next))
        }
    }
}

/// What the cloud's count shows against it.
fn of_cloud(address: &str, is_counted: bool, is_quarantined: bool) -> Option<Complaint> {
    match (is_counted, is_quarantined) {
        (false, false) => Some(
            Complaint::passing(format!("Nova does not count {address}: no instance gets it"))
                .mended_by("gpucloud-install apply tells Nova of it"),
        ),
        (true, true) => Some(
            Complaint::lasting(format!("{address} is quarantined, and Nova still gives it away"))
                .mended_by("gpucloud-install apply; an instance that has it keeps it until it is deleted"),
        ),
        _ => None,
    }
}

/// What is wrong between a card and those that Nova gave it to. One that half of a launch left behind after a power cut has
/// no fault, and keeps its card until it is deleted; one that Nova started again after a boot may have been started
/// without it. `cloud` is the administrator's in clouds.yaml: an instance may be in any project, and its name is its
/// user's words.
fn of_owners(address: &str, owners: &[Owner], given: Given, cloud: &str) -> Option<Complaint> {
    let owner = owners.first()?;
    let (name, id) = (&owner.name, &owner.id);
    if owners.len() > 1 {
        let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
        let what = format!("{address} is given away twice: {}", names.join(", "));
        let list = format!("openstack --os-cloud {cloud} server list --all-projects; delete one of them");
        return Some(Complaint::lasting(what).mended_by(list));
    }
    match owner.status.as_str() {
        "ERROR" => Some(
            Complaint::lasting(format!("{name} is in error and keeps {address}"))
                .mended_by(format!("openstack --os-cloud {cloud} server delete {id}")),
        ),
        "" => Some(
            Complaint::passing(format!("Placement holds {address} for {id}, which is no instance: a resize, or a rest"))
                .mended_by(format!(
                    "openstack --os-cloud {cloud} server migration list; no resize waits: nova-manage placement audit --delete"
                )),
        ),
        "REBOOT" | "HARD_REBOOT" => Some(Complaint::passing(format!("{name}, which has {address}, is being rebooted"))),
        _ if owner.task.is_some() => None,
        "ACTIVE" if given == Given::RunsWithout => Some(
            Complaint::lasting(format!("{name} runs without {address}, which is its own"))
                .mended_by("gpucloud-install recover starts it anew, with its card"),
        ),
        "ACTIVE" if given == Given::Idle => Some(
            Complaint::passing(format!("{name} does not run, and has {address}: Nova starts it, or has not noticed yet"))
                .mended_by(format!("openstack --os-cloud {cloud} server reboot --hard {id}")),
        ),
        _ => None,
    }
}

/// All of it in a line: "2 cards: 0000:41:00.0 with lab-1, 0000:c1:00.0 free".
pub fn in_words(cards: &[CardHealth]) -> String {
    let one = |card: &CardHealth| match (&card.quarantined, card.instances.as_slice()) {
        (Some(why), []) => format!("{} quarantined ({why})", card.address),
        (Some(why), names) => format!("{} quarantined ({why}), with {}", card.address, names.join(", ")),
        (None, []) => format!("{} free", card.address),
        (None, names) => format!("{} with {}", card.address, names.join(", ")),
    };
    let all: Vec<String> = cards.iter().map(one).collect();
    format!("{} card{}: {}", cards.len(), if cards.len() == 1 { "" } else { "s" }, all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(owners: &[(&str, &str)], given: Given) -> String {
        let owner = |(name, status): &(&str, &str)| Owner {
            id: "0c5b".to_owned().try_into().unwrap(),
            name: (*name).into(),
            status: (*status).into(),
            task: None,
            domain: String::new(),
        };
        let owners: Vec<Owner> = owners.iter().map(owner).collect();
        let complaint = of_owners("0000:41:00.0", &owners, given, "gpucloud");
        complaint.map_or_else(String::new, |one| format!("{}; {}", one.what, one.next))
    }

    #[test]
    fn what_is_wrong_between_a_card_and_its_instance_names_the_next_command_and_never_a_users_words_in_it() {
        use Given::{Idle, Open, RunsWithout};
        assert_eq!((said(&[], Idle), said(&[("lab-1", "ACTIVE")], Open)), (String::new(), String::new()));
        assert_eq!(said(&[("lab-1", "SHUTOFF")], Idle), "");
        let lost = said(&[("x; reboot", "ACTIVE")], RunsWithout);
        assert!(lost.starts_with("x; reboot runs without") && lost.contains("; gpucloud-install recover"), "{lost}");
        assert!(said(&[("lab-1", "ACTIVE")], Idle).ends_with("--hard 0c5b"));
        assert!(said(&[("lab-1", "HARD_REBOOT")], Idle).contains("is being rebooted"));
        assert!(said(&[("lab-1", "ERROR")], Idle).ends_with("--os-cloud gpucloud server delete 0c5b"));
        assert!(said(&[("0c5b", "")], Idle).contains("placement audit"));
        assert!(said(&[("lab-1", "ACTIVE"), ("lab-2", "ACTIVE")], Open).contains("twice: lab-1, lab-2"));
    }

    #[test]
    fn only_an_instance_that_nova_leaves_alone_runs_without_its_card() {
        let runs_without = |status: &str, task: Option<&str>, given| {
            let owner = Owner {
                id: "0c5b".to_owned().try_into().unwrap(),
                name: "lab-1".into(),
                status: status.into(),
                task: task.map(str::to_owned),
                domain: String::new(),
            };
            let card = CardHealth {
                address: "0000:41:00.0".into(),
                instances: Vec::new(),
                owners: vec![owner],
                given,
                bound: true,
                asked: true,
                quarantined: None,
                proven: false,
                complaint: None,
            };
            card.runs_without().is_some()
        };
        assert!(runs_without("ACTIVE", None, Given::RunsWithout));
        assert!(!runs_without("ACTIVE", Some("suspending"), Given::RunsWithout));
        assert!(!runs_without("ACTIVE", None, Given::Open) && !runs_without("PAUSED", None, Given::RunsWithout));
    }

    #[test]
    fn a_quarantined_card_that_nova_still_gives_away_is_complained_of() {
        let said = |counted, held| of_cloud("0000:41:00.0", counted, held).map(|one| one.what).unwrap_or_default();
        assert!(said(true, true).contains("still gives") && said(false, false).contains("does not count"));
        assert_eq!((said(true, false), said(false, true)), (String::new(), String::new()));
    }
}
