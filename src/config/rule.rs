//! Rules of security groups as text: "in tcp 22", "out any", "in tcp 80 from 192.0.2.0/24", "in tcp 22 from ::/0". What
//! the API calls them: `cloud/resource/security_group.rs`.
//!
//! Read as people write them: capitals, `ingress`, `22/tcp`, `8000:8100`, `ssh`, an address without a mask; written in
//! one form. A rule is about IPv4, unless it says an IPv6 network or `icmpv6`. A new protocol is a variant of
//! [`Protocol`] with its words here and its name there.

use super::values::{address_or_network, as_text};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

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
    /// ICMP of the rule's family: ping.
    Icmp,
}

/// Which packets a rule is about: Neutron's ethertype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// Which way.
    pub direction: Direction,
    /// IPv4 or IPv6.
    pub family: Family,
    /// What.
    pub protocol: Protocol,
    /// First and last port; all where there is none.
    pub ports: Option<(u16, u16)>,
    /// Only from or to these addresses.
    pub remote: Option<IpNet>,
}

impl Rule {
    /// Whether it lets `from` in on a TCP port.
    pub fn lets_in(&self, port: u16, from: std::net::Ipv4Addr) -> bool {
        self.direction == Direction::In
            && self.family == Family::V4
            && matches!(self.protocol, Protocol::Any | Protocol::Tcp)
            && self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
            && self.remote.is_none_or(|net| net.contains(&IpAddr::V4(from)))
    }
}

/// How a rule is made up, for whoever wrote another one.
const FORM: &str = "a rule is \"in tcp 22\", \"in udp 8000-8100 from 192.0.2.0/24\", \"in icmp\", \"out any\" or \"in tcp 22 \
                    from ::/0\" (IPv6)";
/// Words for "no condition".
const EVERYTHING: [&str; 4] = ["any", "all", "*", "anywhere"];
/// Names of ports that people write.
const PORTS: [(&str, u16); 5] = [("ssh", 22), ("dns", 53), ("http", 80), ("https", 443), ("rdp", 3389)];

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map_err(|wrong| format!("`{text}`: {wrong}; {FORM}"))
    }
}

fn read(text: &str) -> Result<Rule, String> {
    let lower = text.to_lowercase();
    let mut words = lower.split_whitespace().flat_map(parted).peekable();
    let direction = direction(words.next().ok_or("there is nothing in it")?)?;
    let (protocol, mut family) = protocol(words.next().ok_or("it does not say which protocol")?)?;
    let ports = match words.next_if(|word| !matches!(*word, "from" | "to")) {
        Some(word) => ports(protocol, word)?,
        None => None,
    };
    let remote = match (words.next(), words.next()) {
        (None, _) => None,
        (Some("from" | "to"), Some(place)) => remote(place, &mut family)?,
        (Some(word @ ("from" | "to")), None) => return Err(format!("there is no address behind `{word}`")),
        (Some(word), _) => return Err(format!("`{word}` is neither `from` nor `to`")),
    };
    match words.next() {
        Some(word) => Err(format!("`{word}` is too much")),
        None => Ok(Rule { direction, family: family.unwrap_or(Family::V4), protocol, ports, remote }),
    }
}

/// "tcp/22", "22/tcp" and "tcp:22" are two words, the protocol first; "port" says nothing.
fn parted(word: &str) -> impl Iterator<Item = &str> {
    let is_protocol = |word: &str| matches!(word, "tcp" | "udp");
    let (first, second) = match word.split_once(['/', ':']) {
        Some((protocol, port)) if is_protocol(protocol) => (protocol, Some(port)),
        Some((port, protocol)) if is_protocol(protocol) => (protocol, Some(port)),
        _ => (word, None),
    };
    std::iter::once(first).chain(second).filter(|word| !matches!(*word, "port" | "ports"))
}

fn direction(word: &str) -> Result<Direction, String> {
    match word {
        "in" | "ingress" | "inbound" | "incoming" => Ok(Direction::In),
        "out" | "egress" | "outbound" | "outgoing" => Ok(Direction::Out),
        "deny" | "drop" | "reject" | "block" => {
            Err(format!("`{word}`: rules of a security group only let through; what none lets through is dropped"))
        }
        _ => Err(format!("it begins with `in` or `out`, not with `{word}`")),
    }
}

fn protocol(word: &str) -> Result<(Protocol, Option<Family>), String> {
    match word {
        word if EVERYTHING.contains(&word) => Ok((Protocol::Any, None)),
        "tcp" => Ok((Protocol::Tcp, None)),
        "udp" => Ok((Protocol::Udp, None)),
        "icmp" | "icmpv4" | "ping" => Ok((Protocol::Icmp, None)),
        "icmpv6" | "icmp6" | "ipv6-icmp" => Ok((Protocol::Icmp, Some(Family::V6))),
        "from" | "to" => Err("it does not say which protocol; `any` is all of them".into()),
        word => Err(match port(word) {
            Some(port) => format!("`{word}` is a port: say `tcp {port}` or `udp {port}`"),
            None => format!("`{word}` is not one of tcp, udp, icmp, icmpv6, any"),
        }),
    }
}

fn port(word: &str) -> Option<u16> {
    let named = PORTS.iter().find(|(name, _)| *name == word).map(|(_, port)| *port);
    named.or_else(|| word.parse().ok().filter(|port| *port > 0))
}

fn ports(protocol: Protocol, word: &str) -> Result<Option<(u16, u16)>, String> {
    if EVERYTHING.contains(&word) {
        return Ok(None);
    }
    match protocol {
        Protocol::Icmp => return Err(format!("`{word}`: icmp has no ports, and its types are not told apart here")),
        Protocol::Any => return Err(format!("`{word}`: only tcp and udp have ports; `any` is all protocols")),
        Protocol::Tcp | Protocol::Udp => {}
    }
    if word.contains([',', ';']) {
        return Err(format!("`{word}`: a rule has one port or one range; write one rule for each"));
    }
    let bad = || format!("`{word}` is no port and no range of ports (1 to 65535, 8000-8100)");
    let (first, last) = word.split_once(['-', ':', '–']).unwrap_or((word, word));
    let (first, last) = (port(first).ok_or_else(bad)?, port(last).ok_or_else(bad)?);
    if first <= last { Ok(Some((first, last))) } else { Err(format!("`{word}` ends before it begins")) }
}

/// Neutron, too, takes everywhere for no condition.
fn remote(word: &str, family: &mut Option<Family>) -> Result<Option<IpNet>, String> {
    if EVERYTHING.contains(&word) {
        return Ok(None);
    }
    let net = address_or_network(word)?.trunc();
    let of_net = if net.addr().is_ipv4() { Family::V4 } else { Family::V6 };
    if *family == Some(Family::V6) && of_net == Family::V4 {
        return Err(format!("`{word}` is IPv4, and icmpv6 is of IPv6; that of IPv4 is icmp"));
    }
    *family = Some(of_net);
    Ok(Some(net).filter(|net| net.prefix_len() > 0))
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (direction, preposition) = if self.direction == Direction::In { ("in", "from") } else { ("out", "to") };
        let protocol = match (self.protocol, self.family) {
            (Protocol::Any, _) => "any",
            (Protocol::Tcp, _) => "tcp",
            (Protocol::Udp, _) => "udp",
            (Protocol::Icmp, Family::V4) => "icmp",
            (Protocol::Icmp, Family::V6) => "icmpv6",
        };
        write!(f, "{direction} {protocol}")?;
        match self.ports {
            Some((first, last)) if first == last => write!(f, " {first}")?,
            Some((first, last)) => write!(f, " {first}-{last}")?,
            None => {}
        }
        match self.remote {
            Some(net) => write!(f, " {preposition} {net}"),
            None if self.family == Family::V6 && self.protocol != Protocol::Icmp => write!(f, " {preposition} ::/0"),
            None => Ok(()),
        }
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
        for not in ["in tcp 22 from 198.51.100.0/24", "in tcp 80", "out tcp 22", "in icmp", "in tcp 22 from ::/0"] {
            assert!(!lets_in(not, "192.0.2.1"), "{not}");
        }
    }

    #[test]
    fn rules_are_read_and_written_back() {
        for text in [
            "in tcp 22",
            "in tcp 8000-8100 from 192.0.2.0/24",
            "in icmp",
            "out any",
            "out udp to 192.0.2.0/24",
            "in icmpv6",
            "in icmpv6 from 2001:db8::/32",
            "in tcp 22 from ::/0",
            "out any to ::/0",
            "in tcp 22 from 203.0.113.5/32",
            "in udp 53 from 2001:db8::5/128",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn rules_are_read_as_people_write_them() {
        for (written, meant) in [
            ("in tcp 22 from 203.0.113.5", "in tcp 22 from 203.0.113.5/32"),
            ("in tcp 22 from 2001:DB8::5", "in tcp 22 from 2001:db8::5/128"),
            ("IN TCP 22", "in tcp 22"),
            ("ingress tcp ssh", "in tcp 22"),
            ("in 22/tcp", "in tcp 22"),
            ("in tcp/443 from any", "in tcp 443"),
            ("in tcp port 80", "in tcp 80"),
            ("in tcp http-https", "in tcp 80-443"),
            ("in tcp 8000:8100", "in tcp 8000-8100"),
            ("in tcp 8000–8100", "in tcp 8000-8100"),
            ("in tcp any from 0.0.0.0/0", "in tcp"),
            ("in all", "in any"),
            ("egress *", "out any"),
            ("in ipv6-icmp", "in icmpv6"),
            ("in icmp from ::/0", "in icmpv6"),
            ("in any from all", "in any"),
            ("in any from ::/0", "in any from ::/0"),
            ("in tcp 22 from 192.0.2.7/24", "in tcp 22 from 192.0.2.0/24"),
            ("in tcp 22 from 192.0.2.0/255.255.255.0", "in tcp 22 from 192.0.2.0/24"),
        ] {
            assert_eq!(written.parse::<Rule>().map(|rule| rule.to_string()), Ok(meant.into()), "{written}");
        }
    }

    #[test]
    fn what_is_no_rule_is_told_by_the_word() {
        let mut said = Vec::new();
        for bad in [
            "",
            "tcp 22",
            "deny in tcp 22",
            "in",
            "in 22",
            "in sctp",
            "in from 192.0.2.1",
            "in tcp 0",
            "in tcp 70000",
            "in tcp 9-1",
            "in tcp 80,443",
            "in icmp 8",
            "in any 22",
            "in tcp 22 from",
            "in tcp 22 from x",
            "in tcp 22 from 192.0.2.300",
            "in tcp 22 from 192.0.2.0/33",
            "in tcp 22 from 192.0.2.1-192.0.2.9",
            "in tcp 22 from 0.0.0.0",
            "in tcp 22 23",
            "in tcp 22 from any twice",
            "in icmpv6 from 192.0.2.0/24",
        ] {
            let error = bad.parse::<Rule>().expect_err(bad);
            said.push(error.split_once("; a rule is").unwrap().0.to_owned());
        }
        insta::assert_snapshot!(said.join("\n"));
    }
}
