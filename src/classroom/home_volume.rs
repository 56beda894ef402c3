//! The volume that a student's home is on, where the cloud has volumes: one for each name, which outlives its notebooks.
//! Here it is made, empty; its first notebook makes a file system on it
//! (`profiles/notebook/root/usr/local/sbin/notebook-home`).

use super::remote::Remote;
use super::{Classroom, ClassroomError};
use crate::cloud::resource::server::{self, ListedServer};
use crate::cloud::resource::volume::{self, ListedVolume, Volume};
use crate::cloud::{ApiError, Id};
use crate::host::{Error, Host, Result};
use std::time::Duration;

/// How long Cinder may take to make one, or to give one back.
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);
/// What its name begins with.
const PREFIX: &str = "home-";
/// How much of its id a notebook's kernel shows as its serial number (virtio-blk).
const SERIAL: usize = 20;

fn name_of(notebook: &str) -> String {
    format!("{PREFIX}{notebook}")
}

/// By what a notebook finds the volume with this id among its disks: `/dev/disk/by-id/virtio-SERIAL`.
pub fn serial(id: &Id) -> &str {
    id.as_str().get(..SERIAL).unwrap_or(id.as_str())
}

fn all(room: &Classroom) -> std::result::Result<Vec<ListedVolume>, ApiError> {
    room.user.ask(|session| if volume::is_offered(session) { volume::all(session) } else { Ok(Vec::new()) })
}

/// The one of a notebook of this name; none, too, where the cloud has no volumes.
///
/// # Errors
/// The cloud's own; several have its name.
pub fn find(room: &Classroom, notebook: &str) -> std::result::Result<Option<ListedVolume>, ApiError> {
    let name = name_of(notebook);
    room.user.ask(|session| if volume::is_offered(session) { volume::find(session, &name) } else { Ok(None) })
}

/// The names of notebooks, there or gone, that have one.
///
/// # Errors
/// The cloud's own.
pub fn names(room: &Classroom) -> std::result::Result<Vec<String>, ApiError> {
    let named = |found: ListedVolume| found.name?.strip_prefix(PREFIX).map(str::to_owned);
    Ok(all(room)?.into_iter().filter_map(named).collect())
}

/// The one that this instance has.
///
/// # Errors
/// The cloud's own.
pub fn of(room: &Classroom, server: &ListedServer) -> std::result::Result<Option<Id>, ApiError> {
    if server.volumes.is_empty() {
        return Ok(None);
    }
    let found = find(room, &server.name)?.filter(|found| server.volumes.iter().any(|one| one.id == found.id));
    Ok(found.map(|found| found.id))
}

/// The one for a new notebook of this name, that no instance has: made where there is none yet, and as large as homes are now.
/// None where homes are on the disks of notebooks.
///
/// # Errors
/// Cinder cannot make it; an instance has it.
pub fn ready(host: &Host, room: &Classroom, notebook: &str) -> Result<Option<Id>> {
    let there = find(room, notebook)?;
    let is_new = there.is_none();
    if is_new {
        let offered = room.user.ask(|session| Ok(volume::is_offered(session)))?;
        if room.home_gib == 0 || !offered {
            return Ok(None);
        }
        let wanted = Volume { name: name_of(notebook), size_gib: room.home_gib };
        room.user.ask(|session| wanted.make(session, false))?;
    }
    match free(host, room, notebook) {
        Ok(Some(found)) if found.size < room.home_gib => {
            room.user.ask(|session| volume::extend(session, &found.id, room.home_gib))?;
            Ok(free(host, room, notebook)?.map(|found| found.id))
        }
        Ok(found) => Ok(found.map(|found| found.id)),
        Err(error) if is_new => {
            // Nothing was ever on it.
            if let Some(found) = find(room, notebook)? {
                room.user.ask(|session| volume::delete(session, &found.id))?;
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Waits until no instance has it.
fn free(host: &Host, room: &Classroom, notebook: &str) -> Result<Option<ListedVolume>> {
    let mut free = None;
    host.wait_while(&format!("volume {}", name_of(notebook)), LIMIT, POLL, || {
        let Some(found) = find(room, notebook)? else { return Ok(None) };
        match (found.status.as_str(), found.attachments.first()) {
            ("available", _) => {
                free = Some(found);
                Ok(None)
            }
            (status, _) if status.starts_with("error") => {
                Err(ApiError::VolumeFailed { name: found.label().to_owned() }.into())
            }
            ("in-use", Some(held)) => match room.user.ask(|session| server::get(session, held.server_id.as_str())) {
                Ok(holder) => Err(ClassroomError::HomeIsElsewhere {
                    name: notebook.to_owned(),
                    volume: found.label().to_owned(),
                    instance: holder.name,
                }
                .into()),
                // It is on its way out.
                Err(ApiError::Missing { .. }) => Ok(Some("its last instance still has it".into())),
                Err(error) => Err(error.into()),
            },
            (status, _) => Ok(Some(status.to_owned())),
        }
    })?;
    Ok(free)
}

/// Whether the home is on it: an image of somebody's own may not know of volumes, and what is written into such a notebook
/// would be lost with it.
///
/// # Errors
/// [`ClassroomError::HomeNotUsed`]; nobody can log in.
pub fn check_used(host: &Host, remote: &Remote, notebook: &str, id: &Id) -> Result<()> {
    let look = "test \"$(findmnt --noheadings --output=SOURCE --target=/home/student)\" = \"$(readlink -f \"$1\")\"";
    let device = format!("/dev/disk/by-id/virtio-{}", serial(id));
    match remote.program(&["sh", "-c", look, "sh", &device]).quiet().run(host) {
        // Of ssh itself: 255.
        Err(Error::Failed { status, .. }) if !status.ends_with(" 255") => {
            Err(ClassroomError::HomeNotUsed { name: notebook.to_owned(), volume: name_of(notebook) }.into())
        }
        other => other,
    }
}

/// Removes the one of a notebook that is gone, with all that is on it.
///
/// # Errors
/// An instance has it; Cinder's own.
pub fn remove(host: &Host, room: &Classroom, notebook: &str) -> Result<()> {
    let Some(found) = find(room, notebook)? else { return Ok(()) };
    if !found.status.starts_with("error") {
        free(host, room, notebook)?;
    }
    Ok(room.user.ask(|session| volume::delete(session, &found.id))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notebook_finds_its_volume_by_what_virtio_shows() {
        let id: Id = serde_json::from_str("\"5f0b2c3e-1234-4000-8000-000000000001\"").unwrap();
        assert_eq!(serial(&id), "5f0b2c3e-1234-4000-8");
    }
}
