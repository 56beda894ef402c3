//! Keystone's service users, services and endpoints. They go with Keystone's database: nothing to take back.

use crate::action::task::stamp_path;
use crate::action::{Action, ActionId, Applied, Checked, History, Lifetime, Originals, Undo};
use crate::cloud::identity::{self, CatalogService};
use crate::cloud::{ApiError, Session, SharedSession};
use crate::config::secrets::Secret;
use crate::host::{Host, Result, files};

/// A look at the cloud before Keystone answers can only say: later.
fn look(
    host: &Host,
    session: &SharedSession,
    gap: impl Fn(&Session) -> std::result::Result<Option<String>, ApiError>,
) -> Result<Checked> {
    match session.look(host, gap) {
        Ok(None) => Ok(Checked::Done),
        Ok(Some(gap)) => Ok(Checked::needed(format!("make what is missing: {gap}"))),
        Err(error) if error.is_transient() => Ok(Checked::Later("when Keystone answers".into())),
        Err(error) if error.is_unauthorized() => {
            Ok(Checked::Later("when the administrator has the password of secrets.toml".into()))
        }
        Err(error) => Err(error.into()),
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

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        if files::read_text(host, stamp_path(&self.id()))? != Some(self.stamp()) {
            return Ok(Checked::needed("make it, with its roles and password"));
        }
        look(host, &self.session, |session| identity::user_gap(session, &self.name))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        self.session.ask(|session| identity::ensure_user(session, &self.name, &self.password))?;
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

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        look(host, &self.session, |session| identity::service_gap(session, &self.service))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        self.session.ask(|session| identity::ensure_service(session, &self.service))?;
        Ok(Applied::Done)
    }
}
