//! Floating addresses, each at a port.

use super::{Comparison, Id, Kind, MARK, Removed, Resource, create, list, needed, network, port};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::Ipv4Addr;

/// A floating address, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIp {
    /// Name of the port that it leads to.
    pub port: String,
    /// The external network whose address it is.
    pub external: String,
}

/// A floating address that is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ListedFloatingIp {
    /// Its id.
    pub id: Id,
    /// The port that it leads to.
    #[serde(default, skip_serializing)]
    pub port_id: Option<Id>,
    /// The address itself.
    pub floating_ip_address: Ipv4Addr,
    /// Where the mark stands.
    #[serde(default)]
    pub description: Option<String>,
}

/// The floating address that leads to a port.
pub fn at(session: &Session, port: &Id) -> Result<Option<ListedFloatingIp>, ApiError> {
    let all: Vec<ListedFloatingIp> = list(session, "network", "/floatingips", "floatingips")?;
    Ok(all.into_iter().find(|found| found.port_id.as_ref() == Some(port)))
}

/// Takes a free address of `external` for a port.
pub fn allocate(session: &Session, external: &str, port: &Id, marked: bool) -> Result<ListedFloatingIp, ApiError> {
    let network = needed(network::find_external(session, external)?, Kind::Network, external)?.id;
    let body = json!({"floating_network_id": network, "port_id": port,
        "description": if marked { MARK } else { "" }});
    create(session, "network", "/floatingips", "floatingip", body, || at(session, port))
}

impl Resource for FloatingIp {
    fn kind(&self) -> Kind {
        Kind::FloatingIp
    }

    fn name(&self) -> &str {
        &self.port
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(port) = port::find(session, &self.port)? else { return Ok(Comparison::Missing) };
        Ok(if at(session, &port.entry.id)?.is_some() { Comparison::Same } else { Comparison::Missing })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let port = needed(port::find(session, &self.port)?, Kind::Port, &self.port)?;
        if at(session, &port.entry.id)?.is_none() {
            allocate(session, &self.external, &port.entry.id, true)?;
        }
        Ok(())
    }
}

/// Gives an address back.
pub fn give_back(session: &Session, found: &ListedFloatingIp) -> Result<(), ApiError> {
    session.delete("network", &format!("/floatingips/{}", found.id))
}

/// Gives the address at the port called `name` back, if it is ours.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    let Some(port) = port::find(session, name)? else { return Ok(Removed::Gone) };
    match at(session, &port.entry.id)? {
        Some(found) if found.description.as_deref() == Some(MARK) => give_back(session, &found)?,
        _ => {}
    }
    Ok(Removed::Gone)
}
