//! Rules of security groups as text: "in tcp 22", "out any", "in tcp 80 from 192.0.2.0/24". What the API calls them:
//! `cloud/resource/security_group.rs`.

use super::values::as_text;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Which way a rule of a security group lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the instance.
    In,
    /// From the instance.
    Out,
}

/// What a rule of a security group lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Everything.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP: ping.
    Icmp,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// Which way.
    pub direction: Direction,
    /// What.
    pub protocol: Protocol,
    /// First and last port; all where there is none.
    pub ports: Option<(u16, u16)>,
    /// Only from or to these addresses.
    pub remote: Option<Ipv4Net>,
}

impl Rule {
    /// Whether it lets `from` in on a TCP port.
    pub fn lets_in(&self, port: u16, from: std::net::Ipv4Addr) -> bool {
        self.direction == Direction::In
            && matches!(self.protocol, Protocol::Any | Protocol::Tcp)
            && self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
            && self.remote.is_none_or(|net| net.contains(&from))
    }
}

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rule like \"in tcp 22\", \"in icmp\", \"out any from 192.0.2.0/24\"");
        let mut words = text.split_whitespace().peekable();
        let direction = match words.next() {
            Some("in") => Direction::In,
            Some("out") => Direction::Out,
            _ => return Err(wrong()),
        };
        let protocol = match words.next() {
            Some("any") => Protocol::Any,
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("icmp") => Protocol::Icmp,
            _ => return Err(wrong()),
        };
        let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
        let ports = match words.next_if(|word| has_ports && !matches!(*word, "from" | "to")) {
            Some(word) => Some(ports(word).ok_or_else(wrong)?),
            None => None,
        };
        let remote = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            // Neutron, too, takes everywhere for no condition.
            (Some("from" | "to"), Some(net), None) => {
                Some(net.parse::<Ipv4Net>().map_err(|_| wrong())?.trunc()).filter(|net| net.prefix_len() > 0)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { direction, protocol, ports, remote })
    }
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (direction, preposition) = if self.direction == Direction::In { ("in", "from") } else { ("out", "to") };
        let protocol = match self.protocol {
            Protocol::Any => "any",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        };
        write!(f, "{direction} {protocol}")?;
        match self.ports {
            Some((first, last)) if first == last => write!(f, " {first}")?,
            Some((first, last)) => write!(f, " {first}-{last}")?,
            None => {}
        }
        self.remote.map_or(Ok(()), |net| write!(f, " {preposition} {net}"))
    }
}

as_text!(Rule);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_lets_in_whom_it_names() {
        let lets_in = |rule: &str, from: &str| rule.parse::<Rule>().unwrap().lets_in(22, from.parse().unwrap());
        assert!(lets_in("in tcp 22", "192.0.2.1") && lets_in("in any", "192.0.2.1"));
        assert!(lets_in("in tcp 20-30 from 192.0.2.0/24", "192.0.2.1"));
        assert!(!lets_in("in tcp 22 from 198.51.100.0/24", "192.0.2.1"));
        assert!(
            !lets_in("in tcp 80", "192.0.2.1")
                && !lets_in("out tcp 22", "192.0.2.1")
                && !lets_in("in icmp", "192.0.2.1")
        );
    }

    #[test]
    fn rules_are_read_and_written_back() {
        for text in ["in tcp 22", "in tcp 8000-8100 from 192.0.2.0/24", "in icmp", "out any", "out udp to 192.0.2.0/24"]
        {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for bad in
            ["", "tcp 22", "in tcp 0", "in tcp 9-1", "in icmp 8", "in tcp 22 from", "in tcp 22 from x", "in tcp 22 23"]
        {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?} was taken");
        }
    }
}
