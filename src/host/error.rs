//! What goes wrong in the hands, and what proves it.

use super::{links, nft, sql};
use std::path::PathBuf;

/// What went wrong in one of the hands. Every variant names its object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The verb: "read", "write", "rename".
        doing: &'static str,
        /// The file it was about.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A program ended unsuccessfully.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// The command line, secrets are never part of one.
        command: String,
        /// "exit status 1" or "signal 9".
        status: String,
        /// The last lines of its output, masked.
        tail: String,
    },
    /// A program could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Something did not happen in its time.
    #[error("{what} did not happen within {seconds} s")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The limit in seconds.
        seconds: u64,
    },
    /// The administrator, or systemd, asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A failure whose cause was recognised.
    #[error("{what}")]
    Explained {
        /// What failed, and why.
        what: String,
        /// The line that proves it.
        evidence: String,
        /// The next command.
        next: String,
        /// Whether another try may help by itself.
        retry: bool,
    },
    /// The operation needs the running system, but this host is a directory.
    #[error("{0} needs the running system; this is only a directory")]
    NotLive(String),
    /// A hand that speaks a protocol (SQL, netlink, AMQP, HTTP) failed.
    #[error("{what}: {cause}")]
    Protocol {
        /// What was asked of whom.
        what: String,
        /// The answer.
        cause: String,
    },
}

impl Error {
    /// The line that proves the failure, where there is one: the last output of a program.
    pub fn evidence(&self) -> Option<&str> {
        match self {
            Error::Failed { tail, .. } if !tail.is_empty() => Some(tail),
            Error::Explained { evidence, .. } => Some(evidence),
            _ => None,
        }
    }

    /// An error of a protocol hand.
    pub fn protocol(what: impl Into<String>, cause: impl ToString) -> Self {
        Error::Protocol { what: what.into(), cause: cause.to_string() }
    }
}

impl From<links::LinkError> for Error {
    fn from(error: links::LinkError) -> Self {
        Error::protocol("netlink", error)
    }
}

impl From<nft::NftError> for Error {
    fn from(error: nft::NftError) -> Self {
        Error::protocol("nftables", error)
    }
}

impl From<sql::SqlError> for Error {
    fn from(error: sql::SqlError) -> Self {
        Error::protocol("MariaDB", error)
    }
}
