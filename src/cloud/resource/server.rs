//! Instances: made, looked at, told to do something, removed. What their faults mean: `cloud/explain.rs`.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, MARK_KEY, Removed, Resource, chosen, flavor, image, list, made_once,
    needed, network, only, port, together, volume, with_id,
};
use crate::cloud::explain;
use crate::cloud::id::encode;
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long Nova may take to take an instance away, and its volumes from it; in a virtual lab more than a minute.
const REMOVAL_LIMIT: Duration = Duration::from_secs(300);

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
    /// Size in GiB of the volume that it boots from, which is made of its image; without, it boots from a disk of the
    /// hypervisor's.
    pub boot_volume_gib: Option<u32>,
    /// Volumes that it has beside that; they outlive it.
    pub volumes: Vec<Id>,
    /// What it is told on a drive of its own, at most 48 KiB.
    pub user_data: Option<UserData>,
    /// Whether it carries our mark.
    pub marked: bool,
    /// What is noted of it in Nova beside that.
    pub metadata: BTreeMap<String, String>,
}

/// What an instance is told when it boots; it may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(pub Vec<u8>);

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
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
    /// The volumes that it has.
    #[serde(default, rename = "os-extended-volumes:volumes_attached")]
    pub volumes: Vec<AttachedVolume>,
}

/// A volume of an instance.
#[derive(Debug, Clone, Deserialize)]
pub struct AttachedVolume {
    /// Its id.
    pub id: Id,
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

    /// Why it is in error, where it is.
    pub fn fault(&self) -> Option<explain::Fault> {
        (self.status == "ERROR").then(|| {
            let message = self.fault.as_ref().map(|fault| fault.message.clone()).unwrap_or_default();
            let (name, id, created) = (self.name.clone(), self.id.clone(), self.created.clone());
            explain::Fault { name, id, created, message, log: None }
        })
    }

    /// Why it is in error.
    pub fn fault_in_words(&self) -> ApiError {
        match self.fault() {
            Some(fault) => ApiError::Fault(Box::new(fault)),
            None => ApiError::unexpected("compute", format!("instance {} is {}", self.name, self.status)),
        }
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

    fn particulars(&self) -> Option<String> {
        let addresses: Vec<String> =
            self.addresses.values().flatten().map(|address| address.addr.to_string()).collect();
        Some(format!("made {}, {}, {}", self.created, self.status, addresses.join(" ")))
    }
}

/// All instances of the project.
pub fn all(session: &Session) -> Result<Vec<ListedServer>, ApiError> {
    list(session, "compute", "/servers/detail", "servers")
}

/// Whether anybody has an instance made of the image with this id; an administrator is told.
pub fn is_made_of(session: &Session, image: &Id) -> Result<bool, ApiError> {
    let path = format!("/servers?all_tenants=1&limit=1&image={image}");
    let found: Vec<Value> = list(session, "compute", &path, "servers")?;
    Ok(!found.is_empty())
}

/// The instance called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedServer>, ApiError> {
    let path = format!("/servers/detail?name={}", encode(&pattern(name)));
    called(list(session, "compute", &path, "servers")?, name)
}

/// Nova takes the name in a list's condition for a regular expression (nova/db/main/api.py), and refuses what is none:
/// what may mean something in one becomes "anything". What is found is compared again.
fn pattern(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_ ".contains(c);
    name.chars().map(|c| if plain(c) { c.to_string() } else { ".*".to_owned() }).collect()
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

/// The instance with this id or name.
///
/// # Errors
/// There is none, or several have the name.
pub fn get(session: &Session, text: &str) -> Result<ListedServer, ApiError> {
    if let Some(found) = with_id(session, "compute", "/servers", Some("server"), text)? {
        return Ok(found);
    }
    match find(session, text)? {
        Some(found) => Ok(found),
        None => chosen(all(session)?, Kind::Server, text, |server| Some(&server.name)),
    }
}

/// What Nova is told to call the machine itself, where the host name that it makes of `name` would be refused: a DNS
/// label of ASCII letters, near to it.
fn host_name(name: &str) -> Option<String> {
    if name.is_ascii() {
        return None;
    }
    let plain = deunicode::deunicode(name).to_lowercase();
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let label: String = words.collect::<Vec<_>>().join("-").chars().take(63).collect();
    let label = label.trim_matches('-');
    Some(if label.is_empty() { "instance".to_owned() } else { label.to_owned() })
}

impl Server {
    /// In what somebody else's of this name is another one.
    fn difference(&self, session: &Session, found: &ListedServer) -> Result<Option<String>, ApiError> {
        let mut differences = Vec::new();
        if found.flavor_name() != self.flavor {
            differences.push(format!("it has flavor {} instead of {}", found.flavor_name(), self.flavor));
        }
        // Of one that boots from a volume Nova knows no image.
        let image = if self.boot_volume_gib.is_some() { None } else { image::find(session, &self.image)? };
        if image.is_some_and(|image| found.image["id"].as_str() != Some(image.id.as_str())) {
            differences.push(format!("it was not made of image {}", self.image));
        }
        if let Some(key) = self.key_pair.as_ref().filter(|key| found.key_name.as_ref() != Some(key)) {
            differences.push(format!("key pair {key} does not lead in"));
        }
        Ok(together(differences))
    }

    fn body(&self, session: &Session) -> Result<Value, ApiError> {
        let image = image::get(session, &self.image)?;
        let flavor = flavor::get(session, &self.flavor)?;
        if self.boot_volume_gib.is_none() {
            explain::too_small(&image, &flavor)?;
        }
        if (self.boot_volume_gib.is_some() || !self.volumes.is_empty()) && !volume::is_offered(session) {
            return Err(ApiError::NoVolumes);
        }
        let place = match &self.place {
            Place::Port(name) => json!({"port": needed(port::find(session, name)?, Kind::Port, name)?.entry.id}),
            Place::Network(name) => json!({"uuid": network::get(session, name)?.id}),
        };
        let mut body = json!({"name": self.name, "flavorRef": flavor.id, "networks": [place]});
        let boots_from = match self.boot_volume_gib {
            None => {
                body["imageRef"] = json!(image.id);
                json!({"boot_index": 0, "source_type": "image", "uuid": image.id, "destination_type": "local",
                    "delete_on_termination": true})
            }
            Some(size) => json!({"boot_index": 0, "source_type": "image", "uuid": image.id,
                "destination_type": "volume", "volume_size": size, "delete_on_termination": true}),
        };
        let beside = self.volumes.iter().map(|id| {
            json!({"boot_index": -1, "source_type": "volume", "uuid": id, "destination_type": "volume",
                "delete_on_termination": false})
        });
        // One that boots from its image and has nothing beside it is known by `imageRef` alone.
        if self.boot_volume_gib.is_some() || !self.volumes.is_empty() {
            body["block_device_mapping_v2"] = std::iter::once(boots_from).chain(beside).collect();
        }
        if let Some(host_name) = host_name(&self.name) {
            body["hostname"] = json!(host_name);
        }
        if let Some(key) = &self.key_pair {
            body["key_name"] = json!(key);
        }
        if !self.security_groups.is_empty() {
            body["security_groups"] = self.security_groups.iter().map(|name| json!({"name": name})).collect();
        }
        if let Some(UserData(bytes)) = &self.user_data {
            body["config_drive"] = json!(true);
            body["user_data"] = json!(BASE64.encode(bytes));
        }
        let mark = self.marked.then(|| (MARK_KEY.to_owned(), MARK.to_owned()));
        let metadata: BTreeMap<_, _> = self.metadata.clone().into_iter().chain(mark).collect();
        if !metadata.is_empty() {
            body["metadata"] = json!(metadata);
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
            // Users may have resized ours.
            Some(found) if found.is_ours() => Comparison::Same,
            Some(found) => Comparison::of(false, self.difference(session, &found)?),
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
    let path = format!("/servers?status=BUILD&name={}", encode(&pattern(name)));
    let building: Vec<Entry> = list(session, "compute", &path, "servers")?;
    if building.iter().any(|server| server.name == name) {
        return Ok(Some("being built".into()));
    }
    built(session, name)
}

/// The names of all that Nova builds. Without details it asks Neutron nothing.
pub fn all_building(session: &Session) -> Result<Vec<String>, ApiError> {
    let building: Vec<Entry> = list(session, "compute", "/servers?status=BUILD", "servers")?;
    Ok(building.into_iter().map(|server| server.name).collect())
}

/// The same as [`building`] for one that Nova may have built.
pub fn built(session: &Session, name: &str) -> Result<Option<String>, ApiError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_makes_no_host_name_gets_one() {
        for (name, host) in [("Größe 1", "grosse-1"), ("北京", "bei-jing"), ("-é-", "e"), ("\u{200b}", "instance")]
        {
            assert_eq!(host_name(name).as_deref(), Some(host), "{name}");
        }
        assert_eq!(host_name("node.1 (old)"), None, "Nova makes one of it");
        let long = host_name(&"ü".repeat(200)).unwrap();
        assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
    }

    #[test]
    fn a_name_is_no_regular_expression() {
        assert_eq!(pattern("test (1)+"), "test .*1.*.*");
        assert_eq!(pattern("Größe-1"), "Gr.*.*e-1");
    }
}
