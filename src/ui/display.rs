//! Displays of a run: bars on a terminal, plain lines, JSON lines. All on standard error. (How bars look: `text.rs`.)

use super::text;
use crate::plan::StepId;
use crate::plan::event::{Event, Sink};
use indicatif::{MultiProgress, ProgressBar};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often spinners turn.
const TICK: Duration = Duration::from_millis(120);

/// Lines, for logs and pipes.
pub struct Lines {
    json: bool,
    verbose: bool,
    state: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    titles: HashMap<StepId, String>,
    total: usize,
    done: usize,
}

impl Lines {
    /// For people; with `verbose` the output of programs too.
    pub fn plain(verbose: bool) -> Self {
        Self { json: false, verbose, state: Mutex::default() }
    }

    /// For programs: one event a line.
    pub fn json() -> Self {
        Self { json: true, verbose: true, state: Mutex::default() }
    }

    fn line(&self, event: &Event) -> Option<String> {
        let mut count = locked(&self.state);
        match event {
            Event::RunStarted { what, steps, .. } => {
                (count.done, count.total) = (0, steps.len());
                count.titles = steps.iter().map(|step| (step.step.clone(), step.title.clone())).collect();
                Some(match steps.len() {
                    1 => format!("{what}: 1 step"),
                    n => format!("{what}: {n} steps"),
                })
            }
            Event::StepStarted { step } => Some(format!("        {} ...", count.title(step))),
            Event::StepDone { step, seconds, .. } => {
                count.done += 1;
                Some(format!("[{:>2}/{:>2}] {} done in {seconds:.1} s", count.done, count.total, count.title(step)))
            }
            Event::StepFailed { step, what, .. } => Some(format!("FAILED  {}: {what}", count.title(step))),
            Event::RebootNeeded { step, why } => Some(format!("REBOOT  {}: {why}", count.title(step))),
            Event::Warning { text, .. } => Some(format!("warning: {text}")),
            Event::Line { step, text } if self.verbose => Some(format!("{step}: {text}")),
            Event::ActionStarted { step, text, .. } if self.verbose => Some(format!("{step}: {text}")),
            _ => None,
        }
    }
}

impl Count {
    fn title(&self, step: &StepId) -> String {
        self.titles.get(step).cloned().unwrap_or_else(|| step.to_string())
    }
}

impl Sink for Lines {
    fn event(&self, event: &Event) {
        let line = if self.json { serde_json::to_string(event).ok() } else { self.line(event) };
        if let Some(line) = line {
            super::line(std::io::stderr(), &line);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line for each running step, and one that counts them.
pub struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    state: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    count: Count,
    bars: HashMap<StepId, ProgressBar>,
}

impl Bars {
    /// On standard error.
    pub fn new() -> Self {
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(0).with_style(text::overall_style()));
        Self { all, overall, state: Mutex::default() }
    }

    fn begin(&self, step: &StepId) {
        let mut state = locked(&self.state);
        let bar = self.all.insert_before(&self.overall, ProgressBar::new_spinner().with_style(text::spinner_style()));
        bar.set_prefix(state.count.title(step));
        bar.enable_steady_tick(TICK);
        state.bars.insert(step.clone(), bar);
    }

    fn end(&self, step: &StepId, line: impl FnOnce(&str) -> String) {
        let mut state = locked(&self.state);
        if let Some(bar) = state.bars.remove(step) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        let line = line(&state.count.title(step));
        let _ = self.all.println(line);
    }

    fn message(&self, step: &StepId, message: &str) {
        if let Some(bar) = locked(&self.state).bars.get(step) {
            bar.set_message(message.to_owned());
        }
    }

    fn done(&self, step: &StepId, seconds: f64) {
        let mark = text::green(if text::is_utf8() { "✓" } else { "ok" });
        self.end(step, |title| format!("{mark} {title} {}", text::dim(&format!("{seconds:.1} s"))));
        self.overall.inc(1);
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Bars {
    fn event(&self, event: &Event) {
        match event {
            Event::RunStarted { steps, .. } => {
                self.overall.set_length(steps.len() as u64);
                self.overall.set_position(0);
                self.overall.enable_steady_tick(TICK);
                let titles = steps.iter().map(|step| (step.step.clone(), step.title.clone()));
                locked(&self.state).count.titles = titles.collect();
            }
            Event::StepStarted { step } => self.begin(step),
            Event::ActionStarted { step, text, .. } | Event::Line { step, text } => self.message(step, text),
            Event::Progress { step, done, total, text } => self.message(step, &text::amount(*done, *total, text)),
            Event::StepDone { step, seconds, .. } => self.done(step, *seconds),
            Event::StepFailed { step, what, .. } => {
                self.end(step, |title| format!("{} {title}: {what}", text::red("failed")));
            }
            Event::RebootNeeded { step, why } => {
                self.end(step, |title| format!("{} {title}: {why}", text::yellow("reboot")))
            }
            Event::Warning { text, .. } => drop(self.all.println(format!("{} {text}", text::yellow("warning:")))),
            Event::RunFinished { .. } => {
                self.overall.finish_and_clear();
                locked(&self.state).bars.drain().for_each(|(_, bar)| bar.finish_and_clear());
            }
            // Said at the end of the run.
            Event::LeftAlone { .. } | Event::ActionDone { .. } | Event::Unknown => {}
        }
    }
}
