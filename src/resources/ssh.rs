//! Whether an instance answers SSH at its floating address, and where the way to it ends if not.

use crate::cloud::resource::{floating_ip, port, server};
use crate::cloud::{ApiError, Session};
use crate::host::{Error, Host, Result};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an instance may take from its start until it answers; emulated guests with a whole distribution take long.
pub const LIMIT: Duration = Duration::from_secs(600);
const TRY_LIMIT: Duration = Duration::from_secs(3);

/// Where the way to an instance ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// It has no floating address.
    NoAddress,
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
            Hop::Silent(address) => write!(f, "{address} does not answer: still booting, or a security group says no"),
            Hop::Refused(address) => write!(f, "{address} is there, its SSH server is not"),
            Hop::Mute(address) => write!(f, "{address}:22 takes connections and says nothing"),
            Hop::Answers(address) => write!(f, "{address} answers"),
        }
    }
}

/// The floating address of the instance at the port called `port`.
pub fn address_at(session: &Session, port: &str) -> std::result::Result<Option<Ipv4Addr>, ApiError> {
    let Some(port) = port::find(session, port)? else { return Ok(None) };
    Ok(floating_ip::at(session, &port.entry.id)?.map(|found| found.floating_ip_address))
}

/// Tries once.
pub fn look(address: Option<Ipv4Addr>) -> Hop {
    let Some(address) = address else { return Hop::NoAddress };
    match TcpStream::connect_timeout(&SocketAddr::from((address, 22)), TRY_LIMIT) {
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
pub fn wait(host: &Host, name: &str, address: Option<Ipv4Addr>, limit: Duration) -> Result<()> {
    let mut last = Hop::NoAddress;
    let waited = host.wait_until(&format!("SSH on {name}"), limit, Duration::from_millis(500), || {
        last = look(address);
        Ok(matches!(last, Hop::Answers(_) | Hop::NoAddress))
    });
    match (waited, &last) {
        (Ok(()), Hop::Answers(_)) => Ok(()),
        (Err(Error::Stopped), _) => Err(Error::Stopped),
        _ => Err(Error::Explained {
            what: format!("instance {name} does not answer SSH: {last}"),
            evidence: String::new(),
            next: format!("gpucloud-install instance console {name}; gpucloud-install network probe"),
            retry: false,
        }),
    }
}

/// Whether the instance is one that has to be waited for: running, with a floating address.
pub fn is_expected(session: &Session, name: &str) -> std::result::Result<Option<(String, Ipv4Addr)>, ApiError> {
    let Some(found) = server::look_up(session, name)?.filter(|found| found.status == "ACTIVE") else { return Ok(None) };
    Ok(address_at(session, name)?.map(|address| (found.id.to_string(), address)))
}
