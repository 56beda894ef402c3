//! Name servers: whether one answers.

use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A query's number; the port is another one each time.
const ID: u16 = 0x6763;
/// More than an answer without extensions can have (RFC 1035, 4.2.1).
const ANSWER_BYTES: usize = 512;

/// Asks `server` for the name servers of the root, which every resolver knows.
///
/// # Errors
/// No answer within `limit`, or one that says it failed itself; in words.
pub fn ask(server: IpAddr, limit: Duration) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| text(&e))?;
    socket.set_read_timeout(Some(limit)).map_err(|e| text(&e))?;
    socket.connect(SocketAddr::new(server, 53)).map_err(|e| text(&e))?;
    socket.send(&query()?).map_err(|e| text(&e))?;
    let mut answer = [0; ANSWER_BYTES];
    let length = socket.recv(&mut answer).map_err(|e| text(&e))?;
    let packet = Packet::parse(answer.get(..length).unwrap_or_default()).map_err(|e| text(&e))?;
    match packet.rcode() {
        _ if packet.id() != ID => Err("it answered another question".into()),
        RCODE::ServerFailure => Err("it answers that it cannot resolve names itself".into()),
        _ => Ok(()),
    }
}

fn query() -> Result<Vec<u8>, String> {
    let mut packet = Packet::new_query(ID);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let root = Name::new("").map_err(|error| error.to_string())?;
    packet.questions.push(Question::new(root, QTYPE::TYPE(TYPE::NS), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(|error| error.to_string())
}
