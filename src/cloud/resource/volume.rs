//! Volumes. A cloud without a volume service has none: the caller looks first ([`is_offered`]).

use super::{Id, Kind, Look, MARK, MARK_KEY, Removed, Resource, encode, list, only};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The type in the catalog under which Cinder stands since Xena.
const SERVICE: &str = "block-storage";

/// A disk of its own, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// "data".
    pub name: String,
    /// GiB.
    pub size_gib: u32,
}

#[derive(Deserialize)]
struct Found {
    id: Id,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    status: String,
}

impl Found {
    fn is_ours(&self) -> bool {
        self.metadata.contains_key(MARK_KEY)
    }
}

/// Whether the cloud has a volume service.
pub fn is_offered(session: &Session) -> bool {
    session.offers(SERVICE)
}

fn find(session: &Session, name: &str) -> Result<Option<Found>, ApiError> {
    let path = format!("/volumes/detail?name={}", encode(name));
    only(list(session, SERVICE, &path, "volumes")?, Kind::Volume, name)
}

impl Resource for Volume {
    fn kind(&self) -> Kind {
        Kind::Volume
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, session: &Session) -> Result<Look, ApiError> {
        Ok(match find(session, &self.name)? {
            None => Look::Missing,
            Some(_) => Look::Right,
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        if find(session, &self.name)?.is_some() {
            return Ok(());
        }
        let body = json!({"volume": {"name": self.name, "size": self.size_gib, "metadata": {MARK_KEY: MARK}}});
        session.post::<serde_json::Value>(SERVICE, "/volumes", &body).map(drop)
    }

    fn awaited(&self, session: &Session) -> Result<Option<String>, ApiError> {
        let status = find(session, &self.name)?.map(|found| found.status);
        match status.as_deref() {
            Some("error") => Err(ApiError::Explained {
                what: format!("volume {}: Cinder could not make it", self.name),
                next: "journalctl -u devstack@c-vol; openstack volume delete it; then: gpucloud-install apply".into(),
            }),
            Some("available" | "in-use") | None => Ok(None),
            Some(other) => Ok(Some(other.to_owned())),
        }
    }
}

/// Removes the volume called `name`, if it is ours and no instance has it.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    if !is_offered(session) {
        return Ok(Removed::Gone);
    }
    let Some(found) = find(session, name)?.filter(Found::is_ours) else {
        return Ok(Removed::Gone);
    };
    if found.status == "in-use" {
        return Ok(Removed::Kept(format!("volume {name}: an instance has it")));
    }
    session.delete(SERVICE, &format!("/volumes/{}", found.id))?;
    Ok(Removed::Gone)
}
