//! Flavors with their extra specs.

use super::{Comparison, Id, Kind, Listed, MARK, Removed, Resource, chosen, create, forget, list, only};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// A size of instances, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flavor {
    /// "ds2G".
    pub name: String,
    /// Processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in GiB; 0: as large as the image.
    pub disk_gib: u32,
    /// Extra specs: "hw:cpu_policy" = "dedicated".
    pub specs: BTreeMap<String, String>,
    /// Whether it carries our mark.
    pub marked: bool,
}

/// A flavor that is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ListedFlavor {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Processors.
    pub vcpus: u32,
    /// Memory in MiB.
    #[serde(rename(deserialize = "ram"))]
    pub memory_mib: u32,
    /// Disk in GiB.
    #[serde(rename(deserialize = "disk"))]
    pub disk_gib: u32,
    /// Where the mark stands.
    #[serde(default)]
    pub description: Option<String>,
    /// Extra specs.
    #[serde(default, rename(deserialize = "extra_specs"))]
    pub specs: BTreeMap<String, String>,
}

/// What Nova does unless told otherwise, since Ussuri; DevStack's flavors say it all the same.
const NOVAS_DEFAULT: (&str, &str) = ("hw_rng:allowed", "true");

/// All flavors.
pub fn all(session: &Session) -> Result<Vec<ListedFlavor>, ApiError> {
    list(session, "compute", "/flavors/detail", "flavors")
}

/// The flavor called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedFlavor>, ApiError> {
    only(all(session)?.into_iter().filter(|flavor| flavor.name == name).collect(), Kind::Flavor, name)
}

/// The flavor with this id or name.
///
/// # Errors
/// There is none.
pub fn get(session: &Session, text: &str) -> Result<ListedFlavor, ApiError> {
    chosen(all(session)?, Kind::Flavor, text, |flavor| Some(&flavor.name))
}

impl Flavor {
    fn difference(&self, found: &ListedFlavor) -> Option<String> {
        let (have, want) =
            ((found.vcpus, found.memory_mib, found.disk_gib), (self.vcpus, self.memory_mib, self.disk_gib));
        if have != want {
            let text = |(vcpus, memory, disk)| format!("{vcpus} vCPUs, {memory} MiB, {disk} GiB");
            return Some(format!("it has {} instead of {}", text(have), text(want)));
        }
        let wrong = self.specs.iter().find(|(key, value)| found.specs.get(*key) != Some(value));
        wrong.map(|(key, value)| format!("{key} is not {value}"))
    }

    /// What it has beyond what is wanted.
    fn more(&self, found: &ListedFlavor) -> Option<String> {
        let says_nothing = |key: &str, value: &str| (key, value.to_lowercase().as_str()) == NOVAS_DEFAULT;
        let mut more = found.specs.iter().filter(|(key, value)| !says_nothing(key, value));
        more.find(|(key, _)| !self.specs.contains_key(*key)).map(|(key, value)| format!("it has {key}={value}"))
    }
}

impl Resource for Flavor {
    fn kind(&self) -> Kind {
        Kind::Flavor
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        Ok(match find(session, &self.name)? {
            None => Comparison::Missing,
            Some(found) => {
                let difference = self.difference(&found);
                // What users note in our flavor stays; somebody else's is told whole.
                let more = || self.more(&found).filter(|_| !found.is_ours());
                Comparison::of(found.is_ours(), difference.or_else(more))
            }
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let mut found = find(session, &self.name)?;
        if let Some(old) = found.take_if(|old| old.is_ours() && self.difference(old).is_some()) {
            // Sizes cannot be changed; instances keep a copy of the flavor that they were made with.
            session.delete("compute", &format!("/flavors/{}", old.id))?;
        }
        if found.is_some() {
            return Ok(());
        }
        let description = self.marked.then_some(MARK);
        let body = json!({"name": self.name, "vcpus": self.vcpus, "ram": self.memory_mib, "disk": self.disk_gib,
            "description": description});
        let made: ListedFlavor = create(session, "compute", "/flavors", "flavor", body, || find(session, &self.name))?;
        if !self.specs.is_empty() {
            let body = json!({"extra_specs": self.specs});
            session.post::<serde_json::Value>("compute", &format!("/flavors/{}/os-extra_specs", made.id), &body)?;
        }
        Ok(())
    }
}

impl Listed for ListedFlavor {
    fn id(&self) -> &Id {
        &self.id
    }

    fn is_ours(&self) -> bool {
        self.description.as_deref() == Some(MARK)
    }
}

/// Removes the flavor called `name`, if it is ours.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    forget(session, "compute", "flavors", find(session, name)?.filter(ListedFlavor::is_ours).map(|found| found.id))
}
