//! Volumes. A cloud without a volume service has none: the caller looks first ([`is_offered`]).

use super::{Comparison, Id, Kind, Listed, MARK, MARK_KEY, Removed, Resource, chosen, create, encode, list, only};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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

/// A volume that is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ListedVolume {
    /// Its id.
    pub id: Id,
    /// Its name; empty where nobody gave one, as for the disk of an instance that boots from it.
    #[serde(default)]
    pub name: Option<String>,
    /// "available", "in-use", "creating", "error".
    #[serde(rename(serialize = "state"))]
    pub status: String,
    /// GiB.
    #[serde(rename(serialize = "size_gib"))]
    pub size: u32,
    /// Which instances have it.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Our mark, and what is noted of it.
    #[serde(default, skip_serializing)]
    pub metadata: BTreeMap<String, String>,
}

/// Where a volume is attached.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Attachment {
    /// Id of the instance.
    #[serde(rename(serialize = "instance"))]
    pub server_id: Id,
    /// As what the hypervisor shows it: "/dev/vdb".
    #[serde(default)]
    pub device: Option<String>,
}

impl ListedVolume {
    /// Its name, or its id where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(self.id.as_str())
    }
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

/// All volumes of the project.
///
/// # Errors
/// The cloud has no volume service.
pub fn all(session: &Session) -> Result<Vec<ListedVolume>, ApiError> {
    if !is_offered(session) {
        return Err(ApiError::NoVolumes);
    }
    list(session, SERVICE, "/volumes/detail", "volumes")
}

/// The volume with this id or name.
///
/// # Errors
/// There is none, or several have the name.
pub fn get(session: &Session, text: &str) -> Result<ListedVolume, ApiError> {
    chosen(all(session)?, Kind::Volume, text, |volume| volume.name.as_deref())
}

/// Makes it larger; its file system is the affair of whoever made that.
pub fn extend(session: &Session, id: &Id, size_gib: u32) -> Result<(), ApiError> {
    let path = format!("/volumes/{id}/action");
    session.post::<Value>(SERVICE, &path, &json!({"os-extend": {"new_size": size_gib}})).map(drop)
}

/// Gives it to an instance.
pub fn attach(session: &Session, volume: &Id, server: &Id) -> Result<(), ApiError> {
    let path = format!("/servers/{server}/os-volume_attachments");
    session.post::<Value>("compute", &path, &json!({"volumeAttachment": {"volumeId": volume}})).map(drop)
}

/// Takes it from an instance.
pub fn detach(session: &Session, volume: &Id, server: &Id) -> Result<(), ApiError> {
    session.delete("compute", &format!("/servers/{server}/os-volume_attachments/{volume}"))
}

/// Takes back what is noted of it under `key`.
pub fn forget(session: &Session, id: &Id, key: &str) -> Result<(), ApiError> {
    match session.delete(SERVICE, &format!("/volumes/{id}/metadata/{key}")) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Removes it, and what is on it.
pub fn delete(session: &Session, id: &Id) -> Result<(), ApiError> {
    session.delete(SERVICE, &format!("/volumes/{id}"))
}

/// The volume called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedVolume>, ApiError> {
    let path = format!("/volumes/detail?name={}", encode(name));
    only(list(session, SERVICE, &path, "volumes")?, Kind::Volume, name)
}

impl Volume {
    /// Asks Cinder for it, with this noted of it: our mark, or nothing for somebody's own.
    pub fn make(&self, session: &Session, metadata: &[(&str, &str)]) -> Result<(), ApiError> {
        let metadata: BTreeMap<_, _> = metadata.iter().copied().collect();
        let body = json!({"name": self.name, "size": self.size_gib, "metadata": metadata});
        create(session, SERVICE, "/volumes", "volume", body, || find(session, &self.name)).map(drop)
    }
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
        self.make(session, &[(MARK_KEY, MARK)])
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
