//! `apply`: makes the machine what the answers say, or watches a run that is going on. What is said at its
//! end comes from the engine (`Engine::farewell`).

use super::Invocation;
use crate::checks;
use crate::cli::Apply;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::finding::{Finding, Level};
use crate::installation::{Installation, require_root};
use crate::plan::Plan;
use crate::plan::event::{Event, Sink};
use crate::plan::journal::{DIRECTORY, Journal};
use crate::run::watch::{self, Summary, Watched};
use crate::run::{self, worker};
use crate::ui::prompt::{Answer, Prompter, Terminal};
use crate::ui::text;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) fn run(invocation: &Invocation, options: &Apply) -> Result<Ending, Failure> {
    invocation.require_live()?;
    require_root(&invocation.host)?;
    if options.worker {
        return work(invocation, options);
    }
    if run::is_going_on(&invocation.host) {
        return if options.detach { leave(invocation) } else { attach(invocation) };
    }
    let installation = load(invocation, options)?;
    if !prepare(invocation, &installation)? {
        return Ok(Ending::Done);
    }
    go(invocation, options, &installation)
}

/// Watches the run that is going on.
pub(super) fn attach(invocation: &Invocation) -> Result<Ending, Failure> {
    invocation.ui.say("A run is going on: watching it. Ctrl-C leaves it.");
    watch(invocation)
}

fn load(invocation: &Invocation, options: &Apply) -> Result<Installation, Failure> {
    let mut installation = Installation::load(&invocation.host, &invocation.global.config)?;
    installation.may_lose = options.and_lose_all_instances;
    Ok(installation)
}

/// Inside the unit: no questions, no display.
fn work(invocation: &Invocation, options: &Apply) -> Result<Ending, Failure> {
    let installation = load(invocation, options)?;
    Ok(worker::apply(&installation, invocation.global.jobs, Vec::new())?.ending)
}

/// Checks, shows and asks; whether there is something to do.
pub(super) fn prepare(invocation: &Invocation, installation: &Installation) -> Result<bool, Failure> {
    let journal = installation.journal()?;
    Journal::refuse_busy(&invocation.host, DIRECTORY)?;
    // Before the plan: with a wrong address, its looks would ask somebody else's machine.
    refuse_stops(invocation, &installation.findings(&journal)?)?;
    let plan = installation.plan(&journal)?;
    let left_alone: Vec<Finding> = plan.left_alone().into_iter().map(|(_, left)| left.clone()).collect();
    if !left_alone.is_empty() {
        invocation.ui.say(text::findings(&left_alone));
    }
    if plan.pending() == 0 {
        invocation.ui.say("Nothing to do: this machine is what the answers say.");
        let document = json!({"changed": 0, "seconds": 0.0, "steps": [], "left_alone": left_alone});
        invocation.ui.document("apply", document);
        return Ok(false);
    }
    refuse_stops(invocation, &installation.wire_findings())?;
    invocation.ui.say(text::plan_summary(&plan));
    let note = "What was there before is kept; gpucloud-install uninstall puts it back.";
    match invocation.ui.asks_nothing() || !invocation.ui.is_interactive() {
        true => invocation.consent("Go ahead?", true)?,
        false => {
            invocation.ui.say(note);
            ask_to_go_ahead(invocation, &plan)?;
        }
    }
    Ok(true)
}

/// Yes, no, or each change first.
fn ask_to_go_ahead(invocation: &Invocation, plan: &Plan) -> Result<(), Failure> {
    let items = ["yes", "show every change first", "no"].map(str::to_owned);
    loop {
        match Terminal::new().select("Go ahead?", &items, 0)? {
            Answer::Given(0) => return Ok(()),
            Answer::Given(1) => invocation.ui.say(text::plan(plan, true)),
            _ => return Err(Failure::declined()),
        }
    }
}

/// Shows what is grave among `findings`; what stops, stops.
pub(super) fn refuse_stops(invocation: &Invocation, findings: &[Finding]) -> Result<(), Failure> {
    let grave: Vec<Finding> = findings.iter().filter(|finding| finding.level > Level::Pass).cloned().collect();
    let told = |finding: &&Finding| finding.level > Level::Pass || checks::ALWAYS_TOLD.contains(&finding.id);
    let told: Vec<Finding> = findings.iter().filter(told).cloned().collect();
    if !told.is_empty() {
        invocation.ui.say(text::findings(&told));
    }
    match grave.into_iter().find(|finding| finding.level == Level::Stop) {
        None => Ok(()),
        Some(Finding { id, what, next, .. }) => {
            let what = if id == checks::FILES { what } else { format!("this machine is not ready: {what}") };
            Err(Failure::new(what, "nothing was changed", next).with(Ending::Refused))
        }
    }
}

/// Starts the run and watches it.
pub(super) fn go(invocation: &Invocation, options: &Apply, installation: &Installation) -> Result<Ending, Failure> {
    if options.foreground || !installation.facts.os.systemd {
        return foreground(invocation, installation);
    }
    run::start(&invocation.host, &invocation.global.config, invocation.global.jobs, installation.may_lose)?;
    if options.detach { leave(invocation) } else { watch(invocation) }
}

fn leave(invocation: &Invocation) -> Result<Ending, Failure> {
    invocation.ui.say("The run goes on without this terminal; gpucloud-install apply watches it.");
    invocation.ui.document("apply", json!({"detached": true}));
    Ok(Ending::Done)
}

/// A display that also adds up.
struct Adding {
    display: Arc<dyn Sink>,
    summary: Mutex<Summary>,
}

impl Sink for Adding {
    fn event(&self, event: &Event) {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        self.display.event(event);
    }
}

fn foreground(invocation: &Invocation, installation: &Installation) -> Result<Ending, Failure> {
    let adding = Arc::new(Adding { display: invocation.ui.display(), summary: Mutex::default() });
    worker::apply(installation, invocation.global.jobs, vec![adding.clone()])?;
    let summary = adding.summary.lock().unwrap_or_else(PoisonError::into_inner).clone();
    conclude(invocation, &summary)
}

fn watch(invocation: &Invocation) -> Result<Ending, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone())
        .map_err(|e| Failure::new("cannot listen to signals", e.to_string(), "try again"))?;
    loop {
        let display = invocation.ui.display();
        match watch::follow(&invocation.host, display.as_ref(), &interrupted)? {
            Watched::Ended(summary) => return conclude(invocation, &summary),
            // Ctrl-C at that question, too, only leaves.
            Watched::Interrupted(_) if ask_to_stop(invocation).unwrap_or(false) => run::stop(&invocation.host)?,
            Watched::Interrupted(_) => {
                invocation.ui.say("The run goes on without this terminal; gpucloud-install apply watches it again.");
                return Ok(Ending::Interrupted);
            }
        }
    }
}

fn ask_to_stop(invocation: &Invocation) -> Result<bool, Failure> {
    use std::io::IsTerminal;
    if invocation.ui.is_json() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let items = ["leave: it goes on without this terminal", "stop it at the next safe point"].map(str::to_owned);
    Ok(Terminal::new().select("The run is going on.", &items, 0)? == Answer::Given(1))
}

fn conclude(invocation: &Invocation, summary: &Summary) -> Result<Ending, Failure> {
    let status = summary.ending();
    let steps =
        summary.steps.iter().map(|(id, seconds, changed)| json!({"id": id, "seconds": seconds, "changed": changed}));
    let steps: Vec<_> = steps.collect();
    if let Some(first) = summary.failures.first() {
        return Err(first.clone().with(status));
    }
    invocation.ui.document(
        "apply",
        json!({"changed": summary.changed, "seconds": summary.seconds, "steps": steps, "reboots": summary.reboots,
            "left_alone": summary.left_alone}),
    );
    match status {
        Ending::Done => farewell(invocation, summary),
        Ending::RebootNeeded => {
            invocation.ui.say(format!("A reboot is needed: {}.", summary.reboots.join("; ")));
            invocation.ui.say("The installation goes on by itself after it. Next: systemctl reboot");
        }
        _ => invocation.ui.say("Stopped midway. Next: gpucloud-install apply"),
    }
    Ok(status)
}

fn farewell(invocation: &Invocation, summary: &Summary) {
    let Summary { changed, seconds, left_alone, .. } = summary;
    if !left_alone.is_empty() {
        invocation.ui.say(text::findings(left_alone));
    }
    invocation.ui.say(match changed {
        1 => format!("Done: 1 change in {seconds:.0} s."),
        changed => format!("Done: {changed} changes in {seconds:.0} s."),
    });
    if let Ok(Some(installation)) = Installation::load_applied(&invocation.host) {
        invocation.ui.say(installation.engine.farewell(&installation.config).join("\n"));
        if let Some(instance) = installation.config.resources.reachable() {
            invocation.ui.say(format!("Instance    gpucloud-install instance ssh {instance}"));
        }
    }
}
