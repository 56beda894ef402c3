//! Questions to a person at a terminal.

use crate::failure::Failure;
use dialoguer::console::Term;
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, Input, Select};

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<T> {
    /// This.
    Given(T),
    /// The question before, please.
    Back,
}

impl<T> From<Option<T>> for Answer<T> {
    fn from(answer: Option<T>) -> Self {
        answer.map_or(Answer::Back, Answer::Given)
    }
}

impl<T> Answer<T> {
    /// Does `work` with what was given.
    pub fn take(self, work: impl FnOnce(T)) -> Answer<()> {
        match self {
            Answer::Given(value) => {
                work(value);
                Answer::Given(())
            }
            Answer::Back => Answer::Back,
        }
    }

    /// The same with work that may fail.
    pub fn try_take(self, work: impl FnOnce(T) -> Result<(), Failure>) -> Result<Answer<()>, Failure> {
        match self {
            Answer::Given(value) => work(value).map(Answer::Given),
            Answer::Back => Ok(Answer::Back),
        }
    }
}

/// Asks; a trait, so that questions can be answered by a test.
pub trait Prompter {
    /// One of `items`; the index of the default first offered.
    fn select(&self, question: &str, items: &[String], default: usize) -> Result<Answer<usize>, Failure>;
    /// A text that `check` accepts.
    fn input(
        &self,
        question: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<Answer<String>, Failure>;
    /// Yes or no.
    fn confirm(&self, question: &str, default: bool) -> Result<Answer<bool>, Failure>;
}

/// What a person types where Esc is not heard.
const BACK: &str = "<";

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
    fn select(&self, question: &str, items: &[String], default: usize) -> Result<Answer<usize>, Failure> {
        let select = Select::with_theme(self.theme.as_ref()).with_prompt(question).items(items).default(default);
        select.interact_opt().map(Answer::from).map_err(interrupted)
    }

    fn input(
        &self,
        question: &str,
        default: &str,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<Answer<String>, Failure> {
        let check = |text: &String| if text.trim() == BACK { Ok(()) } else { check(text) };
        let text = Input::<String>::with_theme(self.theme.as_ref())
            .with_prompt(question)
            .default(default.to_owned())
            .validate_with(check)
            .interact_text()
            .map_err(interrupted)?;
        Ok(if text.trim() == BACK { Answer::Back } else { Answer::Given(text) })
    }

    fn confirm(&self, question: &str, default: bool) -> Result<Answer<bool>, Failure> {
        let confirm = Confirm::with_theme(self.theme.as_ref()).with_prompt(question).default(default);
        confirm.interact_opt().map(Answer::from).map_err(interrupted)
    }
}
