//! Volumes. A cloud without a volume service has none: the caller looks first ([`is_offered`]).

use super::{Comparison, Id, Kind, Listed, MARK, MARK_KEY, Removed, Resource, create, encode, list, only};
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
struct ListedVolume {
    id: Id,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    status: String,
    /// GiB.
    size: u32,
}

impl Listed for ListedVolume {
    fn id(&self) -> &Id {
        &self.id
    }

    fn is_ours(&self) -> bool {
        self.metadata.get(MARK_KEY).is_some_and(|mark| mark == MARK)
    }

    fn is_in_use(&self) -> bool {
        self.status == "in-use"
    }
}

/// Whether the cloud has a volume service.
pub fn is_offered(session: &Session) -> bool {
    session.offers(SERVICE)
}

fn find(session: &Session, name: &str) -> Result<Option<ListedVolume>, ApiError> {
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

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        Ok(match find(session, &self.name)? {
            None => Comparison::Missing,
            // Users may have extended ours.
            Some(found) if found.is_ours() || found.size == self.size_gib => Comparison::Same,
            Some(found) => Comparison::Foreign(format!("it has {} GiB instead of {}", found.size, self.size_gib)),
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        if find(session, &self.name)?.is_some() {
            return Ok(());
        }
        let body = json!({"name": self.name, "size": self.size_gib, "metadata": {MARK_KEY: MARK}});
        create(session, SERVICE, "/volumes", "volume", body, || find(session, &self.name)).map(drop)
    }

    fn awaited(&self, session: &Session) -> Result<Option<String>, ApiError> {
        let status = find(session, &self.name)?.map(|found| found.status);
        match status.as_deref() {
            Some("error") => Err(ApiError::VolumeFailed { name: self.name.clone() }),
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
    let Some(found) = find(session, name)?.filter(ListedVolume::is_ours) else {
        return Ok(Removed::Gone);
    };
    if found.is_in_use() {
        return Ok(Removed::Kept(format!("volume {name}: an instance has it")));
    }
    session.delete(SERVICE, &format!("/volumes/{}", found.id))?;
    Ok(Removed::Gone)
}
