//! `image`: add, list, delete. Downloads are in `resources/fetch.rs`, the catalogue in `profiles/images.toml`.

use super::Invocation;
use crate::cli::{Cloud, Image, ImageAdd, Named};
use crate::cloud::disk_image;
use crate::cloud::resource::image::{self, ListedImage};
use crate::cloud::resource::{Kind, Resource, needed};
use crate::config::resources::anchored;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{self, Host};
use crate::installation::require_root;
use crate::resources::fetch::Download;
use crate::resources::known_images::{self, PUBLISHED, Source};
use crate::resources::{keys, named_files};
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, options: &Image) -> Result<Ending, Failure> {
    match options {
        Image::Add(options) => add(invocation, options),
        Image::List(cloud) => list(invocation, cloud),
        Image::Delete(options) => delete(invocation, options),
    }
}

fn add(invocation: &Invocation, options: &ImageAdd) -> Result<Ending, Failure> {
    let name = options.name.to_string();
    let host = invocation.watched_host();
    let source = source_of(&host, &name, options)?;
    let told = named_files::told(options.format);
    if let Source::File { path, download: None, .. } = &source {
        disk_image::look(&host, path, told).map_err(host::Error::from)?;
    }
    let cloud = invocation.admin_cloud(&options.cloud)?;
    if let Some(found) = cloud.ask(|cloud| image::find_public(cloud, &name))? {
        let state = if found.boots() { "" } else { ", whose upload was cut off" };
        let what = format!("there is an image called {name} already{state}");
        return Err(Failure::new(what, "", format!("choose another name; or: gpucloud-install image delete {name}")));
    }
    let Source::File { path: file, download, mut properties } = source else {
        let next = "declare it: images = [{ name = \"guest\", from = \"guest\" }], then: gpucloud-install apply";
        return Err(Failure::usage("the small guest is built by apply", next));
    };
    if let Some(download) = download {
        let download = Download { told, ..download };
        require_root(&invocation.host)?;
        if !download.is_done(&host) {
            invocation.ui.say(format!("Downloading {} ...", download.url));
            download.run(&host)?;
        }
        invocation.ui.say(format!("Its hash is {}.", download.pinned(&host)?));
    }
    properties.extend(options.property.clone());
    let image = image::Image { name: name.clone(), file, told, properties, parts: Vec::new(), marked: false };
    let found = cloud.ask(|cloud| {
        image.ensure(cloud, &host)?;
        needed(image::find_public(cloud, &name)?, Kind::Image, &name)
    })?;
    invocation.ui.document("image add", json!(found));
    invocation.ui.say(format!("{name} is there: {}.", size(&found)));
    Ok(Ending::Done)
}

/// A file is one below the folder in which the command was typed; a name of the catalogue is first of all that.
fn source_of(host: &Host, name: &str, options: &ImageAdd) -> Result<Source, Failure> {
    let from = match &options.from {
        Some(from) if PUBLISHED.iter().all(|image| image.name != *from) => {
            anchored(host, from, &std::env::current_dir().unwrap_or_else(|_| "/".into()))
        }
        Some(from) => from.clone(),
        None => name.to_owned(),
    };
    known_images::source(name, &from, &keys::own_home())
}

fn size(found: &ListedImage) -> String {
    format!("{} MiB", found.size.unwrap_or(0).div_ceil(1 << 20))
}

fn list(invocation: &Invocation, cloud: &Cloud) -> Result<Ending, Failure> {
    let mut all = invocation.user_cloud(cloud)?.ask(image::all)?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let known: Vec<&str> = PUBLISHED.iter().map(|image| image.name.as_str()).collect();
    invocation.ui.document("image list", json!({"images": all, "catalogue": known}));
    if !invocation.ui.is_json() {
        let cell = |text: &Option<String>| text.clone().unwrap_or_default();
        let row =
            |found: &ListedImage| vec![cell(&found.name), found.status.clone(), cell(&found.disk_format), size(found)];
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        invocation.ui.say(text::table(&["NAME", "STATE", "FORMAT", "SIZE"], &rows));
        invocation.ui.say(format!("\nThe catalogue has: {}", known.join(", ")));
    }
    Ok(Ending::Done)
}

fn delete(invocation: &Invocation, options: &Named) -> Result<Ending, Failure> {
    let cloud = invocation.admin_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| image::get(cloud, &options.name))?;
    let name = found.name.as_deref().unwrap_or("without a name");
    invocation.consent(&format!("Remove image {name} ({})?", found.id), false)?;
    cloud.ask(|cloud| cloud.delete("image", &format!("/images/{}", found.id)))?;
    invocation.ui.document("image delete", json!({"name": found.name, "id": found.id.as_str()}));
    invocation.ui.say(format!("{name} is gone."));
    Ok(Ending::Done)
}
