//! Who listens on which TCP port, and who is logged in from elsewhere.

use crate::host::{Error, Host, Result, files};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use procfs::net::{self, TcpState};
use procfs::process::{self, FDTarget};
use procfs::{ProcError, ProcResult};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;

/// A listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Where it listens; `0.0.0.0` and `::` mean everywhere.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Name of the program, if it could be told.
    pub program: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its systemd unit, if it has one.
    pub unit: Option<String>,
}

/// Those on one of `ports`, as far as IPv4 is concerned. The kernel walks through the table of all connections for a
/// list of sockets, and whose a socket is costs a look at every open file of every process: both only where a port is
/// taken.
pub fn on_ports(host: &Host, ports: &BTreeSet<u16>) -> Result<Vec<Listener>> {
    let ports: BTreeSet<u16> = ports.iter().copied().filter(|port| is_taken(*port)).collect();
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let wanted =
        |socket: &net::TcpNetEntry| socket.state == TcpState::Listen && ports.contains(&socket.local_address.port());
    let listening: Vec<_> = tcp_sockets()?.into_iter().filter(wanted).collect();
    let owners = socket_owners().map_err(|error| Error::protocol("list the sockets of processes", error))?;
    let owned = listening.iter().map(|socket| listener(host, socket.local_address, owners.get(&socket.inode).copied()));
    Ok(owned.collect())
}

/// Whether somebody listens on a port: with SO_REUSEADDR nothing else keeps it from being bound (socket(7)). Where it
/// could not be tried, it may be.
fn is_taken(port: u16) -> bool {
    let bound = || -> nix::Result<()> {
        let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        socket::bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))
    };
    bound().is_err()
}

/// Where SSH listens unless told otherwise.
const SSH: u16 = 22;
/// What systemd-logind knows of sessions, one file each; sd-login(3) reads the same files.
const SESSIONS: &str = "/run/systemd/sessions";

/// Who is logged in from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People {
    /// From where, each once.
    pub addresses: Vec<IpAddr>,
    /// Whether there are others, of whom it is not known from where.
    pub others: bool,
}

/// Who is logged in from elsewhere: by systemd-logind, or, where that knows nobody, who is connected to SSH's port.
/// (A list of connections makes the kernel walk through its whole table: only where somebody can be there.)
pub fn people(host: &Host) -> Result<People> {
    let logged_in = sessions(host)?;
    if logged_in != People::default() || !is_taken(SSH) {
        return Ok(logged_in);
    }
    let here = tcp_sockets()?.into_iter().filter(|s| s.state == TcpState::Established && s.local_address.port() == SSH);
    // An IPv4 connection to a socket of both families has a mapped address.
    let clients: BTreeSet<IpAddr> = here.map(|socket| socket.remote_address.ip().to_canonical()).collect();
    Ok(People { addresses: clients.into_iter().collect(), others: false })
}

fn sessions(host: &Host) -> Result<People> {
    let (mut found, mut others) = (BTreeSet::new(), false);
    // Beside each file may lie a pipe, `NAME.ref`, which would never end.
    for name in files::list(host, SESSIONS)?.iter().filter(|name| !name.contains('.')) {
        // One that has ended meanwhile is gone.
        let text = files::read_text(host, Path::new(SESSIONS).join(name))?.unwrap_or_default();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        // sshd may be told to give names instead of addresses (sshd_config(5), "UseDNS").
        match value("REMOTE_HOST=").map(str::parse) {
            Some(Ok(address)) => _ = found.insert(address),
            Some(Err(_)) => others = true,
            None => others |= value("REMOTE=") == Some("1"),
        }
    }
    Ok(People { addresses: found.into_iter().collect(), others })
}

/// Of both families; a kernel without IPv6 has no list of its own.
fn tcp_sockets() -> Result<Vec<net::TcpNetEntry>> {
    let broken = |error| Error::protocol("list TCP sockets", error);
    let mut sockets = net::tcp().map_err(broken)?;
    match net::tcp6() {
        Ok(more) => sockets.extend(more),
        Err(ProcError::NotFound(_)) => {}
        Err(error) => return Err(broken(error)),
    }
    Ok(sockets)
}

fn listener(host: &Host, socket: SocketAddr, pid: Option<i32>) -> Listener {
    let text = |name: &str| pid.and_then(|pid| files::read_text(host, format!("/proc/{pid}/{name}")).ok().flatten());
    Listener {
        address: socket.ip(),
        port: socket.port(),
        program: text("comm").map(|name| name.trim().to_owned()),
        pid: pid.map(i32::unsigned_abs),
        unit: text("cgroup").as_deref().and_then(unit_of),
    }
}

/// The innermost `.service` of a cgroup path.
fn unit_of(cgroup: &str) -> Option<String> {
    let parts = cgroup.lines().flat_map(|line| line.rsplit('/'));
    parts.map(str::trim).find(|part| part.ends_with(".service")).map(str::to_owned)
}

/// Which process has which socket inode. Processes may end, or be another user's, while we look.
fn socket_owners() -> ProcResult<HashMap<u64, i32>> {
    let mut owners = HashMap::new();
    for process in process::all_processes()?.flatten() {
        for file in process.fd().into_iter().flatten().flatten() {
            if let FDTarget::Socket(inode) = file.target {
                owners.insert(inode, process.pid);
            }
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_service_counts() {
        let cgroup = "0::/system.slice/mariadb.service\n";
        assert_eq!(unit_of(cgroup).as_deref(), Some("mariadb.service"));
        assert_eq!(unit_of("0::/user.slice/session-2.scope\n"), None);
    }

    #[test]
    fn people_are_where_logind_says() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let session = |name: &str, text: &str| {
            files::write(&host, &Path::new(SESSIONS).join(name), text.as_bytes(), 0o644, None).unwrap();
        };
        session("3", "UID=0\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n");
        session("5", "UID=1000\nREMOTE=1\nREMOTE_HOST=2001:db8::7\n");
        session("7", "UID=0\nREMOTE=0\nTTY=tty1\n");
        let expected = ["192.0.2.7", "2001:db8::7"].map(|address| address.parse().unwrap()).to_vec();
        assert_eq!(people(&host).unwrap(), People { addresses: expected.clone(), others: false });
        session("9", "UID=1000\nREMOTE=1\nREMOTE_HOST=laptop.example.org\n");
        assert_eq!(people(&host).unwrap(), People { addresses: expected, others: true });
        // What cannot be read is not nobody.
        std::fs::create_dir(dir.path().join("run/systemd/sessions/11")).unwrap();
        assert!(people(&host).is_err());
    }

    #[test]
    fn our_own_listener_is_found_with_its_program() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = on_ports(&Host::live(), &[port].into()).unwrap();
        assert_eq!(found.iter().map(|l| l.pid).collect::<Vec<_>>(), [Some(std::process::id())]);
    }
}
