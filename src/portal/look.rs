//! How a notebook is (made, switched off, starting, ready), as its student is told, in words: asked of the notebook itself, and what
//! root tells of it. The portal starts and stops none: that is root's (`classroom/notebook.rs`).

use super::told::Notebook;
use std::time::Duration;
use tokio::net::TcpStream;

/// A notebook is on this machine: what takes longer is not there yet.
const LIMIT: Duration = Duration::from_millis(500);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can be worked in.
    Ready,
    /// Nova makes it.
    Built,
    /// It was switched off.
    Off,
    /// Its JupyterLab does not answer: it boots, or is broken.
    Silent,
}

impl State {
    /// Whether it can be worked in.
    pub fn is_ready(self) -> bool {
        self == State::Ready
    }

    /// In a few words.
    pub fn in_words(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Built => "being made",
            State::Off => "switched off",
            State::Silent => "starting",
        }
    }

    /// What stands above a page about it.
    pub fn title(self) -> &'static str {
        match self {
            State::Ready => "One moment",
            State::Built => "Your notebook is being made",
            State::Off => "Your notebook is switched off",
            State::Silent => "Your notebook does not answer yet",
        }
    }

    /// What its student may do.
    pub fn advice(self) -> &'static str {
        match self {
            State::Ready => "It has just come up.",
            State::Built => "It is there in a minute or two.",
            State::Off => "Your teacher switches it on. What you have saved in it is not lost.",
            State::Silent => {
                "When it was just made or started, it is there in a minute. When this page is still here after five, it is \
                 broken: tell your teacher. What you have saved in it is not lost."
            }
        }
    }
}

/// Looks at the one that is there.
pub async fn at(notebook: &Notebook) -> State {
    let Some(address) = notebook.place else { return State::Built };
    match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => State::Ready,
        _ if notebook.is_off => State::Off,
        _ => State::Silent,
    }
}
