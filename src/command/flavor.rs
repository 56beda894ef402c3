//! `flavor`: add, list, delete.

use super::Session;
use crate::cli::{Cloud, Flavor, FlavorAdd, Named};
use crate::cloud::resource::flavor::{self, Found};
use crate::cloud::resource::{Kind, Resource, needed};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(session: &Session, options: &Flavor) -> Result<Ending, Failure> {
    match options {
        Flavor::Add(options) => add(session, options),
        Flavor::List(cloud) => list(session, cloud),
        Flavor::Delete(options) => delete(session, options),
    }
}

fn add(session: &Session, options: &FlavorAdd) -> Result<Ending, Failure> {
    let name = options.name.to_string();
    let wanted = flavor::Flavor {
        name: name.clone(),
        vcpus: options.vcpus,
        memory_mib: options.memory_mib,
        disk_gib: options.disk_gib,
        specs: options.spec.iter().cloned().collect(),
        marked: false,
    };
    let cloud = session.admin_cloud(&options.cloud)?;
    if cloud.ask(|cloud| flavor::find(cloud, &name))?.is_some() {
        let next = "choose another name; gpucloud-install flavor list";
        return Err(Failure::new(format!("there is a flavor called {name} already"), "", next));
    }
    let made = cloud.ask(|cloud| {
        wanted.ensure(cloud, &session.host)?;
        needed(flavor::find(cloud, &name)?, Kind::Flavor, &name)
    })?;
    session.ui.document("flavor add", json!(made));
    session.ui.say(format!("{name} is there."));
    Ok(Ending::Done)
}

fn list(session: &Session, cloud: &Cloud) -> Result<Ending, Failure> {
    let mut all = session.user_cloud(cloud)?.ask(flavor::all)?;
    all.sort_by_key(|flavor| (flavor.memory_mib, flavor.vcpus));
    session.ui.document("flavor list", json!({"flavors": all}));
    if !session.ui.is_json() {
        let row = |found: &Found| {
            let specs: Vec<String> = found.specs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let (memory, disk) = (format!("{} MiB", found.memory_mib), format!("{} GiB", found.disk_gib));
            vec![found.name.clone(), found.vcpus.to_string(), memory, disk, specs.join(" ")]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        session.ui.say(text::table(&["NAME", "VCPUS", "MEMORY", "DISK", "EXTRA SPECS"], &rows));
    }
    Ok(Ending::Done)
}

fn delete(session: &Session, options: &Named) -> Result<Ending, Failure> {
    let cloud = session.admin_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| needed(flavor::find(cloud, &options.name)?, Kind::Flavor, &options.name))?;
    session.consent(&format!("Remove flavor {}?", options.name), false)?;
    cloud.ask(|cloud| cloud.delete("compute", &format!("/flavors/{}", found.id)))?;
    session.ui.document("flavor delete", json!({"name": options.name, "id": found.id.as_str()}));
    session.ui.say(format!("{} is gone.", options.name));
    Ok(Ending::Done)
}
