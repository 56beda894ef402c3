//! Name servers, as the C library reads `resolv.conf` (glibc's resolv/res_init.c): the first word behind `nameserver`,
//! whatever follows it; a scope behind `%`. More lenient only where a file was written elsewhere: CRLF, indented lines.
//! Where that names a stub on this machine alone, the servers behind it are read: another place for them is a row of
//! [`BEHIND_A_STUB`].

use crate::host::{Host, Result, files};
use std::net::IpAddr;
use std::path::Path;

/// What a machine's settings say of name servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameServers {
    /// Those beyond this machine, in their order.
    pub beyond: Vec<IpAddr>,
    /// What else is named, as it is written: a stub on loopback, or no address at all.
    pub others: Vec<String>,
}

/// Where the files lie whose servers a stub asks: systemd-resolved (its manual page, "/etc/resolv.conf"),
/// NetworkManager (NetworkManager.conf(5), "rc-manager") and resolvconf with dnsmasq.
const BEHIND_A_STUB: [&str; 3] =
    ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf", "/run/dnsmasq/resolv.conf"];

/// The text of the `resolv.conf` whose servers others can ask too. A stub on loopback (systemd-resolved's 127.0.0.53)
/// answers this machine alone, and another file has those that it asks itself.
pub fn resolv_conf(host: &Host) -> Result<Option<String>> {
    let known = files::read_text(host, Path::new("/etc/resolv.conf"))?;
    if known.as_deref().is_some_and(names_others) {
        return Ok(known);
    }
    for path in BEHIND_A_STUB {
        let behind = files::read_text(host, Path::new(path))?;
        if behind.as_deref().is_some_and(names_others) {
            return Ok(behind);
        }
    }
    Ok(known)
}

fn names_others(text: &str) -> bool {
    !parse(text).beyond.is_empty()
}

/// What that text says.
pub fn name_servers(host: &Host) -> Result<NameServers> {
    Ok(parse(&resolv_conf(host)?.unwrap_or_default()))
}

fn parse(text: &str) -> NameServers {
    let mut found = NameServers::default();
    for word in text.trim_start_matches('\u{feff}').lines().filter_map(named) {
        match word.split('%').next().unwrap_or(word).parse::<IpAddr>() {
            Ok(server) if !server.is_loopback() && !server.is_unspecified() => found.beyond.push(server),
            _ => found.others.push(word.to_owned()),
        }
    }
    found
}

/// The word behind `nameserver` in a line.
fn named(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("nameserver")?;
    rest.starts_with([' ', '\t']).then(|| rest.split_whitespace().next()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        parse(text).beyond.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_word_counts_and_the_rest_of_the_line_does_not() {
        for line in [
            "nameserver 192.0.2.53 # campus DNS",
            "nameserver\t192.0.2.53\t; eth0",
            "nameserver   192.0.2.53   eno1",
            "nameserver 192.0.2.53\r\n",
            "  nameserver 192.0.2.53",
            "\u{feff}nameserver 192.0.2.53",
            "# größe\nsearch example.org\nnameserver 192.0.2.53\noptions edns0",
        ] {
            assert_eq!(servers(line), ["192.0.2.53"], "{line:?}");
        }
        for line in ["#nameserver 192.0.2.53", ";nameserver 192.0.2.53", "nameservers 192.0.2.53", "nameserver", ""] {
            assert_eq!(parse(line), NameServers::default(), "{line:?}");
        }
    }

    #[test]
    fn servers_of_every_family_are_kept_in_order_and_what_is_none_is_said() {
        let text = "nameserver 2001:db8::1\nnameserver fe80::1%eno1 # router\nnameserver 192.0.2.1\n\
                    nameserver 127.0.0.53\nnameserver ::1\nnameserver dns.example.org\n";
        let found = parse(text);
        assert_eq!(servers(text), ["2001:db8::1", "fe80::1", "192.0.2.1"]);
        assert_eq!(found.others, ["127.0.0.53", "::1", "dns.example.org"]);
    }

    #[test]
    fn behind_a_stub_the_servers_are_those_that_it_asks() {
        for behind in BEHIND_A_STUB {
            let dir = tempfile::tempdir().unwrap();
            let host = Host::at(dir.path());
            let put =
                |path: &str, text: &str| files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
            put("/etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\n");
            put(behind, "nameserver 192.0.2.53\n");
            assert_eq!(resolv_conf(&host).unwrap().as_deref(), Some("nameserver 192.0.2.53\n"));
            put("/etc/resolv.conf", "nameserver 192.0.2.1 # other\n");
            assert_eq!(name_servers(&host).unwrap().beyond, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        }
    }
}
