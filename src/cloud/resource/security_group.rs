//! Security groups with their rules, as the API has them; their text is read in `config/rule.rs` (`Rule`).

use super::{
    Comparison, Entry, Id, Kind, Listed, MARK, Removed, Resource, create, forget, named, ours_named, together,
};
use crate::cloud::{ApiError, Session};
use crate::config::rule::{Direction, Family, Protocol, Rule};
use crate::host::Host;
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// A security group, as it is wanted. Rules that users add stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// "ssh".
    pub name: String,
    /// What it lets through.
    pub rules: Vec<Rule>,
    /// Whether it has these alone: Neutron gives each new group everything out, and users may add what they like.
    pub alone: bool,
}

#[derive(Deserialize)]
struct ListedSecurityGroup {
    #[serde(flatten)]
    entry: Entry,
    security_group_rules: Vec<FoundRule>,
}

#[derive(Deserialize)]
struct FoundRule {
    id: Id,
    direction: String,
    ethertype: String,
    protocol: Option<String>,
    port_range_min: Option<u16>,
    port_range_max: Option<u16>,
    remote_ip_prefix: Option<String>,
    remote_group_id: Option<Id>,
    #[serde(default)]
    remote_address_group_id: Option<Id>,
}

impl AsRef<Entry> for ListedSecurityGroup {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

impl Listed for ListedSecurityGroup {
    fn id(&self) -> &Id {
        &self.entry.id
    }

    fn is_ours(&self) -> bool {
        self.entry.is_ours()
    }
}

fn find(session: &Session, name: &str) -> Result<Option<ListedSecurityGroup>, ApiError> {
    named(session, "security_groups", Kind::SecurityGroup, name)
}

/// The id of the group called `name`.
pub fn id_of(session: &Session, name: &str) -> Result<Id, ApiError> {
    super::needed(find(session, name)?.map(|found| found.entry.id), Kind::SecurityGroup, name)
}

/// Whether one of these groups lets `from` in on a TCP port. (A rule for members of a group does not.)
pub fn let_in(session: &Session, groups: &[Id], port: u16, from: Ipv4Addr) -> Result<bool, ApiError> {
    let all: Vec<ListedSecurityGroup> = super::list(session, "network", "/security-groups", "security_groups")?;
    let of_these = all.iter().filter(|found| groups.contains(&found.entry.id));
    Ok(of_these.flat_map(|found| &found.security_group_rules).any(|rule| rule.lets_in(port, from)))
}

impl FoundRule {
    fn lets_in(&self, port: u16, from: Ipv4Addr) -> bool {
        let net = self.remote_ip_prefix.as_deref().map(str::parse::<Ipv4Net>);
        let ports = self.port_range_min.unwrap_or(0)..=self.port_range_max.unwrap_or(u16::MAX);
        self.direction == "ingress"
            && self.ethertype == "IPv4"
            && self.remote_group_id.is_none()
            && self.remote_address_group_id.is_none()
            && matches!(self.protocol.as_deref(), None | Some("tcp" | "6"))
            && ports.contains(&port)
            && net.is_none_or(|net| net.is_ok_and(|net| net.contains(&from)))
    }

    /// The same as we would write it; `None` for one that we cannot write (of a group's members, of SCTP).
    fn as_rule(&self) -> Option<Rule> {
        let family = if self.ethertype == "IPv6" { Family::V6 } else { Family::V4 };
        let remote = self.remote_ip_prefix.as_deref().map(str::parse::<IpNet>).transpose().ok()?;
        Some(Rule {
            direction: if self.direction == "ingress" { Direction::In } else { Direction::Out },
            family,
            protocol: Protocol::of_api(self.protocol.as_deref())?,
            ports: self.port_range_min.zip(self.port_range_max),
            remote: remote.filter(|net| net.prefix_len() > 0),
        })
        .filter(|_| self.remote_group_id.is_none() && self.remote_address_group_id.is_none())
    }

    /// Neutron gives both to each new group: everything out.
    fn is_neutrons_own(&self) -> bool {
        self.as_rule().is_some_and(|rule| {
            let Rule { direction, protocol, ports, remote, .. } = rule;
            (direction, protocol, ports, remote) == (Direction::Out, Protocol::Any, None, None)
        })
    }

    fn in_words(&self) -> String {
        let protocol = self.protocol.as_deref().unwrap_or("any");
        self.as_rule().map_or_else(|| format!("{} {protocol} of a group", self.direction), |rule| rule.to_string())
    }
}

impl Direction {
    fn api(self) -> &'static str {
        match self {
            Direction::In => "ingress",
            Direction::Out => "egress",
        }
    }
}

impl Family {
    fn api(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

impl Protocol {
    fn api(self, family: Family) -> Option<&'static str> {
        match (self, family) {
            (Protocol::Any, _) => None,
            (Protocol::Tcp, _) => Some("tcp"),
            (Protocol::Udp, _) => Some("udp"),
            (Protocol::Icmp, Family::V4) => Some("icmp"),
            (Protocol::Icmp, Family::V6) => Some("ipv6-icmp"),
        }
    }

    /// Neutron takes numbers and older names, too, and keeps them (neutron/db/securitygroups_db.py).
    fn of_api(name: Option<&str>) -> Option<Self> {
        Some(match name {
            None | Some("any") => Protocol::Any,
            Some("tcp" | "6") => Protocol::Tcp,
            Some("udp" | "17") => Protocol::Udp,
            Some("icmp" | "1" | "icmpv6" | "ipv6-icmp" | "58") => Protocol::Icmp,
            Some(_) => return None,
        })
    }
}

fn body(group: &Id, rule: &Rule) -> Value {
    json!({"security_group_id": group, "direction": rule.direction.api(), "ethertype": rule.family.api(),
        "protocol": rule.protocol.api(rule.family), "port_range_min": rule.ports.map(|p| p.0),
        "port_range_max": rule.ports.map(|p| p.1), "remote_ip_prefix": rule.remote, "description": MARK})
}

impl SecurityGroup {
    /// Rules that it does not have, each once.
    fn missing(&self, found: &ListedSecurityGroup) -> Vec<&Rule> {
        let mut missing: Vec<&Rule> = Vec::new();
        for rule in &self.rules {
            if !missing.contains(&rule)
                && !found.security_group_rules.iter().any(|have| have.as_rule().as_ref() == Some(rule))
            {
                missing.push(rule);
            }
        }
        missing
    }

    /// Rules that it must not have.
    fn surplus<'a>(&self, found: &'a ListedSecurityGroup) -> Vec<&'a FoundRule> {
        let is_wanted = |have: &FoundRule| have.as_rule().is_some_and(|rule| self.rules.contains(&rule));
        found.security_group_rules.iter().filter(|have| self.alone && !is_wanted(have)).collect()
    }

    /// In what somebody else's is another one: rules that it has beyond these let in whom nobody declared.
    fn difference(&self, found: &ListedSecurityGroup) -> Option<String> {
        let misses = self.missing(found).into_iter().map(|rule| format!("it misses the rule \"{rule}\""));
        let more = found
            .security_group_rules
            .iter()
            .filter(|have| !have.is_neutrons_own() && !have.as_rule().is_some_and(|rule| self.rules.contains(&rule)));
        together(misses.chain(more.map(|have| format!("it has the rule \"{}\"", have.in_words()))).collect())
    }
}

impl Resource for SecurityGroup {
    fn kind(&self) -> Kind {
        Kind::SecurityGroup
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = find(session, &self.name)? else { return Ok(Comparison::Missing) };
        if !found.entry.is_ours() {
            return Ok(Comparison::of(false, self.difference(&found)));
        }
        let misses = self.missing(&found).first().map(|rule| format!("it misses the rule \"{rule}\""));
        let more = self.surplus(&found).first().map(|rule| format!("it has the rule \"{}\"", rule.in_words()));
        Ok(Comparison::of(true, misses.or(more)))
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let found = match find(session, &self.name)? {
            Some(found) if !found.entry.is_ours() => return Ok(()),
            Some(found) => found,
            None => {
                let body = json!({"name": self.name, "description": MARK});
                create(session, "network", "/security-groups", "security_group", body, || find(session, &self.name))?
            }
        };
        let bodies: Vec<Value> = self.missing(&found).into_iter().map(|rule| body(&found.entry.id, rule)).collect();
        if !bodies.is_empty() {
            let all = json!({"security_group_rules": bodies});
            session.post::<Value>("network", "/security-group-rules", &all)?;
        }
        let remove = |rule: &&FoundRule| session.delete("network", &format!("/security-group-rules/{}", rule.id));
        self.surplus(&found).iter().try_for_each(remove)
    }
}

/// Removes the group called `name`, if it is ours and no port has it.
pub fn remove(session: &Session, name: &str) -> Result<Removed, ApiError> {
    let ours: Option<ListedSecurityGroup> = ours_named(session, "security_groups", Kind::SecurityGroup, name)?;
    forget(session, "network", "security-groups", ours.map(|found| found.entry.id))
}
