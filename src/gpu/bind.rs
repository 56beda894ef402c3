//! Binding what is claimed: at boot, before udev lets drivers load, and now as far as no driver has it. A card that
//! moved, or whose group has another member, stays with the machine, and that is said. What kind of device it is does not
//! matter here any more: that was decided when it was claimed.

use super::claim::{self, Claim, Claims, Member, State};
use crate::facts::card_users::{self, User};
use crate::facts::iommu;
use crate::facts::needed::{self, Needed};
use crate::facts::pci::{self, Function};
use crate::host::pci::{VFIO, give_back, give_to_vfio, is_marked, load_vfio};
use crate::host::{Error, Host, Result};

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
    let functions = pci::functions(host)?;
    let mut failed = load_vfio(host).err();
    let pretended = iommu::read(host)?.spoilt_by.filter(|argument| iommu::pretends(argument));
    if let Some(argument) = pretended {
        let why = format!("the kernel was told to pretend that devices are apart ({argument})");
        let all = claims.claims.iter().map(|claim| (claim.card.address.clone(), why.clone()));
        outcome.left.extend(all);
    } else if failed.is_none() {
        let (needed, carried) = (needed::read(host, &functions)?, needed::carried(host, &functions)?);
        for claim in &claims.claims {
            let address = &claim.card.address;
            let done = match serves_this_machine(host, claim, (&needed, &carried), &functions)? {
                Some(why) => {
                    outcome.left.push((address.clone(), why));
                    Ok(())
                }
                None => bind_one(host, claim, when, &functions, &mut outcome),
            };
            if let Err(error) = done {
                outcome.left.push((address.clone(), error.to_string()));
                failed.get_or_insert(error);
            }
        }
    }
    if when == When::Boot && claims.early == Some(true) {
        let left = claims.claims.iter().filter(|claim| !outcome.bound.contains(&claim.card.address));
        for error in left.filter_map(|claim| unmark(host, claim, &functions).err()) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(outcome), Err)
}

/// What was marked for VFIO early, and is not bound, gets a driver as ever: that may have looked for it already.
fn unmark(host: &Host, claim: &Claim, functions: &[Function]) -> Result<()> {
    let Some(here) = functions.iter().find(|one| one.address == claim.card.address) else { return Ok(()) };
    match here.driver.as_deref() {
        None => give_back(host, &here.address),
        Some(VFIO) if is_marked(host, &here.address)? => give_back(host, &here.address),
        Some(_) => Ok(()),
    }
}

/// What this machine itself has come to need of a claim since: a disk on the card's own ports, the console.
fn serves_this_machine(
    host: &Host,
    claim: &Claim,
    (needed, carried): (&[Needed], &[Needed]),
    functions: &[Function],
) -> Result<Option<String>> {
    for member in claim.members() {
        // Ahead of udev little is mounted: what hangs on a companion counts.
        let carried = carried.iter().filter(|_| *member != claim.card);
        if let Some(needed) = needed.iter().chain(carried).find(|needed| needed.address == member.address) {
            return Ok(Some(format!("{} serves this machine: {}", member.address, needed.for_what)));
        }
        let function = functions.iter().find(|function| function.address == member.address);
        let details = function.map(|function| pci::details(host, function)).transpose()?;
        if details.is_some_and(|details| details.console) {
            return Ok(Some(format!("{} draws this machine's console", member.address)));
        }
    }
    Ok(None)
}

fn bind_one(host: &Host, claim: &Claim, when: When, functions: &[Function], outcome: &mut Outcome) -> Result<()> {
    let address = &claim.card.address;
    match (claim::state(claim, functions), when) {
        (State::Bound, _) => outcome.bound.push(address.clone()),
        (State::Free(_), _) | (State::Held(_), When::Boot) => {
            claim.members().try_for_each(|member| give_to_vfio(host, &member.address))?;
            outcome.bound.push(address.clone());
        }
        (State::Held(held), When::Now) => {
            let held: Vec<String> = held.into_iter().map(|(at, driver)| format!("{driver} has {at}")).collect();
            outcome.wait.push((address.clone(), held.join(", ")));
        }
        (State::NoGroup, _) => outcome.wait.push((address.clone(), "the kernel does not use the IOMMU".into())),
        (State::Moved(what), _) => outcome.left.push((address.clone(), what)),
    }
    Ok(())
}

/// Gives all that is claimed back to the drivers that are made for it.
///
/// # Errors
/// Somebody has one open: nothing is taken from an instance, whose machine would wait for it without end. Or the kernel's
/// own; the first one does not keep the others from going back.
pub fn unbind(host: &Host, claims: &Claims) -> Result<()> {
    let functions = pci::functions(host)?;
    if let Some(user) = users_of(host, &functions, claims)?.first() {
        return Err(Error::protocol(format!("give {} back", user.address), format!("{} has it open", user.name)));
    }
    // Each that is still what was claimed, whatever came beside it.
    let is_here = |member: &&Member| functions.iter().any(|one| member.same(&Member::of(one)));
    let here = claims.claims.iter().flat_map(Claim::members).filter(is_here);
    let given: Vec<Result<()>> = here.map(|member| give_back(host, &member.address)).collect();
    given.into_iter().collect()
}

/// Who has one of these cards, or a companion, open.
pub fn users_of(host: &Host, functions: &[Function], claims: &Claims) -> Result<Vec<User>> {
    let members: Vec<&str> =
        claims.claims.iter().flat_map(Claim::members).map(|member| member.address.as_str()).collect();
    let users = card_users::read(host, functions)?;
    Ok(users.into_iter().filter(|user| members.contains(&user.address.as_str())).collect())
}
