//! `flavor`: add, list, delete.

use super::Invocation;
use crate::cli::{Cloud, Flavor, FlavorAdd, Named};
use crate::cloud::resource::flavor::{self, ListedFlavor};
use crate::cloud::resource::{Kind, Resource, needed};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, options: &Flavor) -> Result<Ending, Failure> {
    match options {
        Flavor::Add(options) => add(invocation, options),
        Flavor::List(cloud) => list(invocation, cloud),
        Flavor::Delete(options) => delete(invocation, options),
    }
}

fn add(invocation: &Invocation, options: &FlavorAdd) -> Result<Ending, Failure> {
    let name = options.name.to_string();
    let wanted = flavor::Flavor {
        name: name.clone(),
        vcpus: options.vcpus,
        memory_mib: options.memory_mib,
        disk_gib: options.disk_gib,
        specs: options.spec.iter().cloned().collect(),
        marked: false,
    };
    let cloud = invocation.admin_cloud(&options.cloud)?;
    if cloud.ask(|cloud| flavor::find(cloud, &name))?.is_some() {
        let next = "choose another name; gpucloud-install flavor list";
        return Err(Failure::new(format!("there is a flavor called {name} already"), "", next));
    }
    let made = cloud.ask(|cloud| {
        wanted.ensure(cloud, &invocation.host)?;
        needed(flavor::find(cloud, &name)?, Kind::Flavor, &name)
    })?;
    invocation.ui.document("flavor add", json!(made));
    invocation.ui.say(format!("{name} is there."));
    Ok(Ending::Done)
}

fn list(invocation: &Invocation, cloud: &Cloud) -> Result<Ending, Failure> {
    let mut all = invocation.user_cloud(cloud)?.ask(flavor::all)?;
    all.sort_by_key(|flavor| (flavor.memory_mib, flavor.vcpus));
    invocation.ui.document("flavor list", json!({"flavors": all}));
    if !invocation.ui.is_json() {
        let row = |found: &ListedFlavor| {
            let specs: Vec<String> = found.specs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let (memory, disk) = (format!("{} MiB", found.memory_mib), format!("{} GiB", found.disk_gib));
            vec![found.name.clone(), found.vcpus.to_string(), memory, disk, specs.join(" ")]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        invocation.ui.say(text::table(&["NAME", "VCPUS", "MEMORY", "DISK", "EXTRA SPECS"], &rows));
    }
    Ok(Ending::Done)
}

fn delete(invocation: &Invocation, options: &Named) -> Result<Ending, Failure> {
    let cloud = invocation.admin_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| flavor::get(cloud, &options.name))?;
    invocation.consent(&format!("Remove flavor {}?", found.name), false)?;
    cloud.ask(|cloud| cloud.delete("compute", &format!("/flavors/{}", found.id)))?;
    invocation.ui.document("flavor delete", json!({"name": found.name, "id": found.id.as_str()}));
    invocation.ui.say(format!("{} is gone.", found.name));
    Ok(Ending::Done)
}
