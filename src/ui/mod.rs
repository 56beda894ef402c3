//! The only place that prints: documents on standard output, everything for a person on standard error when a
//! document is wanted.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod display;
pub mod prompt;
pub mod text;

use crate::cli::{Global, Progress};
use crate::failure::Failure;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::sync::Arc;

/// How this program talks.
#[derive(Debug, Clone)]
pub struct Ui {
    json: bool,
    progress: Progress,
    verbose: bool,
    yes: bool,
}

impl Ui {
    /// As the command line says.
    pub fn new(global: &Global) -> Self {
        Self { json: global.json, progress: global.progress, verbose: global.verbose, yes: global.yes }
    }

    /// Whether a document is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing may be asked.
    pub fn asks_nothing(&self) -> bool {
        self.yes
    }

    /// Whether a person sits at a terminal.
    pub fn is_interactive(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !self.yes
    }

    /// Prose: standard output, or standard error beside a document.
    pub fn say(&self, text: impl AsRef<str>) {
        if self.json { eprintln!("{}", text.as_ref()) } else { println!("{}", text.as_ref()) }
    }

    /// The document of `command`, with `fields` behind its head.
    pub fn document(&self, command: &str, fields: Value) {
        if !self.json {
            return;
        }
        let mut document = json!({"schema": 1, "command": command});
        if let (Some(document), Value::Object(fields)) = (document.as_object_mut(), fields) {
            document.extend(fields);
        }
        println!("{document}");
    }

    /// A failure: what, evidence, next. With `--json` also as a document.
    pub fn failure(&self, command: &str, failure: &Failure) {
        self.document(command, json!({"error": failure}));
        eprintln!("{} {}", text::red("error:"), failure.what);
        for line in failure.evidence.lines() {
            eprintln!("  {}", text::dim(line));
        }
        if !failure.next.is_empty() {
            eprintln!("{} {}", text::cyan("next:"), failure.next);
        }
    }

    /// What shows a run here.
    pub fn display(&self) -> Arc<dyn crate::plan::event::Sink> {
        let bars = self.progress == Progress::Auto && std::io::stderr().is_terminal() && !self.verbose;
        match self.progress {
            Progress::Json => Arc::new(display::Lines::json()),
            _ if bars => Arc::new(display::Bars::new()),
            _ => Arc::new(display::Lines::plain(self.verbose)),
        }
    }

    /// Output of a program that is passed on unchanged.
    pub fn raw(&self, text: &str) {
        print!("{text}");
    }
}
