//! Ports: made before the instance, so that its floating address does not wait for it.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, Removed, Resource, create, named, needed, network, ours_named,
    security_group,
};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::Deserialize;
use serde_json::json;
use std::net::Ipv4Addr;

/// An instance's place in a network, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The instance's name.
    pub name: String,
    /// Name of its network.
    pub network: String,
    /// Names of its security groups; none: the project's default.
    pub security_groups: Vec<String>,
    /// Its address; without, Neutron gives one.
    pub address: Option<Ipv4Addr>,
}

/// A port that is there.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedPort {
    /// Id, name, mark.
    #[serde(flatten)]
    pub entry: Entry,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// Its security groups.
    #[serde(default)]
    pub security_groups: Vec<Id>,
    /// Whether its security groups are asked at all.
    #[serde(default)]
    pub port_security_enabled: Option<bool>,
    /// Its network.
    #[serde(default)]
    pub network_id: Option<Id>,
    /// The instance that has it; "" for none.
    #[serde(default)]
    pub device_id: String,
}

/// An address of a port.
#[derive(Debug, Clone, Deserialize)]
pub struct FixedIp {
    /// The address.
    pub ip_address: std::net::IpAddr,
}

impl ListedPort {
    /// Its address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.fixed_ips.iter().find_map(|fixed| match fixed.ip_address {
            std::net::IpAddr::V4(address) => Some(address),
            std::net::IpAddr::V6(_) => None,
        })
    }
}

/// A port that this machine itself is to have, with what its link needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OwnPort {
    /// Its hardware address.
    pub mac_address: String,
    /// "ACTIVE" once OVN has it on this machine.
    pub status: String,
    /// The machine that it is bound to; only an administrator is told.
    #[serde(default, rename = "binding:host_id")]
    pub host: String,
}

/// What Neutron says of the port with this id.
pub fn own(session: &Session, id: &Id) -> Result<OwnPort, ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        port: OwnPort,
    }
    Ok(session.get::<Answer>("network", &format!("/ports/{id}"))?.port)
}

/// Binds a port to the machine that Neutron knows by the name `host`; only an administrator may.
pub fn bind(session: &Session, id: &Id, host: &str) -> Result<(), ApiError> {
    let body = json!({"port": {"binding:host_id": host, "device_owner": "gpucloud:portal"}});
    session.put("network", &format!("/ports/{id}"), Some(&body))
}

impl AsRef<Entry> for ListedPort {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

impl Listed for ListedPort {
    fn id(&self) -> &Id {
        &self.entry.id
    }

    fn is_ours(&self) -> bool {
        self.entry.is_ours()
    }

    fn is_in_use(&self) -> bool {
        !self.device_id.is_empty()
    }
}

/// The port called `name`.
pub fn find(session: &Session, name: &str) -> Result<Option<ListedPort>, ApiError> {
    named(session, "ports", Kind::Port, name)
}

/// Ports of the instance with this id.
pub fn of_device(session: &Session, server: &Id) -> Result<Vec<ListedPort>, ApiError> {
    let all: Vec<ListedPort> = super::list(session, "network", "/ports", "ports")?;
    Ok(all.into_iter().filter(|port| port.device_id == server.as_str()).collect())
}

impl Resource for Port {
    fn kind(&self) -> Kind {
        Kind::Port
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = find(session, &self.name)? else { return Ok(Comparison::Missing) };
        let network = network::find(session, &self.network)?;
        let elsewhere = network.filter(|network| found.network_id.as_ref().is_some_and(|id| *id != network.id));
        let how = elsewhere.map(|network| format!("it is not in network {}", network.name));
        Ok(how.map_or(Comparison::Same, if found.is_ours() { Comparison::Fixed } else { Comparison::Foreign }))
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        if find(session, &self.name)?.is_some() {
            return Ok(());
        }
        let network = needed(network::find(session, &self.network)?, Kind::Network, &self.network)?.id;
        let mut body = json!({"name": self.name, "description": MARK, "network_id": network});
        if !self.security_groups.is_empty() {
            let groups: Result<Vec<Id>, ApiError> =
                self.security_groups.iter().map(|name| security_group::id_of(session, name)).collect();
            body["security_groups"] = json!(groups?);
        }
        if let Some(address) = self.address {
            body["fixed_ips"] = json!([{"ip_address": address}]);
        }
        create(session, "network", "/ports", "port", body, || find(session, &self.name)).map(drop)
    }
}

/// Removes the port called `name`, if it is ours and no instance has it.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    match ours_named::<ListedPort>(session, "ports", Kind::Port, name)? {
        Some(found) if found.is_in_use() => Ok(Removed::Kept(format!("port {name}: an instance has it"))),
        Some(found) => {
            session.delete("network", &format!("/ports/{}", found.entry.id))?;
            Ok(Removed::Gone)
        }
        None => Ok(Removed::Gone),
    }
}
