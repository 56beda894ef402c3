//! `image`: add, list, delete. Downloads are in `resources/fetch.rs`, the catalogue in `profiles/images.toml`.

use super::Session;
use crate::cli::{Cloud, Image, ImageAdd, Named};
use crate::cloud::resource::image::{self, Found};
use crate::cloud::resource::{Kind, Resource, needed};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::installation::require_root;
use crate::resources::catalogue::{self, PUBLISHED, Source};
use crate::ui::text;
use serde_json::json;

pub(super) fn run(session: &Session, options: &Image) -> Result<Ending, Failure> {
    match options {
        Image::Add(options) => add(session, options),
        Image::List(cloud) => list(session, cloud),
        Image::Delete(options) => delete(session, options),
    }
}

fn add(session: &Session, options: &ImageAdd) -> Result<Ending, Failure> {
    let cloud = session.admin_cloud(&options.cloud)?;
    let name = options.name.to_string();
    let host = session.watched_host();
    if let Some(found) = cloud.ask(|cloud| image::find_public(cloud, &name))? {
        let state = if found.boots() { "" } else { ", whose upload was cut off" };
        let what = format!("there is an image called {name} already{state}");
        return Err(Failure::new(what, "", format!("choose another name; or: gpucloud-install image delete {name}")));
    }
    let source = catalogue::source(&name, options.from.as_deref().unwrap_or(&name))?;
    let Source::File { path: file, download, mut properties } = source else {
        let next = "declare it: images = [{ name = \"guest\", from = \"guest\" }], then: gpucloud-install apply";
        return Err(Failure::usage("the small guest is built by apply", next));
    };
    if let Some(download) = download {
        require_root(&session.host)?;
        if !download.is_done(&host) {
            session.ui.say(format!("Downloading {} ...", download.url));
            download.run(&host)?;
        }
        session.ui.say(format!("Its hash is {}.", download.pinned(&host)?));
    }
    properties.extend(options.property.clone());
    let image = image::Image { name: name.clone(), file, format: None, properties, parts: Vec::new(), marked: false };
    let found = cloud.ask(|cloud| {
        image.ensure(cloud, &host)?;
        needed(image::find_public(cloud, &name)?, Kind::Image, &name)
    })?;
    session.ui.document("image add", json!(found));
    session.ui.say(format!("{name} is there: {}.", size(&found)));
    Ok(Ending::Done)
}

fn size(found: &Found) -> String {
    format!("{} MiB", found.size.unwrap_or(0).div_ceil(1 << 20))
}

fn list(session: &Session, cloud: &Cloud) -> Result<Ending, Failure> {
    let mut all = session.user_cloud(cloud)?.ask(image::all)?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let known: Vec<&str> = PUBLISHED.iter().map(|image| image.name.as_str()).collect();
    session.ui.document("image list", json!({"images": all, "catalogue": known}));
    if !session.ui.is_json() {
        let cell = |text: &Option<String>| text.clone().unwrap_or_default();
        let row = |found: &Found| vec![cell(&found.name), found.status.clone(), cell(&found.disk_format), size(found)];
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        session.ui.say(text::table(&["NAME", "STATE", "FORMAT", "SIZE"], &rows));
        session.ui.say(format!("\nThe catalogue has: {}", known.join(", ")));
    }
    Ok(Ending::Done)
}

fn delete(session: &Session, options: &Named) -> Result<Ending, Failure> {
    let cloud = session.admin_cloud(&options.cloud)?;
    // An administrator is shown every project's own, too.
    let found = cloud.ask(|cloud| match image::find_public(cloud, &options.name)? {
        None => needed(image::find(cloud, &options.name)?, Kind::Image, &options.name),
        Some(found) => Ok(found),
    })?;
    session.consent(&format!("Remove image {}?", options.name), false)?;
    cloud.ask(|cloud| cloud.delete("image", &format!("/images/{}", found.id)))?;
    session.ui.document("image delete", json!({"name": options.name, "id": found.id.as_str()}));
    session.ui.say(format!("{} is gone.", options.name));
    Ok(Ending::Done)
}
