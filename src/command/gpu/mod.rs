//! `gpu`: cards are listed (a column is a cell in [`list`]), claimed for instances, tested, and given back. What a claim
//! is, and how it gets onto the machine, is in `gpu/`; here the answers are changed, and the plan for them is done: of
//! the whole cloud where one stands, else of the cards alone.

mod test;

use super::{Invocation, apply, inventory};
use crate::cli::{Gpu, GpuClaim, GpuRelease};
use crate::config::Config;
use crate::config::gpu::{AllReady, CardAddress, CardChoice};
use crate::ending::Ending;
use crate::facts::pci;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::gpu::bind::{self, When};
use crate::gpu::claim::State;
use crate::gpu::health::CardHealth;
use crate::gpu::{self, claim};
use crate::host::command::Command;
use crate::host::{accounts, files};
use crate::installation::{Installation, require_root};
use crate::plan::journal::{DIRECTORY, Journal};
use crate::plan::runner::Outcome;
use crate::run::worker::{self, Work};
use crate::ui::text;
use serde_json::{Value, json};

pub(super) fn run(invocation: &Invocation, options: &Gpu) -> Result<Ending, Failure> {
    if !matches!(options, Gpu::List) {
        invocation.require_live()?;
        require_root(&invocation.host)?;
    }
    match options {
        Gpu::List => list(invocation),
        Gpu::Claim(options) => claim_cards(invocation, options),
        Gpu::Release(options) => release(invocation, options),
        Gpu::Test(options) => test::run(invocation, options),
        Gpu::Bind => bind_at_boot(invocation),
        Gpu::Unbind => Ok(bind::unbind(&invocation.host, &claim::noted(&invocation.host)?).map(|()| Ending::Done)?),
    }
}

fn list(invocation: &Invocation) -> Result<Ending, Failure> {
    let found = gpu::inventory(&invocation.host, &inventory::also(invocation)?)?;
    let health = health(invocation)?;
    // What stands where another card was claimed is not that card.
    let health_of = |card: &gpu::Card| health.iter().find(|one| card.claimed && one.address == card.function.address);
    let document = |(card, judgement): &(gpu::Card, gpu::verdict::Judgement)| {
        let mut document = inventory::card_document(card, judgement, &found);
        let health = health_of(card);
        if let Value::Object(all) = &mut document {
            all.insert("instances".into(), json!(health.map_or(&[][..], |health| &health.instances)));
            all.insert("quarantined".into(), json!(health.and_then(|health| health.quarantined.as_ref())));
            all.insert("tested".into(), json!(health.is_some_and(|health| health.proven)));
        }
        document
    };
    let documents: Vec<_> = found.cards.iter().map(document).collect();
    invocation.ui.document("gpu list", json!({"gpus": documents}));
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    if found.cards.is_empty() {
        invocation.ui.say("No cards that instances could have. gpucloud-install inventory shows what there is.");
        return Ok(Ending::Done);
    }
    let row = |(card, judgement): &(gpu::Card, gpu::verdict::Judgement)| {
        let driver = card.function.driver.clone().unwrap_or_default();
        let (claim, with) = claim_and_instance(card, health_of(card));
        let verdict = judgement.verdict.name().to_owned();
        vec![card.function.address.clone(), card.name.clone(), verdict, claim, driver, with]
    };
    let rows: Vec<Vec<String>> = found.cards.iter().map(row).collect();
    invocation.ui.say(text::table(&["CARD", "NAME", "VERDICT", "CLAIM", "DRIVER", "INSTANCE"], &rows));
    for (card, why) in health.iter().filter_map(|card| Some((card, card.quarantined.as_ref()?))) {
        invocation.ui.say(format!("\n{} is quarantined: {why}", card.address));
    }
    Ok(Ending::Done)
}

/// How it is with a claim, and who has the card.
fn claim_and_instance(card: &gpu::Card, health: Option<&CardHealth>) -> (String, String) {
    let claim = match (card.claimed, health) {
        (_, Some(health)) if health.quarantined.is_some() => "quarantined",
        (_, Some(health)) if health.proven => "tested",
        (true, _) => "claimed",
        (false, _) => "",
    };
    (claim.to_owned(), health.map(|health| health.instances.join(", ")).unwrap_or_default())
}

/// The claimed cards, and who has them, where a cloud can be asked.
fn health(invocation: &Invocation) -> Result<Vec<CardHealth>, Failure> {
    if !invocation.host.is_live() {
        return Ok(Vec::new());
    }
    // Others than root may not see the password: they see the machine alone.
    let installation = if accounts::is_root() { Installation::load_applied(&invocation.host)? } else { None };
    let admin = installation.as_ref().and_then(Installation::cloud_admin);
    Ok(gpu::health::cards(&invocation.host, admin)?)
}

fn claim_cards(invocation: &Invocation, options: &GpuClaim) -> Result<Ending, Failure> {
    let choice = match options.cards.as_slice() {
        [] => CardChoice::Word(AllReady::AllReady),
        more => with(&without_moved(invocation, answers(invocation)?.gpu.cards, more)?, more),
    };
    let ending = change(invocation, choice, Some(&options.cards))?;
    if ending != Ending::RebootNeeded {
        return Ok(ending);
    }
    if options.reboot || asks_to_reboot(invocation)? {
        invocation.ui.say("Rebooting ...");
        Command::new("systemctl").arg("reboot").run(&invocation.host)?;
    } else {
        invocation.ui.say("Next: systemctl reboot. The cards are bound at boot.");
    }
    Ok(ending)
}

fn asks_to_reboot(invocation: &Invocation) -> Result<bool, Failure> {
    if invocation.ui.asks_nothing() || !invocation.ui.is_interactive() {
        return Ok(false);
    }
    match invocation.consent("Reboot now?", true) {
        Ok(()) => Ok(true),
        Err(failure) if failure.ending == Ending::Interrupted => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Those that were named, without the old place of a card whose new one is named now.
fn without_moved(invocation: &Invocation, choice: CardChoice, named: &[CardAddress]) -> Result<CardChoice, Failure> {
    let CardChoice::These(these) = choice else { return Ok(choice) };
    let (noted, functions) = (claim::noted(&invocation.host)?, pci::functions(&invocation.host)?);
    let is_named = |address: &str| named.iter().any(|one| one.as_str() == address);
    let has_moved = |old: &CardAddress| {
        let claim = noted.claims.iter().find(|claim| claim.card.address == old.as_str());
        claim.is_some_and(|claim| {
            let is_new_place = |one: &pci::Function| is_named(&one.address) && claim.card.is_like(one);
            matches!(claim::state(claim, &functions), State::Moved(_)) && functions.iter().any(is_new_place)
        })
    };
    Ok(CardChoice::These(these.into_iter().filter(|old| is_named(old.as_str()) || !has_moved(old)).collect()))
}

/// Those that were named, and more.
fn with(choice: &CardChoice, more: &[CardAddress]) -> CardChoice {
    match choice {
        CardChoice::Word(all) => CardChoice::Word(*all),
        CardChoice::These(these) => {
            let mut all = [these.as_slice(), more].concat();
            all.sort();
            all.dedup();
            CardChoice::These(all)
        }
    }
}

fn release(invocation: &Invocation, options: &GpuRelease) -> Result<Ending, Failure> {
    let noted = claim::noted(&invocation.host)?;
    let unknown = options.cards.iter().find(|one| noted.claims.iter().all(|claim| claim.card.address != one.as_str()));
    if let Some(unknown) = unknown {
        let next = "gpucloud-install gpu list shows what is claimed";
        return Err(Failure::new(format!("{unknown} is not claimed"), "", next).with(Ending::Refused));
    }
    let goes = |address: &str| options.cards.is_empty() || options.cards.iter().any(|one| one.as_str() == address);
    let stays = noted.claims.iter().map(|claim| claim.card.address.as_str()).filter(|address| !goes(address));
    let stays: Result<Vec<CardAddress>, String> = stays.map(str::parse).collect();
    let stays = stays.map_err(|what| Failure::new(what, claim::CLAIMS, "gpucloud-install apply writes it anew"))?;
    change(invocation, CardChoice::These(stays), None)
}

fn answers(invocation: &Invocation) -> Result<Config, Failure> {
    Config::load(&invocation.host, &invocation.global.config)
}

/// Changes which cards are claimed: in the answers once it is agreed to, and on the machine.
fn change(invocation: &Invocation, choice: CardChoice, claimed: Option<&[CardAddress]>) -> Result<Ending, Failure> {
    let mut answers = answers(invocation)?;
    answers.gpu.cards = choice;
    let applied = Config::load_applied(&invocation.host)?;
    let stands = applied.is_some();
    let config = Config { gpu: answers.gpu.clone(), ..applied.unwrap_or_else(|| answers.clone()) };
    // What else was changed in the answers since is not done along with it, nor after a boot.
    let goes_on = stands && config.render() == answers.render();
    let mut installation = Installation::new(&invocation.host, config)?;
    installation.renewed_claims = claimed.unwrap_or_default().iter().map(ToString::to_string).collect();
    // Whoever gives a card back is not kept from it by what another one lacks.
    let findings = if claimed.is_some() { installation.card_findings()? } else { installation.release_findings()? };
    apply::refuse_stops(invocation, &findings)?;
    if let Some(named) = claimed {
        refuse_unclaimable(&installation, named)?;
    }
    Journal::refuse_busy(&invocation.host, DIRECTORY)?;
    let journal = installation.journal()?;
    // A cloud that stands is told of its cards too.
    let plan = if stands { installation.plan(&journal)? } else { installation.gpu_plan(&journal)? };
    let blocked: Vec<Finding> = plan.blocked().into_iter().cloned().collect();
    apply::refuse_stops(invocation, &blocked)?;
    if plan.pending() == 0 && plan.orphans.is_empty() {
        write_choice(invocation, &installation.config.gpu.cards)?;
        invocation.ui.document("gpu", json!({"changed": 0, "seconds": 0.0}));
        invocation.ui.say("Nothing to do.");
        return Ok(Ending::Done);
    }
    invocation.ui.say(text::plan(&plan, false));
    invocation.consent("Go ahead?", true)?;
    write_choice(invocation, &installation.config.gpu.cards)?;
    let work = Work { goes_on, ..Work::lasting("gpu", invocation.global.jobs, vec![invocation.ui.display()]) };
    let outcome = worker::work(&installation.host, work, |_| Ok(plan))?;
    if stands && !goes_on && !outcome.reboots.is_empty() {
        invocation.ui.say("After the boot: gpucloud-install apply tells the cloud of the cards.");
    }
    conclude(invocation, outcome)
}

/// A claim that claims nothing is no success: each card's reason is said.
fn refuse_unclaimable(installation: &Installation, named: &[CardAddress]) -> Result<(), Failure> {
    let claims = &installation.cards()?.claims;
    let is_claimed = |address: &str| claims.claims.iter().any(|claim| claim.card.address == address);
    let missing = named.iter().find(|one| !is_claimed(one.as_str()));
    if missing.is_none() && !claims.claims.is_empty() {
        return Ok(());
    }
    let found = gpu::inventory(&installation.host, &installation.config.gpu.also())?;
    let asked = |address: &str| missing.is_none_or(|one| one.as_str() == address);
    let cards: Vec<_> = found.cards.iter().filter(|(card, _)| asked(&card.function.address)).collect();
    let what = match missing {
        Some(one) => format!("{one} cannot be claimed"),
        None => "no card here can be claimed".into(),
    };
    let line = |(card, judgement): &&(gpu::Card, gpu::verdict::Judgement)| {
        format!("{}: {}", card.function.address, judgement.reason)
    };
    let next = match cards.first() {
        Some((_, judgement)) => judgement.next.clone(),
        None => "gpucloud-install inventory shows what there is".into(),
    };
    let evidence: Vec<String> = cards.iter().map(line).collect();
    Err(Failure::new(what, evidence.join("\n"), next).with(Ending::Refused))
}

fn conclude(invocation: &Invocation, outcome: Outcome) -> Result<Ending, Failure> {
    if let Some(failure) = outcome.failures.first() {
        return Err(failure.clone().with(outcome.ending));
    }
    let (changed, seconds) = (outcome.changed, outcome.seconds);
    invocation.ui.document("gpu", json!({"changed": changed, "seconds": seconds, "reboots": outcome.reboots}));
    invocation.ui.say(match outcome.reboots.as_slice() {
        [] => format!("Done: {changed} changes in {seconds:.1} s."),
        reboots => format!("A reboot is needed: {}.", reboots.join("; ")),
    });
    Ok(outcome.ending)
}

/// Writes the choice into the answer file; all else in it stays as it was written.
fn write_choice(invocation: &Invocation, choice: &CardChoice) -> Result<(), Failure> {
    let (host, path) = (&invocation.host, invocation.global.config.as_path());
    let text = files::read_text(host, path)?.unwrap_or_default();
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()), "gpucloud-install plan");
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| wrong(e.to_string()))?;
    let value = match choice {
        CardChoice::Word(AllReady::AllReady) => toml_edit::value("all-ready"),
        CardChoice::These(these) => {
            toml_edit::value(these.iter().map(ToString::to_string).collect::<toml_edit::Array>())
        }
    };
    let gpu = document.entry("gpu").or_insert(toml_edit::table());
    let table = gpu.as_table_like_mut().ok_or_else(|| wrong("gpu is no table".into()))?;
    match table.get_mut("cards") {
        // A comment above it stays.
        Some(cards) => *cards = value,
        None => _ = table.insert("cards", value),
    }
    let written = document.to_string();
    if written != text {
        files::write(host, path, written.as_bytes(), 0o644, None)?;
    }
    Ok(())
}

fn bind_at_boot(invocation: &Invocation) -> Result<Ending, Failure> {
    let outcome = bind::bind(&invocation.host, &claim::noted(&invocation.host)?, When::Boot)?;
    for address in &outcome.bound {
        invocation.ui.say(format!("{address} is bound"));
    }
    for (address, why) in outcome.wait.iter().chain(&outcome.left) {
        invocation.ui.say(format!("{address} stays with this machine: {why}"));
    }
    invocation.ui.document("gpu bind", json!({"bound": outcome.bound}));
    Ok(Ending::Done)
}
