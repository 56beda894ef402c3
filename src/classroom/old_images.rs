//! Images of earlier releases and answers: taken out of the cloud when nothing there was made of them any more.

use super::recipe::Part;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::resource::image::{self, ListedImage};
use crate::cloud::resource::{Listed, server};
use crate::cloud::resource_action::not_yet;
use crate::cloud::{ApiError, Id, Session, SharedSession};
use crate::host::Host;
use std::collections::BTreeSet;

/// What the journal calls it: that an image could go is no damage.
pub fn id() -> ActionId {
    ActionId::new("classroom", "old-images")
}

/// Takes out what is not among the images called `current` and nobody has; an image's parts go with it.
pub fn taken_out(admin: SharedSession, current: Vec<String>) -> Task {
    let (again, wanted) = (admin.clone(), current.clone());
    let probe = move |host: &Host| match admin.look(host, |session| outdated(session, &current)) {
        Ok(old) => {
            let names: Vec<&str> = old.iter().map(|(name, _)| name.as_str()).collect();
            Ok(Checked::done_if(old.is_empty(), format!("remove {}, which nobody has", names.join(", "))))
        }
        Err(error) => not_yet(error),
    };
    Task::new(id(), "Remove images of notebooks that nobody has any more", probe, move |_: &Host| {
        for (_, id) in again.ask(|session| outdated(session, &wanted))? {
            match again.ask(|session| session.delete("image", &format!("/images/{id}"))) {
                // Somebody protected it, or something has it: it is only tidying.
                Ok(()) | Err(ApiError::Refused { status: 403 | 409, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
    .at_runtime()
    .asking_the_running_system()
}

fn outdated(session: &Session, current: &[String]) -> Result<Vec<(String, Id)>, ApiError> {
    let images = image::all(session)?;
    let named = |found: &ListedImage| Some((found.name.clone()?, found.id.clone()));
    let ours: Vec<(String, Id)> = images.iter().filter(|found| found.is_ours()).filter_map(named).collect();
    // A snapshot of an instance boots with the parts of the image that the instance was made of.
    let others = images.iter().filter(|found| !found.is_ours());
    let parts = others.flat_map(|found| ["kernel_id", "ramdisk_id"].map(|part| found.properties.get(part)));
    let mut used: Vec<String> = parts.flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    // Looked at behind the images: an instance that was made in between has one of the current ones.
    for (_, id) in unused(&ours, &used, current) {
        if server::is_made_of(session, &id)? {
            used.push(id.to_string());
        }
    }
    Ok(unused(&ours, &used, current))
}

/// Those of `images` (name and id) that belong to no image with an id among `used`, and to none called as one of `current`.
fn unused(images: &[(String, Id)], used: &[String], current: &[String]) -> Vec<(String, Id)> {
    let used = images.iter().filter(|(_, id)| used.iter().any(|one| one == id.as_str())).map(|(name, _)| name);
    let kept: BTreeSet<(bool, &str)> = used.chain(current).filter_map(|name| version(name)).collect();
    let is_old = |name: &str| version(name).is_some_and(|version| !kept.contains(&version));
    images.iter().filter(|(name, _)| is_old(name)).cloned().collect()
}

/// Of "notebook-kernel-1a2b3c4d": whether it has a driver, and its version; none of what is called otherwise.
fn version(name: &str) -> Option<(bool, &str)> {
    let (part, version) = name.rsplit_once('-')?;
    let is_version = version.len() == 8 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_driver =
        [false, true].into_iter().find(|driver| Part::ALL.iter().any(|one| one.file_name(*driver) == part));
    Some((has_driver.filter(|_| is_version)?, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_image_goes_with_its_parts_and_no_other() {
        let names = [
            "notebook-aaaaaaaa",
            "notebook-kernel-aaaaaaaa",
            "notebook-initramfs-aaaaaaaa",
            "notebook-bbbbbbbb",
            "notebook-kernel-bbbbbbbb",
            "notebook-cccccccc",
            "notebook-nvidia-kernel-cccccccc",
            "notebook-mine",
            "notebook-of-ada-aaaaaaaa",
            "debian-12",
        ];
        let id = |number: usize| Id::try_from(format!("5f0b2c3e-0000-4000-8000-{number:012}")).unwrap();
        let images: Vec<(String, Id)> = names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), id(n))).collect();
        let old = unused(&images, &[id(3).to_string()], &["notebook-cccccccc".into()]);
        let old: Vec<&str> = old.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            old,
            [
                "notebook-aaaaaaaa",
                "notebook-kernel-aaaaaaaa",
                "notebook-initramfs-aaaaaaaa",
                "notebook-nvidia-kernel-cccccccc"
            ]
        );
    }
}
