//! What the engines fail with.

use super::devstack::failures::StackFailure;
use crate::complaint::Complaint;
use crate::host::RoomError;

/// What an engine fails with.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A service that does not work, and for which waiting does not help.
    #[error("{service}: {}", .complaint.what)]
    Unwell {
        /// Its name in the table of services.
        service: String,
        /// What is wrong.
        complaint: Complaint,
    },
    /// What Nova calls its hypervisor is in a database that does not answer.
    #[error("MariaDB does not say under which name Nova knows this hypervisor")]
    HypervisorUnknown,
    /// stack.sh ended without its last line.
    #[error("{}", .0.what)]
    Stack(StackFailure),
}

impl RoomError for EngineError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Unwell { complaint, .. } if !complaint.next.is_empty() => complaint.next.clone(),
            Self::Unwell { .. } => "gpucloud-install doctor looks for the cause".into(),
            Self::HypervisorUnknown => "systemctl start mariadb, then the same command again".into(),
            Self::Stack(failure) => failure.next.clone(),
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::Unwell { complaint, .. } => Some(complaint.evidence.clone()),
            Self::HypervisorUnknown => None,
            Self::Stack(failure) => Some(failure.evidence.clone()),
        }
    }

    fn may_pass(&self) -> bool {
        matches!(self, Self::Stack(StackFailure { may_pass: true, .. }))
    }
}
