//! Who can tell whether this machine is still reachable: the gateway, name servers, and where people are logged in
//! from. Whoever answers before a change is asked again after it.
//!
//! What is asked must not be answered by this machine itself: a change may give it the witness's own address, or draw
//! the way there to another link. So a witness is silent, too, once the way to it begins at another address of ours.

use crate::facts::listeners;
use crate::facts::network::Network;
use crate::host::links::neighbours;
use crate::host::{Host, dns};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long what answered before may stay silent after a change: links and ARP need a moment.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(100);
/// Where routers that drop pings may answer: DNS and their own pages. A refusal is an answer.
const ROUTER_PORTS: [u16; 3] = [53, 80, 443];
/// Nobody listens there (RFC 863); a way to it is looked up, nothing is sent.
const DISCARD_PORT: u16 = 9;

/// How a witness is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// By ICMP.
    Ping,
    /// For the root's name servers.
    Dns,
    /// For a TCP connection to this port.
    Tcp(u16),
    /// By ARP on this link: no packet filter of the other side drops that. It passes our own rules by, too.
    Arp(String),
}

/// Somebody who is asked whether this machine is still reachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// "the gateway".
    pub role: String,
    /// Its address.
    pub address: IpAddr,
    /// How it is asked.
    pub question: Question,
    /// Our address on the way to it.
    pub from: IpAddr,
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.role, self.address)
    }
}

impl Witness {
    /// `None` where there is no way to it.
    fn new(role: &str, address: IpAddr, question: Question) -> Option<Self> {
        Some(Self { role: role.to_owned(), address, question, from: way_to(address)? })
    }

    fn answers(&self) -> bool {
        way_to(self.address) == Some(self.from) && self.answers_by_itself()
    }

    fn answers_by_itself(&self) -> bool {
        match (&self.question, self.address) {
            (Question::Ping, address) => ping::ping(address, ANSWER_LIMIT).is_ok(),
            (Question::Dns, address) => dns::ask(address, ANSWER_LIMIT).is_ok(),
            (Question::Tcp(port), address) => answers_on(SocketAddr::new(address, *port)),
            (Question::Arp(link), IpAddr::V4(address)) => {
                neighbours::answers(link, address, ANSWER_LIMIT).unwrap_or(false)
            }
            (Question::Arp(_), IpAddr::V6(_)) => false,
        }
    }

    /// Whether its answer says that rules let packets through.
    pub fn sees_rules(&self) -> bool {
        !matches!(self.question, Question::Arp(_))
    }
}

/// The address that a packet to `address` would have for its sender: the kernel looks the way up, nothing is sent.
fn way_to(address: IpAddr) -> Option<IpAddr> {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, DISCARD_PORT)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

fn answers_on(address: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&address, ANSWER_LIMIT) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// Who could be cut off, and who would tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Those who answer.
    pub witnesses: Vec<Witness>,
    /// Whether there is a way out.
    pub has_way_out: bool,
    /// Whether somebody is logged in from elsewhere, as far as it is known: unknown counts as somebody.
    pub has_people: bool,
}

/// Looks around, before a change. Where nobody answers although there is a way out, patiently: behind a boot, links and
/// routers need their time.
pub fn look_around(host: &Host, network: &Network) -> Surroundings {
    let people = listeners::people(host).unwrap_or_else(|error| {
        host.warn(&format!("it cannot be told who is logged in from elsewhere, so somebody is: {error}"));
        listeners::People { addresses: Vec::new(), others: true }
    });
    let elsewhere: Vec<IpAddr> = people.addresses.into_iter().filter(|address| !address.is_loopback()).collect();
    let (has_way_out, has_people) = (network.default_route.is_some(), people.others || !elsewhere.is_empty());
    let end = Instant::now() + SILENCE_LIMIT;
    loop {
        let witnesses = one_way_each(answering(everybody(network, &elsewhere)));
        if !witnesses.is_empty() || !has_way_out || Instant::now() >= end {
            return Surroundings { witnesses, has_way_out, has_people };
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whoever there is a way to.
fn everybody(network: &Network, people: &[IpAddr]) -> Vec<Witness> {
    let mut all = of_gateway(network);
    let servers = network.name_servers.iter().copied().map(IpAddr::V4);
    all.extend(servers.filter_map(|server| Witness::new("the name server", server, Question::Dns)));
    let role = "where somebody is logged in from,";
    all.extend(people.iter().filter_map(|address| Witness::new(role, *address, Question::Ping)));
    all
}

/// Each way in which a gateway may answer: many drop pings.
fn of_gateway(network: &Network) -> Vec<Witness> {
    let Some(route) = &network.default_route else { return Vec::new() };
    let Some(address) = route.gateway else { return Vec::new() };
    let mut questions = vec![Question::Ping];
    questions.extend(ROUTER_PORTS.map(Question::Tcp));
    questions.push(Question::Arp(route.interface.clone()));
    questions.into_iter().filter_map(|question| Witness::new("the gateway", address, question)).collect()
}

/// Of those of one address that see rules, the first alone: who answers pings need not be disturbed otherwise.
fn one_way_each(witnesses: Vec<Witness>) -> Vec<Witness> {
    let mut kept: Vec<Witness> = Vec::new();
    for witness in witnesses {
        let same = |other: &Witness| other.address == witness.address && other.sees_rules() == witness.sees_rules();
        if !kept.iter().any(same) {
            kept.push(witness);
        }
    }
    kept
}

/// Those that answer, asked at once.
fn answering(all: Vec<Witness>) -> Vec<Witness> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = all.iter().map(|witness| scope.spawn(|| witness.answers())).collect();
        let answers: Vec<bool> = asked.into_iter().map(|thread| thread.join().unwrap_or(false)).collect();
        all.iter().cloned().zip(answers).filter_map(|(witness, answers)| answers.then_some(witness)).collect()
    })
}

/// Those of `before` that do not answer any more, after some patience; each name once.
pub fn silent(before: &[Witness]) -> Vec<String> {
    let end = Instant::now() + SILENCE_LIMIT;
    loop {
        let now = answering(before.to_vec());
        let mut missing: Vec<String> =
            before.iter().filter(|witness| !now.contains(witness)).map(ToString::to_string).collect();
        missing.dedup();
        if missing.is_empty() || Instant::now() >= end {
            return missing;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(question: Question) -> Witness {
        let address = IpAddr::from([192, 0, 2, 1]);
        Witness { role: "the gateway".into(), address, question, from: IpAddr::from([192, 0, 2, 10]) }
    }

    #[test]
    fn a_gateway_is_asked_by_packets_once_and_by_arp() {
        let arp = || Question::Arp("eno1".into());
        let all = [Question::Ping, Question::Tcp(53), Question::Tcp(80), arp()].map(witness).to_vec();
        let kept: Vec<Question> = one_way_each(all).into_iter().map(|witness| witness.question).collect();
        assert_eq!(kept, [Question::Ping, arp()]);
        let stealthy = [Question::Tcp(80), Question::Tcp(443), arp()].map(witness).to_vec();
        let kept: Vec<Question> = one_way_each(stealthy).into_iter().map(|witness| witness.question).collect();
        assert_eq!(kept, [Question::Tcp(80), arp()]);
    }

    #[test]
    fn people_who_cannot_be_told_are_somebody() {
        let dir = tempfile::tempdir().unwrap();
        // A file that cannot be read.
        std::fs::create_dir_all(dir.path().join("run/systemd/sessions/3")).unwrap();
        assert!(look_around(&Host::at(dir.path()), &Network::default()).has_people);
    }

    #[test]
    fn a_witness_whose_address_became_our_own_is_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let question = Question::Tcp(listener.local_addr().unwrap().port());
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let before = Witness::new("the gateway", loopback, question).unwrap();
        assert!(before.answers());
        let elsewhere = Witness { from: IpAddr::from([192, 0, 2, 10]), ..before };
        assert!(elsewhere.answers_by_itself() && !elsewhere.answers());
    }
}
