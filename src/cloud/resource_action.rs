//! A resource of the cloud, made through its API. What we made carries our mark, and only that is ever taken away;
//! which kinds stay when they are no longer declared: `when_orphaned`.

use crate::action::{Action, ActionId, Applied, Checked, History, Originals, Undo, Undone, WhenOrphaned};
use crate::cloud::resource::{self, Comparison, Kind, Removed, Resource};
use crate::cloud::{ApiError, SharedSession};
use crate::cloud::{clouds, refusal};
use crate::finding::Finding;
use crate::host::{Error, Host, Result, sql};
use std::time::Duration;

/// How long an API may be away while something is made: a restart of Nova under load takes half of it.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a thing may take until it is of use; emulated instances take longest.
const READY_LIMIT: Duration = Duration::from_secs(600);
const READY_POLL: Duration = Duration::from_millis(400);

/// A resource that is wanted.
pub struct Wanted {
    /// What.
    pub resource: Box<dyn Resource>,
    /// Who makes it.
    pub session: SharedSession,
    /// Name in clouds.yaml of who makes it: by that it is taken back.
    pub cloud: &'static str,
    /// Whether the cloud is there in which it is wanted.
    pub stands: fn(&Host) -> bool,
}

/// The finding about something of the cloud that has the name of something declared, differs, and stays as it is.
pub const LEFT_ALONE: &str = "left-alone";

/// Where things of this kind are declared.
fn answer(kind: Kind) -> &'static str {
    match kind {
        Kind::Project => "resources.project",
        Kind::Quota => "resources.quota",
        Kind::Image => "resources.images",
        Kind::Flavor => "resources.flavors",
        Kind::Network | Kind::Router => "resources.networks",
        Kind::SecurityGroup => "resources.security_groups",
        Kind::KeyPair => "resources.key_pairs",
        Kind::Volume => "resources.volumes",
        Kind::Port | Kind::Server | Kind::FloatingIp => "resources.instances",
    }
}

impl Wanted {
    fn foreign(&self, how: &str) -> Finding {
        let what = format!(
            "{} is somebody else's and differs from what is declared: {how}; it is left as it is",
            self.kind_and_name()
        );
        let answer = answer(self.resource.kind());
        Finding::warn(
            LEFT_ALONE,
            what,
            format!("give the declared one another name ({answer}), or change that one by hand"),
        )
    }

    fn fixed(&self, how: &str) -> Finding {
        let (kind, name) = (self.resource.kind(), self.resource.name());
        let what = format!("{kind} {name} differs from what is declared: {how}; it is left as it is");
        let next = match kind {
            Kind::Image => {
                format!("put the answer back; or: gpucloud-install image delete {name}, then: gpucloud-install apply")
            }
            Kind::Router => format!(
                "give that network another name (resources.networks), or connect it by hand: openstack router add subnet {name} SUBNET"
            ),
            kind => format!("put the answer back, or declare it by another name ({})", answer(kind)),
        };
        Finding::warn(LEFT_ALONE, what, next)
    }

    fn kind_and_name(&self) -> String {
        format!("{} {}", self.resource.kind(), self.resource.name())
    }
}

/// What the journal calls the making of a resource.
pub fn id(kind: Kind, name: &str) -> ActionId {
    ActionId::new("resource", format!("{}/{name}", kind.as_str()))
}

impl Action for Wanted {
    fn id(&self) -> ActionId {
        id(self.resource.kind(), self.resource.name())
    }

    fn describe(&self) -> String {
        format!("Make {}", self.kind_and_name())
    }

    /// What is no longer declared may have users by now: what carries data, and the ways to it.
    fn when_orphaned(&self) -> WhenOrphaned {
        match self.resource.kind() {
            Kind::Flavor | Kind::Network | Kind::Router | Kind::SecurityGroup => WhenOrphaned::Undo,
            Kind::Server | Kind::Port | Kind::FloatingIp | Kind::KeyPair => WhenOrphaned::Keep,
            Kind::Volume | Kind::Image | Kind::Project | Kind::Quota => WhenOrphaned::Keep,
        }
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        if !(self.stands)(host) {
            return Ok(Checked::Later("when the cloud is there".into()));
        }
        match self.session.look(host, |session| self.resource.compare(session)) {
            Ok(Comparison::Same) => Ok(Checked::Done),
            Ok(Comparison::Missing) => Ok(Checked::needed("make it")),
            Ok(Comparison::Differs(how)) => Ok(Checked::needed(how)),
            Ok(Comparison::Later(when)) => Ok(Checked::Later(when)),
            Ok(Comparison::Foreign(how)) => Ok(Checked::LeftAlone(self.foreign(&how))),
            Ok(Comparison::Fixed(how)) => Ok(Checked::LeftAlone(self.fixed(&how))),
            Err(error) => not_yet(error),
        }
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        let (kind, name) = (self.resource.kind(), self.resource.name().to_owned());
        Ok(Undo::Resource { cloud: self.cloud.to_owned(), kind, name, content: self.resource.content() })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        let go_on = || host.go_on().is_ok();
        let made = self.session.ask_patiently(PATIENCE, go_on, |session| self.resource.ensure(session, host));
        made.map_err(|error| host.go_on().err().unwrap_or_else(|| error.into()))?;
        let waited = host.wait_while(&self.kind_and_name(), READY_LIMIT, READY_POLL, || {
            let awaited = self.session.ask_patiently(PATIENCE, go_on, |session| self.resource.awaited(session));
            Ok(awaited.map_err(|error| refusal::explained(host, error))?)
        });
        waited.map(|()| Applied::Done)
    }
}

/// What a look at the cloud says where it could not be answered: later, as far as that can be expected.
///
/// # Errors
/// Any other error.
pub fn not_yet(error: ApiError) -> Result<Checked> {
    match error {
        error if error.is_transient() => Ok(Checked::Later("when the cloud answers".into())),
        ApiError::NoService(_) => Ok(Checked::Later("when the cloud is complete".into())),
        ApiError::Missing { kind, name, .. } => Ok(Checked::Later(format!("when {kind} {name} is there"))),
        error if error.is_unauthorized() => Ok(Checked::Later("when its user can log in".into())),
        error => Err(error.into()),
    }
}

/// Takes back what we made. A cloud whose Keystone has no database any more took it along.
pub fn take_back(host: &Host, cloud: &str, kind: Kind, name: &str, content: Option<&str>) -> Result<Undone> {
    let removed = clouds::session(host, &[cloud])
        .map_err(|failure| Error::protocol(format!("log in as {cloud}"), failure.to_string()))
        .and_then(|session| Ok(session.ask(|session| resource::remove(session, kind, name, content))?));
    match removed {
        Ok(Removed::Gone) => Ok(Undone::Restored),
        Ok(Removed::Kept(why)) => Ok(Undone::Kept(why)),
        Err(_) if !has_databases()? => Ok(Undone::Restored),
        Err(error) => Err(error),
    }
}

fn has_databases() -> Result<bool> {
    let Some(sql) = sql::connect()? else { return Ok(false) };
    Ok(sql.databases()?.iter().any(|name| name == "keystone"))
}
