//! Instances: made, looked at, told to do something, removed. What their faults mean: `cloud/explain.rs`.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, MARK_KEY, Removed, Resource, flavor, image, list, made_once, needed,
    network, only, port,
};
use crate::cloud::explain;
use crate::cloud::id::encode;
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long Nova may take to take an instance away.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

/// An instance, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Name of its image.
    pub image: String,
    /// Name of its flavor.
    pub flavor: String,
    /// Its place in a network.
    pub place: Place,
    /// Names of its security groups; a port has its own.
    pub security_groups: Vec<String>,
    /// Name of the key pair that may log in.
    pub key_pair: Option<String>,
    /// Whether it carries our mark.
    pub marked: bool,
}

/// Where an instance is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the port of this name.
    Port(String),
    /// In the network of this name, at a port that Nova makes.
    Network(String),
}

/// An instance that is there.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedServer {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// "ACTIVE", "BUILD", "SHUTOFF", "ERROR".
    pub status: String,
    /// What Nova does with it now: "spawning".
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    pub task: Option<String>,
    /// Why it is in error.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// By network: its addresses.
    #[serde(default)]
    pub addresses: BTreeMap<String, Vec<Address>>,
    /// The flavor that it was made with.
    #[serde(default)]
    pub flavor: Value,
    /// The image that it was made of.
    #[serde(default)]
    pub image: Value,
    /// Name of the key pair that may log in.
    #[serde(default)]
    pub key_name: Option<String>,
    /// Our mark, and what users note.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default)]
    pub created: String,
    /// When it ran first; never, where Nova could not build it.
    #[serde(default, rename = "OS-SRV-USG:launched_at")]
    pub launched_at: Option<String>,
}

/// Why an instance is in error, in Nova's words.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Fault {
    /// "No valid host was found."
    pub message: String,
}

/// An address of an instance.
#[derive(Debug, Clone, Deserialize)]
pub struct Address {
    /// The address.
    pub addr: std::net::IpAddr,
    /// "fixed" or "floating".
    #[serde(rename = "OS-EXT-IPS:type")]
    pub kind: String,
}

impl ListedServer {
    /// Its address of this kind: "fixed" or "floating".
    pub fn address(&self, kind: &str) -> Option<Ipv4Addr> {
        self.addresses.values().flatten().find_map(|address| match address.addr {
            std::net::IpAddr::V4(v4) if address.kind == kind => Some(v4),
            _ => None,
        })
    }

    /// Name of its flavor.
    pub fn flavor_name(&self) -> &str {
        self.flavor["original_name"].as_str().unwrap_or("?")
    }

    /// Why it is in error.
    pub fn fault_in_words(&self) -> ApiError {
        let message = self.fault.as_ref().map(|fault| fault.message.clone()).unwrap_or_default();
        ApiError::Fault { instance: self.name.clone(), message, scheduler: None }
    }

    /// Whether it is ours and was never built. One that ran may be in error, too, and has a disk that somebody needs.
    pub fn may_be_made_anew(&self) -> bool {
        self.is_ours() && self.status == "ERROR" && self.launched_at.is_none()
    }
}

impl Listed for ListedServer {
    fn id(&self) -> &Id {
        &self.id
    }

    fn is_ours(&self) -> bool {
        self.metadata.get(MARK_KEY).is_some_and(|mark| mark == MARK)
    }

    fn is_in_use(&self) -> bool {
        self.launched_at.is_some()
    }
}

/// All instances of the project.
pub fn all(session: &Session) -> Result<Vec<ListedServer>, ApiError> {
    list(session, "compute", "/servers/detail", "servers")
}

/// The instance called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedServer>, ApiError> {
    // Nova takes the name for a regular expression; what it finds is compared again.
    let path = format!("/servers/detail?name={}", encode(name));
    called(list(session, "compute", &path, "servers")?, name)
}

/// The same, found among all: a look at many asks once. Of very many Nova lists the newest only.
pub fn look_up(session: &Session, name: &str) -> Result<Option<ListedServer>, ApiError> {
    match called(all(session)?, name)? {
        None => find(session, name),
        found => Ok(found),
    }
}

fn called(found: Vec<ListedServer>, name: &str) -> Result<Option<ListedServer>, ApiError> {
    only(found.into_iter().filter(|server| server.name == name).collect(), Kind::Server, name)
}

/// The instance called `name`; an error where there is none.
pub fn get(session: &Session, name: &str) -> Result<ListedServer, ApiError> {
    needed(find(session, name)?, Kind::Server, name)
}

impl Server {
    fn body(&self, session: &Session) -> Result<Value, ApiError> {
        let image = needed(image::find(session, &self.image)?, Kind::Image, &self.image)?;
        let flavor = needed(flavor::find(session, &self.flavor)?, Kind::Flavor, &self.flavor)?;
        explain::too_small(&image, &flavor)?;
        let place = match &self.place {
            Place::Port(name) => json!({"port": needed(port::find(session, name)?, Kind::Port, name)?.entry.id}),
            Place::Network(name) => json!({"uuid": needed(network::find(session, name)?, Kind::Network, name)?.id}),
        };
        let mut body = json!({"name": self.name, "imageRef": image.id, "flavorRef": flavor.id, "networks": [place]});
        if let Some(key) = &self.key_pair {
            body["key_name"] = json!(key);
        }
        if !self.security_groups.is_empty() {
            body["security_groups"] = self.security_groups.iter().map(|name| json!({"name": name})).collect();
        }
        if self.marked {
            body["metadata"] = json!({MARK_KEY: MARK});
        }
        Ok(json!({"server": body}))
    }

    /// Asks Nova for it, once; Nova has taken the order, no more. There must be none of its name before.
    pub fn order(&self, session: &Session) -> Result<Id, ApiError> {
        #[derive(Deserialize)]
        struct Made {
            server: Entry,
        }
        let body = self.body(session)?;
        let make = || Ok(session.post::<Made>("compute", "/servers", &body)?.server.id);
        made_once(make, || Ok(find(session, &self.name)?.map(|found| found.id)))
    }
}

impl Resource for Server {
    fn kind(&self) -> Kind {
        Kind::Server
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        Ok(match look_up(session, &self.name)? {
            None => Comparison::Missing,
            Some(found) if found.may_be_made_anew() => Comparison::Differs("Nova could not build it".into()),
            Some(found) if found.status == "BUILD" => Comparison::Differs("it is being built".into()),
            Some(_) => Comparison::Same,
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        match find(session, &self.name)? {
            Some(found) if found.may_be_made_anew() => delete(session, &found.id)?,
            Some(_) => return Ok(()),
            None => {}
        }
        self.order(session).map(drop)
    }

    fn awaited(&self, session: &Session) -> Result<Option<String>, ApiError> {
        building(session, &self.name)
    }
}

/// What Nova still does with the instance called `name`; an error that says why when it failed.
pub fn building(session: &Session, name: &str) -> Result<Option<String>, ApiError> {
    // Asked again and again, by many at once: without details Nova asks Neutron nothing.
    let path = format!("/servers?status=BUILD&name={}", encode(name));
    let building: Vec<Entry> = list(session, "compute", &path, "servers")?;
    if building.iter().any(|server| server.name == name) {
        return Ok(Some("being built".into()));
    }
    let found = get(session, name)?;
    match found.status.as_str() {
        "BUILD" => Ok(Some(found.task.unwrap_or_else(|| "scheduling".into()))),
        "ERROR" => Err(found.fault_in_words()),
        _ => Ok(None),
    }
}

/// Takes an instance away and waits until it is gone.
pub fn delete(session: &Session, id: &Id) -> Result<(), ApiError> {
    session.delete("compute", &format!("/servers/{id}"))?;
    let end = Instant::now() + REMOVAL_LIMIT;
    while Instant::now() < end {
        match session.get::<Value>("compute", &format!("/servers/{id}")) {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
    Err(ApiError::unexpected("compute", format!("instance {id} is still there after {} s", REMOVAL_LIMIT.as_secs())))
}

/// Tells Nova to do something with an instance: "os-stop".
pub fn act(session: &Session, id: &Id, action: &str, argument: Value) -> Result<Value, ApiError> {
    session.post("compute", &format!("/servers/{id}/action"), &json!({action: argument}))
}

/// Where its console is in a browser.
pub fn console_url(session: &Session, id: &Id) -> Result<String, ApiError> {
    let body = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    let answer: Value = session.post("compute", &format!("/servers/{id}/remote-consoles"), &body)?;
    let url = answer["remote_console"]["url"].as_str();
    url.map(str::to_owned).ok_or_else(|| ApiError::unexpected("compute", "no address of a console"))
}

/// Removes the instance called `name`, if it is ours.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    if let Some(found) = find(session, name)?.filter(ListedServer::is_ours) {
        delete(session, &found.id)?;
    }
    Ok(Removed::Gone)
}
