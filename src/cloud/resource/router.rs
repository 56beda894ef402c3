//! Routers with their gateway and interfaces.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, Removed, Resource, create, list, named, needed, network, ours_named,
};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::Deserialize;
use serde_json::{Value, json};

/// A router, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// "router1".
    pub name: String,
    /// The external network that is its gateway.
    pub external: String,
    /// Networks that it connects.
    pub networks: Vec<String>,
}

#[derive(Deserialize)]
struct ListedRouter {
    #[serde(flatten)]
    entry: Entry,
    external_gateway_info: Option<Gateway>,
}

#[derive(Deserialize)]
struct Gateway {
    network_id: Id,
}

#[derive(Deserialize)]
struct Interface {
    network_id: Id,
    fixed_ips: Vec<FixedIp>,
}

#[derive(Deserialize)]
struct FixedIp {
    subnet_id: Id,
}

impl AsRef<Entry> for ListedRouter {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

impl Listed for ListedRouter {
    fn id(&self) -> &Id {
        &self.entry.id
    }

    fn is_ours(&self) -> bool {
        self.entry.is_ours()
    }
}

fn find(session: &Session, name: &str) -> Result<Option<ListedRouter>, ApiError> {
    named(session, "routers", Kind::Router, name)
}

fn interfaces(session: &Session, router: &Id) -> Result<Vec<Interface>, ApiError> {
    let path = format!("/ports?device_id={router}&device_owner=network:router_interface");
    list(session, "network", &path, "ports")
}

impl Router {
    /// Networks that it does not connect, each with whether that is ours to do: router and network are.
    fn unconnected(&self, session: &Session, found: &ListedRouter) -> Result<Vec<(&str, bool)>, ApiError> {
        let present = interfaces(session, &found.entry.id)?;
        let mut unconnected = Vec::new();
        for name in &self.networks {
            let network = needed(network::find(session, name)?, Kind::Network, name)?;
            if !present.iter().any(|interface| interface.network_id == network.id) {
                unconnected.push((name.as_str(), found.entry.is_ours() && network.is_ours()));
            }
        }
        Ok(unconnected)
    }

    fn compared(&self, session: &Session, found: &ListedRouter) -> Result<Comparison, ApiError> {
        let external = network::find_external(session, &self.external)?.map(|network| network.id);
        let gateway = found.external_gateway_info.as_ref().map(|gateway| &gateway.network_id);
        if gateway.is_none() || (!found.entry.is_ours() && gateway != external.as_ref()) {
            let how = format!("{} is not its gateway", self.external);
            return Ok(Comparison::of(found.entry.is_ours(), Some(how)));
        }
        let mut unconnected = self.unconnected(session, found)?;
        // What is to be done comes first: the rest is only told.
        unconnected.sort_by_key(|(_, to_do)| !to_do);
        Ok(match unconnected.first() {
            Some((name, false)) if found.entry.is_ours() => {
                Comparison::Fixed(format!("it does not connect {name}, which is somebody else's"))
            }
            Some((name, to_do)) => Comparison::of(*to_do, Some(format!("it does not connect {name}"))),
            None => Comparison::Same,
        })
    }
}

impl Resource for Router {
    fn kind(&self) -> Kind {
        Kind::Router
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = find(session, &self.name)? else { return Ok(Comparison::Missing) };
        match self.compared(session, &found) {
            Err(ApiError::Missing { kind, name, .. }) => Ok(Comparison::Later(format!("when {kind} {name} is there"))),
            compared => compared,
        }
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let external = needed(network::find_external(session, &self.external)?, Kind::Network, &self.external)?.id;
        let gateway = json!({"network_id": external});
        let found = match find(session, &self.name)? {
            Some(found) => found,
            None => {
                let body = json!({"name": self.name, "description": MARK, "external_gateway_info": gateway});
                create(session, "network", "/routers", "router", body, || find(session, &self.name))?
            }
        };
        let path = format!("/routers/{}", found.entry.id);
        let wrong = found.external_gateway_info.as_ref().is_none_or(|gateway| gateway.network_id != external);
        if wrong && found.entry.is_ours() {
            session.set("network", &path, &json!({"router": {"external_gateway_info": gateway}}))?;
        }
        for (name, _) in self.unconnected(session, &found)?.into_iter().filter(|(_, to_do)| *to_do) {
            let network = needed(network::find(session, name)?, Kind::Network, name)?;
            let subnets = network::subnets(session, &network.id)?;
            let subnet = needed(subnets.into_iter().next(), Kind::Network, name)?;
            session.set("network", &format!("{path}/add_router_interface"), &json!({"subnet_id": subnet.id}))?;
        }
        Ok(())
    }
}

/// Removes the router called `name`, if it is ours and no floating address needs it.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    let ours: Option<ListedRouter> = ours_named(session, "routers", Kind::Router, name)?;
    let Some(found) = ours else { return Ok(Removed::Gone) };
    let path = format!("/routers/{}", found.entry.id);
    let interfaces = interfaces(session, &found.entry.id)?;
    let ours: Vec<Entry> = list(session, "network", "/networks", "networks")?;
    let ours: Vec<Id> = ours.into_iter().filter(Entry::is_ours).map(|network| network.id).collect();
    if interfaces.iter().any(|interface| !ours.contains(&interface.network_id)) {
        return Ok(Removed::Kept(format!("router {name}: a network that we did not make is connected to it")));
    }
    for fixed in interfaces.into_iter().flat_map(|interface| interface.fixed_ips) {
        let body: Value = json!({"subnet_id": fixed.subnet_id});
        session.set("network", &format!("{path}/remove_router_interface"), &body)?;
    }
    session.delete("network", &path)?;
    Ok(Removed::Gone)
}
