//! How far one piece of work is that is done in this terminal: a bar, or now and then a line.

use super::text;
use crate::host::Observer;
use indicatif::ProgressBar;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(120);

/// A bar.
pub struct Bar(ProgressBar);

impl Bar {
    /// One that shows itself with the first news.
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner().with_style(text::spinner_style());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Observer for Bar {
    fn line(&self, _text: &str) {}

    fn progress(&self, done: u64, total: u64, what: &str) {
        self.0.set_message(format!("{done}/{total} {what}"));
    }

    fn warning(&self, text: &str) {
        self.0.println(format!("warning: {text}"));
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
        let Ok(mut last) = self.0.lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= EVERY) {
            *last = Some(Instant::now());
            super::line(std::io::stderr(), &format!("        {done}/{total} {what}"));
        }
    }

    fn warning(&self, text: &str) {
        super::line(std::io::stderr(), &format!("warning: {text}"));
    }
}
