//! Why a call failed: the service's own words and request id, and what to do where the cause is known (`explain.rs`).

use super::explain;
use crate::complaint::Complaint;
use crate::host;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens: the request was not sent.
    #[error("{service} does not answer: {cause}")]
    Unreachable {
        /// "identity" or another type of the catalog; an address where there is no token.
        service: String,
        /// The transport's words.
        cause: String,
    },
    /// The request was sent, and no answer came back: what it asks for may be done, now or in a moment.
    #[error("{service} does not answer: {cause}")]
    Unanswered {
        /// As above.
        service: String,
        /// The transport's words, or how long was waited for what.
        cause: String,
    },
    /// The service refused.
    #[error("{}{service}: {message} (status {status}{})", explain::meaning(message), .request.as_deref().map(|id| format!(", {id}")).unwrap_or_default())]
    Refused {
        /// Type of the service.
        service: String,
        /// HTTP status.
        status: u16,
        /// The service's own words.
        message: String,
        /// Its request id, to be found in its log.
        request: Option<String>,
    },
    /// The catalog does not have the service.
    #[error("OpenStack's catalog has no {0} service")]
    NoService(String),
    /// The answer is not what the API documents.
    #[error("{service} answered something else than expected: {cause}")]
    Unexpected {
        /// Type of the service.
        service: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Several have this name: nobody can say which is meant.
    #[error("{} are called {name}: there must be one {kind} of that name ({})", ids.len(), ids.join(", "))]
    Ambiguous {
        /// "network".
        kind: String,
        /// Their name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
        /// What to type.
        next: String,
    },
    /// Something that is needed is not there.
    #[error("there is no {kind} called {name}")]
    Missing {
        /// "network".
        kind: String,
        /// Its name.
        name: String,
    },
    /// There is one of this name already.
    #[error("there is {kind} called {name} already")]
    Exists {
        /// "an instance".
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// What is not said must be the only one, and there is none that can be used.
    #[error("the cloud has no {kind} that can be used")]
    NoneToChoose {
        /// "image"; the option has the same name.
        kind: &'static str,
    },
    /// What is not said must be the only one, and there are several.
    #[error("the cloud has several, so say which: --{kind} {}", names.join(", "))]
    SeveralToChoose {
        /// As above.
        kind: &'static str,
        /// Their names.
        names: Vec<String>,
    },
    /// Nova could not build an instance.
    #[error("instance {instance}: {} (Nova: {message})", explain::meaning_of_fault(message))]
    Fault {
        /// Its name.
        instance: String,
        /// Nova's words.
        message: String,
        /// Which filter left no host, by the scheduler's log.
        scheduler: Option<String>,
    },
    /// Nova could not build an instance, because there is no hypervisor that takes one.
    #[error("instance {instance}: no hypervisor takes one: {} (Nova: {message})", .complaint.what)]
    NoHypervisor {
        /// Its name.
        instance: String,
        /// Nova's words.
        message: String,
        /// What is wrong with the hypervisor.
        complaint: Box<Complaint>,
    },
    /// An image does not fit into a flavor's disk.
    #[error("image {image} needs {needed} GiB of disk, flavor {flavor} has {has}")]
    TooSmall {
        /// Name of the image.
        image: String,
        /// GiB.
        needed: u64,
        /// Name of the flavor.
        flavor: String,
        /// GiB.
        has: u32,
    },
    /// A key pair of this name has another key: it may be the only one with which somebody reaches an instance.
    #[error("there is a key pair called {name} with another key than {}", file.display())]
    OtherKey {
        /// Its name.
        name: String,
        /// The declared key.
        file: PathBuf,
    },
    /// The project's user would be somebody else's.
    #[error("there is a user called {name} whose password is not ours")]
    ForeignUser {
        /// The name.
        name: String,
    },
    /// Cinder could not make a volume.
    #[error("volume {name}: Cinder could not make it")]
    VolumeFailed {
        /// Its name.
        name: String,
    },
    /// A file that belongs to a resource cannot be had.
    #[error("{0}")]
    File(#[source] Arc<host::Error>),
}

impl ApiError {
    /// An answer that the API does not document.
    pub fn unexpected(service: &str, cause: impl Into<String>) -> Self {
        ApiError::Unexpected { service: service.to_owned(), cause: cause.into() }
    }

    /// A file that a resource is made from is not there.
    pub fn no_file(path: &Path) -> Self {
        Self::file(path, std::io::ErrorKind::NotFound.into())
    }

    /// A file that belongs to a resource cannot be read.
    pub fn file(path: &Path, source: std::io::Error) -> Self {
        host::Error::Io { doing: "read", path: path.to_owned(), source }.into()
    }

    /// Whether the same call may succeed a little later: nobody listens, a proxy has nobody behind it, or the service
    /// misses its database or its queue.
    pub fn is_transient(&self) -> bool {
        use ApiError::{Refused, Unanswered, Unreachable};
        matches!(self, Unreachable { .. } | Unanswered { .. } | Refused { status: 500..=599, .. })
    }

    /// Whether what was asked for may have been done all the same: the answer was lost, on the way or by a proxy
    /// (RFC 9110, 15.6.3 and 15.6.5).
    pub fn may_be_done(&self) -> bool {
        matches!(self, ApiError::Unanswered { .. } | ApiError::Refused { status: 502 | 504, .. })
    }

    /// Whether the service says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Refused { status: 404, .. })
    }

    /// Whether the service does not take our password, or our token.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, ApiError::Refused { status: 401, .. })
    }

    /// Whether another login may help: the token is no longer taken (it expired, or Keystone's keys changed), or its
    /// catalog is older than the service that was asked for.
    pub(super) fn may_be_an_old_session(&self) -> bool {
        self.is_unauthorized() || matches!(self, ApiError::NoService(_))
    }
}

impl From<host::Error> for ApiError {
    fn from(error: host::Error) -> Self {
        ApiError::File(Arc::new(error))
    }
}

/// What to do where a service is down.
const DOWN: &str = "gpucloud-install status says what is down, gpucloud-install recover brings it back";

impl host::RoomError for ApiError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Ambiguous { next, .. } => next.clone(),
            Self::Missing { .. } => "gpucloud-install plan shows what is declared and missing".into(),
            Self::Refused { message, .. } if let Some((_, next)) = explain::cause(message) => next.into(),
            error if error.is_transient() => DOWN.into(),
            Self::Exists { name, .. } => format!("choose another name; gpucloud-install instance show {name}"),
            Self::NoneToChoose { .. } => "declare it in [resources], then: gpucloud-install apply".into(),
            Self::SeveralToChoose { kind, .. } => format!("--{kind} NAME"),
            Self::Fault { message, .. } => explain::next_of_fault(message).into(),
            Self::NoHypervisor { complaint, .. } if !complaint.next.is_empty() => complaint.next.clone(),
            Self::NoHypervisor { .. } => "sudo gpucloud-install doctor; sudo gpucloud-install recover".into(),
            Self::TooSmall { .. } => "choose a flavor with more disk: gpucloud-install flavor list".into(),
            Self::OtherKey { .. } => "give the declared one another name (resources.key_pairs)".into(),
            Self::ForeignUser { .. } => "choose another name for resources.project".into(),
            Self::VolumeFailed { .. } => {
                "journalctl -u devstack@c-vol; openstack volume delete it; then: gpucloud-install apply".into()
            }
            Self::File(error) => {
                error.next().unwrap_or_else(|| "put the file there, then: gpucloud-install apply".into())
            }
            _ => return None,
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::Fault { scheduler, .. } => scheduler.clone(),
            Self::NoHypervisor { complaint, .. } => Some(complaint.evidence.clone()),
            Self::File(error) => error.evidence(),
            _ => None,
        }
    }

    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

impl From<ApiError> for crate::failure::Failure {
    fn from(error: ApiError) -> Self {
        crate::host::Error::from(error).into()
    }
}

/// Every service words its errors in another shape: `{"badRequest": {"message"}}` (Nova), `{"NeutronError":
/// {"message"}}`, `{"error": {"message"}}` (Keystone), `{"errors": [{"detail"}]}` (Placement).
pub(super) fn message(body: &Value) -> Option<String> {
    let object = body.as_object()?;
    let text =
        |value: &Value| ["message", "detail"].iter().find_map(|key| value.get(*key)?.as_str().map(str::to_owned));
    text(body).or_else(|| {
        object.values().find_map(|value| match value {
            Value::Array(items) => items.iter().find_map(text),
            value => text(value),
        })
    })
}

/// Glance answers some errors in HTML.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    if out.is_empty() { "no explanation".into() } else { out.chars().take(300).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_services_error_gives_its_words() {
        for (body, words) in [
            (
                r#"{"conflictingRequest": {"code": 409, "message": "Flavor with name x already exists."}}"#,
                "Flavor with name x already exists.",
            ),
            (r#"{"NeutronError": {"type": "NetworkInUse", "message": "in use", "detail": ""}}"#, "in use"),
            (r#"{"error": {"code": 409, "title": "Conflict", "message": "Conflict occurred"}}"#, "Conflict occurred"),
            (r#"{"errors": [{"status": 404, "detail": "No resource provider"}]}"#, "No resource provider"),
        ] {
            assert_eq!(message(&serde_json::from_str(body).unwrap()).as_deref(), Some(words));
        }
    }

    #[test]
    fn html_becomes_a_sentence() {
        assert_eq!(
            plain("<html><h1>400 Bad</h1>\n Provided object does not match schema<br /></html>"),
            "400 Bad Provided object does not match schema"
        );
    }
}
