//! The only place that prints: documents on standard output, everything for a person on standard error when a
//! document is wanted.

pub mod display;
mod progress;
pub mod prompt;
pub mod text;

use crate::cli::{Global, Progress};
use crate::failure::Failure;
use crate::finding::Finding;
use crate::host::command;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;

/// Bytes of a secret that a program says.
const LONGEST_SECRET: u64 = 16 << 10;

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
        if self.json { line(std::io::stderr(), text.as_ref()) } else { line(std::io::stdout(), text.as_ref()) }
    }

    /// What a person should know and no program reads: always on standard error.
    pub fn notes(&self, notes: &[Finding]) {
        if !notes.is_empty() {
            line(std::io::stderr(), &text::findings(notes));
        }
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
        line(std::io::stdout(), &document.to_string());
    }

    /// A failure: what, evidence, next. With `--json` also as a document.
    pub fn failure(&self, command: &str, failure: &Failure) {
        self.document(command, json!({"error": failure}));
        // What it quotes may come from a machine that others command.
        let mut lines = vec![format!("{} {}", text::red("error:"), command::harmless(&failure.what))];
        lines.extend(command::harmless(&failure.evidence).lines().map(|evidence| format!("  {}", text::dim(evidence))));
        if !failure.next.is_empty() {
            lines.push(format!("{} {}", text::cyan("next:"), failure.next));
        }
        line(std::io::stderr(), &lines.join("\n"));
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

    /// What shows one piece of work that is done here.
    pub fn observer(&self) -> Arc<dyn crate::host::Observer> {
        if self.progress == Progress::Auto && std::io::stderr().is_terminal() {
            Arc::new(progress::Bar::default())
        } else {
            Arc::new(progress::Now::new())
        }
    }

    /// What a person types unseen, or else a program says on standard input.
    ///
    /// # Errors
    /// The terminal went away, or standard input cannot be read.
    pub fn secret(&self, question: &str) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::new("cannot read what was typed", error.to_string(), "");
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            let terminal = console::Term::stderr();
            terminal.write_str(question).and_then(|()| terminal.read_secure_line()).map_err(failed)
        } else {
            let mut text = String::new();
            std::io::stdin().take(LONGEST_SECRET).read_to_string(&mut text).map_err(failed)?;
            Ok(text)
        }
    }

    /// Output of a program that is passed on unchanged.
    pub fn raw(&self, text: &str) {
        line(std::io::stdout(), text.trim_end_matches('\n'));
    }
}

/// A reader that went away (`| head`) must end neither a run nor its journal: what cannot be printed is dropped.
fn line(mut out: impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}
