//! Watches a run: reads its events from the file, as they come, until the end.

use super::{EVENTS, UNIT};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, files, systemd};
use crate::paths::LOGS;
use crate::plan::event::{Event, Sink};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How often systemd is asked whether the run's unit is still there.
const ASK: Duration = Duration::from_secs(1);
/// How long a unit may be gone before its run counts as killed: the last lines may still be on their way.
const GRACE: Duration = Duration::from_secs(2);

/// What the events of a run add up to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How it ended, once it did.
    pub ending: Option<Ending>,
    /// How many actions changed something.
    pub changed: usize,
    /// How long it took.
    pub seconds: f64,
    /// Each step that ended: name, seconds, changes.
    pub steps: Vec<(String, f64, usize)>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Why a reboot is needed.
    pub reboots: Vec<String>,
}

impl Summary {
    /// Takes one event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::StepDone { step, seconds, changed } => self.steps.push((step.to_string(), *seconds, *changed)),
            Event::StepFailed { what, evidence, next, .. } => self.failures.push(Failure::new(what, evidence, next)),
            Event::RebootNeeded { why, .. } => self.reboots.push(why.clone()),
            Event::RunFinished { ending, changed, seconds } => {
                (self.ending, self.changed, self.seconds) = (Some(*ending), *changed, *seconds);
            }
            _ => {}
        }
    }

    /// How it ended: a run without an end was killed.
    pub fn ending(&self) -> Ending {
        self.ending.unwrap_or(Ending::Midway)
    }
}

/// How watching ended.
pub enum Watched {
    /// The run ended.
    Ended(Summary),
    /// The person at the terminal pressed Ctrl-C.
    Interrupted(Summary),
}

/// Shows the run of the unit in `display` until it ends, or `interrupted` is set.
///
/// # Errors
/// The run was killed: its unit is gone without a last event.
pub fn follow(host: &Host, display: &dyn Sink, interrupted: &AtomicBool) -> Result<Watched, Failure> {
    let mut summary = Summary::default();
    let mut reader: Option<BufReader<std::fs::File>> = None;
    let mut line = String::new();
    let mut gone_since: Option<Instant> = None;
    let mut asked = Instant::now();
    loop {
        if interrupted.swap(false, Ordering::SeqCst) {
            return Ok(Watched::Interrupted(summary));
        }
        if reader.is_none() {
            reader = files::open(host, EVENTS).ok().flatten().map(BufReader::new);
        }
        if next_line(&mut reader, &mut line) {
            gone_since = None;
            take(&mut line, display, &mut summary);
            if summary.ending.is_some() {
                return Ok(Watched::Ended(summary));
            }
            continue;
        }
        // Asking systemd costs a process: once a second is enough.
        if asked.elapsed() > ASK {
            asked = Instant::now();
            let there = matches!(super::state(host).as_str(), "active" | "activating" | "deactivating");
            gone_since = if there { None } else { gone_since.or(Some(asked)) };
        }
        if gone_since.is_some_and(|since| since.elapsed() > GRACE) {
            return Err(killed(host));
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a whole line was read; half of one waits in `line`.
fn next_line(reader: &mut Option<BufReader<std::fs::File>>, line: &mut String) -> bool {
    let Some(reader) = reader else { return false };
    matches!(reader.read_line(line), Ok(n) if n > 0) && line.ends_with('\n')
}

fn take(line: &mut String, display: &dyn Sink, summary: &mut Summary) {
    if let Ok(event) = serde_json::from_str::<Event>(line) {
        summary.add(&event);
        display.event(&event);
    }
    line.clear();
}

fn killed(host: &Host) -> Failure {
    let evidence = systemd::last_lines(host, UNIT, 5);
    let next = format!("gpucloud-install apply goes on where it stopped; the log is in {LOGS}");
    Failure::new("the run ended before it was done", evidence, next).with(Ending::Midway)
}
