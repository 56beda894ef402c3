//! A session with the OpenStack API: login, catalog, calls with a token; a new login where the old one is no longer
//! taken, and another try where the service may only be starting ([`SharedSession::ask_patiently`]).
//!
//! The token lives in memory only: a cache on disk accepts a wrong password as long as an older
//! token is valid.

use super::asked_once::{Answers, AskedOnce, FAILURE_COUNTS};
use super::error::ApiError;
use super::transport::{self, CALL_LIMIT, Call, LOGIN_LIMIT, LOOK_LIMIT, agent, send};
use crate::config::secrets::Secret;
use crate::host::Host;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two tries of a call that may succeed a little later.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
    /// How many times longer than on a real machine each answer may take.
    pub pace: u32,
}

impl Login {
    /// The administrator of a cloud whose Keystone is at `auth_url`.
    pub fn admin(auth_url: String, region: &str, password: Secret) -> Self {
        Self { auth_url, user: "admin".into(), password, project: "admin".into(), region: region.to_owned(), pace: 1 }
    }

    /// The same, where everything may take so many times longer than on a real machine.
    pub fn paced(self, pace: u32) -> Self {
        Self { pace, ..self }
    }
}

/// A logged-in session.
#[derive(Clone)]
pub struct Session {
    agent: ureq::Agent,
    token: String,
    auth_url: String,
    catalog: Vec<(String, String)>,
    who: String,
    limit: Duration,
    pace: u32,
    answers: Option<Arc<Answers>>,
    since: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("auth_url", &self.auth_url).finish_non_exhaustive()
    }
}

impl Session {
    /// Logs in, within `limit`.
    ///
    /// # Errors
    /// Keystone does not answer, or refuses the password (status 401).
    fn login(login: &Login, limit: Duration) -> Result<Self, ApiError> {
        let (agent, limit) = (agent(), limit * login.pace);
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": login.user, "domain": {"id": "default"}, "password": login.password.expose()}}},
            "scope": {"project": {"name": login.project, "domain": {"id": "default"}}}}});
        let url = format!("{}/auth/tokens", login.auth_url);
        let call = Call { service: "identity", method: "POST", url: &url, token: None, body: Some(&body), limit };
        let answer = send(&agent, &call)?;
        let unexpected = |cause: &str| ApiError::Unexpected { service: "identity".into(), cause: cause.into() };
        let token = answer.token.clone().ok_or_else(|| unexpected("no token in the answer"))?;
        let catalog = catalog(&answer.body, &login.region).ok_or_else(|| unexpected("no catalog in the answer"))?;
        let who = format!("{}@{}", login.user, login.project);
        let auth_url = login.auth_url.clone();
        let (limit, pace) = (CALL_LIMIT, login.pace);
        Ok(Self { agent, token, auth_url, catalog, who, limit, pace, answers: None, since: Instant::now() })
    }

    /// The same session, where each call may take `limit`, or what that is on a slower machine.
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Reads `path` of a service ("compute", "/servers/detail") as `T`.
    pub fn get<T: DeserializeOwned>(&self, service: &str, path: &str) -> Result<T, ApiError> {
        let ask = || self.call(service, "GET", path, None);
        let answer = match &self.answers {
            Some(answers) => answers.get(service, format!("{} {service} {path}", self.who), ask)?,
            None => ask()?,
        };
        serde_json::from_value(answer).map_err(|e| ApiError::unexpected(service, format!("GET {path}: {e}")))
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
        let url = format!("{}{path}", self.endpoint(service)?);
        transport::upload(service, &url, &self.token, content, size, sent)
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

    fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.endpoint(service)?);
        let call = Call { service, method, url: &url, token: Some(&self.token), body, limit: self.limit * self.pace };
        let answer = send(&self.agent, &call)?;
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

/// A session that is opened when it is needed first, and shared: a login costs Keystone a quarter of a second. Whoever
/// asks while somebody logs in gets what comes of that: the session, or the failure.
#[derive(Clone)]
pub struct SharedSession {
    login: Login,
    login_limit: Duration,
    look_limit: Duration,
    open: Arc<AskedOnce<Arc<Session>>>,
}

impl SharedSession {
    /// Of this login.
    pub fn new(login: Login) -> Self {
        Self { login, login_limit: LOGIN_LIMIT, look_limit: LOOK_LIMIT, open: Arc::default() }
    }

    /// Where and as whom it logs in.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Asks something; where that may be the session's fault, once more with a new one.
    pub fn ask<T>(&self, ask: impl Fn(&Session) -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.ask_where(Duration::ZERO, ask)
    }

    /// Asks like [`SharedSession::ask`] what changes nothing. In one look at the host ([`Host::with_snapshot`]) each
    /// path is read once, and a login that failed is not tried by the next at once.
    pub fn look<T>(&self, host: &Host, ask: impl Fn(&Session) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let Some(snapshot) = host.snapshot() else { return self.ask(|session| ask(&session.within(self.look_limit))) };
        let answers = Some(snapshot.memory::<Answers>());
        self.ask_where(FAILURE_COUNTS, |session| {
            ask(&Session { answers: answers.clone(), ..session.within(self.look_limit) })
        })
    }

    /// Asks with a session, if no login failed in the time `failure_counts` before; once more with a new one where the
    /// old one is no longer taken.
    fn ask_where<T>(
        &self,
        failure_counts: Duration,
        ask: impl Fn(&Session) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let login = || self.open.get(failure_counts, || Session::login(&self.login, self.login_limit).map(Arc::new));
        let session = login()?;
        // Where nobody listens any more the service may be elsewhere by now, which a new login says.
        let is_old = |error: &ApiError| error.is_unreachable() && session.since.elapsed() > FAILURE_COUNTS;
        match ask(&session) {
            Err(error) if error.may_be_an_old_session() || is_old(&error) => {
                // Somebody else may have renewed it already.
                self.open.forget(|open| Arc::ptr_eq(open, &session));
                ask(login()?.as_ref())
            }
            answer => answer,
        }
    }

    /// Asks like [`SharedSession::ask`], again and again as long as the service may only be starting, until `limit` has
    /// passed or `go_on` says no. What creates something looks for it first, by its name: an earlier try may have made
    /// it.
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
impl SharedSession {
    /// The same with another limit for a login and for a look.
    pub(super) fn with_limit(self, limit: Duration) -> Self {
        Self { login_limit: limit, look_limit: limit, ..self }
    }
}
