//! Claims as steps of a plan: what the kernel is told (by a drop-in of GRUB; no other boot loader yet), the note of what is
//! claimed, the unit that binds it at each boot, and the binding itself, which may have to wait for one.

use super::CardPlan;
use super::bind::{self, When};
use super::claim::{self, CLAIMS, Claim, Claims, Refused, State};
use super::early;
use super::health::{self, Admin, CardHealth};
use crate::action::file::File;
use crate::action::on_undo::RunOnUndo;
use crate::action::originals::Originals;
use crate::action::task::Task;
use crate::action::unit::Enabled;
use crate::action::{Action, ActionId, Applied, Checked, History, Undo};
use crate::content::Content;
use crate::facts::pci;
use crate::finding::Finding;
use crate::host::command::Command;
use crate::host::pci::VFIO;
use crate::host::{Host, Result, files};
use crate::paths::PROGRAM;
use crate::plan::Step;
use std::path::Path;

/// The last step.
pub const LAST: &str = "gpu";
const UNIT: &str = "gpucloud-gpu.service";
/// GRUB reads it behind its own settings (grub-mkconfig of Debian and Ubuntu).
const DROP_IN: &str = "/etc/default/grub.d/60-gpucloud.cfg";
const UPDATE_GRUB: &str = "/usr/sbin/update-grub";
const GRUB: &str = "/boot/grub/grub.cfg";

/// The steps for these claims, behind the steps `after`; none where nothing is claimed.
///
/// # Errors
/// Only our own mistakes: claims that cannot be written.
pub fn steps(host: &Host, claims: &Claims, after: &[&str], admin: Option<Admin>) -> Result<Vec<Step>> {
    if claims.claims.is_empty() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    let mut before = after.to_vec();
    if !claims.arguments.is_empty() && has_grub(host) {
        steps.push(arguments(claims).after(after));
        before = vec!["gpu-kernel"];
    }
    let unit = include_str!("../../templates/etc/systemd/system/gpucloud-gpu.service");
    let step = Step::new(LAST, "Bind the cards for instances")
        .after(&before)
        .with(given_back(claims, admin))
        .with(File::new(CLAIMS, Content::plain(claim::note(claims)?)))
        .with(File::new(format!("/etc/systemd/system/{UNIT}"), Content::plain(unit)))
        .with(Enabled { unit: UNIT.into() });
    let step = if claims.early == Some(true) { early::with_mark(step, claims) } else { step };
    steps.push(step.with(Bound { claims: claims.clone() }).on_compute());
    Ok(steps)
}

/// What stands in the way of the claims that the answers ask for, or of giving cards back.
///
/// # Errors
/// A file of sysfs, or the note of the claims, that cannot be read.
pub fn findings(host: &Host, plan: &CardPlan, admin: Option<Admin>) -> Result<Vec<Finding>> {
    let CardPlan { claims, refused, .. } = plan;
    let refuse = |one: &Refused| {
        Finding::stop("gpu", format!("{} cannot be claimed: {}", one.address, one.reason), one.next.clone())
    };
    let mut findings: Vec<Finding> = refused.iter().map(refuse).collect();
    let going = going(host, claim::noted(host)?, claims)?;
    if !going.claims.is_empty() {
        findings.extend(in_use(host, &going)?.or(held(host, &going, admin)?));
    }
    if !claims.arguments.is_empty() && !has_grub(host) {
        let all: Vec<&str> = claims.arguments.iter().map(String::as_str).collect();
        let next = format!("add to the kernel's command line: {}; then reboot", all.join(" "));
        findings.push(Finding::warn("gpu", "this machine boots without GRUB", next));
    }
    Ok(findings)
}

/// What the kernel is told. Taken back in the other order: GRUB reads its settings anew once ours are gone.
fn arguments(claims: &Claims) -> Step {
    let all: Vec<&str> = claims.arguments.iter().map(String::as_str).collect();
    let line = all.join(" ");
    let text = format!(
        "# Written by gpucloud-install: what cards for instances need of the kernel (docs/gpu.md).\n\
         GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {line}\"\n"
    );
    let told = move |host: &Host| -> Result<Checked> {
        let text = files::read_text(host, GRUB)?.unwrap_or_default();
        Ok(Checked::done_if(text.contains(&format!(" {line}")), "update-grub"))
    };
    let update = |host: &Host| Command::new(UPDATE_GRUB).run(host);
    let last = Task::new(ActionId::new("grub", "update"), "Tell GRUB what the kernel is told", told, update)
        .depending_on(vec![DROP_IN.into()]);
    Step::new("gpu-kernel", "Tell the kernel to keep devices apart")
        .with(RunOnUndo { name: "grub", what: "GRUB", argv: &[UPDATE_GRUB] })
        .with(File::new(DROP_IN, Content::plain(text)))
        .with(last)
        .on_compute()
}

/// Whether an action is one of these steps'.
pub fn owns(id: &ActionId) -> bool {
    let files = [CLAIMS.to_owned(), format!("/etc/systemd/system/{UNIT}"), DROP_IN.to_owned()];
    let others = [("unit", UNIT), ("grub", "undo"), ("grub", "update"), ("gpu", "bound")];
    let files = files.iter().map(|path| ActionId::new("file", path));
    let others = others.map(|(kind, name)| ActionId::new(kind, name));
    files.chain(others).chain(early::ids()).any(|one| one == *id)
}

/// What is claimed no longer goes back to its drivers. Nova was told of it by now: who was quicker keeps it.
fn given_back(claims: &Claims, admin: Option<Admin>) -> Task {
    let (stay, again) = (claims.clone(), claims.clone());
    let admin = admin.map(|(session, cloud)| (session.clone(), cloud));
    let gone = |host: &Host, stay: &Claims| going(host, claim::noted(host)?, stay);
    let probe = move |host: &Host| {
        let gone = gone(host, &stay)?;
        if gone.claims.is_empty() {
            return Ok(Checked::Done);
        }
        let admin = admin.as_ref().map(|(session, cloud)| (session, *cloud));
        if let Some(finding) = in_use(host, &gone)?.or(held(host, &gone, admin)?) {
            return Ok(Checked::Blocked(finding));
        }
        let cards: Vec<&str> = gone.claims.iter().map(|claim| claim.card.address.as_str()).collect();
        Ok(Checked::needed(format!("give {} back", cards.join(", "))))
    };
    let work = move |host: &Host| bind::unbind(host, &gone(host, &again)?);
    let id = ActionId::new("gpu", "given-back");
    Task::new(id, "Give back what is not claimed any more", probe, work).at_runtime()
}

/// Who has one of these cards open.
fn in_use(host: &Host, claims: &Claims) -> Result<Option<Finding>> {
    let users = bind::users_of(host, &pci::functions(host)?, claims)?;
    Ok(users.first().map(|user| {
        let what = format!("{} has {} open, which would be given back", user.name, user.address);
        Finding::stop("gpu", what, "gpucloud-install instance list; delete the instance that has it")
    }))
}

/// Who was given one of these cards by Nova: one that is shut off has it not open, and would take it from a driver when it
/// starts again. A cloud that does not say who has it is no cloud from which a card goes.
fn held(host: &Host, going: &Claims, admin: Option<Admin>) -> Result<Option<Finding>> {
    let Some(admin) = admin else { return Ok(None) };
    let cards = health::cards(host, Some(admin))?;
    let goes = |card: &&CardHealth| going.claims.iter().any(|claim| claim.card.address == card.address);
    let stop = |card: &CardHealth| {
        let address = &card.address;
        if !card.asked {
            let what = format!("the cloud does not say who has {address}, which would be given back");
            return Some(Finding::stop("gpu", what, "gpucloud-install status"));
        }
        let name = card.instances.first()?;
        let what = format!("{address} is {name}'s, and would be given back");
        let next = format!("openstack --os-cloud {} server list --all-projects; delete that instance", admin.1);
        Some(Finding::stop("gpu", what, next))
    };
    Ok(cards.iter().filter(goes).find_map(stop))
}

/// Those of `noted` that are not among `stay`, and bound.
pub fn going(host: &Host, noted: Claims, stay: &Claims) -> Result<Claims> {
    if noted.claims.is_empty() {
        // Nothing is read of the bus where nothing is claimed: each plan asks.
        return Ok(noted);
    }
    let functions = pci::functions(host)?;
    let is_bound =
        |address: &str| functions.iter().any(|one| one.address == address && one.driver.as_deref() == Some(VFIO));
    let stays = |claim: &Claim| stay.claims.iter().any(|other| other.card.address == claim.card.address);
    let goes = |claim: &Claim| !stays(claim) && claim.members().any(|member| is_bound(&member.address));
    Ok(Claims { claims: noted.claims.into_iter().filter(goes).collect(), ..Claims::default() })
}

/// Binds what is claimed; what waits for a boot is looked at again after it.
struct Bound {
    claims: Claims,
}

impl Action for Bound {
    fn id(&self) -> ActionId {
        ActionId::new("gpu", "bound")
    }

    fn describe(&self) -> String {
        "Bind what is claimed".into()
    }

    fn check(&self, host: &Host, history: &History) -> Result<Checked> {
        match look(host, &self.claims)? {
            // Bound by the boot unit, ahead of any note: uninstall has to know of it.
            Checked::Done => Ok(Checked::done_if(history.undo.is_some(), "note that it is bound")),
            other => Ok(other),
        }
    }

    fn prepare(&self, _: &Host, _: &Originals) -> Result<Undo> {
        Ok(Undo::Program { argv: [PROGRAM, "gpu", "unbind"].map(str::to_owned).to_vec() })
    }

    /// Other claims may need a boot of their own.
    fn fingerprint(&self) -> Option<String> {
        claim::note(&self.claims).ok().map(|text| files::hash(text.as_bytes()))
    }

    fn apply(&self, host: &Host, _: &History) -> Result<Applied> {
        let outcome = bind::bind(host, &self.claims, When::Now)?;
        for (address, why) in &outcome.left {
            host.warn(&format!("{address} stays with this machine: {why}"));
        }
        let mut why: Vec<String> = outcome.wait.into_iter().map(|(_, why)| why).collect();
        let untold = untold(host, &self.claims)?;
        why.extend((!untold.is_empty()).then(|| format!("the kernel is told {}", untold.join(" "))));
        Ok(match why.as_slice() {
            [] => Applied::Done,
            why => Applied::RebootNeeded(format!("cards are bound at boot, as {}", why.join("; "))),
        })
    }
}

/// What the running kernel was not told yet, and GRUB tells the next one.
fn untold(host: &Host, claims: &Claims) -> Result<Vec<String>> {
    if !has_grub(host) {
        return Ok(Vec::new());
    }
    let told = files::read_text(host, "/proc/cmdline")?.unwrap_or_default();
    let is_told = |argument: &String| told.split_whitespace().any(|one| one == argument);
    Ok(claims.arguments.iter().filter(|argument| !is_told(argument)).cloned().collect())
}

fn look(host: &Host, claims: &Claims) -> Result<Checked> {
    let functions = pci::functions(host)?;
    let mut wait = Vec::new();
    for claim in &claims.claims {
        let address = &claim.card.address;
        match claim::state(claim, &functions) {
            State::Bound => {}
            State::Free(_) => wait.push(format!("bind {address}")),
            State::Held(held) => {
                let names: Vec<String> = held.into_iter().map(|(at, driver)| format!("{at} from {driver}")).collect();
                wait.push(format!("at the next boot, take {}", names.join(", ")));
            }
            State::NoGroup => wait.push(format!("at the next boot, bind {address}")),
            State::Moved(what) => {
                let next = "gpucloud-install inventory says how it stands; gpucloud-install gpu claim names it anew";
                return Ok(Checked::LeftAlone(Finding::warn("gpu", format!("{address} is not bound: {what}"), next)));
            }
        }
    }
    let untold = untold(host, claims)?;
    wait.extend((!untold.is_empty()).then(|| format!("at the next boot, tell the kernel {}", untold.join(" "))));
    Ok(Checked::done_if(wait.is_empty(), wait.join("; ")))
}

/// Whether this machine's kernel gets its arguments from GRUB; else a person has to give them.
pub fn has_grub(host: &Host) -> bool {
    files::exists(host, Path::new(UPDATE_GRUB))
}
