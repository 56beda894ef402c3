//! What a change of the network fails with.

use super::state::Change;
use crate::host::{self, RoomError};

/// What a change of the network fails with; `truth` says what was taken back, and who answers again.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A hand failed in the middle.
    #[error("change the network: {cause}; {truth}")]
    Broken {
        /// What failed.
        #[source]
        cause: host::Error,
        /// What became of it.
        truth: String,
    },
    /// Who answered before does not any more.
    #[error("change the network: it cut off {}, which answered before; {truth}", silent.join(", "))]
    CutOff {
        /// Their addresses.
        silent: Vec<String>,
        /// What became of it.
        truth: String,
    },
    /// The time for a yes was over before the change was done.
    #[error("change the network: it took too long, and was taken back meanwhile; {truth}")]
    TooLate {
        /// What became of it.
        truth: String,
    },
    /// Nobody confirmed it in time.
    #[error("nobody said yes to the change of the network; {truth}")]
    Unconfirmed {
        /// What became of it.
        truth: String,
    },
    /// An earlier change could be taken back in part only: nothing is built upon that.
    #[error("take back a change of the network that nobody confirmed: {truth}")]
    Unsettled {
        /// What became of it.
        truth: String,
    },
    /// All was done, and the kernel is not as desired.
    #[error("bring the network into its state: still to do: {left}")]
    Undone {
        /// What is left.
        left: Change,
    },
}

impl RoomError for NetworkError {
    fn next(&self) -> Option<String> {
        let next = match self {
            Self::Broken { cause, .. } => return cause.next(),
            Self::CutOff { .. } => {
                "gpucloud-install network show: compare it with your network, and correct gpucloud.toml"
            }
            Self::TooLate { .. } => "the same command again, when the machine is less busy",
            Self::Unconfirmed { .. } => {
                "the same again; and while it waits, in a second session: gpucloud-install network confirm"
            }
            Self::Unsettled { .. } => "mend what is named, then: gpucloud-install network rollback",
            Self::Undone { .. } => "another program may change it as well: gpucloud-install network probe",
        };
        Some(next.into())
    }

    fn evidence(&self) -> Option<String> {
        if let Self::Broken { cause, .. } = self { cause.evidence() } else { None }
    }
}
