//! A project with its user, who has a role in it.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, Removed, Resource, create, encode, list, needed, only, with_id,
};
use crate::cloud::{ApiError, Session, SharedSession};
use crate::config::secrets::Secret;
use crate::host::Host;
use serde_json::{Value, json};

/// The role of somebody who works in a project (Keystone's own since Rocky).
const ROLE: &str = "member";

/// A project and a user of the same name, as they are wanted.
#[derive(Clone)]
pub struct Project {
    /// "demo".
    pub name: String,
    /// The user's password.
    pub password: Secret,
    /// The user's session: whether the password is right, only a login tells.
    pub user: SharedSession,
}

/// The project called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<Entry>, ApiError> {
    let path = format!("/projects?domain_id=default&name={}", encode(name));
    only(list(session, "identity", &path, "projects")?, Kind::Project, name)
}

/// The project with this id or name.
///
/// # Errors
/// There is none.
pub fn get(session: &Session, text: &str) -> Result<Entry, ApiError> {
    match with_id(session, "identity", "/projects", Some("project"), text)? {
        Some(found) => Ok(found),
        None => needed(find(session, text)?, Kind::Project, text),
    }
}

fn find_user(session: &Session, name: &str) -> Result<Option<Entry>, ApiError> {
    let path = format!("/users?domain_id=default&name={}", encode(name));
    only(list(session, "identity", &path, "users")?, Kind::Project, name)
}

fn grant(session: &Session, project: &Id, user: &Id) -> Result<String, ApiError> {
    let role = only(list::<Entry>(session, "identity", &format!("/roles?name={ROLE}"), "roles")?, Kind::Project, ROLE)?;
    let role = needed(role, Kind::Project, ROLE)?.id;
    Ok(format!("/projects/{project}/users/{user}/roles/{role}"))
}

impl Resource for Project {
    fn kind(&self) -> Kind {
        Kind::Project
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        match self.user.ask(|_| Ok(())) {
            Ok(()) => Ok(Comparison::Same),
            Err(error) if error.is_unauthorized() => Ok(match find(session, &self.name)? {
                None => Comparison::Missing,
                Some(_) => Comparison::Differs("its user cannot log in".into()),
            }),
            Err(error) => Err(error),
        }
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let project = match find(session, &self.name)? {
            Some(project) => project.id,
            None => {
                let body = json!({"name": self.name, "domain_id": "default", "description": MARK});
                create(session, "identity", "/projects", "project", body, || find(session, &self.name))?.id
            }
        };
        let user = match find_user(session, &self.name)? {
            Some(user) if !user.is_ours() => {
                return Err(ApiError::ForeignUser { name: self.name.clone() });
            }
            Some(user) => {
                let body = json!({"user": {"password": self.password.expose(), "enabled": true}});
                session.patch::<Value>("identity", &format!("/users/{}", user.id), &body)?;
                user.id
            }
            None => {
                let body = json!({"name": self.name, "domain_id": "default", "description": MARK,
                    "password": self.password.expose(), "default_project_id": project});
                create(session, "identity", "/users", "user", body, || find_user(session, &self.name))?.id
            }
        };
        session.put("identity", &grant(session, &project, &user)?, None)
    }
}

/// Removes the user and the project called `name`, if they are ours.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    if let Some(user) = find_user(session, name)?.filter(Entry::is_ours) {
        session.delete("identity", &format!("/users/{}", user.id))?;
    }
    if let Some(project) = find(session, name)?.filter(Entry::is_ours) {
        session.delete("identity", &format!("/projects/{}", project.id))?;
    }
    Ok(Removed::Gone)
}
