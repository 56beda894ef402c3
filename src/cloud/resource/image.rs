//! Images: made, filled, compared. Whether a call is tried again is decided in `cloud/session.rs`; an upload begins
//! anew.

use super::{
    Comparison, Id, Kind, Listed, MARK, MARK_KEY, Removed, Resource, chosen, encode, forget, list, made_once, needed,
    only, together, with_id,
};
use crate::cloud::disk_image::{self, Format, Ready, Told};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

/// A disk image, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// "ubuntu-24.04".
    pub name: String,
    /// Where its content lies.
    pub file: PathBuf,
    /// How it is known what that is.
    pub told: Told,
    /// Properties: "hw_machine_type" = "q35".
    pub properties: BTreeMap<String, String>,
    /// Properties whose value is the id of another image: "kernel_id" = "guest-kernel".
    pub parts: Vec<(String, String)>,
    /// Whether it carries our mark.
    pub marked: bool,
}

/// An image that is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ListedImage {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: Option<String>,
    /// "active" when it can be used.
    pub status: String,
    /// Bytes.
    pub size: Option<u64>,
    /// "qcow2".
    pub disk_format: Option<String>,
    /// GiB that a flavor must have at least.
    #[serde(default)]
    pub min_disk: u32,
    /// The mark, if it is ours.
    #[serde(default, rename(deserialize = "gpucloud"), skip_serializing)]
    pub mark: Option<String>,
    /// "snapshot": Nova hands our mark on to what users make of our instances.
    #[serde(default, skip_serializing)]
    pub image_type: Option<String>,
    /// All else that Glance says of it: properties stand beside its own fields.
    #[serde(flatten, skip_serializing)]
    pub properties: BTreeMap<String, Value>,
}

impl ListedImage {
    /// Whether an instance can be made of it: kernels and initial file systems are parts of others.
    pub fn boots(&self) -> bool {
        self.status == "active" && !matches!(self.disk_format.as_deref(), Some("aki" | "ari"))
    }

    fn was_cut_off(&self) -> bool {
        self.is_ours() && matches!(self.status.as_str(), "queued" | "saving")
    }
}

/// All images.
pub fn all(session: &Session) -> Result<Vec<ListedImage>, ApiError> {
    list(session, "image", "/images?limit=1000", "images")
}

/// The image called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedImage>, ApiError> {
    find_where(session, name, "")
}

/// The one for everybody: an administrator is shown every project's own too.
pub fn find_public(session: &Session, name: &str) -> Result<Option<ListedImage>, ApiError> {
    let all: Vec<ListedImage> = list(session, "image", "/images?visibility=public&limit=1000", "images")?;
    let found = all.into_iter().filter(|found| found.name.as_deref() == Some(name)).collect();
    match only(found, Kind::Image, name)? {
        // Of very many Glance lists the newest only.
        None => find_where(session, name, "&visibility=public"),
        found => Ok(found),
    }
}

/// The image with this id or name; of several with one name the one for everybody, where there is only one such: an
/// administrator is shown every project's own, too.
///
/// # Errors
/// There is none, or several have the name.
pub fn get(session: &Session, text: &str) -> Result<ListedImage, ApiError> {
    if let Some(found) = with_id(session, "image", "/images", None, text)? {
        return Ok(found);
    }
    match find_public(session, text)? {
        Some(found) => Ok(found),
        None => match find(session, text)? {
            Some(found) => Ok(found),
            None => chosen(all(session)?, Kind::Image, text, |image| image.name.as_deref()),
        },
    }
}

fn find_where(session: &Session, name: &str, condition: &str) -> Result<Option<ListedImage>, ApiError> {
    let path = format!("/images?name={}{condition}", encode(name));
    only(list(session, "image", &path, "images")?, Kind::Image, name)
}

impl Resource for Image {
    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        Ok(match find_public(session, &self.name)? {
            None => Comparison::Missing,
            Some(found) if found.was_cut_off() => {
                Comparison::Differs(format!("its upload was cut off (status {})", found.status))
            }
            Some(found) => match together(self.differences(session, &found)?) {
                None => Comparison::Same,
                Some(how) if found.is_ours() => Comparison::Fixed(how),
                Some(how) => Comparison::Foreign(how),
            },
        })
    }

    fn ensure(&self, session: &Session, host: &Host) -> Result<(), ApiError> {
        let found = find_public(session, &self.name)?;
        if found.as_ref().is_some_and(|found| !found.was_cut_off()) {
            return Ok(());
        }
        // Before anything of it is there.
        let Ready { file, format } = disk_image::ready(host, &self.file, self.told)?;
        let body = self.body(session, format)?;
        if let Some(cut_off) = found {
            session.delete("image", &format!("/images/{}", cut_off.id))?;
        }
        let made: ListedImage =
            made_once(|| session.post("image", "/images", &body), || find_public(session, &self.name))?;
        let filled = self.fill(session, host, file, &made.id);
        if filled.is_err() {
            session.delete("image", &format!("/images/{}", made.id))?;
        }
        filled
    }
}

impl Image {
    fn differences(&self, session: &Session, found: &ListedImage) -> Result<Vec<String>, ApiError> {
        let mut differences = Vec::new();
        let format = if let Told::Ours(format) = self.told { Some(format.names().0) } else { None };
        if let (Some(want), Some(have)) = (format, &found.disk_format)
            && want != have
        {
            differences.push(format!("it is {have} instead of {want}"));
        }
        for (key, want) in self.all_properties(session)? {
            match found.properties.get(&key) {
                Some(have) if have.as_str() == Some(&want) => {}
                Some(have) => differences.push(format!("{key} is {} instead of {want}", have.as_str().unwrap_or("?"))),
                None => differences.push(format!("{key} is not {want}")),
            }
        }
        Ok(differences)
    }

    /// Its properties, those too whose value is another image's id, as far as that is there.
    fn all_properties(&self, session: &Session) -> Result<BTreeMap<String, String>, ApiError> {
        let mut all = self.properties.clone();
        for (key, name) in &self.parts {
            all.extend(find_public(session, name)?.map(|part| (key.clone(), part.id.to_string())));
        }
        Ok(all)
    }

    fn body(&self, session: &Session, format: Format) -> Result<Value, ApiError> {
        let (disk, container) = format.names();
        let mut body = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("disk_format".to_owned(), json!(disk)),
            ("container_format".to_owned(), json!(container)),
            ("visibility".to_owned(), json!("public")),
        ]);
        if self.marked {
            body.insert(MARK_KEY.to_owned(), json!(MARK));
        }
        body.extend(self.properties.iter().map(|(key, value)| (key.clone(), json!(value))));
        for (key, name) in &self.parts {
            body.insert(key.clone(), json!(needed(find_public(session, name)?, Kind::Image, name)?.id));
        }
        Ok(Value::Object(body))
    }

    /// Glance answers 204 to an upload whose body never came: the size tells.
    fn fill(&self, session: &Session, host: &Host, file: std::fs::File, id: &Id) -> Result<(), ApiError> {
        let size = file.metadata().map_err(|e| ApiError::file(&self.file, e))?.len();
        session.upload("image", &format!("/images/{id}/file"), file, size, &|sent| {
            host.progress(sent.div_ceil(MIB), size.div_ceil(MIB), &format!("MiB of {} sent", self.name));
            host.go_on().is_ok()
        })?;
        let found: ListedImage = session.get("image", &format!("/images/{id}"))?;
        match found.size {
            Some(arrived) if arrived == size && found.status == "active" => Ok(()),
            arrived => Err(ApiError::unexpected(
                "image",
                format!("of {size} bytes {} arrived (status {})", arrived.unwrap_or(0), found.status),
            )),
        }
    }
}

impl Listed for ListedImage {
    fn id(&self) -> &Id {
        &self.id
    }

    fn is_ours(&self) -> bool {
        self.mark.as_deref() == Some(MARK) && self.image_type.as_deref() != Some("snapshot")
    }

    fn is_in_use(&self) -> bool {
        self.is_ours() && !self.was_cut_off()
    }
}

/// Removes the image called `name`, if it is ours.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    forget(session, "image", "images", find_public(session, name)?.filter(ListedImage::is_ours).map(|found| found.id))
}
