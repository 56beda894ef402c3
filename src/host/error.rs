//! What goes wrong in the hands, and what proves it. A room above that knows more of its failures has an enum of its
//! own, with [`RoomError`]; plan and journal carry it on as an [`Error`].

use super::files::place::LinkInTheWay;
use super::{links, nft};
use crate::complaint::Complaint;
use std::fmt;
use std::path::PathBuf;

/// The cause of an error, whatever its type.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What rooms above the hands fail with.
pub trait RoomError: std::error::Error + Send + Sync + 'static {
    /// The next command to type, or what to change; `None` where the text of the error tells it (`failure.rs`).
    fn next(&self) -> Option<String>;

    /// The line or lines that prove it.
    fn evidence(&self) -> Option<String> {
        None
    }

    /// Whether it may pass by itself, so that another try is worth it.
    fn may_pass(&self) -> bool {
        false
    }
}

/// The error of a room, whatever its type.
#[derive(Debug)]
pub struct OfRoom(Box<dyn RoomError>);

impl fmt::Display for OfRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OfRoom {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

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
    /// A link is in the way, where others than root can make links.
    #[error("cannot {doing} {path}: {link}")]
    Link {
        /// The verb: "read", "write", "rename".
        doing: &'static str,
        /// The file it was about.
        path: PathBuf,
        /// The link.
        #[source]
        link: Box<LinkInTheWay>,
    },
    /// Something in a home is done as its user, who may not.
    #[error("cannot {doing} {path}: it is done as {user}, who may not")]
    Forbidden {
        /// The verb.
        doing: String,
        /// The file it was about.
        path: PathBuf,
        /// Name of the account.
        user: String,
        /// What the program that did it said.
        said: String,
    },
    /// A dump of databases does not find its room.
    #[error("there is no room to save databases before they are changed: {databases}")]
    NoRoom {
        /// Their names.
        databases: String,
        /// MiB that they take.
        needed: u64,
        /// MiB that are free.
        free: u64,
        /// Where.
        below: PathBuf,
    },
    /// A room above the hands failed.
    #[error(transparent)]
    Room(OfRoom),
    /// The operation needs the running system, but this host is a directory.
    #[error("{0} needs the running system; this is only a directory")]
    NotLive(String),
    /// A hand that speaks a protocol (SQL, netlink, AMQP, HTTP) failed.
    #[error("{what}: {cause}")]
    Protocol {
        /// What was asked of whom.
        what: String,
        /// The answer.
        #[source]
        cause: Cause,
    },
}

impl Error {
    /// The line that proves the failure, where there is one: the last output of a program.
    pub fn evidence(&self) -> Option<String> {
        match self {
            Error::Failed { tail, .. } if !tail.is_empty() => Some(tail.clone()),
            Error::Link { link, .. } => Some(link.evidence()),
            Error::Forbidden { said, .. } => Some(said.clone()),
            Error::NoRoom { needed, free, below, .. } => {
                Some(format!("they take {needed} MiB, {free} MiB are free below {}", below.display()))
            }
            Error::Room(OfRoom(error)) => error.evidence(),
            _ => None,
        }
    }

    /// The next command, where the kind of error tells it.
    pub fn next(&self) -> Option<String> {
        match self {
            Error::Link { link, .. } => Some(link.next()),
            Error::Forbidden { path, user, .. } => {
                let folder = path.parent().unwrap_or(path).display();
                Some(format!(
                    "ls -ld {folder}: give {user} a directory there, or name a key of your own (public_key in \
                     resources.key_pairs); then: gpucloud-install apply"
                ))
            }
            Error::NoRoom { below, .. } => {
                Some(format!("free space there (df -h {}), then: gpucloud-install apply", below.display()))
            }
            Error::Room(OfRoom(error)) => error.next(),
            _ => None,
        }
    }

    /// Whether it may pass by itself.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::Room(OfRoom(error)) if error.may_pass())
    }

    /// An error of a protocol hand.
    pub fn protocol(what: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Error::Protocol { what: what.into(), cause: cause.into() }
    }
}

impl<E: RoomError> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Room(OfRoom(Box::new(error)))
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

/// A service that does not work, said by whoever waits for it.
impl RoomError for Complaint {
    fn next(&self) -> Option<String> {
        (!self.next.is_empty()).then(|| self.next.clone())
    }

    fn may_pass(&self) -> bool {
        self.wait
    }
}
