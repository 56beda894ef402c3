//! Why a call failed: the service's own words and request id, and what to do where the cause is known (`explain.rs`).

use super::disk_image::NoDiskFile;
use super::explain::{self, Fault};
use super::public_key::NoKeyFile;
use super::resource::Kind;
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
    /// Volumes are asked for, and the cloud has no service for them.
    #[error("this cloud has no volumes")]
    NoVolumes,
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
        /// What.
        kind: Kind,
        /// Their name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
        /// The same with what tells one from another.
        told: Vec<String>,
        /// What to type.
        next: String,
    },
    /// Something that is needed is not there.
    #[error("there is no {kind} called {name}")]
    Missing {
        /// What.
        kind: Kind,
        /// Its name, or the id that was given.
        name: String,
        /// The name that was probably meant.
        near: Option<String>,
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
    #[error("instance {}: {} (Nova: {})", .0.name, .0.meaning(), .0.message)]
    Fault(Box<Fault>),
    /// Nova could not build an instance, because there is no hypervisor that takes one.
    #[error("instance {}: no hypervisor takes one: {} (Nova: {})", .fault.name, .complaint.what, .fault.message)]
    NoHypervisor {
        /// What Nova says.
        fault: Box<Fault>,
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
    #[error("volume {name}: Cinder could not do it")]
    VolumeFailed {
        /// Its name.
        name: String,
    },
    /// A file that was named as an image is none.
    #[error(transparent)]
    NoDisk(#[from] NoDiskFile),
    /// A file that was named as a public key has none.
    #[error(transparent)]
    NoKey(#[from] NoKeyFile),
    /// A file that belongs to a resource cannot be had.
    #[error("{0}")]
    File(#[source] Arc<host::Error>),
}

impl ApiError {
    /// An answer that the API does not document.
    pub fn unexpected(service: &str, cause: impl Into<String>) -> Self {
        ApiError::Unexpected { service: service.to_owned(), cause: cause.into() }
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

    /// Whether nobody listens where the catalog says that the service is.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, ApiError::Unreachable { service, .. } if service != "identity")
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

/// Where the names are that there are.
fn looked_up(kind: Kind, near: Option<&str>) -> String {
    let list = match kind {
        Kind::Server | Kind::Image | Kind::Flavor => format!("gpucloud-install {kind} list"),
        other => format!("openstack {} list", other.client_word()),
    };
    near.map_or_else(|| list.clone(), |near| format!("did you mean {near}? Otherwise: {list}"))
}

/// What to do where there is no service for volumes.
const NO_VOLUMES: &str = "volumes.backend = \"lvm\" in gpucloud.toml (with DevStack: devstack.services = [\"cinder\"], \
                          before it is installed); then: gpucloud-install apply";

/// What to do where a service is down.
const DOWN: &str = "gpucloud-install status says what is down, gpucloud-install recover brings it back";

impl host::RoomError for ApiError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Ambiguous { next, .. } => next.clone(),
            Self::Missing { kind, near, .. } => looked_up(*kind, near.as_deref()),
            Self::Refused { message, .. } if let Some((_, next)) = explain::cause(message) => next.into(),
            error if error.is_transient() => DOWN.into(),
            // Trying again helps nobody: the service said what it does not take.
            Self::Refused { status: 402..=499 | 400, request: Some(request), .. } => {
                format!("correct what it names; journalctl --grep {request} shows what the service noted")
            }
            Self::Exists { name, .. } => format!("choose another name; gpucloud-install instance show {name}"),
            Self::NoneToChoose { kind: "image" } => {
                "gpucloud-install image add NAME; image list has the catalogue".into()
            }
            Self::NoneToChoose { kind: "flavor" } => "gpucloud-install flavor add NAME --memory-mib 2048".into(),
            Self::NoneToChoose { .. } => "declare it in [resources], then: gpucloud-install apply".into(),
            Self::SeveralToChoose { kind, .. } => format!("--{kind} NAME"),
            Self::Fault(fault) => fault.next(),
            Self::NoHypervisor { complaint, .. } if !complaint.next.is_empty() => complaint.next.clone(),
            Self::NoHypervisor { .. } => "sudo gpucloud-install doctor; sudo gpucloud-install recover".into(),
            Self::TooSmall { .. } => "choose a flavor with more disk: gpucloud-install flavor list".into(),
            Self::OtherKey { .. } => "give the declared one another name (resources.key_pairs)".into(),
            Self::ForeignUser { .. } => "choose another name for resources.project".into(),
            Self::VolumeFailed { name } => {
                let log = "journalctl -u gpucloud-cinder-volume -u devstack@c-vol -n 50";
                format!("{log} says why; then: gpucloud-install volume delete {name}")
            }
            Self::NoVolumes => NO_VOLUMES.into(),
            Self::NoDisk(problem) => return problem.next(),
            Self::NoKey(problem) => return problem.next(),
            Self::File(error) => return error.next(),
            _ => return None,
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::Fault(fault) => fault.log.clone(),
            Self::NoHypervisor { complaint, .. } => Some(complaint.evidence.clone()),
            Self::Ambiguous { ids, told, .. } if ids != told => Some(told.join("\n")),
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
