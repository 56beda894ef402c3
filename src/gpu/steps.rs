//! Claims as steps of a plan: what the kernel is told (by a drop-in of GRUB; no other boot loader yet), the note of what is claimed, the unit that binds it at each boot,
//! and the binding itself, which may have to wait for one.

use super::bind::{self, When};
use super::claim::{self, CLAIMS, Claim, Claims, State};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::originals::Originals;
use crate::action::task::Task;
use crate::action::unit::Enabled;
use crate::action::{Action, ActionId, Applied, Checked, History, Undo};
use crate::content::Content;
use crate::facts::{card_users, pci};
use crate::finding::Finding;
use crate::host::command::Command;
use crate::host::pci::VFIO;
use crate::host::{Host, Result, files};
use crate::plan::Step;
use std::path::Path;

/// The last step.
pub const LAST: &str = "gpu";
const UNIT: &str = "gpucloud-gpu.service";
/// GRUB reads it behind its own settings (grub-mkconfig of Debian and Ubuntu).
const DROP_IN: &str = "/etc/default/grub.d/60-gpucloud.cfg";
const UPDATE_GRUB: &str = "/usr/sbin/update-grub";
const GRUB: &str = "/boot/grub/grub.cfg";
const PROGRAM: &str = "/usr/local/bin/gpucloud-install";

/// The steps for these claims, behind the steps `after`; none where nothing is claimed.
///
/// # Errors
/// Only our own mistakes: claims that cannot be written.
pub fn steps(host: &Host, claims: &Claims, after: &[&str]) -> Result<Vec<Step>> {
    if claims.claims.is_empty() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    let mut before = after.to_vec();
    if !claims.arguments.is_empty() && files::exists(host, UPDATE_GRUB) {
        steps.push(arguments(claims).after(after));
        before = vec!["gpu-kernel"];
    }
    let unit = include_str!("../../templates/etc/systemd/system/gpucloud-gpu.service");
    let step = Step::new(LAST, "Bind the cards for instances")
        .after(&before)
        .with(Directory::new("/etc/gpucloud").shared())
        .with(given_back(claims))
        .with(File::new(CLAIMS, Content::plain(claim::note(claims)?)))
        .with(File::new(format!("/etc/systemd/system/{UNIT}"), Content::plain(unit)))
        .with(Enabled { unit: UNIT.into() })
        .with(bound(claims));
    steps.push(step.on_compute());
    Ok(steps)
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
        .with(ReadAgain)
        .with(File::new(DROP_IN, Content::plain(text)))
        .with(last)
        .on_compute()
}

/// Whether an action is one of these steps'.
pub fn owns(id: &ActionId) -> bool {
    let files = [CLAIMS.to_owned(), format!("/etc/systemd/system/{UNIT}"), DROP_IN.to_owned()];
    let others = [("unit", UNIT), ("grub", "undo"), ("grub", "update"), ("gpu", "bound")];
    let files = files.iter().map(|path| ActionId::new("file", path));
    files.chain(others.map(|(kind, name)| ActionId::new(kind, name))).any(|one| one == *id)
}

/// What is claimed no longer goes back to its drivers.
fn given_back(claims: &Claims) -> Task {
    let (stay, again) = (claims.clone(), claims.clone());
    let gone = |host: &Host, stay: &Claims| -> Result<Claims> {
        let noted = claim::noted(host)?;
        let functions = pci::functions(host)?;
        let is_bound =
            |address: &str| functions.iter().any(|one| one.address == address && one.driver.as_deref() == Some(VFIO));
        let stays = |claim: &Claim| stay.claims.iter().any(|other| other.card.address == claim.card.address);
        let goes = |claim: &Claim| !stays(claim) && claim.members().any(|member| is_bound(&member.address));
        Ok(Claims { claims: noted.claims.into_iter().filter(goes).collect(), ..noted })
    };
    let probe = move |host: &Host| {
        let gone = gone(host, &stay)?;
        if let Some(finding) = in_use(host, &gone)? {
            return Ok(Checked::Blocked(finding));
        }
        let cards: Vec<&str> = gone.claims.iter().map(|claim| claim.card.address.as_str()).collect();
        Ok(Checked::done_if(cards.is_empty(), format!("give {} back", cards.join(", "))))
    };
    let work = move |host: &Host| bind::unbind(host, &gone(host, &again)?);
    let id = ActionId::new("gpu", "given-back");
    Task::new(id, "Give back what is not claimed any more", probe, work).at_runtime()
}

/// Who has one of these cards open.
pub fn in_use(host: &Host, claims: &Claims) -> Result<Option<Finding>> {
    let users = card_users::read(host, &pci::functions(host)?)?;
    let members = || claims.claims.iter().flat_map(|claim| claim.members());
    let user = users.iter().find(|user| members().any(|member| member.address == user.address));
    Ok(user.map(|user| {
        let what = format!("{} has {} open", user.name, user.address);
        Finding::stop("gpu", what, "gpucloud-install instance list; delete the instance that has it")
    }))
}

/// Nothing by itself. Begun ahead of GRUB's settings, it is taken back behind them: GRUB reads what is left.
struct ReadAgain;

impl Action for ReadAgain {
    fn id(&self) -> ActionId {
        ActionId::new("grub", "undo")
    }

    fn describe(&self) -> String {
        "Remember that GRUB has to be told".into()
    }

    fn check(&self, _: &Host, history: &History) -> Result<Checked> {
        Ok(Checked::done_if(history.undo.is_some(), "for uninstall"))
    }

    fn prepare(&self, _: &Host, _: &Originals) -> Result<Undo> {
        Ok(Undo::Program { argv: vec![UPDATE_GRUB.into()] })
    }

    fn apply(&self, _: &Host, _: &History) -> Result<Applied> {
        Ok(Applied::Done)
    }
}

fn bound(claims: &Claims) -> Task {
    let (looked_at, claims) = (claims.clone(), claims.clone());
    let probe = move |host: &Host| look(host, &looked_at);
    let work = move |host: &Host| {
        let outcome = bind::bind(host, &claims, When::Now)?;
        for (address, why) in &outcome.left {
            host.warn(&format!("{address} stays with this machine: {why}"));
        }
        let wait: Vec<&str> = outcome.wait.iter().map(|(_, why)| why.as_str()).collect();
        Ok(match wait.as_slice() {
            [] => Applied::Done,
            wait => Applied::RebootNeeded(format!("cards are bound at boot, as {}", wait.join("; "))),
        })
    };
    let undo = Undo::Program { argv: [PROGRAM, "gpu", "unbind"].map(str::to_owned).to_vec() };
    Task::answering(ActionId::new("gpu", "bound"), "Bind what is claimed", probe, work).undone_by(undo)
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
                let next = "gpucloud-install gpu claim names it anew";
                return Ok(Checked::LeftAlone(Finding::warn("gpu", format!("{address} is not bound: {what}"), next)));
            }
        }
    }
    Ok(Checked::done_if(wait.is_empty(), wait.join("; ")))
}

/// Whether this machine's kernel gets its arguments from GRUB; else a person has to give them.
pub fn has_grub(host: &Host) -> bool {
    files::exists(host, Path::new(UPDATE_GRUB))
}
