//! What a project may use at most. Another limit is a name in `config/resources.rs` (`QUOTAS`) and a row of
//! [`COUNTED`].

use super::{Comparison, Id, Kind, Removed, Resource, project};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Which service counts what, and what it calls it there.
const COUNTED: &[(&str, &str, &str)] = &[
    ("instances", "compute", "instances"),
    ("vcpus", "compute", "cores"),
    ("memory_mib", "compute", "ram"),
    ("networks", "network", "network"),
    ("floating_ips", "network", "floatingip"),
    ("security_group_rules", "network", "security_group_rule"),
    ("volumes", "block-storage", "volumes"),
    ("storage_gib", "block-storage", "gigabytes"),
];

/// Limits of a project, as they are wanted; -1: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Name of the project, or its id.
    pub project: String,
    /// By our names: [`QUOTAS`](crate::config::resources::QUOTAS).
    pub limits: BTreeMap<String, i64>,
}

/// What a project may use and uses of one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Our name of it.
    pub name: &'static str,
    /// The limit; -1: none.
    pub limit: i64,
    /// In use.
    pub used: i64,
}

/// The services that count something, as far as the cloud has them.
fn services(session: &Session) -> impl Iterator<Item = &'static str> {
    ["compute", "network", "block-storage"].into_iter().filter(|service| session.offers(service))
}

fn path(service: &str, project: &Id, detail: bool) -> String {
    match (service, detail) {
        ("compute", true) => format!("/os-quota-sets/{project}/detail"),
        ("network", true) => format!("/quotas/{project}/details"),
        ("network", false) => format!("/quotas/{project}"),
        ("compute", false) => format!("/os-quota-sets/{project}"),
        (_, true) => format!("/os-quota-sets/{project}?usage=true"),
        _ => format!("/os-quota-sets/{project}"),
    }
}

fn key(service: &str) -> &'static str {
    if service == "network" { "quota" } else { "quota_set" }
}

/// Limits and use of the project with this id or name, of all services that the cloud has.
pub fn usage(session: &Session, project: &str) -> Result<Vec<Usage>, ApiError> {
    let id = project::get(session, project)?.id;
    let mut all = Vec::new();
    for service in services(session) {
        let answer: Value = session.get(service, &path(service, &id, true))?;
        for (name, _, theirs) in COUNTED.iter().filter(|(_, of, _)| *of == service) {
            let counted = &answer[key(service)][*theirs];
            let number = |names: &[&str]| names.iter().find_map(|name| counted[*name].as_i64()).unwrap_or(0);
            all.push(Usage { name, limit: number(&["limit"]), used: number(&["in_use", "used"]) });
        }
    }
    Ok(all)
}

impl Resource for Quota {
    fn kind(&self) -> Kind {
        Kind::Quota
    }

    fn name(&self) -> &str {
        &self.project
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        if project::find(session, &self.project)?.is_none() {
            return Ok(Comparison::Later(format!("when project {} is there", self.project)));
        }
        let usage = usage(session, &self.project)?;
        let wrong = self.limits.iter().find(|(name, limit)| {
            usage.iter().any(|counted| counted.name == name.as_str() && counted.limit != **limit)
        });
        Ok(wrong
            .map_or(Comparison::Same, |(name, limit)| Comparison::Differs(format!("{name} is not limited to {limit}"))))
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let id = project::get(session, &self.project)?.id;
        for service in services(session) {
            let limits: Map<String, Value> = COUNTED
                .iter()
                .filter(|(_, of, _)| *of == service)
                .filter_map(|(name, _, theirs)| Some(((*theirs).to_owned(), json!(self.limits.get(*name)?))))
                .collect();
            if !limits.is_empty() {
                session.set(service, &path(service, &id, false), &json!({key(service): limits}))?;
            }
        }
        Ok(())
    }
}

/// Gives the project called `name` the cloud's own limits back.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    if let Some(project) = project::find(session, name)? {
        for service in services(session) {
            session.delete(service, &path(service, &project.id, false))?;
        }
    }
    Ok(Removed::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_limited_is_counted_by_a_service() {
        let counted: Vec<&str> = COUNTED.iter().map(|(name, ..)| *name).collect();
        assert_eq!(counted, crate::config::resources::QUOTAS);
    }
}
