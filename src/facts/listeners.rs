//! Who listens on which TCP port, from /proc.

use crate::host::{Host, Result, files};
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State LISTEN in `/proc/net/tcp` (include/net/tcp_states.h of the kernel).
const LISTEN: &str = "0A";

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

/// Reads them.
pub fn read(host: &Host) -> Result<Vec<Listener>> {
    let v4 = files::read_text(host, "/proc/net/tcp")?.unwrap_or_default();
    let v6 = files::read_text(host, "/proc/net/tcp6")?.unwrap_or_default();
    let sockets: Vec<_> = v4.lines().chain(v6.lines()).filter_map(parse).collect();
    let owners = if sockets.is_empty() { HashMap::new() } else { socket_owners(host)? };
    sockets
        .into_iter()
        .map(|(address, port, inode)| listener(host, address, port, owners.get(&inode).copied()))
        .collect()
}

fn listener(host: &Host, address: IpAddr, port: u16, pid: Option<u32>) -> Result<Listener> {
    let text = |name: &str| pid.and_then(|pid| files::read_text(host, format!("/proc/{pid}/{name}")).ok().flatten());
    let program = text("comm").map(|name| name.trim().to_owned());
    let unit = text("cgroup").as_deref().and_then(unit_of);
    Ok(Listener { address, port, program, pid, unit })
}

/// The innermost `.service` of a cgroup path.
fn unit_of(cgroup: &str) -> Option<String> {
    let parts = cgroup.lines().flat_map(|line| line.rsplit('/'));
    parts.map(str::trim).find(|part| part.ends_with(".service")).map(str::to_owned)
}

/// Local address, port and socket inode of a listening line.
fn parse(line: &str) -> Option<(IpAddr, u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some((parse_address(address)?, u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
}

/// The kernel prints each 32 bit word in the machine's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<u32>> =
        (0..hex.len() / 8).map(|i| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok()).collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    match bytes.len() {
        4 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// Which process has which socket inode.
fn socket_owners(host: &Host) -> Result<HashMap<u64, u32>> {
    let mut owners = HashMap::new();
    for pid in files::list(host, "/proc")?.iter().filter_map(|name| name.parse::<u32>().ok()) {
        // Processes may end, or be another user's, while we look.
        let Ok(entries) = std::fs::read_dir(host.real(format!("/proc/{pid}/fd"))) else { continue };
        for target in entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            let text = target.to_string_lossy();
            let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
            inode.map(|inode: u64| owners.insert(inode, pid));
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_line_gives_address_port_and_inode() {
        let line =
            "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   107        0 12345 1 0";
        assert_eq!(parse(line), Some((Ipv4Addr::LOCALHOST.into(), 3306, 12345)));
    }

    #[test]
    fn our_own_listener_is_found_with_its_program() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = read(&Host::live()).unwrap();
        let ours = found.iter().find(|l| l.port == port).unwrap();
        assert_eq!(ours.pid, Some(std::process::id()));
    }
}
