//! The run itself: plan, journal, runner; events to a file, everything to a log.

use crate::action::file::File;
use crate::action::unit::Enabled;
use crate::content::Content;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::installation::Installation;
use crate::paths::{GOES_ON, LOGS};
use crate::plan::event::{Event, Sink, Tee};
use crate::plan::journal::{DIRECTORY, Journal};
use crate::plan::runner::{Outcome, Runner};
use crate::plan::{Plan, Step};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// Goes on after a boot.
const CONTINUE_UNIT: &str = "gpucloud-continue.service";
const WORD: &str = "\nThe installation of the cloud is not complete: it goes on by itself after this machine's boot.\n\
                    How far it is, or why it stopped: sudo gpucloud-install apply\n\n";

/// Makes the machine what the answers say.
///
/// # Errors
/// As [`work`].
pub fn apply(installation: &Installation, jobs: u16, extra: Vec<Arc<dyn Sink>>) -> Result<Outcome, Failure> {
    work(&installation.host, Work::lasting("apply", jobs, extra), |journal| installation.plan(journal))
}

/// How a run is done.
pub struct Work {
    /// "apply".
    pub what: &'static str,
    /// Where its journal lies.
    pub journal: &'static str,
    /// Steps at once.
    pub jobs: u16,
    /// Who sees the events beside file and log.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// Whether the installation goes on by itself after a boot that it needs.
    pub goes_on: bool,
}

impl Work {
    /// One of `what` that changes the machine for good.
    pub fn lasting(what: &'static str, jobs: u16, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self { what, journal: DIRECTORY, jobs, sinks, goes_on: true }
    }
}

/// Plans and runs.
///
/// # Errors
/// The journal is busy or newer, or the plan cannot be made: nothing was changed.
pub fn work(
    host: &Host,
    work: Work,
    make_plan: impl FnOnce(&Journal) -> Result<Plan, Failure>,
) -> Result<Outcome, Failure> {
    stop_on_signal(host)?;
    let Work { what, journal, jobs, mut sinks, goes_on } = work;
    let journal = Journal::open(host, journal, what)?;
    let plan = make_plan(&journal)?;
    sinks.extend(records(host, what)?);
    let sink: Arc<dyn Sink> = Arc::new(Tee(sinks));
    let runner = Runner {
        host,
        journal,
        take_back: crate::undo::run,
        sink: sink.clone(),
        jobs: usize::from(jobs),
        what: what.into(),
    };
    let (outcome, journal) = runner.run(plan);
    if goes_on && outcome.ending == Ending::RebootNeeded {
        continue_after_boot(host, journal, &sink)?;
    }
    finished(sink.as_ref(), &outcome);
    Ok(outcome)
}

fn finished(sink: &dyn Sink, outcome: &Outcome) {
    let (ending, changed, seconds) = (outcome.ending, outcome.changed, outcome.seconds);
    sink.event(&Event::RunFinished { ending, changed, seconds });
}

/// SIGTERM (from the unit), SIGINT (from the terminal) and SIGHUP (a terminal that is closed) ask to stop at the next
/// safe point.
pub fn stop_on_signal(host: &Host) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // A server that runs many works for one machine listens once for it.
    static LISTENING: Mutex<Vec<Arc<AtomicBool>>> = Mutex::new(Vec::new());
    let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    if listening.iter().any(|flag| Arc::ptr_eq(flag, &host.stop_flag())) {
        return Ok(());
    }
    listening.push(host.stop_flag());
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, host.stop_flag())
            .map_err(|e| Failure::new("cannot listen to signals", e.to_string(), "try again"))?;
    }
    Ok(())
}

/// The file that terminals watch, and the log.
pub fn records(host: &Host, what: &str) -> Result<Vec<Arc<dyn Sink>>, Failure> {
    let events = Record::create(host, &super::events_of(what), false)?;
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let log = Record::create(host, &Path::new(LOGS).join(format!("{what}-{stamp}.log")), true)?;
    Ok(vec![Arc::new(events), Arc::new(log)])
}

/// Events in a file: as JSON lines, or as text.
struct Record {
    file: Mutex<std::fs::File>,
    text: bool,
}

impl Record {
    fn create(host: &Host, path: &Path, text: bool) -> Result<Self, Failure> {
        files::make_parents(host, path)?;
        files::write_volatile(host, path, b"", 0o600)?;
        Ok(Self { file: Mutex::new(files::open_to_append(host, path, 0o600)?), text })
    }
}

impl Sink for Record {
    fn event(&self, event: &Event) {
        let line = if self.text { log_line(event) } else { serde_json::to_string(event).ok() };
        let Some(line) = line else { return };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the run: the journal is what counts.
        let _ = writeln!(file, "{line}");
    }
}

fn log_line(event: &Event) -> Option<String> {
    let text = match event {
        Event::RunStarted { what, version, steps } => {
            format!("{what} begins: gpucloud-install {version}, {} steps", steps.len())
        }
        Event::StepStarted { step } => format!("[{step}] begins"),
        Event::ActionStarted { step, text, .. } => format!("[{step}] {text}"),
        Event::Line { step, text } => format!("[{step}]   {text}"),
        Event::Warning { step, text } => format!("[{step}] warning: {text}"),
        Event::LeftAlone { step, what, next } => format!("[{step}] warning: {what}\nnext: {next}"),
        Event::StepDone { step, seconds, changed } => format!("[{step}] done: {changed} changes in {seconds:.1} s"),
        Event::StepFailed { step, what, evidence, next } => {
            format!("[{step}] FAILED: {what}\n{evidence}\nnext: {next}")
        }
        Event::RebootNeeded { step, why } => format!("[{step}] needs a reboot: {why}"),
        Event::RunFinished { ending, changed, seconds } => {
            format!("ends ({}): {changed} changes in {seconds:.1} s", ending)
        }
        Event::Progress { .. } | Event::ActionDone { .. } | Event::Unknown => return None,
    };
    Some(format!("{} {text}", jiff::Timestamp::now().strftime("%H:%M:%S%.3f")))
}

/// A unit that starts the rest of the installation after the next boot, and a word about it for whoever logs in meanwhile.
/// The apply it starts no longer wants them, and so takes them away: the unit first, the word at its end.
fn continue_after_boot(host: &Host, journal: Journal, sink: &Arc<dyn Sink>) -> Result<(), Failure> {
    let text = include_str!("../../templates/etc/systemd/system/gpucloud-continue.service");
    let path = format!("/etc/systemd/system/{CONTINUE_UNIT}");
    let step = Step::new("continue", "Go on after the boot")
        .with(File::new(GOES_ON, Content::plain(WORD)))
        .with(File::new(path, Content::plain(text)))
        .with(Enabled { unit: CONTINUE_UNIT.into() });
    let mut plan = Plan::make(vec![step], host, &journal)?;
    plan.orphans.clear();
    let runner =
        Runner { host, journal, take_back: crate::undo::run, sink: sink.clone(), jobs: 1, what: "continue".into() };
    match runner.run(plan).0.failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}
