//! Whether an instance answers SSH at its floating address, and where the way to it ends if not.

use crate::cloud::resource::{floating_ip, port, security_group, server};
use crate::cloud::{ApiError, Id, Session};
use crate::host::{Error, Host, Result};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an instance may take from its start until it answers; emulated guests with a whole distribution take long.
pub const LIMIT: Duration = Duration::from_secs(600);
const TRY_LIMIT: Duration = Duration::from_secs(3);

/// SSH's port (RFC 4253).
const PORT: u16 = 22;

/// Where the way to an instance ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// It has no floating address.
    NoAddress,
    /// No security group of it lets anybody in.
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

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hop::NoAddress => write!(f, "it has no floating address"),
            Hop::Shut => write!(f, "none of its security groups lets anybody in on TCP {PORT}"),
            Hop::Silent(address) => write!(f, "{address} does not answer, as while it boots"),
            Hop::Refused(address) => write!(f, "{address} is there, its SSH server is not"),
            Hop::Mute(address) => write!(f, "{address}:22 takes connections and says nothing"),
            Hop::Answers(address) => write!(f, "{address} answers"),
        }
    }
}

/// The floating address of the instance with this id, or why nobody can log in by one.
pub fn address_of(session: &Session, server: &Id) -> std::result::Result<std::result::Result<Ipv4Addr, Hop>, ApiError> {
    for port in port::of_device(session, server)? {
        if let Some(found) = floating_ip::at(session, &port.entry.id)? {
            let open = security_group::let_in(session, &port.security_groups, PORT)?;
            return Ok(if open { Ok(found.floating_ip_address) } else { Err(Hop::Shut) });
        }
    }
    Ok(Err(Hop::NoAddress))
}

/// Tries once.
pub fn look(address: Ipv4Addr) -> Hop {
    match TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), TRY_LIMIT) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Hop::Refused(address),
        Err(_) => Hop::Silent(address),
        Ok(mut stream) => {
            let mut greeting = [0_u8; 4];
            let _ = stream.set_read_timeout(Some(TRY_LIMIT));
            match stream.read_exact(&mut greeting) {
                Ok(()) if &greeting == b"SSH-" => Hop::Answers(address),
                _ => Hop::Mute(address),
            }
        }
    }
}

/// Waits until it answers.
///
/// # Errors
/// The hop at which the way ended, with what to look at.
pub fn wait(host: &Host, name: &str, address: Ipv4Addr, limit: Duration) -> Result<()> {
    let mut last = Hop::Silent(address);
    let waited = host.wait_while(&format!("SSH on {name}"), limit, Duration::from_millis(500), || {
        last = look(address);
        Ok((!matches!(last, Hop::Answers(_))).then(|| last.to_string()))
    });
    match waited {
        Err(Error::TimedOut { .. }) => Err(ends_at(name, &last)),
        waited => waited,
    }
}

/// The error of an instance to which the way ends there.
pub fn ends_at(name: &str, hop: &Hop) -> Error {
    let next = match hop {
        Hop::Shut => "resources.security_groups: a rule \"in tcp 22\"; or do not wait: --wait 0".to_owned(),
        _ => format!("gpucloud-install instance console {name}; gpucloud-install network probe"),
    };
    let what = format!("instance {name} does not answer SSH: {hop}");
    Error::Explained { what, evidence: String::new(), next, retry: false }
}

/// Whether an instance has to be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Not yet: it is not there, or being built.
    Later,
    /// Never: nobody can log in, or somebody stopped it.
    Never,
    /// The instance with this id, at this address.
    At(Id, Ipv4Addr),
}

/// Whether the instance called `name` has to be waited for.
pub fn expected(session: &Session, name: &str) -> std::result::Result<Expected, ApiError> {
    let Some(found) = server::look_up(session, name)?.filter(|found| found.status != "BUILD") else {
        return Ok(Expected::Later);
    };
    if found.status != "ACTIVE" {
        return Ok(Expected::Never);
    }
    Ok(match address_of(session, &found.id)? {
        Ok(address) => Expected::At(found.id, address),
        Err(_) => Expected::Never,
    })
}
