//! An instance that somebody asks for by name: what is not said is the only one that there is. It blocks until the end
//! and tells how far it is to the [`Host`]'s observer: who runs it in a thread of a server gives it one of its own.

use super::ssh::{self, Reachability};
use crate::cloud::refusal;
use crate::cloud::resource::server::{self, Place, Server};
use crate::cloud::resource::{Entry, flavor, floating_ip, image, key_pair, list, port};
use crate::cloud::{ApiError, Id, Session, SharedSession};
use crate::config::resources::EXTERNAL;
use crate::failure::Failure;
use crate::host::{Host, Result as HostResult};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long Nova may take to build it; emulation and a first copy of its image take longest.
const BUILD_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(500);
/// How long an API may be away meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct LaunchRequest {
    /// Its name.
    pub name: String,
    /// Name of its image.
    pub image: Option<String>,
    /// Name of its flavor.
    pub flavor: Option<String>,
    /// Name of its network.
    pub network: Option<String>,
    /// Name of the key pair that may log in.
    pub key: Option<String>,
    /// Names of its security groups.
    pub security_groups: Vec<String>,
    /// Whether it gets an address that others can reach.
    pub floating_ip: bool,
    /// Size in GiB of the volume that it boots from.
    pub boot_volume_gib: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Launched {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// "ACTIVE".
    pub state: String,
    /// Its address in its network.
    pub address: Option<Ipv4Addr>,
    /// Its address for others.
    pub floating_ip: Option<Ipv4Addr>,
    /// Seconds until Nova had built it.
    pub built_after: f64,
    /// Seconds until it answered SSH.
    pub answered_after: Option<f64>,
}

/// Makes it, and waits until Nova has built it.
///
/// # Errors
/// Something that it needs is missing or not unique, or Nova's own fault.
pub fn launch(host: &Host, session: &SharedSession, order: &LaunchRequest) -> Result<Launched, Failure> {
    let begin = Instant::now();
    let name = order.name.as_str();
    let wanted = session.ask(|session| complete(session, order))?;
    let id = session.ask(|session| match server::find(session, name)? {
        Some(_) => Err(ApiError::Exists { kind: "an instance", name: name.to_owned() }),
        None => wanted.order(session),
    })?;
    wait_built(host, session, name)?;
    let built_after = begin.elapsed().as_secs_f64();
    let floating_ip = match order.floating_ip {
        true => Some(session.ask(|session| give_address(session, &id))?),
        false => None,
    };
    let found = session.ask(|session| server::get(session, name))?;
    Ok(Launched {
        name: name.to_owned(),
        id,
        address: found.address("fixed"),
        state: found.status,
        floating_ip,
        built_after,
        answered_after: None,
    })
}

impl Launched {
    /// Waits until it answers SSH; the hop at which the way to it ends, where it has an address.
    ///
    /// # Errors
    /// An API that does not answer, or a stop on request.
    pub fn wait(
        &mut self,
        host: &Host,
        session: &SharedSession,
        limit: Duration,
    ) -> Result<Option<Reachability>, Failure> {
        let Some(address) = self.floating_ip else { return Ok(None) };
        if let Err(hop) = session.ask(|session| ssh::address_of(session, &self.id))? {
            return Ok(Some(hop));
        }
        let begin = Instant::now();
        let hop = ssh::wait(host, &self.name, address, limit, || Ok(()))?;
        if matches!(hop, Reachability::Answers(_)) {
            self.answered_after = Some(self.built_after + begin.elapsed().as_secs_f64());
        }
        Ok(Some(hop))
    }
}

fn wait_built(host: &Host, session: &SharedSession, name: &str) -> HostResult<()> {
    host.wait_while(&format!("instance {name}"), BUILD_LIMIT, POLL, || {
        let go_on = || host.go_on().is_ok();
        let building = session.ask_patiently(PATIENCE, go_on, |session| server::building(session, name));
        Ok(building.map_err(|error| refusal::explained(host, error))?)
    })
}

/// A floating address at the first port of an instance.
fn give_address(session: &Session, id: &Id) -> Result<Ipv4Addr, ApiError> {
    let ports = port::of_device(session, id)?;
    let port = ports.first().ok_or_else(|| ApiError::unexpected("network", format!("instance {id} has no port")))?;
    Ok(floating_ip::allocate(session, EXTERNAL, &port.entry.id, false)?.floating_ip_address)
}

fn complete(session: &Session, order: &LaunchRequest) -> Result<Server, ApiError> {
    let images =
        || Ok(image::all(session)?.into_iter().filter(image::ListedImage::boots).filter_map(|i| i.name).collect());
    let flavors = || Ok(flavor::all(session)?.into_iter().map(|flavor| flavor.name).collect());
    let keys = || Ok(key_pair::all(session)?.into_iter().map(|key| key.name).collect());
    let networks = || {
        let own: Vec<Entry> = list(session, "network", "/networks?router:external=false", "networks")?;
        Ok(own.into_iter().map(|network| network.name).collect())
    };
    let image = the_only("image", &order.image, images)?;
    let flavor = the_only("flavor", &order.flavor, flavors)?;
    let network = the_only("network", &order.network, networks)?;
    let key_pair = the_only("key", &order.key, keys)?;
    let security_groups = match order.security_groups.is_empty() {
        true => only_group(session)?,
        false => order.security_groups.clone(),
    };
    Ok(Server {
        name: order.name.clone(),
        image,
        flavor,
        place: Place::Network(network),
        security_groups,
        key_pair: Some(key_pair),
        boot_volume_gib: order.boot_volume_gib,
        volumes: Vec::new(),
        user_data: None,
        marked: false,
        metadata: BTreeMap::new(),
    })
}

/// The project's own group, where there is one beside the one that lets nobody in.
fn only_group(session: &Session) -> Result<Vec<String>, ApiError> {
    let all: Vec<Entry> = list(session, "network", "/security-groups", "security_groups")?;
    let own: Vec<String> = all.into_iter().map(|group| group.name).filter(|name| name != "default").collect();
    Ok(if own.len() == 1 { own } else { Vec::new() })
}

/// What was said, else the only one that there is.
fn the_only(
    option: &'static str,
    said: &Option<String>,
    all: impl Fn() -> Result<Vec<String>, ApiError>,
) -> Result<String, ApiError> {
    if let Some(said) = said {
        return Ok(said.clone());
    }
    let mut all = all()?;
    match (all.len(), all.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) => Err(ApiError::NoneToChoose { kind: option }),
        (_, last) => {
            all.extend(last);
            all.sort();
            Err(ApiError::SeveralToChoose { kind: option, names: all })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_must_be_the_only_one() {
        let all = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(the_only("image", &None, || all(&["guest"])).unwrap(), "guest");
        assert_eq!(the_only("image", &Some("x".into()), || all(&[])).unwrap(), "x");
        let several = the_only("image", &None, || all(&["b", "a"])).unwrap_err().to_string();
        assert!(several.contains("a, b"), "{several}");
        assert!(the_only("image", &None, || all(&[])).is_err());
    }
}
