//! A session with the OpenStack API: login, catalog, calls with a token, errors in words.
//!
//! Blocking, on `ureq`. The token lives in memory only: a cache on disk accepts a wrong password as long as an older
//! token is valid.

use super::explain;
use crate::config::secrets::Secret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one call may take: creating a router on a loaded host takes seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the upload of an image may take.
const UPLOAD_LIMIT: Duration = Duration::from_secs(3600);
/// How long a server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries of a call that may succeed a little later.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The newest Nova microversion that our calls are written for; extra specs in flavors need 2.86.
const NOVA_MICROVERSION: &str = "2.96";
/// The same for Placement.
const PLACEMENT_MICROVERSION: &str = "1.39";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers.
    #[error("{service} does not answer: {cause}")]
    Unreachable {
        /// "identity" or another type of the catalog.
        service: String,
        /// The transport's words.
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
    #[error("{count} are called {name}: there must be one {kind} of that name")]
    Ambiguous {
        /// "network".
        kind: String,
        /// Their name.
        name: String,
        /// How many there are.
        count: usize,
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

    /// A file of ours that cannot be read.
    pub fn file(error: &std::io::Error) -> Self {
        ApiError::Explained { what: error.to_string(), next: "put the file there, then: gpucloud-install apply".into() }
    }

    /// Whether the same call may succeed a little later: nobody listens, a proxy has nobody behind it, or the service
    /// misses its database or its queue.
    pub fn is_transient(&self) -> bool {
        matches!(self, ApiError::Unreachable { .. } | ApiError::Refused { status: 500..=599, .. })
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
    fn may_be_an_old_session(&self) -> bool {
        self.is_unauthorized() || matches!(self, ApiError::NoService(_))
    }
}

impl From<ApiError> for crate::host::Error {
    fn from(error: ApiError) -> Self {
        let what = error.to_string();
        let (what, next) = match &error {
            ApiError::Explained { next, .. } => (what, next.clone()),
            ApiError::Ambiguous { kind, .. } => (what, format!("give one of them another name: openstack {kind} list")),
            ApiError::Missing { .. } => (what, "gpucloud-install plan shows what is declared and missing".into()),
            ApiError::Refused { message, .. } => match explain::cause(message) {
                Some((meaning, next)) => (format!("{meaning} ({what})"), next.into()),
                None => return Self::protocol("OpenStack API", error),
            },
            _ => return Self::protocol("OpenStack API", error),
        };
        Self::Explained { what, evidence: String::new(), next, retry: false }
    }
}

impl From<ApiError> for crate::failure::Failure {
    fn from(error: ApiError) -> Self {
        crate::host::Error::from(error).into()
    }
}

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// "http://192.0.2.10:5000/v3".
    pub auth_url: String,
    /// Name of the user, in the default domain.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Name of the project, in the default domain.
    pub project: String,
    /// Region whose endpoints are used.
    pub region: String,
}

impl Login {
    /// The administrator of a cloud whose Keystone is at `auth_url`.
    pub fn admin(auth_url: String, region: &str, password: Secret) -> Self {
        Self { auth_url, user: "admin".into(), password, project: "admin".into(), region: region.to_owned() }
    }
}

/// A logged-in session.
pub struct Session {
    agent: ureq::Agent,
    token: String,
    auth_url: String,
    catalog: Vec<(String, String)>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("auth_url", &self.auth_url).finish_non_exhaustive()
    }
}

/// An answer: body and request id.
struct Answer {
    status: u16,
    body: Value,
    request: Option<String>,
    token: Option<String>,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// Keystone does not answer, or refuses the password (status 401).
    pub fn login(login: &Login) -> Result<Self, ApiError> {
        let agent = agent();
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": login.user, "domain": {"id": "default"}, "password": login.password.expose()}}},
            "scope": {"project": {"name": login.project, "domain": {"id": "default"}}}}});
        let answer = send(&agent, "identity", "POST", &format!("{}/auth/tokens", login.auth_url), None, Some(&body))?;
        let unexpected = |cause: &str| ApiError::Unexpected { service: "identity".into(), cause: cause.into() };
        let token = answer.token.clone().ok_or_else(|| unexpected("no token in the answer"))?;
        let catalog = catalog(&answer.body, &login.region).ok_or_else(|| unexpected("no catalog in the answer"))?;
        Ok(Self { agent, token, auth_url: login.auth_url.clone(), catalog })
    }

    /// Reads `path` of a service ("compute", "/servers/detail") as `T`.
    pub fn get<T: DeserializeOwned>(&self, service: &str, path: &str) -> Result<T, ApiError> {
        self.call(service, "GET", path, None)
    }

    /// Creates something.
    pub fn post<T: DeserializeOwned>(&self, service: &str, path: &str, body: &Value) -> Result<T, ApiError> {
        self.call(service, "POST", path, Some(body))
    }

    /// Sets something; the answer is not used.
    pub fn put(&self, service: &str, path: &str, body: Option<&Value>) -> Result<(), ApiError> {
        self.call::<Value>(service, "PUT", path, body).map(drop)
    }

    /// Sets something, with a body.
    pub fn set(&self, service: &str, path: &str, body: &Value) -> Result<(), ApiError> {
        self.put(service, path, Some(body))
    }

    /// Tells a service to do something; the answer may be empty.
    pub fn act(&self, service: &str, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.call(service, "POST", path, Some(body))
    }

    /// Whether the catalog has the service.
    pub fn offers(&self, service: &str) -> bool {
        self.catalog.iter().any(|(kind, _)| kind == service)
    }

    /// Sends `size` bytes. `sent` is told how many went, and stops it by `false`.
    pub fn upload(
        &self,
        service: &str,
        path: &str,
        content: impl std::io::Read,
        size: u64,
        sent: &dyn Fn(u64) -> bool,
    ) -> Result<(), ApiError> {
        let unreachable = |cause: String| ApiError::Unreachable { service: service.to_owned(), cause };
        let url = format!("{}{path}", self.endpoint(service)?);
        let mut counted = Counted { content, sent, so_far: 0, told: 0 };
        let request = upload_agent()
            .put(&url)
            .header("X-Auth-Token", &self.token)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", size.to_string());
        let body = ureq::SendBody::from_reader(&mut counted);
        let response = request.send(body).map_err(|e| unreachable(e.to_string()))?;
        answer_of(service, response).map(drop)
    }

    /// Changes something.
    pub fn patch<T: DeserializeOwned>(&self, service: &str, path: &str, body: &Value) -> Result<T, ApiError> {
        self.call(service, "PATCH", path, Some(body))
    }

    /// Removes something; not being there is fine.
    pub fn delete(&self, service: &str, path: &str) -> Result<(), ApiError> {
        match self.call::<Value>(service, "DELETE", path, None) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a head request for `path` finds something.
    pub fn has(&self, service: &str, path: &str) -> Result<bool, ApiError> {
        match self.call::<Value>(service, "HEAD", path, None) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.endpoint(service)?);
        let answer = send(&self.agent, service, method, &url, Some(&self.token), body)?;
        serde_json::from_value(answer.body)
            .map_err(|e| ApiError::Unexpected { service: service.to_owned(), cause: format!("{method} {path}: {e}") })
    }

    fn endpoint(&self, service: &str) -> Result<String, ApiError> {
        if service == "identity" {
            return Ok(self.auth_url.clone());
        }
        let found = self.catalog.iter().find(|(kind, _)| kind == service);
        let (_, url) = found.ok_or_else(|| ApiError::NoService(service.to_owned()))?;
        let suffix = match service {
            "image" => "/v2",
            "network" => "/v2.0",
            _ => "",
        };
        Ok(format!("{}{suffix}", url.trim_end_matches('/')))
    }
}

/// A session that is opened when it is needed first, and shared: a login costs Keystone a quarter of a second.
#[derive(Clone)]
pub struct SharedSession {
    login: Login,
    open: Arc<Mutex<Option<Arc<Session>>>>,
}

impl SharedSession {
    /// Of this login.
    pub fn new(login: Login) -> Self {
        Self { login, open: Arc::default() }
    }

    /// Asks something; where that may be the session's fault, once more with a new one.
    pub fn ask<T>(&self, ask: impl Fn(&Session) -> Result<T, ApiError>) -> Result<T, ApiError> {
        match ask(self.session()?.as_ref()) {
            Err(error) if error.may_be_an_old_session() => {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
                ask(self.session()?.as_ref())
            }
            answer => answer,
        }
    }

    /// Asks like [`SharedSession::ask`], again and again as long as the service may only be starting, until `limit` has
    /// passed or `go_on` says no.
    pub fn ask_patiently<T>(
        &self,
        limit: Duration,
        go_on: impl Fn() -> bool,
        ask: impl Fn(&Session) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let end = Instant::now() + limit;
        loop {
            match self.ask(&ask) {
                Err(error) if error.is_transient() && Instant::now() < end && go_on() => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    fn session(&self) -> Result<Arc<Session>, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open.as_ref() {
            return Ok(session.clone());
        }
        let session = Arc::new(Session::login(&self.login)?);
        *open = Some(session.clone());
        Ok(session)
    }
}

/// Asks without a token whether something answers at `url`; the HTTP status, whatever it is.
pub fn status_of(url: &str) -> Result<u16, String> {
    match agent().get(url).call() {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(error.to_string()),
    }
}

/// The body at `url`, asked without a token.
pub fn page(url: &str) -> Result<(u16, String), String> {
    let mut response = agent().get(url).call().map_err(|e| e.to_string())?;
    let body = response.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok((response.status().as_u16(), body))
}

fn agent() -> ureq::Agent {
    agent_within(LIMIT)
}

/// An upload takes as long as the disk.
fn upload_agent() -> ureq::Agent {
    agent_within(UPLOAD_LIMIT)
}

fn agent_within(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Glance answers its root with 300 and no location: an answer like any other.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(limit))
        .timeout_connect(Some(CONNECT_LIMIT))
        // The cloud's own addresses are never behind a proxy.
        .proxy(None)
        .build()
        .into()
}

fn send(
    agent: &ureq::Agent,
    service: &str,
    method: &str,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Answer, ApiError> {
    let unreachable = |cause: String| ApiError::Unreachable { service: service.to_owned(), cause };
    let bytes = body.map(|body| body.to_string()).unwrap_or_default();
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("Accept", "application/json");
    if body.is_some() {
        request = request.header("Content-Type", "application/json");
    }
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token);
    }
    if let Some((name, version)) = microversion(service) {
        request = request.header(name, version);
    }
    let request = request.body(bytes).map_err(|e| unreachable(e.to_string()))?;
    let response = agent.run(request).map_err(|e| unreachable(e.to_string()))?;
    answer_of(service, response)
}

fn answer_of(service: &str, mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ApiError> {
    let unreachable = |cause: String| ApiError::Unreachable { service: service.to_owned(), cause };
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (status, request, token) =
        (response.status().as_u16(), header("x-openstack-request-id"), header("x-subject-token"));
    let text = response.body_mut().read_to_string().map_err(|e| unreachable(e.to_string()))?;
    let answer = Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), request, token };
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refused(service, answer, &text)) }
}

/// A reader that tells how much was read.
struct Counted<'a, R> {
    content: R,
    sent: &'a dyn Fn(u64) -> bool,
    so_far: u64,
    told: u64,
}

/// How often an upload tells how far it is, in bytes.
const TELL_EVERY: u64 = 4 << 20;

impl<R: std::io::Read> std::io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.so_far += count as u64;
        if self.so_far - self.told >= TELL_EVERY || count == 0 {
            self.told = self.so_far;
            if !(self.sent)(self.so_far) {
                return Err(std::io::Error::other("stopped on request"));
            }
        }
        Ok(count)
    }
}

fn microversion(service: &str) -> Option<(&'static str, String)> {
    match service {
        "compute" => Some(("OpenStack-API-Version", format!("compute {NOVA_MICROVERSION}"))),
        "placement" => Some(("OpenStack-API-Version", format!("placement {PLACEMENT_MICROVERSION}"))),
        _ => None,
    }
}

fn refused(service: &str, answer: Answer, text: &str) -> ApiError {
    let message = message(&answer.body).unwrap_or_else(|| plain(text));
    ApiError::Refused { service: service.to_owned(), status: answer.status, message, request: answer.request }
}

/// Every service words its errors in another shape: `{"badRequest": {"message"}}` (Nova), `{"NeutronError":
/// {"message"}}`, `{"error": {"message"}}` (Keystone), `{"errors": [{"detail"}]}` (Placement).
fn message(body: &Value) -> Option<String> {
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
fn plain(text: &str) -> String {
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

fn catalog(body: &Value, region: &str) -> Option<Vec<(String, String)>> {
    let services = body.get("token")?.get("catalog")?.as_array()?;
    let entry = |service: &Value| {
        let kind = service.get("type")?.as_str()?.to_owned();
        let endpoint = service.get("endpoints")?.as_array()?.iter().find(|endpoint| {
            let is = |key: &str, value: &str| endpoint.get(key).and_then(Value::as_str) == Some(value);
            is("interface", "public") && is("region", region)
        })?;
        Some((kind, endpoint.get("url")?.as_str()?.to_owned()))
    };
    Some(services.iter().filter_map(entry).collect())
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

    #[test]
    fn nobody_there_is_said_of_the_service() {
        let login = Login {
            auth_url: "http://127.0.0.1:1/v3".into(),
            user: "admin".into(),
            password: Secret::random().unwrap(),
            project: "admin".into(),
            region: "R".into(),
        };
        let error = Session::login(&login).unwrap_err();
        assert!(error.to_string().starts_with("identity does not answer"), "{error}");
    }
}
