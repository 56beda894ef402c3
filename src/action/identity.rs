//! Keystone's service users, services and endpoints. They go with Keystone's database: nothing to take back.

use super::task::stamp_path;
use super::{Action, ActionId, Applied, Checked, Lifetime, Originals, Past, Undo};
use crate::cloud::identity::{self, CatalogService};
use crate::cloud::session::{ApiError, Login, Session};
use crate::config::secrets::Secret;
use crate::host::{Host, Result, files};
use std::sync::{Arc, Mutex, PoisonError};

/// The administrator's session, opened when it is needed first and shared: a login costs Keystone a quarter of a
/// second.
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

    fn get(&self) -> std::result::Result<Arc<Session>, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open.as_ref() {
            return Ok(session.clone());
        }
        let session = Arc::new(Session::login(&self.login)?);
        *open = Some(session.clone());
        Ok(session)
    }

    /// A look at the cloud before Keystone answers can only say: later.
    fn look(&self, look: impl FnOnce(&Session) -> std::result::Result<Option<String>, ApiError>) -> Result<Checked> {
        let session = match self.get() {
            Ok(session) => session,
            Err(ApiError::Unreachable { .. }) => return Ok(Checked::Later("when Keystone answers".into())),
            Err(error) => return Err(error.into()),
        };
        Ok(match look(&session)? {
            None => Checked::Done,
            Some(gap) => Checked::needed(format!("make what is missing: {gap}")),
        })
    }
}

/// A user that a service logs in as.
#[derive(Clone)]
pub struct ServiceUser {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
    /// The administrator's session.
    pub session: SharedSession,
}

impl ServiceUser {
    /// Which password was set last: a login to try it would cost as much as setting it.
    fn stamp(&self) -> String {
        files::hash(self.password.expose().as_bytes())
    }
}

impl Action for ServiceUser {
    fn id(&self) -> ActionId {
        ActionId::new("service-user", &self.name)
    }

    fn describe(&self) -> String {
        format!("Make service user {}", self.name)
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::Runtime
    }

    fn check(&self, host: &Host, _past: &Past) -> Result<Checked> {
        if files::read_text(host, stamp_path(&self.id()))? != Some(self.stamp()) {
            return Ok(Checked::needed("make it, with its roles and password"));
        }
        self.session.look(|session| identity::user_gap(session, &self.name))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _past: &Past) -> Result<Applied> {
        let session = self.session.get()?;
        identity::ensure_user(session.as_ref(), &self.name, &self.password)?;
        files::write(host, &stamp_path(&self.id()), self.stamp().as_bytes(), 0o600, None)?;
        Ok(Applied::Done)
    }
}

/// A service with its endpoints in the catalog.
#[derive(Clone)]
pub struct Catalogued {
    /// What is wanted.
    pub service: CatalogService,
    /// The administrator's session.
    pub session: SharedSession,
}

impl Action for Catalogued {
    fn id(&self) -> ActionId {
        ActionId::new("endpoints", &self.service.kind)
    }

    fn describe(&self) -> String {
        format!("Enter {} into the catalog at {}", self.service.kind, self.service.url)
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::Runtime
    }

    fn check(&self, _host: &Host, _past: &Past) -> Result<Checked> {
        self.session.look(|session| identity::service_gap(session, &self.service))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, _host: &Host, _past: &Past) -> Result<Applied> {
        let session = self.session.get()?;
        identity::ensure_service(session.as_ref(), &self.service)?;
        Ok(Applied::Done)
    }
}
