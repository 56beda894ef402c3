//! Why a call failed: the service's own words and request id, and what to do where the cause is known (`explain.rs`).

use super::explain;
use serde_json::Value;

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
    #[error("{service}: {message} (status {status}{})", .request.as_deref().map(|id| format!(", {id}")).unwrap_or_default())]
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
    #[error("the catalog has no {0} service")]
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
    /// A failure whose cause is known.
    #[error("{what}")]
    Explained {
        /// What failed, and why.
        what: String,
        /// What to type or to change.
        next: String,
    },
}

impl ApiError {
    /// An answer that the API does not document.
    pub fn unexpected(service: &str, cause: impl Into<String>) -> Self {
        ApiError::Unexpected { service: service.to_owned(), cause: cause.into() }
    }

    /// A file that a resource is made from is not there.
    pub fn no_file(path: &std::path::Path) -> Self {
        Self::file(&std::io::Error::other(format!("{} is not there", path.display())))
    }

    /// A file that belongs to a resource is not what it should be.
    pub fn file(error: &std::io::Error) -> Self {
        ApiError::Explained { what: error.to_string(), next: "put the file there, then: gpucloud-install apply".into() }
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

/// A file that belongs to a resource cannot be had.
impl From<crate::host::Error> for ApiError {
    fn from(error: crate::host::Error) -> Self {
        let next = match &error {
            crate::host::Error::Explained { next, .. } => next.clone(),
            _ => "put the file there, then: gpucloud-install apply".into(),
        };
        ApiError::Explained { what: error.to_string(), next }
    }
}

/// What to do where a service is down.
const DOWN: &str = "gpucloud-install status says what is down, gpucloud-install recover brings it back";

impl From<ApiError> for crate::host::Error {
    fn from(error: ApiError) -> Self {
        let (what, retry) = (error.to_string(), error.is_transient());
        let (what, next) = match &error {
            ApiError::Explained { next, .. } | ApiError::Ambiguous { next, .. } => (what, next.clone()),
            ApiError::Missing { .. } => (what, "gpucloud-install plan shows what is declared and missing".into()),
            ApiError::Refused { message, .. } => match explain::cause(message) {
                Some((meaning, next)) => (format!("{meaning} ({what})"), next.into()),
                None if retry => (what, DOWN.into()),
                None => return Self::protocol("OpenStack API", error),
            },
            ApiError::Unreachable { .. } | ApiError::Unanswered { .. } => (what, DOWN.into()),
            ApiError::NoService(_) | ApiError::Unexpected { .. } => return Self::protocol("OpenStack API", error),
        };
        Self::Explained { what, evidence: String::new(), next, retry }
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
