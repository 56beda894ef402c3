//! Resources of a cloud as they are wanted: looked for by name, made, corrected, or left alone. One kind a file.
//!
//! A new kind is a file here with what implements [`Resource`] (what it makes, it makes by [`made_once`]), what is
//! found of it ([`Listed`]) and a function `remove`; a variant of [`Kind`], and its arm in [`remove`]; in
//! `cloud/resource_action.rs` what becomes of it when it is no longer declared. Where it is declared:
//! `config/resources.rs` and a row in `config/answers.rs`; what turns the declaration into steps:
//! `resources/steps.rs`; what of it counts as users' own: `engine/holdings.rs`.
//!
//! What we make carries [`MARK`]. Something of that name which does not carry it is somebody else's: it is used as it
//! is, never changed and never removed; where it differs from what is wanted, that is said ([`Comparison::Foreign`]).

pub mod flavor;
pub mod floating_ip;
pub mod image;
pub mod key_pair;
pub mod network;
pub mod port;
pub mod project;
pub mod quota;
pub mod router;
pub mod security_group;
pub mod server;
pub mod volume;

pub use super::id::Id;
use super::id::{self, encode};
use super::{ApiError, Session};
pub use crate::action::undo::ResourceKind as Kind;
use crate::host::Host;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What stands in the description, a property or the metadata of what we made.
pub const MARK: &str = "made by gpucloud-install";
/// The property of an image, and the key in a server's metadata, that has it.
pub const MARK_KEY: &str = "gpucloud";

impl Kind {
    /// As the `openstack` client calls it: "server".
    pub fn client_word(self) -> String {
        match self {
            Kind::Server => "server".into(),
            Kind::KeyPair => "keypair".into(),
            other => other.to_string(),
        }
    }
}

/// What a look at the cloud says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// As wanted.
    Same,
    /// It is not there.
    Missing,
    /// It is there, and this is wrong with it.
    Differs(String),
    /// What it needs is not there yet.
    Later(String),
    /// Somebody else's, and this differs from what is wanted: it is used as it is.
    Foreign(String),
    /// Ours, and this differs, which cannot be changed: it is used as it is.
    Fixed(String),
}

impl Comparison {
    /// What is to be said of something of this name that differs so, ours or not.
    fn of(is_ours: bool, difference: Option<String>) -> Self {
        match difference {
            None => Comparison::Same,
            Some(how) if is_ours => Comparison::Differs(how),
            Some(how) => Comparison::Foreign(how),
        }
    }
}

/// Differences as one sentence, if there are any.
fn together(differences: Vec<String>) -> Option<String> {
    (!differences.is_empty()).then(|| differences.join(", "))
}

/// One resource as it is wanted.
pub trait Resource: Send + Sync {
    /// What it is.
    fn kind(&self) -> Kind;

    /// What it is called.
    fn name(&self) -> &str;

    /// By what ours is told from another, where no mark can stand.
    fn content(&self) -> Option<String> {
        None
    }

    /// Compares with the cloud; changes nothing.
    fn compare(&self, session: &Session) -> Result<Comparison, ApiError>;

    /// Makes it, or corrects what differs. May be repeated after having been killed anywhere inside; `host` shows
    /// how far long work is.
    fn ensure(&self, session: &Session, host: &Host) -> Result<(), ApiError>;

    /// What is still waited for after it was made: "building"; `None` when it is of use.
    fn awaited(&self, _session: &Session) -> Result<Option<String>, ApiError> {
        Ok(None)
    }
}

/// How a removal went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, or was not there.
    Gone,
    /// It is not ours, or somebody uses it: the reason.
    Kept(String),
}

/// Removes what we made; leaves what we did not make, and what others use.
pub fn remove(session: &Session, kind: Kind, name: &str, content: Option<&str>) -> Result<Removed, ApiError> {
    let removed = match kind {
        Kind::Project => project::remove(session, name),
        Kind::Quota => quota::remove(session, name),
        Kind::Image => image::remove(session, name),
        Kind::Flavor => flavor::remove(session, name),
        Kind::Network => network::remove(session, name),
        Kind::Router => router::remove(session, name),
        Kind::SecurityGroup => security_group::remove(session, name),
        Kind::KeyPair => key_pair::remove(session, name, content),
        Kind::Port => port::remove(session, name),
        Kind::Server => server::remove(session, name),
        Kind::FloatingIp => floating_ip::remove(session, name),
        Kind::Volume => volume::remove(session, name),
    };
    match removed {
        // Nova, Neutron and Glance all say "somebody uses it" with a conflict, Cinder calls it a bad request.
        Err(ApiError::Refused { status: 400 | 409, message, .. }) => {
            Ok(Removed::Kept(format!("{kind} {name}: {message}")))
        }
        other => other,
    }
}

/// A resource of a list: what most kinds have.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its name; Neutron has "" for none.
    #[serde(default)]
    pub name: String,
    /// Its description, where the mark stands.
    #[serde(default)]
    pub description: Option<String>,
}

/// What everything has that is found in a list by its name.
pub trait Listed {
    /// Its id.
    fn id(&self) -> &Id;

    /// Whether it carries our mark.
    fn is_ours(&self) -> bool;

    /// Whether it is known that somebody uses it.
    fn is_in_use(&self) -> bool {
        false
    }

    /// By what a person tells it from another of its name, beside its id.
    fn particulars(&self) -> Option<String> {
        None
    }
}

impl AsRef<Entry> for Entry {
    fn as_ref(&self) -> &Entry {
        self
    }
}

impl Listed for Entry {
    fn id(&self) -> &Id {
        &self.id
    }

    fn is_ours(&self) -> bool {
        self.description.as_deref() == Some(MARK)
    }
}

/// The list under `key` of an answer.
pub fn list<T: DeserializeOwned>(session: &Session, service: &str, path: &str, key: &str) -> Result<Vec<T>, ApiError> {
    let mut answer: Value = session.get(service, path)?;
    let entries = answer.get_mut(key).map(Value::take).unwrap_or_default();
    serde_json::from_value(entries).map_err(|e| ApiError::unexpected(service, format!("GET {path}: {e}")))
}

/// What is made by a request: the object under `key` of the answer, made once ([`made_once`]).
pub fn create<T: DeserializeOwned>(
    session: &Session,
    service: &str,
    path: &str,
    key: &str,
    body: Value,
    find: impl Fn() -> Result<Option<T>, ApiError>,
) -> Result<T, ApiError> {
    let make = || {
        let mut answer: Value = session.post(service, path, &serde_json::json!({key: body}))?;
        let made = answer.get_mut(key).map(Value::take).unwrap_or_default();
        serde_json::from_value(made).map_err(|e| ApiError::unexpected(service, format!("POST {path}: {e}")))
    };
    made_once(make, find)
}

/// How long a service may still be at something whose answer was lost.
const LOST_LIMIT: Duration = Duration::from_secs(10);
const LOST_POLL: Duration = Duration::from_millis(500);

/// What `make` makes. Where its answer is lost, the service may have made it, or may still be at it: then `find` looks
/// for it, so that another try does not make a second one. (Requests have no key by which these APIs tell a repeated
/// one.)
///
/// # Errors
/// What `make` returns, where nothing is found within [`LOST_LIMIT`].
pub fn made_once<T>(
    make: impl FnOnce() -> Result<T, ApiError>,
    find: impl Fn() -> Result<Option<T>, ApiError>,
) -> Result<T, ApiError> {
    let lost = match make() {
        Err(error) if error.may_be_done() => error,
        answer => return answer,
    };
    let end = Instant::now() + LOST_LIMIT;
    while Instant::now() < end {
        std::thread::sleep(LOST_POLL);
        match find() {
            Ok(Some(found)) => return Ok(found),
            Err(error) if !error.is_transient() => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    Err(lost)
}

/// The only one of `found`; of two with one name nobody can say which is meant.
pub fn only<T: Listed>(mut found: Vec<T>, kind: Kind, name: &str) -> Result<Option<T>, ApiError> {
    if found.len() > 1 { Err(ambiguous(&found, kind, name)) } else { Ok(found.pop()) }
}

fn ambiguous<T: Listed>(found: &[T], kind: Kind, name: &str) -> ApiError {
    let line = |one: &T| one.particulars().map_or_else(|| one.id().to_string(), |more| format!("{}  {more}", one.id()));
    ApiError::Ambiguous {
        kind,
        name: name.to_owned(),
        ids: found.iter().map(|one| one.id().to_string()).collect(),
        told: found.iter().map(line).collect(),
        next: which(found, kind),
    }
}

/// What to do about several of one name: say which is meant; or which can go: one that we made and nobody is known to
/// use.
fn which<T: Listed>(found: &[T], kind: Kind) -> String {
    let can_go = found.iter().rfind(|one| one.is_ours() && !one.is_in_use()).map(Listed::id);
    let word = kind.client_word();
    match (kind, can_go) {
        (Kind::Server, _) => {
            "say which one by its id, as in: gpucloud-install instance show ID; one too many goes with: \
             gpucloud-install instance delete ID"
                .into()
        }
        (Kind::Image | Kind::Flavor, _) => {
            format!("say which one by its id; one too many goes with: gpucloud-install {kind} delete ID")
        }
        (_, Some(id)) => format!(
            "{id} was made by gpucloud-install; where nobody uses it (openstack {word} show {id}): openstack {word} \
             delete {id}"
        ),
        (_, None) => format!("give all but one another name, or delete them: openstack {word} list"),
    }
}

/// The one of `all` with the id `text`, else the only one that `is_called` so.
///
/// # Errors
/// There is none, or several have the name.
pub fn chosen<T: Listed>(
    mut all: Vec<T>,
    kind: Kind,
    text: &str,
    name_of: impl Fn(&T) -> Option<&str>,
) -> Result<T, ApiError> {
    if let Some(i) = all.iter().position(|one| one.id().as_str() == text) {
        return Ok(all.swap_remove(i));
    }
    let near = nearest(text, all.iter().filter_map(&name_of));
    all.retain(|one| name_of(one) == Some(text));
    only(all, kind, text)?.ok_or_else(|| ApiError::Missing { kind, name: text.to_owned(), near })
}

/// The name that was probably meant by `text`.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let wrong = |name: &str| strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase());
    let (wrong, name) = names.map(|name| (wrong(name), name)).min()?;
    (wrong <= text.chars().count().div_ceil(4)).then(|| name.to_owned())
}

/// What has the id `text` below `path` ("/servers"), the object under `key` of the answer, if there is one.
pub fn with_id<T: DeserializeOwned>(
    session: &Session,
    service: &str,
    path: &str,
    key: Option<&str>,
    text: &str,
) -> Result<Option<T>, ApiError> {
    if !id::is_uuid(text) {
        return Ok(None);
    }
    let mut answer: Value = match session.get(service, &format!("{path}/{text}")) {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    if let Some(key) = key {
        answer = answer[key].take();
    }
    let found = serde_json::from_value(answer);
    found.map(Some).map_err(|e| ApiError::unexpected(service, format!("GET {path}/{text}: {e}")))
}

/// The one of Neutron's `collection` ("networks") called `name`. All are listed: a look at many asks once.
fn named<T: DeserializeOwned + Listed + AsRef<Entry>>(
    session: &Session,
    collection: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<T>, ApiError> {
    called(in_neutron(session, collection)?, kind, name)
}

/// The same among what carries our mark: an administrator is shown every project's, where another may have the name.
fn ours_named<T: DeserializeOwned + Listed + AsRef<Entry>>(
    session: &Session,
    collection: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<T>, ApiError> {
    let all: Vec<T> = in_neutron(session, collection)?;
    called(all.into_iter().filter(T::is_ours).collect(), kind, name)
}

fn in_neutron<T: DeserializeOwned>(session: &Session, collection: &str) -> Result<Vec<T>, ApiError> {
    list(session, "network", &format!("/{}", collection.replace('_', "-")), collection)
}

/// The only one of `all` called `name`.
fn called<T: Listed + AsRef<Entry>>(all: Vec<T>, kind: Kind, name: &str) -> Result<Option<T>, ApiError> {
    only(all.into_iter().filter(|found| found.as_ref().name == name).collect(), kind, name)
}

/// Removes what is ours, if anything is.
fn forget(session: &Session, service: &str, collection: &str, ours: Option<Id>) -> Result<Removed, ApiError> {
    if let Some(id) = ours {
        session.delete(service, &format!("/{collection}/{id}"))?;
    }
    Ok(Removed::Gone)
}

/// What must be there before: its id, or why not yet.
pub fn needed<T>(found: Option<T>, kind: Kind, name: &str) -> Result<T, ApiError> {
    found.ok_or_else(|| ApiError::Missing { kind, name: name.to_owned(), near: None })
}
