//! `volume`: create, list, extend, attach, detach, delete. The API is in `cloud/resource/volume.rs`.

use super::Invocation;
use crate::cli::{Cloud, Named, Volume, VolumeOfInstance, VolumeSize};
use crate::cloud::resource::server;
use crate::cloud::resource::volume::{self, ListedVolume};
use crate::cloud::{ApiError, Id, SharedSession};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host;
use crate::ui::text;
use serde_json::json;
use std::time::Duration;

/// How long Cinder may take to make a volume, and a hypervisor to take or give one.
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);

pub(super) fn run(invocation: &Invocation, options: &Volume) -> Result<Ending, Failure> {
    match options {
        Volume::Create(options) => create(invocation, options),
        Volume::List(cloud) => list(invocation, cloud),
        Volume::Extend(options) => extend(invocation, options),
        Volume::Attach(options) => attach(invocation, options),
        Volume::Detach(options) => detach(invocation, options),
        Volume::Delete(options) => delete(invocation, options),
    }
}

/// Waits until the volume is in one of these states.
fn wait_for(
    invocation: &Invocation,
    cloud: &SharedSession,
    found: &ListedVolume,
    states: &[&str],
) -> Result<ListedVolume, Failure> {
    let mut last = found.clone();
    invocation.watched_host().wait_while(&format!("volume {}", found.label()), LIMIT, POLL, || {
        last = cloud.ask(|cloud| volume::get(cloud, found.id.as_str()))?;
        if last.status.starts_with("error") {
            return Err(host::Error::from(ApiError::VolumeFailed { name: last.label().to_owned() }));
        }
        Ok((!states.contains(&last.status.as_str())).then(|| last.status.clone()))
    })?;
    Ok(last)
}

/// Shows what came of a verb.
fn said(invocation: &Invocation, verb: &str, found: &ListedVolume, sentence: String) -> Ending {
    invocation.ui.document(&format!("volume {verb}"), json!(found));
    invocation.ui.say(sentence);
    Ending::Done
}

fn create(invocation: &Invocation, options: &VolumeSize) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let name = options.name.clone();
    if cloud.ask(volume::all)?.iter().any(|found| found.name.as_deref() == Some(&name)) {
        let next = "choose another name; gpucloud-install volume list";
        return Err(Failure::new(format!("there is a volume called {name} already"), "", next));
    }
    let wanted = volume::Volume { name: name.clone(), size_gib: options.size_gib };
    cloud.ask(|cloud| wanted.make(cloud, &[]))?;
    let made = cloud.ask(|cloud| volume::get(cloud, &name))?;
    let made = wait_for(invocation, &cloud, &made, &["available"])?;
    let sentence = format!("{name} is there. An instance gets it: gpucloud-install volume attach {name} INSTANCE");
    Ok(said(invocation, "create", &made, sentence))
}

fn list(invocation: &Invocation, cloud: &Cloud) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(cloud)?;
    let mut all = cloud.ask(volume::all)?;
    all.sort_by(|one, other| one.label().cmp(other.label()));
    invocation.ui.document("volume list", json!({"volumes": all}));
    if !invocation.ui.is_json() && all.is_empty() {
        invocation.ui.say("No volumes. gpucloud-install volume create NAME --size-gib N makes one.");
    } else if !invocation.ui.is_json() {
        let servers = cloud.ask(server::all)?;
        let holder = |found: &ListedVolume| {
            let name = |id: &Id| servers.iter().find(|server| server.id == *id).map(|server| server.name.clone());
            let held = found.attachments.first()?;
            Some(format!("{} {}", name(&held.server_id)?, held.device.as_deref().unwrap_or_default()))
        };
        let row = |found: &ListedVolume| {
            let size = format!("{} GiB", found.size);
            vec![found.label().to_owned(), found.status.clone(), size, holder(found).unwrap_or_default()]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        invocation.ui.say(text::table(&["NAME", "STATE", "SIZE", "INSTANCE"], &rows));
    }
    Ok(Ending::Done)
}

fn extend(invocation: &Invocation, options: &VolumeSize) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| volume::get(cloud, &options.name))?;
    let (size, wanted) = (found.size, options.size_gib);
    if wanted < size {
        let what = format!("{} has {size} GiB, and a volume cannot be made smaller", found.label());
        return Err(Failure::new(what, "", format!("--size-gib N: more than {size}")));
    }
    let found = match wanted == size {
        true => found,
        false => {
            cloud.ask(|cloud| volume::extend(cloud, &found.id, wanted))?;
            wait_for(invocation, &cloud, &found, &[&found.status])?
        }
    };
    let sentence =
        format!("{} has {} GiB. A file system on it is grown inside the instance.", found.label(), found.size);
    Ok(said(invocation, "extend", &found, sentence))
}

fn attach(invocation: &Invocation, options: &VolumeOfInstance) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| volume::get(cloud, &options.name))?;
    let instance = cloud.ask(|cloud| server::get(cloud, &options.instance))?;
    match found.attachments.first() {
        Some(held) if held.server_id == instance.id => {}
        Some(_) => {
            let next = format!("gpucloud-install volume detach {}", found.label());
            return Err(Failure::new(format!("another instance has {}", found.label()), "", next));
        }
        None => cloud.ask(|cloud| volume::attach(cloud, &found.id, &instance.id))?,
    }
    let found = wait_for(invocation, &cloud, &found, &["in-use"])?;
    let device = found.attachments.first().and_then(|held| held.device.clone()).unwrap_or_default();
    let sentence = format!("{} has {} as {device}.", instance.name, found.label());
    Ok(said(invocation, "attach", &found, sentence))
}

fn detach(invocation: &Invocation, options: &Named) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| volume::get(cloud, &options.name))?;
    if let Some(held) = found.attachments.first() {
        invocation.consent(&format!("Take {} from its instance? Is it unmounted there?", found.label()), false)?;
        cloud.ask(|cloud| volume::detach(cloud, &found.id, &held.server_id))?;
    }
    let found = wait_for(invocation, &cloud, &found, &["available"])?;
    let sentence = format!("No instance has {}.", found.label());
    Ok(said(invocation, "detach", &found, sentence))
}

fn delete(invocation: &Invocation, options: &Named) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| volume::get(cloud, &options.name))?;
    let name = found.label().to_owned();
    if !found.attachments.is_empty() {
        let next = format!("gpucloud-install volume detach {name}; then the same again");
        return Err(Failure::new(format!("an instance has {name}"), "", next));
    }
    invocation.consent(&format!("Remove volume {name}, {} GiB, and lose what is on it?", found.size), false)?;
    cloud.ask(|cloud| volume::delete(cloud, &found.id))?;
    invocation.watched_host().wait_while(&format!("volume {name}"), LIMIT, POLL, || {
        let left = cloud.ask(volume::all)?.into_iter().find(|left| left.id == found.id);
        match left.as_ref().map(|left| left.status.as_str()) {
            Some("error_deleting") => Err(host::Error::from(ApiError::VolumeFailed { name: name.clone() })),
            left => Ok(left.map(str::to_owned)),
        }
    })?;
    Ok(said(invocation, "delete", &found, format!("{name} is gone.")))
}
