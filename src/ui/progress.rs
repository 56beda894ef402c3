//! How far one piece of work is that is done in this terminal: a bar, or now and then a line. (Steps of a run:
//! `display.rs`. How bars look: `text.rs`.)

use super::text;
use crate::host::Observer;
use indicatif::ProgressBar;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(120);

/// A bar, as long as something is under way.
#[derive(Default)]
pub struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn shown(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(shown: &mut Option<ProgressBar>) {
        if let Some(bar) = shown.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        Self::end(&mut self.shown());
    }
}

impl Observer for Bar {
    fn line(&self, _text: &str) {}

    fn progress(&self, done: u64, total: u64, what: &str) {
        let mut shown = self.shown();
        if total > 0 && done >= total {
            return Self::end(&mut shown);
        }
        let bar = shown.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_style(text::bar_style());
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(text::amount(done, total, what));
    }

    fn warning(&self, text: &str) {
        match self.shown().as_ref() {
            Some(bar) => bar.println(format!("warning: {text}")),
            None => super::line(std::io::stderr(), &format!("warning: {text}")),
        }
    }
}

/// Lines on standard error.
pub struct Now(Mutex<Option<Instant>>);

impl Now {
    /// The first after a while.
    pub fn new() -> Self {
        Self(Mutex::new(Some(Instant::now())))
    }
}

impl Observer for Now {
    fn line(&self, _text: &str) {}

    fn progress(&self, done: u64, total: u64, what: &str) {
        if total > 0 && done >= total {
            return;
        }
        let Ok(mut last) = self.0.lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= EVERY) {
            *last = Some(Instant::now());
            super::line(std::io::stderr(), &format!("        {}", text::amount(done, total, what)));
        }
    }

    fn warning(&self, text: &str) {
        super::line(std::io::stderr(), &format!("warning: {text}"));
    }
}
