//! The volume that a student's home is on, where the cloud has volumes: one for each name, which outlives its notebooks. Its
//! name and its size in Cinder are decided here, and that it is removed; its file system is made and mounted by its notebook
//! (`profiles/notebook/root/usr/local/sbin/notebook-home`). Which volume is a notebook's is noted in Nova, so that Cinder is
//! asked only where a volume is to be made, freed or removed.

use super::remote::{self, Remote};
use super::{Classroom, ClassroomError};
use crate::cloud::resource::server::{self, ListedServer};
use crate::cloud::resource::volume::{self, ListedVolume, Volume};
use crate::cloud::{ApiError, Id};
use crate::host::{Error, Host, Result};
use std::time::Duration;

/// How long Cinder may take to make one, to give one back, or to overwrite one that is removed.
const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(500);
/// What its name begins with.
const PREFIX: &str = "home-";
/// Under this Nova notes of a notebook which volume its home is on, and Cinder of a volume that no notebook ran with it yet.
pub const KEY: &str = "gpucloud_home";
const NEW: &str = "new";
/// How much of its id a notebook's kernel shows as its serial number (virtio-blk).
const SERIAL: usize = 20;

/// The volume of a notebook that is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeVolume {
    /// Its id; the file system that the notebook makes on it has it too.
    pub id: Id,
    /// Whether no notebook ever ran with it, whatever it holds: Cinder's volumes are not empty everywhere.
    pub is_new: bool,
}

fn name_of(notebook: &str) -> String {
    format!("{PREFIX}{notebook}")
}

fn serial(id: &Id) -> &str {
    id.as_str().get(..SERIAL).unwrap_or(id.as_str())
}

fn is_new(found: &ListedVolume) -> bool {
    found.metadata.get(KEY).is_some_and(|state| state == NEW)
}

/// One that is being removed is no home any more.
fn is_kept(found: &ListedVolume) -> bool {
    !is_new(found) && found.status != "deleting"
}

fn find(room: &Classroom, notebook: &str) -> std::result::Result<Option<ListedVolume>, ApiError> {
    let name = name_of(notebook);
    room.user.ask(|session| if volume::is_offered(session) { volume::find(session, &name) } else { Ok(None) })
}

/// Whether somebody was on the one of notebooks of this name.
///
/// # Errors
/// The cloud's own; several have its name.
pub fn is_there(room: &Classroom, notebook: &str) -> std::result::Result<bool, ApiError> {
    Ok(find(room, notebook)?.is_some_and(|found| is_kept(&found)))
}

/// The names of notebooks, there or gone, that have one that somebody was on.
///
/// # Errors
/// The cloud's own.
pub fn names(room: &Classroom) -> std::result::Result<Vec<String>, ApiError> {
    let all = |session: &_| if volume::is_offered(session) { volume::all(session) } else { Ok(Vec::new()) };
    let named = |found: ListedVolume| found.name.as_deref()?.strip_prefix(PREFIX).map(str::to_owned);
    Ok(room.user.ask(all)?.into_iter().filter(is_kept).filter_map(named).collect())
}

/// The one that this instance was ordered with, and has.
pub fn of(server: &ListedServer) -> Option<Id> {
    let noted = server.metadata.get(KEY)?;
    server.volumes.iter().map(|one| &one.id).find(|id| id.as_str() == noted).cloned()
}

/// The one for a new notebook of this name, that no instance has: made where there is none yet, and as large as homes are now.
/// None where homes are on the disks of notebooks: a volume that is there stays, and waits.
///
/// # Errors
/// Cinder cannot make it; an instance has it.
pub fn ready(host: &Host, room: &Classroom, notebook: &str) -> Result<Option<HomeVolume>> {
    let told = |found: ListedVolume| HomeVolume { is_new: is_new(&found), id: found.id };
    if room.home_gib == 0 || !room.user.ask(|session| Ok(volume::is_offered(session)))? {
        return Ok(None);
    }
    match free(host, room, notebook)? {
        Some(found) if found.size < room.home_gib => {
            room.user.ask(|session| volume::extend(session, &found.id, room.home_gib))?;
            Ok(free(host, room, notebook)?.map(told))
        }
        Some(found) => Ok(Some(told(found))),
        None => made(host, room, notebook).map(|made| made.map(told)),
    }
}

fn made(host: &Host, room: &Classroom, notebook: &str) -> Result<Option<ListedVolume>> {
    let wanted = Volume { name: name_of(notebook), size_gib: room.home_gib };
    room.user.ask(|session| wanted.make(session, &[(KEY, NEW)]))?;
    let made = free(host, room, notebook);
    if made.is_err() {
        forget_new(room, notebook);
    }
    made.map_err(|error| match error {
        Error::Room(_) => ClassroomError::NoHome { name: notebook.to_owned(), gib: room.home_gib }.into(),
        other => other,
    })
}

/// Removes the one of a notebook if none ever ran with it, as far as that is possible: it is no reason to fail. Returns whether it
/// goes.
pub fn forget_new(room: &Classroom, notebook: &str) -> bool {
    match find(room, notebook) {
        Ok(Some(found)) if is_new(&found) && found.attachments.is_empty() => {
            room.user.ask(|session| volume::delete(session, &found.id)).is_ok()
        }
        _ => false,
    }
}

/// Waits until no instance has it, or until it is gone.
fn free(host: &Host, room: &Classroom, notebook: &str) -> Result<Option<ListedVolume>> {
    let mut free = None;
    host.wait_while(&format!("volume {}", name_of(notebook)), LIMIT, POLL, || {
        let Some(found) = find(room, notebook)? else { return Ok(None) };
        match (found.status.as_str(), found.attachments.first()) {
            ("available", _) => {
                free = Some(found);
                Ok(None)
            }
            (status, _) if status.starts_with("error") => Err(broken(notebook, &found)),
            ("in-use", Some(held)) => match room.user.ask(|session| server::get(session, held.server_id.as_str())) {
                Ok(holder) => Err(elsewhere(notebook, &found, &holder)),
                // It is on its way out.
                Err(ApiError::Missing { .. }) => Ok(Some("its last instance still has it".into())),
                Err(error) => Err(error.into()),
            },
            (status, _) => Ok(Some(status.to_owned())),
        }
    })?;
    Ok(free)
}

fn broken(notebook: &str, found: &ListedVolume) -> Error {
    let (name, volume, state) = (notebook.to_owned(), found.id.to_string(), found.status.clone());
    ClassroomError::HomeBroken { name, volume, state }.into()
}

fn elsewhere(notebook: &str, found: &ListedVolume, holder: &ListedServer) -> Error {
    let (name, volume) = (notebook.to_owned(), found.id.to_string());
    ClassroomError::HomeIsElsewhere { name, volume, instance: holder.name.clone(), id: holder.id.to_string() }.into()
}

/// Whether the home is on it: an image of somebody's own may not know of volumes, and what is written into such a notebook
/// would be lost with it. None: nobody can log in yet.
///
/// # Errors
/// The program that logs in cannot be run.
pub fn is_used(host: &Host, remote: &Remote, id: &Id) -> Result<Option<bool>> {
    let look = "test \"$(findmnt --noheadings --output=SOURCE --target=/home/student)\" = \"$(readlink -f \"$1\")\"";
    let device = format!("/dev/disk/by-id/virtio-{}", serial(id));
    match remote::outcome(host, remote.program(&["sh", "-c", look, "sh", &device])) {
        Ok(outcome) => Ok(Some(outcome.is_ok())),
        Err(Error::Failed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`ClassroomError::HomeNotUsed`].
pub fn not_used(notebook: &str) -> ClassroomError {
    ClassroomError::HomeNotUsed { name: notebook.to_owned(), volume: name_of(notebook) }
}

/// Notes that a notebook runs with it, so that somebody may be on it: it is never taken for new from here on.
///
/// # Errors
/// Cinder's own.
pub fn note_used(room: &Classroom, id: &Id) -> std::result::Result<(), ApiError> {
    room.user.ask(|session| volume::forget(session, id, KEY))
}

/// Removes the one of a notebook that is gone, with all that is on it, and waits until it is.
///
/// # Errors
/// An instance has it; Cinder's own.
pub fn remove(host: &Host, room: &Classroom, notebook: &str) -> Result<()> {
    let Some(found) = find(room, notebook)? else { return Ok(()) };
    if !found.status.starts_with("error") {
        free(host, room, notebook)?;
    }
    match room.user.ask(|session| volume::delete(session, &found.id)) {
        Err(error) if !error.is_not_found() => return Err(error.into()),
        _ => {}
    }
    host.wait_while(&format!("volume {}", name_of(notebook)), LIMIT, POLL, || match find(room, notebook)? {
        Some(found) if found.status.starts_with("error") => Err(broken(notebook, &found)),
        found => Ok(found.map(|found| found.status)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5f0b2c3e-1234-4000-8000-000000000001";

    fn server(metadata: serde_json::Value) -> ListedServer {
        let other = "5f0b2c3e-0000-4000-8000-000000000002";
        let volumes = serde_json::json!([{"id": other}, {"id": ID}]);
        serde_json::from_value(serde_json::json!({"id": other, "name": "ada", "status": "ACTIVE",
            "metadata": metadata, "os-extended-volumes:volumes_attached": volumes}))
        .unwrap()
    }

    #[test]
    fn a_notebook_finds_its_volume_by_what_virtio_shows() {
        let id: Id = serde_json::from_value(ID.into()).unwrap();
        assert_eq!(serial(&id), "5f0b2c3e-1234-4000-8");
    }

    #[test]
    fn a_home_is_on_the_volume_that_was_ordered_and_on_no_other() {
        assert_eq!(of(&server(serde_json::json!({KEY: ID}))).unwrap().as_str(), ID);
        assert_eq!(of(&server(serde_json::json!({}))), None);
        let gone = "5f0b2c3e-1234-4000-8000-00000000000f";
        assert_eq!(of(&server(serde_json::json!({KEY: gone}))), None);
    }

    #[test]
    fn a_volume_that_nobody_was_on_or_that_goes_is_no_home() {
        let volume = |status: &str, metadata: serde_json::Value| -> ListedVolume {
            let body =
                serde_json::json!({"id": ID, "name": "home-ada", "status": status, "size": 1, "metadata": metadata});
            serde_json::from_value(body).unwrap()
        };
        assert!(is_kept(&volume("available", serde_json::json!({}))));
        assert!(!is_kept(&volume("deleting", serde_json::json!({}))));
        assert!(!is_kept(&volume("available", serde_json::json!({KEY: NEW}))));
    }
}
