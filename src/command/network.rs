//! `network`: what is, what should be, the difference; apply, revert, confirm; probe and report. The documents of
//! `--json` are put together here, of values that the room has.

use super::{Invocation, apply};
use crate::action::file::File;
use crate::cli::{Network, NetworkApply, NetworkProbe};
use crate::config::Config;
use crate::config::network::NetworkAnswers;
use crate::content::Content;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::Host;
use crate::host::nft::{Family, listing};
use crate::installation::{Installation, require_root};
use crate::network::consent::Confirmation;
use crate::network::guard::Guard;
use crate::network::{keep, live, probe, report, state};
use crate::paths::APPLIED;
use crate::paths::TABLE;
use crate::plan::journal::{DIRECTORY, Journal};
use crate::plan::{Plan, Step};
use crate::run::worker::{self, Work};
use crate::ui::text;
use serde_json::json;
use std::time::Duration;

pub(super) fn run(invocation: &Invocation, options: &Network) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    match options {
        Network::Show => show(invocation),
        Network::Plan => plan(invocation),
        Network::Apply(options) => apply_network(invocation, options),
        Network::Revert => revert(invocation),
        Network::Confirm => confirm(invocation),
        Network::Probe(options) => probe_hops(invocation, options),
        Network::Report => write_report(invocation),
        Network::Keep => keep(invocation),
    }
}

/// The cloud that stands, with the network that today's answers ask for. Says what of them only the whole plan applies.
fn with_answers(invocation: &Invocation) -> Result<Installation, Failure> {
    let Some(applied) = Config::load_applied(&invocation.host)? else { return Err(no_cloud()) };
    let answers = Config::load(&invocation.host, &invocation.global.config)?;
    // Name servers are Neutron's: a change of them restarts it, which is the whole plan's to do.
    if answers.network.dns != applied.network.dns {
        invocation
            .ui
            .say("network.dns is not changed here, since Neutron restarts for it. Next: gpucloud-install apply");
    }
    let network = NetworkAnswers { dns: applied.network.dns.clone(), ..answers.network };
    let config = Config { network, ..applied };
    let path = invocation.global.config.as_path();
    // The network's answers and the rest of the cloud's must fit together too.
    Config::parse(&config.render(), path)?;
    Installation::new(&invocation.host, config)
}

fn no_cloud() -> Failure {
    Failure::new("there is no complete cloud here", "", "gpucloud-install installs one, its network included")
}

fn show(invocation: &Invocation) -> Result<Ending, Failure> {
    let installation = Installation::load_applied(&invocation.host)?.ok_or_else(no_cloud)?;
    let wanted = installation.network_state();
    let now = live::current(&invocation.host, &wanted, &installation.ownership()?)?;
    let changes: Vec<String> = state::changes(&now, &wanted).iter().map(ToString::to_string).collect();
    let counts = listing::read(&invocation.host, Family::Inet, TABLE)?.map(|loaded| loaded.counts).unwrap_or_default();
    let ports = installation.open_ports();
    let pending = Guard::of(&invocation.host).records().pending()?.is_some();
    invocation.ui.document(
        "network show",
        json!({
            "as_wanted": changes.is_empty(), "access": installation.config.network.access, "now": now, "wanted": wanted,
            "changes": changes, "counts": counts, "ports": ports, "waits_for_confirmation": pending,
        }),
    );
    if !invocation.ui.is_json() {
        let access = installation.config.network.access;
        invocation.ui.say(format!("{}: {}\n", access.name(), access.meaning()));
        invocation.ui.say(now.to_string());
        let rows: Vec<Vec<String>> =
            counts.iter().map(|c| vec![c.packets.to_string(), c.bytes.to_string(), c.purpose.clone()]).collect();
        invocation.ui.say(text::table(&["PACKETS", "BYTES", "RULE"], &rows));
        invocation.ui.say("");
        invocation.ui.say(text::ports(&ports));
        invocation.ui.say(match changes.as_slice() {
            [] => "\nThe network is as it should be.".into(),
            some => format!("\nNot as it should be:\n  {}\nNext: gpucloud-install network apply", some.join("\n  ")),
        });
        if pending {
            invocation.ui.say("A change waits for a yes. Next: gpucloud-install network confirm");
        }
    }
    Ok(if changes.is_empty() { Ending::Done } else { Ending::Failed })
}

/// Steps of the network alone, and the note of what was applied.
fn make_plan(installation: &Installation, journal: &Journal, confirmation: Confirmation) -> Result<Plan, Failure> {
    installation.refuse_changed_fixed()?;
    let mut steps = installation.network_state_steps(confirmation)?;
    if let Confirmation::Person(_) = confirmation {
        // Files outlive a boot: only what is confirmed gets into them, by `network confirm`.
        for step in &mut steps {
            step.actions.retain(|action| action.changes_the_running_system_only());
        }
        return without_orphans(steps, installation, journal);
    }
    let applied = File::new(APPLIED, Content::plain(installation.config.render())).access(0o600, "root", "root");
    let note = Step::new("network-applied", "Note what was applied").after(&[crate::network::steps::STEP]);
    steps.push(note.with(applied));
    without_orphans(steps, installation, journal)
}

fn without_orphans(steps: Vec<Step>, installation: &Installation, journal: &Journal) -> Result<Plan, Failure> {
    let mut plan = Plan::make(steps, &installation.host, journal)?;
    // What belongs to the rest of the cloud is wanted, although it is not in this plan.
    plan.orphans.clear();
    Ok(plan)
}

fn plan(invocation: &Invocation) -> Result<Ending, Failure> {
    let installation = with_answers(invocation)?;
    let plan = make_plan(&installation, &installation.journal()?, Confirmation::Witnesses)?;
    invocation.ui.document("network plan", super::plan::document(&plan, &[]));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::plan(&plan, true));
    }
    Ok(Ending::Done)
}

fn apply_network(invocation: &Invocation, options: &NetworkApply) -> Result<Ending, Failure> {
    let installation = with_answers(invocation)?;
    let limit = options.until_confirmed.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let confirmation = limit.map_or(Confirmation::Witnesses, Confirmation::Person);
    Journal::refuse_busy(&invocation.host, DIRECTORY)?;
    let plan = make_plan(&installation, &installation.journal()?, confirmation)?;
    if plan.pending() == 0 {
        invocation.ui.document("network apply", json!({"changed": 0, "seconds": 0.0}));
        invocation.ui.say("Nothing to do: the network is what the answers say.");
        return Ok(Ending::Done);
    }
    apply::refuse_stops(invocation, &installation.network_findings())?;
    invocation.ui.say(text::plan(&plan, false));
    invocation.consent("Go ahead?", true)?;
    // What was seen is what is done: each action looks again before it changes anything.
    let outcome =
        worker::work(&installation.host, Work::lasting("network", 1, vec![invocation.ui.display()]), |_| Ok(plan))?;
    if let Some(failure) = outcome.failures.first() {
        return Err(failure.clone().with(outcome.ending));
    }
    invocation.ui.document("network apply", json!({"changed": outcome.changed, "seconds": outcome.seconds}));
    invocation.ui.say(match limit {
        None => format!("Done: {} changes in {:.1} s.", outcome.changed, outcome.seconds),
        Some(limit) => format!("Done, for {} seconds. To keep it: gpucloud-install network confirm", limit.as_secs()),
    });
    Ok(outcome.ending)
}

fn revert(invocation: &Invocation) -> Result<Ending, Failure> {
    let guard = Guard::of(&invocation.host);
    let waited = guard.records().pending()?.is_some();
    let truth = guard.take_back()?;
    invocation.ui.document("network revert", json!({"reverted": waited, "detail": truth}));
    invocation.ui.say(truth);
    Ok(Ending::Done)
}

fn confirm(invocation: &Invocation) -> Result<Ending, Failure> {
    let confirmed = Guard::of(&invocation.host).confirm()?;
    // A run that waits for the yes goes on, and notes its answers at its own end.
    if confirmed.as_ref().is_some_and(|pending| !pending.awaited) {
        note_confirmed(invocation)?;
    }
    let waited = confirmed.is_some();
    invocation.ui.document("network confirm", json!({"confirmed": waited}));
    invocation.ui.say(if waited { "The change stays." } else { "No change of the network waits for a yes." });
    Ok(Ending::Done)
}

/// Writes what lasts of a change that was confirmed: kernel parameters at boot, and the answers that were applied.
fn note_confirmed(invocation: &Invocation) -> Result<(), Failure> {
    let installation = with_answers(invocation)?;
    let work = Work::lasting("network", 1, vec![invocation.ui.display()]);
    let outcome =
        worker::work(&installation.host, work, |journal| make_plan(&installation, journal, Confirmation::Witnesses))?;
    outcome.failures.into_iter().next().map_or(Ok(()), Err)
}

/// Why nothing comes back from an instance may lie on this machine: its first hop that says no.
pub(super) fn with_first_hop(invocation: &Invocation, failure: Failure) -> Failure {
    match first_no(invocation) {
        Ok(Some(hop)) => Failure { evidence: format!("network probe, {}: {}", hop.name, hop.detail), ..failure },
        _ => failure,
    }
}

fn first_no(invocation: &Invocation) -> Result<Option<probe::Hop>, Failure> {
    let Some(it) = Installation::load_applied(&invocation.host)? else { return Ok(None) };
    let hops = probe::on_this_machine(&invocation.host, &it.config, &it.facts, &it.network_state(), &it.ownership()?)?;
    Ok(hops.into_iter().find(|hop| hop.ok == Some(false)))
}

fn probe_hops(invocation: &Invocation, options: &NetworkProbe) -> Result<Ending, Failure> {
    let it = Installation::load_applied(&invocation.host)?.ok_or_else(no_cloud)?;
    let from = options.from.as_deref();
    let hops = probe::hops(&invocation.host, &it.config, &it.facts, &it.network_state(), &it.ownership()?, from)?;
    let ok = hops.iter().all(|hop| hop.ok != Some(false));
    invocation.ui.document("network probe", json!({"ok": ok, "hops": hops}));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::hops(&hops));
    }
    Ok(if ok { Ending::Done } else { Ending::Failed })
}

fn write_report(invocation: &Invocation) -> Result<Ending, Failure> {
    let installation = with_answers(invocation)?;
    let services = installation.engine.services(&installation.config);
    let (config, facts) = (&installation.config, &installation.facts.network);
    invocation.ui.document("network report", report::document(config, facts, &services));
    if !invocation.ui.is_json() {
        invocation.ui.say(report::page(config, facts, &services));
    }
    Ok(Ending::Done)
}

/// What the units run: no facts but those that the state needs, and only the answers of the last complete apply.
fn keep(invocation: &Invocation) -> Result<Ending, Failure> {
    let host: &Host = &invocation.host;
    let Some(config) = Config::load_applied(host)? else { return Ok(Ending::Done) };
    let keep::KeepReport { changes, also, failed } = keep::bring_back(host, &config)?;
    for change in changes.iter().map(ToString::to_string).chain(also.iter().cloned()) {
        invocation.ui.say(format!("brought back: {change}"));
    }
    invocation.ui.document("network keep", json!({"changed": changes.len() + also.len(), "failed": failed}));
    match failed.is_empty() {
        true => Ok(Ending::Done),
        false => Err(Failure::new("the network is not in its state", failed.join("\n"), "gpucloud-install doctor")),
    }
}
