//! How a notebook is, as its student is told: asked of the notebook itself.

use std::net::SocketAddr;
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
    /// Its JupyterLab does not answer: it boots, or is stopped.
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
            State::Silent => "starting, or switched off",
        }
    }

    /// What stands above a page about it.
    pub fn title(self) -> &'static str {
        match self {
            State::Ready => "One moment",
            State::Built => "Your notebook is being made",
            State::Silent => "Your notebook does not answer yet",
        }
    }

    /// What its student may do.
    pub fn advice(self) -> &'static str {
        match self {
            State::Ready => "It has just come up.",
            State::Built => "It is there in a minute or two.",
            State::Silent => {
                "When it was just made or started, it is there in a minute. When this page is still here after five, it is \
                 switched off or broken: tell your teacher. What you have saved in it is not lost."
            }
        }
    }
}

/// Looks at the one that is there.
pub async fn at(place: Option<SocketAddr>) -> State {
    let Some(address) = place else { return State::Built };
    match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => State::Ready,
        _ => State::Silent,
    }
}
