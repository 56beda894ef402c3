//! Waits until an instance answers SSH at its floating address, and how long ([`LIMIT`]); where the way to it ends if
//! it does not: a new reason is a [`Reachability`] here. (Hops of the network as a whole: `network/probe.rs`.)

use crate::cloud::resource::{floating_ip, port, security_group, server};
use crate::cloud::{ApiError, Id, Session};
use crate::host::{Error, Host, Result};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long an instance may take from its start until it answers; emulated guests with a whole distribution take long.
pub const LIMIT: Duration = Duration::from_secs(600);
const TRY_LIMIT: Duration = Duration::from_secs(3);

/// SSH's port (RFC 4253).
pub const PORT: u16 = 22;

/// Where the way to an instance ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reachability {
    /// It does not run: its state.
    Down(String),
    /// It has no floating address.
    NoAddress,
    /// No security group of it lets this machine in.
    Shut,
    /// Nothing comes back from there.
    Silent(Ipv4Addr),
    /// Something says that nobody listens on port 22.
    Refused(Ipv4Addr),
    /// It is connected, and says nothing.
    Mute(Ipv4Addr),
    /// It answers as SSH servers do.
    Answers(Ipv4Addr),
}

impl std::fmt::Display for Reachability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reachability::Down(state) => write!(f, "it is {state}"),
            Reachability::NoAddress => write!(f, "it has no floating address"),
            Reachability::Shut => write!(f, "none of its security groups lets this machine in on TCP {PORT}"),
            Reachability::Silent(address) => write!(f, "{address} does not answer, as while it boots"),
            Reachability::Refused(address) => write!(f, "{address} is there, its SSH server is not"),
            Reachability::Mute(address) => write!(f, "{address}:22 takes connections and says nothing"),
            Reachability::Answers(address) => write!(f, "{address} answers"),
        }
    }
}

/// The floating address of the instance with this id, or why nobody can log in by one.
pub fn address_of(
    session: &Session,
    server: &Id,
) -> std::result::Result<std::result::Result<Ipv4Addr, Reachability>, ApiError> {
    for port in port::of_device(session, server)? {
        if let Some(found) = floating_ip::at(session, &port.entry.id)? {
            let address = found.floating_ip_address;
            let open = port.port_security_enabled == Some(false)
                || match source_towards(address) {
                    Some(from) => security_group::let_in(session, &port.security_groups, PORT, from)?,
                    None => true,
                };
            return Ok(if open { Ok(address) } else { Err(Reachability::Shut) });
        }
    }
    Ok(Err(Reachability::NoAddress))
}

/// The address with which this machine would go there; nothing is sent.
fn source_towards(address: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((address, PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(source) => Some(source),
        IpAddr::V6(_) => None,
    }
}

/// Tries once.
pub fn look(address: Ipv4Addr) -> Reachability {
    match TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), TRY_LIMIT) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Reachability::Refused(address),
        Err(_) => Reachability::Silent(address),
        Ok(mut stream) => {
            let mut greeting = [0_u8; 4];
            let _ = stream.set_read_timeout(Some(TRY_LIMIT));
            match stream.read_exact(&mut greeting) {
                Ok(()) if &greeting == b"SSH-" => Reachability::Answers(address),
                _ => Reachability::Mute(address),
            }
        }
    }
}

/// How often somebody is asked why an instance is silent.
const ASK_WHY: Duration = Duration::from_secs(15);

/// Waits until it answers; the hop at which the way ends after `limit`. While it is silent, `ask_why` is called now and
/// then: what it returns as an error ends the wait.
///
/// # Errors
/// A stop on request, or what `ask_why` returns.
pub fn wait(
    host: &Host,
    name: &str,
    address: Ipv4Addr,
    limit: Duration,
    mut ask_why: impl FnMut() -> Result<()>,
) -> Result<Reachability> {
    let mut last = Reachability::Silent(address);
    let mut asked = Instant::now();
    let waited = host.wait_while(&format!("SSH on {name}"), limit, Duration::from_millis(500), || {
        last = look(address);
        if matches!(last, Reachability::Silent(_)) && asked.elapsed() > ASK_WHY {
            asked = Instant::now();
            ask_why()?;
        }
        Ok((!matches!(last, Reachability::Answers(_))).then(|| last.to_string()))
    });
    match waited {
        Ok(()) | Err(Error::TimedOut { .. }) => Ok(last),
        Err(error) => Err(error),
    }
}

/// Whether an instance has to be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Not yet: it is not there, or on its way.
    Later,
    /// Not any more, or never: it answered before, somebody stopped it, or nobody here may log in.
    Never,
    /// The instance with this id, at this address.
    At(Id, Ipv4Addr),
}

/// Whether the instance called `name` has to be waited for. `answered` is the id of the one that did before; `opened`
/// tells that a declared security group will let this machine in.
pub fn expected(
    session: &Session,
    name: &str,
    answered: Option<&str>,
    opened: bool,
) -> std::result::Result<Expected, ApiError> {
    let Some(found) = server::look_up(session, name)? else { return Ok(Expected::Later) };
    if answered == Some(found.id.as_str()) {
        return Ok(Expected::Never);
    }
    Ok(match found.status.as_str() {
        "ACTIVE" => match address_of(session, &found.id)? {
            Ok(address) => Expected::At(found.id, address),
            Err(Reachability::Shut) if !opened => Expected::Never,
            Err(_) => Expected::Later,
        },
        "SHUTOFF" | "PAUSED" | "SUSPENDED" | "SHELVED" | "SHELVED_OFFLOADED" | "RESCUE" => Expected::Never,
        "ERROR" if !found.may_be_made_anew() => Expected::Never,
        _ => Expected::Later,
    })
}
