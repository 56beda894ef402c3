//! Binding what is claimed: at boot, before udev lets drivers load, and now as far as no driver has it. A card that
//! moved, or whose group has another member, stays with the machine, and that is said. What kind of device it is does not
//! matter here any more: that was decided when it was claimed.

use super::claim::{self, Claim, Claims, State};
use crate::facts::pci;
use crate::host::pci::{give_back, give_to_vfio, load_vfio};
use crate::host::{Host, Result};

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cards that are bound, with all that belongs to them.
    pub bound: Vec<String>,
    /// Cards that have to wait for a boot, and for what.
    pub wait: Vec<(String, String)>,
    /// Cards that are left to the machine, and why.
    pub left: Vec<(String, String)>,
}

/// When something is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anybody can use a device: drivers that the kernel itself brings let go.
    Boot,
    /// While the machine runs: nothing is taken from a driver.
    Now,
}

/// Binds all claims.
///
/// # Errors
/// The kernel's own; the first one does not keep the others from being bound.
pub fn bind(host: &Host, claims: &Claims, when: When) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if claims.claims.is_empty() {
        return Ok(outcome);
    }
    load_vfio(host)?;
    let mut failed = None;
    for claim in &claims.claims {
        if let Err(error) = bind_one(host, claim, when, &mut outcome) {
            outcome.left.push((claim.card.address.clone(), error.to_string()));
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(outcome), Err)
}

fn bind_one(host: &Host, claim: &Claim, when: When, outcome: &mut Outcome) -> Result<()> {
    let address = &claim.card.address;
    let functions = pci::functions(host)?;
    let members = |held: &[(String, String)]| held.iter().map(|(at, driver)| format!("{driver} has {at}")).collect();
    match (claim::state(claim, &functions), when) {
        (State::Bound, _) => outcome.bound.push(address.clone()),
        (State::Free(_), _) | (State::Held(_), When::Boot) => {
            claim.members().try_for_each(|member| give_to_vfio(host, &member.address))?;
            outcome.bound.push(address.clone());
        }
        (State::Held(held), When::Now) => {
            let held: Vec<String> = members(&held);
            outcome.wait.push((address.clone(), held.join(", ")));
        }
        (State::NoGroup, _) => outcome.wait.push((address.clone(), "the kernel does not use the IOMMU".into())),
        (State::Moved(what), _) => outcome.left.push((address.clone(), what)),
    }
    Ok(())
}

/// Gives all that is claimed back to the drivers that are made for it.
pub fn unbind(host: &Host, claims: &Claims) -> Result<()> {
    let functions = pci::functions(host)?;
    for claim in &claims.claims {
        if matches!(claim::state(claim, &functions), State::Moved(_)) {
            continue;
        }
        claim.members().try_for_each(|member| give_back(host, &member.address))?;
    }
    Ok(())
}
