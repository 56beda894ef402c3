//! A session with the OpenStack API: login, catalog, calls with a token; a new login where the old one is no longer
//! taken, and another try where the service may only be starting ([`SharedSession::ask_patiently`]).
//!
//! The token lives in memory only: a cache on disk accepts a wrong password as long as an older
//! token is valid.

use super::error::ApiError;
use super::transport::{self, agent, send};
use crate::config::secrets::Secret;
use crate::host::Host;
use crate::host::look::OneLook;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
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
}

impl Login {
    /// The administrator of a cloud whose Keystone is at `auth_url`.
    pub fn admin(auth_url: String, region: &str, password: Secret) -> Self {
        Self { auth_url, user: "admin".into(), password, project: "admin".into(), region: region.to_owned() }
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
    look: Option<Arc<OneLook>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("auth_url", &self.auth_url).finish_non_exhaustive()
    }
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
        let who = format!("{}@{}", login.user, login.project);
        Ok(Self { agent, token, auth_url: login.auth_url.clone(), catalog, who, look: None })
    }

    /// Reads `path` of a service ("compute", "/servers/detail") as `T`.
    pub fn get<T: DeserializeOwned>(&self, service: &str, path: &str) -> Result<T, ApiError> {
        let ask = || self.call(service, "GET", path, None);
        let answer = match &self.look {
            Some(look) => look.answer(format!("{} {service} {path}", self.who), ask)?,
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

    /// Where and as whom it logs in.
    pub fn login(&self) -> &Login {
        &self.login
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

    /// Asks like [`SharedSession::ask`] what changes nothing. In one look of the host
    /// ([`Host::for_one_look`]) each path is read once.
    pub fn look<T>(&self, host: &Host, ask: impl Fn(&Session) -> Result<T, ApiError>) -> Result<T, ApiError> {
        match host.one_look() {
            None => self.ask(ask),
            Some(look) => self.ask(|session| ask(&Session { look: Some(look.clone()), ..session.clone() })),
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
