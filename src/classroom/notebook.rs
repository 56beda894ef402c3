//! Notebooks: made, listed, stopped, started, taken away. It blocks until the end and tells how far it is to the
//! [`Host`]'s observer. How one that runs is waited for until it can be worked in: `ready.rs`.

use super::home_volume::HomeVolume;
use super::identity::Identity;
use super::jupyter;
use super::ready::{self, Times};
use super::remote::{self, Remote};
use super::{CLASSROOM, Classroom, ClassroomError, NOTEBOOKS, home, home_volume, students};
use crate::cloud::resource::flavor::{self, ListedFlavor};
use crate::cloud::resource::image;
use crate::cloud::resource::server::{self, ListedServer, Place, Server};
use crate::cloud::{ApiError, Session, refusal, room};
use crate::config::secrets::Secret;
use crate::failure::Failure;
use crate::host::{Error, Host, Result, files};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Sizes of notebooks without a card: name, processors, MiB of memory, GiB of disk. The first is taken where none is
/// said.
pub const SIZES: [(&str, u32, u32, u32); 3] =
    [("notebook.small", 1, 2048, 10), ("notebook.medium", 2, 4096, 20), ("notebook.large", 4, 8192, 40)];

/// How long Nova may take to build it; a first copy of its image takes longest.
const BUILD_LIMIT: Duration = Duration::from_secs(600);
/// How long Nova may take to stop or start it.
const ACT_LIMIT: Duration = Duration::from_secs(180);
/// By what a flavor has cards (Nova, "pci_passthrough:alias").
const CARDS: &str = "pci_passthrough:alias";
pub(super) const POLL: Duration = Duration::from_millis(500);
/// How long another command about the same notebook may take: one that makes it.
const LOCK_LIMIT: Duration = Duration::from_secs(1200);
/// How long an API may be away meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// A notebook that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// Name of its flavor; without, the smallest.
    pub flavor: Option<String>,
    /// Whether it has a card.
    pub gpu: bool,
    /// Whether it is waited for until it can be worked in; else until Nova has built it.
    pub until_ready: bool,
}

/// A notebook as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notebook {
    /// Its name.
    pub name: String,
    /// "ACTIVE", "SHUTOFF", "ERROR".
    pub state: String,
    /// Its flavor.
    pub flavor: String,
    /// Whether it has a card.
    pub gpu: bool,
    /// Its address in the classroom's network.
    pub address: Option<Ipv4Addr>,
    /// Where its JupyterLab answers, for this machine.
    pub url: Option<String>,
    /// When it was made.
    pub created: String,
    /// Whether it was made with a volume for its student's home, and has it.
    pub home_on_volume: bool,
}

impl Notebook {
    pub(super) fn of(found: &ListedServer) -> Self {
        let address = found.address("fixed");
        let identity = Identity::of(&found.name);
        Self {
            name: found.name.clone(),
            state: found.status.clone(),
            flavor: found.flavor_name().to_owned(),
            gpu: found.flavor["extra_specs"].get(CARDS).is_some(),
            address,
            url: address.map(|address| jupyter::url(&identity, address)),
            created: found.created.clone(),
            home_on_volume: home_volume::of(found).is_some(),
        }
    }
}

/// All notebooks, by name.
///
/// # Errors
/// The cloud's own.
pub fn all(room: &Classroom) -> std::result::Result<Vec<Notebook>, ApiError> {
    let mut found: Vec<Notebook> = room.user.ask(server::all)?.iter().map(Notebook::of).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The notebook called `name`.
///
/// # Errors
/// [`ClassroomError::Missing`]: there is none; the cloud's own.
pub fn get(room: &Classroom, name: &str) -> Result<Notebook> {
    Ok(Notebook::of(&found(room, name)?))
}

fn server_called(room: &Classroom, name: &str) -> std::result::Result<Option<ListedServer>, ApiError> {
    room.user.ask_patiently(PATIENCE, || true, |session| server::find(session, name))
}

pub(super) fn found(room: &Classroom, name: &str) -> Result<ListedServer> {
    Ok(server_called(room, name)?.ok_or_else(|| ClassroomError::Missing { name: name.to_owned() })?)
}

/// Makes one, and waits until it can be worked in. What was saved of an earlier one of its name is laid into it.
///
/// # Errors
/// There is one already, or no room; Nova's own fault; it does not answer in its time.
pub fn create(host: &Host, room: &Classroom, request: &Request) -> Result<(Notebook, Times)> {
    let begin = Instant::now();
    let name = request.name.as_str();
    let sizes = room.user.ask(flavor::all)?;
    let size = chosen_size(request, &sizes)?;
    if let Some(short) = room.admin.ask(|session| room::shortage(session, size))? {
        return Err(ClassroomError::NoRoom { flavor: size.name.clone(), short }.into());
    }
    let identity = Identity::of(name);
    let _lock = locked(host, &identity)?;
    match server_called(room, name)? {
        // Nova could not build it, and nobody ever was in it.
        Some(old) if old.status == "ERROR" && old.launched_at.is_none() => {
            room.user.ask(|session| server::delete(session, &old.id))?;
        }
        Some(_) => return Err(ClassroomError::Exists { name: name.to_owned() }.into()),
        None => {}
    }
    let image = if has_card(size) { &room.card_image } else { &room.image };
    if room.user.ask(|session| image::find(session, image))?.is_none() {
        return Err(ClassroomError::NoImage { image: image.clone() }.into());
    }
    // What is known of an earlier one is not this one's.
    identity.forget(host)?;
    identity.make(host).map_err(as_error)?;
    let ordered = students::tell(host, room, name, None, false)
        .and_then(|()| home_volume::ready(host, room, name))
        .and_then(|home| {
            order(host, room, &identity, (image, &size.name), home.as_ref())?;
            Ok(home)
        });
    if ordered.is_err() {
        home_volume::forget_new(room, name);
        students::tell_gone(host, room, name)?;
        identity.forget(host)?;
    }
    let home = ordered?;
    wait_built(host, room, name)?;
    if let Some(home) = home.filter(|home| home.is_new) {
        home_volume::note_used(room, &home.id)?;
    }
    students::tell(host, room, name, get(room, name)?.address, false)?;
    let mut times = Times { built: begin.elapsed().as_secs_f64(), ..Times::default() };
    if request.until_ready {
        ready::wait(host, room, name, begin, &mut times)?;
    }
    Ok((get(room, name)?, times))
}

/// Who else makes, changes or ends this notebook waits.
fn locked(host: &Host, identity: &Identity) -> Result<files::Lock> {
    let what = format!("the end of another command about {}", identity.alias());
    files::lock_within(host, &identity.lock_file(), &what, LOCK_LIMIT)
}

fn order(
    host: &Host,
    room: &Classroom,
    identity: &Identity,
    (image, flavor): (&str, &str),
    home: Option<&HomeVolume>,
) -> Result<()> {
    let order = Server {
        name: identity.name().to_owned(),
        image: image.to_owned(),
        flavor: flavor.to_owned(),
        place: Place::Network(CLASSROOM.into()),
        security_groups: vec![NOTEBOOKS.into()],
        key_pair: None,
        boot_volume_gib: None,
        volumes: home.map(|home| home.id.clone()).into_iter().collect(),
        user_data: Some(identity.told(host, home)?),
        // What is in it is somebody's: no plan takes it away.
        marked: false,
        metadata: home.map(|home| (home_volume::KEY.to_owned(), home.id.to_string())).into_iter().collect(),
    };
    Ok(room.user.ask(|session| order.order(session)).map(drop)?)
}

fn as_error(failure: Failure) -> Error {
    Error::protocol(failure.what, failure.evidence)
}

fn has_card(flavor: &ListedFlavor) -> bool {
    flavor.specs.contains_key(CARDS)
}

/// The flavor that was said; else the smallest that has a card, or is a notebook's.
fn chosen_size<'a>(request: &Request, all: &'a [ListedFlavor]) -> Result<&'a ListedFlavor> {
    if let Some(name) = &request.flavor {
        let said = all.iter().find(|flavor| flavor.name == *name || flavor.id.as_str() == name);
        return said.ok_or_else(|| {
            let near = crate::cloud::resource::nearest(name, all.iter().map(|flavor| flavor.name.as_str()));
            ApiError::Missing { kind: crate::cloud::resource::Kind::Flavor, name: name.clone(), near }.into()
        });
    }
    if request.gpu {
        let smallest =
            all.iter().filter(|flavor| has_card(flavor)).min_by_key(|flavor| (flavor.memory_mib, flavor.name.clone()));
        return Ok(smallest.ok_or(ClassroomError::NoCards)?);
    }
    let own = all.iter().find(|flavor| flavor.name == SIZES[0].0);
    own.ok_or_else(|| {
        ApiError::Missing { kind: crate::cloud::resource::Kind::Flavor, name: SIZES[0].0.to_owned(), near: None }.into()
    })
}

fn wait_built(host: &Host, room: &Classroom, name: &str) -> Result<()> {
    host.wait_while(&format!("notebook {name}"), BUILD_LIMIT, POLL, || {
        let go_on = || host.go_on().is_ok();
        if room.building.includes(name, || room.user.ask_patiently(PATIENCE, go_on, server::all_building))? {
            return Ok(Some("being built".into()));
        }
        let built = room.user.ask_patiently(PATIENCE, go_on, |session| server::built(session, name));
        Ok(built.map_err(|error| refusal::explained(host, error))?)
    })
}

/// What can be told to a notebook that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Shut it down; its disk stays.
    Stop,
    /// Start it again.
    Start,
    /// Boot it anew.
    Restart,
}

/// How Nova is told to shut one down: what it has not written yet, it writes.
const STOP: (&str, Value, &str) = ("os-stop", Value::Null, "SHUTOFF");

/// Does it, and waits until it is so: a started one until it can be worked in.
///
/// # Errors
/// There is no such notebook; the cloud's own; it does not answer in its time.
pub fn tell(host: &Host, room: &Classroom, name: &str, verb: Verb) -> Result<Notebook> {
    let begin = Instant::now();
    let _lock = locked(host, &Identity::of(name))?;
    let server = found(room, name)?;
    let action = match (verb, server.status.as_str()) {
        (Verb::Stop, "SHUTOFF") => None,
        (Verb::Stop, _) => Some(STOP),
        (Verb::Start, "ACTIVE") => None,
        (Verb::Restart, "ACTIVE") => Some(("reboot", serde_json::json!({"type": "SOFT"}), "ACTIVE")),
        (Verb::Start | Verb::Restart, _) => Some(("os-start", Value::Null, "ACTIVE")),
    };
    if let Some(action) = action {
        act(host, room, &server, action)?;
    }
    // Whoever made it may have been stopped before it was there.
    students::tell(host, room, name, server.address("fixed"), verb == Verb::Stop)?;
    if verb != Verb::Stop {
        ready::wait(host, room, name, begin, &mut Times::default())?;
    }
    get(room, name)
}

/// Tells Nova to do something with it, and waits until it is in this state.
fn act(host: &Host, room: &Classroom, server: &ListedServer, action: (&str, Value, &str)) -> Result<()> {
    let (action, argument, state) = action;
    room.user.ask(|session| server::act(session, &server.id, action, argument.clone()))?;
    host.wait_while(&format!("notebook {}", server.name), ACT_LIMIT, POLL, || {
        let go_on = || host.go_on().is_ok();
        let look = |session: &Session| server::get(session, server.id.as_str());
        let now = room.user.ask_patiently(PATIENCE, go_on, look)?;
        match now.status.as_str() {
            "ERROR" => Err(refusal::explained(host, now.fault_in_words()).into()),
            status if status == state && now.task.is_none() => Ok(None),
            status => Ok(Some(now.task.clone().unwrap_or_else(|| status.to_owned()))),
        }
    })
}

/// How a program runs in it.
///
/// # Errors
/// There is no such notebook, or it has no address.
pub fn remote(room: &Classroom, name: &str) -> Result<Remote> {
    let server = found(room, name)?;
    let silent = || ClassroomError::Silent { name: name.to_owned(), how: "it has no address".into(), console: None };
    Ok(Remote::new(Identity::of(name), server.address("fixed").ok_or_else(silent)?))
}

/// Gives it another token: who has the old one is shut out, and its kernels end.
///
/// # Errors
/// It does not run, or does not take it.
pub fn renew_token(host: &Host, room: &Classroom, name: &str) -> std::result::Result<(), Failure> {
    let _lock = locked(host, &Identity::of(name))?;
    let server = found(room, name)?;
    let (remote, token) = (remote(room, name)?, Secret::random()?);
    let place = "/etc/notebook/token";
    let write = ["install", "-m", "600", "/dev/stdin", place];
    remote.program(&write).stdin(token.expose()).quiet().run(host)?;
    remote.program(&["systemctl", "restart", "notebook-setup.service", "notebook.service"]).quiet().run(host)?;
    // Killed ahead of this, the notebook knows a token that nobody here does: another one helps, which SSH brings.
    Identity::of(name).note_token(host, &token)?;
    students::tell(host, room, name, server.address("fixed"), server.status == "SHUTOFF")?;
    let name = server.name.as_str();
    Ok(ready::wait(host, room, name, Instant::now(), &mut Times::default())?)
}

/// What becomes of a student's work when a notebook ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It is saved here, or stays on its volume.
    Saved,
    /// It is lost but for what is on a volume; what was saved before stays.
    NotSaved,
    /// It is lost, with its volume and what was saved before.
    Forgotten,
}

/// Ends it, and whatever is known of it here; returns whether something of it is kept for the next one of its name.
///
/// # Errors
/// It does not run, so that nothing can be saved; what was saved is not whole. Then it is left as it is.
pub fn delete(host: &Host, room: &Classroom, name: &str, work: Work) -> Result<bool> {
    let identity = Identity::of(name);
    let _lock = locked(host, &identity)?;
    let server = server_called(room, name)?;
    let is_there = server.is_some()
        || identity.is_known(host)
        || work == Work::Forgotten && (home::is_saved(host, name) || home_volume::is_there(room, name)?);
    if !is_there {
        return Err(ClassroomError::Missing { name: name.to_owned() }.into());
    }
    let (mut on_volume, mut ran) = (false, false);
    if let Some(server) = server {
        on_volume = home_volume::of(&server).is_some();
        ran = server.launched_at.is_some();
        if work == Work::Saved && ran {
            on_volume &= keep_work(host, room, &server)?;
        }
        // Ahead of it: its address may be another's at once.
        students::tell_gone(host, room, name)?;
        if let Err(error) = room.user.ask(|session| server::delete(session, &server.id)) {
            students::tell(host, room, name, server.address("fixed"), server.status == "SHUTOFF")?;
            return Err(error.into());
        }
    }
    // Of one that ran, and was not looked into, nobody knows whether somebody was on its volume.
    if work == Work::Saved || !ran {
        on_volume &= !home_volume::forget_new(room, name);
    }
    if work == Work::Forgotten {
        home_volume::remove(host, room, name)?;
        home::forget(host, name)?;
        students::forget(host, room, name)?;
    }
    students::tell_gone(host, room, name)?;
    identity.forget(host)?;
    Ok(work != Work::Forgotten && (on_volume || home::is_saved(host, name)))
}

/// Saves what is in it, where that would be lost with it; returns whether it is on a volume.
fn keep_work(host: &Host, room: &Classroom, server: &ListedServer) -> Result<bool> {
    let name = server.name.as_str();
    let volume = home_volume::of(server);
    let not_running = || ClassroomError::NotRunning { name: name.to_owned(), state: server.status.clone() };
    if server.status != "ACTIVE" {
        // Where it was seen to be on its volume, and the power is off, nothing can be lost.
        let is_safe = volume.is_some() && home::is_noted(host, name, &server.id)?;
        return if is_safe { Ok(true) } else { Err(not_running().into()) };
    }
    let remote = remote(room, name)?;
    let Some(volume) = volume else {
        home::save(host, &remote, name, &server.id)?;
        return Ok(false);
    };
    match home_volume::is_used(host, &remote, &volume)? {
        Some(true) => ready::settle_home(host, room, &remote, server, &volume)?,
        Some(false) if serves(host, &remote)? => {
            home::save(host, &remote, name, &server.id)?;
            return Ok(false);
        }
        // Its volume did not come, so nobody ever worked in it.
        Some(false) => {}
        None => return Err(ClassroomError::Locked { name: name.to_owned() }.into()),
    }
    act(host, room, server, STOP)?;
    Ok(true)
}

/// Whether somebody may work in it: an image of somebody's own may call its JupyterLab otherwise.
fn serves(host: &Host, remote: &Remote) -> Result<bool> {
    let look = "! systemctl cat notebook-home.service >/dev/null 2>&1 || systemctl is-active --quiet notebook.service";
    Ok(remote::outcome(host, remote.program(&["sh", "-c", look]))?.is_ok())
}

/// The names of all those that something is kept of: saved here, or on a volume.
///
/// # Errors
/// The cloud's own; a directory cannot be read.
pub fn kept(host: &Host, room: &Classroom) -> Result<Vec<String>> {
    let all: BTreeSet<String> = home::saved(host)?.into_iter().chain(home_volume::names(room)?).collect();
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flavors() -> Vec<ListedFlavor> {
        let flavor = |name: &str, memory: u32, alias: Option<&str>| {
            let specs = alias.map(|alias| serde_json::json!({"pci_passthrough:alias": alias})).unwrap_or_default();
            let specs = if specs.is_null() { serde_json::json!({}) } else { specs };
            serde_json::json!({"id": "5f0b2c3e-0000-4000-8000-000000000001", "name": name, "vcpus": 1, "ram": memory,
                "disk": 10, "extra_specs": specs})
        };
        let all = [
            flavor("m1.tiny", 512, None),
            flavor("gpu1.large", 65536, Some("gpu-10de-20b2:1")),
            flavor("notebook.small", 2048, None),
            flavor("gpu1.small", 32768, Some("gpu-10de-20b2:1")),
        ];
        all.into_iter().map(|one| serde_json::from_value(one).unwrap()).collect()
    }

    fn chosen(flavor: Option<&str>, gpu: bool, all: &[ListedFlavor]) -> std::result::Result<String, String> {
        let request = Request { name: "ada".into(), flavor: flavor.map(str::to_owned), gpu, until_ready: true };
        chosen_size(&request, all).map(|size| size.name.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_size_is_what_was_said_or_the_smallest_that_does() {
        let all = flavors();
        assert_eq!(chosen(None, false, &all).unwrap(), "notebook.small");
        assert_eq!(chosen(None, true, &all).unwrap(), "gpu1.small");
        assert_eq!(chosen(Some("gpu1.large"), true, &all).unwrap(), "gpu1.large");
        assert!(chosen(Some("gpu1.smal"), true, &all).unwrap_err().contains("gpu1.smal"));
        assert!(chosen(None, true, &all[..1]).unwrap_err().contains("no card is claimed"));
    }
}
