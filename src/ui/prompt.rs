//! Questions to a person at a terminal.

use crate::failure::Failure;
use dialoguer::console::Term;
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, Input, Select};

/// Asks; a trait, so that questions can be answered by a test.
pub trait Prompter {
    /// One of `items`; the index of the default first offered.
    fn select(&self, question: &str, items: &[String], default: usize) -> Result<usize, Failure>;
    /// A text that `check` accepts.
    fn input(
        &self,
        question: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Failure>;
    /// Yes or no.
    fn confirm(&self, question: &str, default: bool) -> Result<bool, Failure>;
}

/// Asks on the terminal (standard error).
pub struct Terminal {
    theme: Box<dyn Theme>,
}

impl Terminal {
    /// Plain where the terminal shows no colours or only ASCII.
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some() || !super::text::is_utf8();
        let theme: Box<dyn Theme> = if plain { Box::new(SimpleTheme) } else { Box::new(ColorfulTheme::default()) };
        // With a handler, Ctrl-C ends the read with an error instead of killing us with a hidden cursor.
        let flag = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, flag);
        Self { theme }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

/// Ctrl-C, or a terminal that went away.
fn interrupted(_: dialoguer::Error) -> Failure {
    let terminal = Term::stderr();
    let _ = terminal.show_cursor().and_then(|()| terminal.write_line(""));
    Failure::interrupted()
}

impl Prompter for Terminal {
    fn select(&self, question: &str, items: &[String], default: usize) -> Result<usize, Failure> {
        Select::with_theme(self.theme.as_ref())
            .with_prompt(question)
            .items(items)
            .default(default)
            .interact()
            .map_err(interrupted)
    }

    fn input(
        &self,
        question: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Failure> {
        Input::<String>::with_theme(self.theme.as_ref())
            .with_prompt(question)
            .default(default.to_owned())
            .validate_with(|text: &String| check(text))
            .interact_text()
            .map_err(interrupted)
    }

    fn confirm(&self, question: &str, default: bool) -> Result<bool, Failure> {
        Confirm::with_theme(self.theme.as_ref()).with_prompt(question).default(default).interact().map_err(interrupted)
    }
}
