//! Service users, services and endpoints in Keystone: looked for before they are made.

use super::resource::made_once;
use super::{ApiError, Session};
use crate::config::secrets::Secret;
use serde::Deserialize;
use serde_json::json;

/// The project of service users.
const SERVICE_PROJECT: &str = "service";
/// Roles of a service user: `admin` for the calls between services, `service` for service tokens.
const SERVICE_ROLES: [&str; 2] = ["admin", "service"];
/// The three interfaces of an endpoint.
const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Roles {
    roles: Vec<Named>,
}

#[derive(Deserialize)]
struct Projects {
    projects: Vec<Named>,
}

#[derive(Deserialize)]
struct Assignments {
    role_assignments: Vec<Assignment>,
}

#[derive(Deserialize)]
struct Assignment {
    role: Named,
    user: Option<Named>,
}

impl Assignment {
    /// The role, if it is this user's.
    fn role_of(&self, user: &str) -> Option<&str> {
        self.user.as_ref().filter(|found| found.name == user).map(|_| self.role.name.as_str())
    }
}

#[derive(Deserialize)]
struct Service {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Services {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Endpoint {
    id: String,
    service_id: String,
    interface: String,
    url: String,
    region_id: Option<String>,
}

#[derive(Deserialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

/// What is missing of a service user: user, roles, or a password that works.
pub fn user_gap(session: &Session, name: &str) -> Result<Option<String>, ApiError> {
    let Some(project) = find_project(session)? else { return Ok(Some("project".into())) };
    let path = format!("/role_assignments?scope.project.id={project}&include_names=true");
    let found: Assignments = session.get("identity", &path)?;
    let granted: Vec<&str> = found.role_assignments.iter().filter_map(|grant| grant.role_of(name)).collect();
    if granted.is_empty() {
        return Ok(Some("user".into()));
    }
    Ok(SERVICE_ROLES.iter().find(|role| !granted.contains(role)).map(|role| format!("role {role}")))
}

/// Makes a service user with its roles, or gives an existing one the password.
pub fn ensure_user(session: &Session, name: &str, password: &Secret) -> Result<(), ApiError> {
    let project = ensure_project(session)?;
    let user = match find_user(session, name)? {
        Some(id) => {
            let body = json!({"user": {"password": password.expose()}});
            session.patch::<serde_json::Value>("identity", &format!("/users/{id}"), &body)?;
            id
        }
        None => create_user(session, name, password, &project)?,
    };
    for role in roles(session)?.iter().filter(|role| SERVICE_ROLES.contains(&role.name.as_str())) {
        session.put("identity", &grant(&project, &user, &role.id), None)?;
    }
    Ok(())
}

fn create_user(session: &Session, name: &str, password: &Secret, project: &str) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct Made {
        user: Named,
    }
    let body = json!({"user": {
        "name": name, "password": password.expose(), "domain_id": "default", "default_project_id": project}});
    let make = || Ok(session.post::<Made>("identity", "/users", &body)?.user.id);
    made_once(make, || find_user(session, name))
}

fn ensure_project(session: &Session) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct Made {
        project: Named,
    }
    if let Some(id) = find_project(session)? {
        return Ok(id);
    }
    let body = json!({"project": {"name": SERVICE_PROJECT, "domain_id": "default"}});
    let make = || Ok(session.post::<Made>("identity", "/projects", &body)?.project.id);
    match made_once(make, || find_project(session)) {
        // Another step made it in between.
        Err(ApiError::Refused { status: 409, .. }) => find_project(session)?
            .ok_or_else(|| ApiError::Unexpected { service: "identity".into(), cause: "no project".into() }),
        answer => answer,
    }
}

fn grant(project: &str, user: &str, role: &str) -> String {
    format!("/projects/{project}/users/{user}/roles/{role}")
}

fn find_user(session: &Session, name: &str) -> Result<Option<String>, ApiError> {
    let found: Users = session.get("identity", &format!("/users?name={name}&domain_id=default"))?;
    Ok(found.users.into_iter().find(|user| user.name == name).map(|user| user.id))
}

fn find_project(session: &Session) -> Result<Option<String>, ApiError> {
    let found: Projects = session.get("identity", &format!("/projects?name={SERVICE_PROJECT}&domain_id=default"))?;
    Ok(found.projects.into_iter().next().map(|project| project.id))
}

fn roles(session: &Session) -> Result<Vec<Named>, ApiError> {
    Ok(session.get::<Roles>("identity", "/roles")?.roles)
}

/// A service of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogService {
    /// "compute".
    pub kind: String,
    /// "nova".
    pub name: String,
    /// Where it answers.
    pub url: String,
    /// In which region.
    pub region: String,
}

/// What is missing of a service in the catalog.
pub fn service_gap(session: &Session, wanted: &CatalogService) -> Result<Option<String>, ApiError> {
    let Some(id) = find_service(session, &wanted.kind)? else { return Ok(Some("service".into())) };
    let endpoints = endpoints(session, &id, &wanted.region)?;
    let wrong = INTERFACES.iter().find(|interface| {
        !endpoints.iter().any(|endpoint| endpoint.interface == **interface && endpoint.url == wanted.url)
    });
    Ok(wrong.map(|interface| format!("{interface} endpoint")))
}

/// Makes a service and its three endpoints, or corrects their addresses.
pub fn ensure_service(session: &Session, wanted: &CatalogService) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Made {
        service: Service,
    }
    let id = match find_service(session, &wanted.kind)? {
        Some(id) => id,
        None => {
            let body = json!({"service": {"name": wanted.name, "type": wanted.kind}});
            let make = || Ok(session.post::<Made>("identity", "/services", &body)?.service.id);
            made_once(make, || find_service(session, &wanted.kind))?
        }
    };
    let existing = endpoints(session, &id, &wanted.region)?;
    INTERFACES.iter().try_for_each(|interface| ensure_endpoint(session, &id, interface, wanted, &existing))
}

fn ensure_endpoint(
    session: &Session,
    service: &str,
    interface: &str,
    wanted: &CatalogService,
    existing: &[Endpoint],
) -> Result<(), ApiError> {
    let endpoint = json!({"endpoint": {
        "interface": interface, "url": wanted.url, "service_id": service, "region_id": wanted.region}});
    match existing.iter().find(|endpoint| endpoint.interface == interface) {
        Some(right) if right.url == wanted.url => Ok(()),
        Some(wrong) => {
            session.patch::<serde_json::Value>("identity", &format!("/endpoints/{}", wrong.id), &endpoint).map(drop)
        }
        None => {
            let make = || session.post::<serde_json::Value>("identity", "/endpoints", &endpoint).map(drop);
            let is_there = |found: Vec<Endpoint>| found.iter().any(|found| found.interface == interface).then_some(());
            made_once(make, || Ok(is_there(endpoints(session, service, &wanted.region)?)))
        }
    }
}

fn find_service(session: &Session, kind: &str) -> Result<Option<String>, ApiError> {
    let found: Services = session.get("identity", "/services")?;
    Ok(found.services.into_iter().find(|service| service.kind == kind).map(|service| service.id))
}

fn endpoints(session: &Session, service: &str, region: &str) -> Result<Vec<Endpoint>, ApiError> {
    let found: Endpoints = session.get("identity", "/endpoints")?;
    let is = |endpoint: &Endpoint| endpoint.service_id == service && endpoint.region_id.as_deref() == Some(region);
    Ok(found.endpoints.into_iter().filter(is).collect())
}
