//! Networks, each with its subnet.

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, Removed, Resource, called, chosen, create, forget, list, named,
    ours_named,
};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};

/// A network with one subnet, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// "private".
    pub name: String,
    /// Addresses of its instances.
    pub subnet: Ipv4Net,
    /// Name servers that DHCP tells.
    pub dns: Vec<Ipv4Addr>,
    /// Set for the cloud's way to the world.
    pub external: Option<External>,
}

/// What the external network has beyond others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// What Open vSwitch maps to the bridge: "public".
    pub physical: String,
    /// Its router as instances see it.
    pub gateway: Ipv4Addr,
    /// First and last floating address.
    pub pool: (Ipv4Addr, Ipv4Addr),
}

/// The network called `name`, own ones and external.
pub fn find(session: &Session, name: &str) -> Result<Option<Entry>, ApiError> {
    named(session, "networks", Kind::Network, name)
}

/// The network with this id or name.
///
/// # Errors
/// There is none, or several have the name.
pub fn get(session: &Session, text: &str) -> Result<Entry, ApiError> {
    chosen(list(session, "network", "/networks", "networks")?, Kind::Network, text, |network: &Entry| {
        Some(&network.name)
    })
}

/// The largest packet of a network, in bytes.
pub fn mtu(session: &Session, id: &Id) -> Result<u32, ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        network: Size,
    }
    #[derive(Deserialize)]
    struct Size {
        mtu: u32,
    }
    Ok(session.get::<Answer>("network", &format!("/networks/{id}"))?.network.mtu)
}

/// The external network called `name`.
pub fn find_external(session: &Session, name: &str) -> Result<Option<Entry>, ApiError> {
    called(list(session, "network", "/networks?router:external=true", "networks")?, Kind::Network, name)
}

/// A subnet that is there.
#[derive(Debug, Clone, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: Id,
    network_id: Id,
    #[serde(default)]
    cidr: Option<IpNet>,
    #[serde(default)]
    gateway_ip: Option<IpAddr>,
}

/// The subnets of a network.
pub fn subnets(session: &Session, network: &Id) -> Result<Vec<Subnet>, ApiError> {
    let all: Vec<Subnet> = list(session, "network", "/subnets", "subnets")?;
    Ok(all.into_iter().filter(|subnet| subnet.network_id == *network).collect())
}

impl Resource for Network {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = self.find(session)? else { return Ok(Comparison::Missing) };
        let subnets = subnets(session, &found.id)?;
        Ok(match self.difference(&subnets) {
            // A subnet's addresses cannot be changed.
            Some(how) if found.is_ours() && !subnets.is_empty() => Comparison::Fixed(how),
            difference => Comparison::of(found.is_ours(), difference),
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let found = match self.find(session)? {
            Some(found) if !found.is_ours() => return Ok(()),
            Some(found) => found,
            None => self.create(session)?,
        };
        if subnets(session, &found.id)?.is_empty() {
            self.create_subnet(session, &found.id)?;
        }
        Ok(())
    }
}

impl Network {
    /// An administrator is shown every project's networks.
    fn find(&self, session: &Session) -> Result<Option<Entry>, ApiError> {
        if self.external.is_some() { find_external(session, &self.name) } else { find(session, &self.name) }
    }

    fn difference(&self, subnets: &[Subnet]) -> Option<String> {
        if subnets.is_empty() {
            return Some("it has no subnet".into());
        }
        let cidrs = || subnets.iter().filter_map(|subnet| subnet.cidr);
        // One that is a part of what is declared gives the addresses that were meant: DevStack cuts its own so.
        let declared = IpNet::V4(self.subnet.trunc());
        let part = |subnet: &&Subnet| subnet.cidr.is_some_and(|net| declared.contains(&net));
        let Some(subnet) = subnets.iter().find(part) else {
            let have: Vec<String> = cidrs().map(|net| net.to_string()).collect();
            return Some(format!("its subnet is {} instead of {}", have.join(" and "), declared));
        };
        let wanted = IpAddr::V4(self.external.as_ref()?.gateway);
        let gateway = subnet.gateway_ip.filter(|gateway| *gateway != wanted)?;
        Some(format!("its gateway is {gateway} instead of {wanted}"))
    }

    fn create(&self, session: &Session) -> Result<Entry, ApiError> {
        let mut body = json!({"name": self.name, "description": MARK});
        if let Some(external) = &self.external {
            body["router:external"] = json!(true);
            body["provider:network_type"] = json!("flat");
            body["provider:physical_network"] = json!(external.physical);
        }
        create(session, "network", "/networks", "network", body, || self.find(session))
    }

    fn create_subnet(&self, session: &Session, network: &Id) -> Result<(), ApiError> {
        let mut body = json!({"name": format!("{}-subnet", self.name), "description": MARK, "network_id": network,
            "ip_version": 4, "cidr": self.subnet, "dns_nameservers": self.dns});
        if let Some(external) = &self.external {
            let (start, end) = external.pool;
            body["enable_dhcp"] = json!(false);
            body["gateway_ip"] = json!(external.gateway);
            body["allocation_pools"] = json!([{"start": start, "end": end}]);
        }
        let find = || Ok(subnets(session, network)?.into_iter().next());
        create::<Subnet>(session, "network", "/subnets", "subnet", body, find).map(drop)
    }
}

/// Removes the network called `name` with its subnets, if it is ours and nobody uses it.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    let ours: Option<Entry> = ours_named(session, "networks", Kind::Network, name)?;
    forget(session, "network", "networks", ours.map(|entry| entry.id))
}
