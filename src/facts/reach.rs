//! Whether what will be downloaded can be: names resolve, servers answer, the clock is right, files are there.
//!
//! Which servers those are is read from the machine's own settings (apt's sources, pip's index) and from the answers;
//! none is named here.

use super::apt;
use super::proxy::{self, Way};
use crate::host::{Host, Result, files, http};
use crate::ini;
use serde::Serialize;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

/// How long one server may take to accept a connection.
const LIMIT: Duration = Duration::from_secs(5);

/// Variables that downloads go by: proxies, pip's index, certificates.
pub const DOWNLOAD_VARIABLES: [&str; 11] = [
    "all_proxy",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_CERT",
    "SSL_CERT_FILE",
];

/// Something that the answers want downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToDownload {
    /// What for: "image ubuntu-24.04".
    pub purpose: String,
    /// Its address.
    pub url: String,
    /// Whether that is a file, and not the address below which things are.
    pub is_file: bool,
}

/// A server that downloads come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// What for: "packages of the distribution".
    pub purpose: String,
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Why it cannot be reached; `None` when it can.
    pub problem: Option<Problem>,
    /// By how many seconds its clock is ahead of ours, where it said so.
    pub clock_ahead: Option<i64>,
    /// Bytes of the file that is wanted of it, where it said so.
    pub size: Option<u64>,
}

/// Why a server cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Its name has no address.
    Unresolved(String),
    /// It has an address, but does not answer.
    Unreachable(String),
    /// It answers, but nothing on this machine vouches for it: TLS is intercepted, or the clock is wrong.
    Untrusted(String),
    /// It answers that the file is not there, or not for us.
    Missing(String),
}

/// A server to be tried.
struct Target {
    purpose: String,
    url: String,
    /// Whether `url` is a file that must be there.
    is_file: bool,
    way: Way,
    trusted: RootCerts,
}

/// Tries every server of the machine's settings, and those that have what is `wanted`, all at once. Where one is reached
/// by a proxy, it is the proxy that is tried.
pub fn probe(host: &Host, wanted: &[ToDownload]) -> Result<Vec<Server>> {
    let targets = targets(host, wanted)?;
    Ok(std::thread::scope(|scope| {
        let tries: Vec<_> = targets.iter().map(|target| scope.spawn(|| attempt(target))).collect();
        tries.into_iter().filter_map(|thread| thread.join().ok()).collect()
    }))
}

fn attempt(target: &Target) -> Server {
    let (purpose, address) = match &target.way {
        Way::Direct => (target.purpose.clone(), &target.url),
        Way::Proxy { url, by } => (format!("{}, by the proxy of {by}", target.purpose), url),
    };
    let known =
        Server { purpose, host: without_secrets(address), port: 0, problem: None, clock_ahead: None, size: None };
    let Some((host, port)) = host_and_port(address) else {
        return Server { problem: Some(Problem::Unresolved("it is no address of a server".into())), ..known };
    };
    let problem = match (host.as_str(), port).to_socket_addrs() {
        Err(error) => Some(Problem::Unresolved(error.to_string())),
        Ok(addresses) => connect(addresses.collect()),
    };
    let known = Server { host, port, problem, ..known };
    if known.problem.is_some() {
        return known;
    }
    match greet(target) {
        Ok(Said { clock_ahead, size }) => Server { clock_ahead, size, ..known },
        Err(problem) => Server { problem: Some(problem), ..known },
    }
}

fn connect(addresses: Vec<std::net::SocketAddr>) -> Option<Problem> {
    let mut last = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(_) => return None,
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Some(Problem::Unreachable(last))
}

/// What a server said.
#[derive(Default)]
struct Said {
    clock_ahead: Option<i64>,
    size: Option<u64>,
}

/// By how much its clock is ahead: any answer of an HTTP server has its date (RFC 9110, 6.6.1). Of a file, whether it is
/// there.
fn greet(target: &Target) -> std::result::Result<Said, Problem> {
    let tls = TlsConfig::builder().root_certs(target.trusted.clone()).build();
    let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).http_status_as_error(false);
    let (config, asked) = match &target.way {
        Way::Proxy { .. } if target.is_file => (config, &target.url),
        Way::Proxy { url, .. } => (config.proxy(None), url),
        Way::Direct => (config.proxy(None), &target.url),
    };
    let agent = ureq::Agent::from(config.tls_config(tls).build());
    let number = |value: &ureq::http::HeaderValue| value.to_str().ok()?.parse().ok();
    let answer = agent.head(asked).call();
    // Some servers refuse this question alone.
    let again = target.is_file && answer.as_ref().is_ok_and(|answer| answer.status().is_client_error());
    match if again { agent.get(asked).header("Range", "bytes=0-0").call() } else { answer } {
        Ok(answer) if target.is_file && matches!(answer.status().as_u16(), 401 | 403 | 404 | 410) => {
            Err(Problem::Missing(format!("{}: {}", without_secrets(asked), answer.status())))
        }
        Ok(answer) => Ok(Said {
            clock_ahead: answer.headers().get("date").and_then(|date| seconds_ahead(date.to_str().ok()?)),
            size: answer.headers().get("content-length").filter(|_| target.is_file && !again).and_then(number),
        }),
        Err(error) if error.to_string().contains("certificate") => Err(Problem::Untrusted(error.to_string())),
        // It does not like to be asked for this: the download will show.
        Err(_) => Ok(Said::default()),
    }
}

fn seconds_ahead(date: &str) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp().as_second() - jiff::Timestamp::now().as_second())
}

fn targets(host: &Host, wanted: &[ToDownload]) -> Result<Vec<Target>> {
    let trusted = http::trusted(host)?;
    let proxies = apt::Proxies::read(host)?;
    let new = |purpose: &str, url: String, is_file: bool, way: Way| Target {
        purpose: purpose.to_owned(),
        url,
        is_file,
        way,
        trusted: trusted.clone(),
    };
    let by_environment = |url: &str| url.parse().map_or(Way::Direct, |uri| proxy::of_environment(host, &uri));
    let mut found = Vec::new();
    for url in apt::urls(host)? {
        let way = proxies.way(host, &url);
        found.push(new("packages of the distribution", url, false, way));
    }
    let packages = "OpenStack's packages";
    match pip_index(host)? {
        Some(url) => found.push(new(packages, url.clone(), false, by_environment(&url))),
        // pip knows its own, which is reached as any other server is.
        None => {
            let way = by_environment("https://index.invalid/");
            found.extend(matches!(way, Way::Proxy { .. }).then(|| new(packages, String::new(), false, way)));
        }
    }
    found.extend(wanted.iter().map(|w| new(&w.purpose, w.url.clone(), w.is_file, by_environment(&w.url))));
    Ok(once_each(found))
}

/// A server that has many repositories, or a proxy before many servers, is tried once.
fn once_each(mut found: Vec<Target>) -> Vec<Target> {
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|target| {
        let address = if let Way::Proxy { url, .. } = &target.way { url } else { &target.url };
        target.is_file || seen.insert((target.purpose.clone(), host_and_port(address), address.contains("://")))
    });
    found
}

/// Where root's pip has its settings, the strongest first (pip's user guide, "Configuration files").
const PIP_SETTINGS: [&str; 4] =
    ["/root/.config/pip/pip.conf", "/root/.pip/pip.conf", "/etc/pip.conf", "/etc/xdg/pip/pip.conf"];

/// pip's configured index; without one pip knows its own.
pub fn pip_index(host: &Host) -> Result<Option<String>> {
    if let Some(url) = std::env::var("PIP_INDEX_URL").ok().filter(|_| host.is_live()) {
        return Ok(Some(url));
    }
    for path in PIP_SETTINGS {
        let text = files::read_text(host, path)?.unwrap_or_default();
        let named = ["index-url", "index_url"].into_iter().flat_map(|name| ini::values(&text, "global", name));
        if let Some(url) = named.last() {
            return Ok(Some(url.to_owned()));
        }
    }
    Ok(None)
}

/// An address for people: without a password, or a signature behind `?`.
fn without_secrets(address: &str) -> String {
    let address = address.split('?').next().unwrap_or(address);
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        (None, Some((_, rest))) => rest.to_owned(),
        _ => address.to_owned(),
    }
}

/// Of a URL, or of a proxy without a scheme ("proxy.example:3128").
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    // A literal IPv6 address has brackets in a URL, and none for the resolver.
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((host, uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn direct(purpose: &str) -> Target {
        let (purpose, url) = (purpose.to_owned(), String::new());
        Target { purpose, url, is_file: false, way: Way::Direct, trusted: RootCerts::WebPki }
    }

    #[test]
    fn pips_index_is_that_of_its_own_section() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let text = "[search]\nindex-url = http://old.example\n[global]\nindex-url= https://index.example/simple\n";
        files::write(&host, Path::new("/etc/pip.conf"), text.as_bytes(), 0o644, None).unwrap();
        assert_eq!(pip_index(&host).unwrap().as_deref(), Some("https://index.example/simple"));
    }

    #[test]
    fn a_server_tells_its_time() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(
                    b"HTTP/1.1 404 Not Found\r\nDate: Fri, 01 Jan 2100 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n",
                );
            }
        });
        let server = attempt(&Target { url, ..direct("x") });
        assert!(server.problem.is_none() && server.clock_ahead.unwrap() > 365 * 24 * 3600, "{server:?}");
    }

    #[test]
    fn addresses_are_shown_without_what_is_secret_in_them() {
        let shown = |address: &str| without_secrets(address);
        assert_eq!(shown("http://u:p@ss@proxy:3128"), "http://proxy:3128");
        assert_eq!(shown("https://store.example/x.img?Signature=abc"), "https://store.example/x.img");
        assert_eq!((shown("u:p@proxy:1").as_str(), shown("proxy:1").as_str()), ("proxy:1", "proxy:1"));
    }

    #[test]
    fn a_url_gives_name_and_port() {
        assert_eq!(host_and_port("https://u:p@mirror.example:8443/x"), Some(("mirror.example".into(), 8443)));
        assert_eq!(host_and_port("http://mirror.example/x"), Some(("mirror.example".into(), 80)));
        assert_eq!(host_and_port("https://[2001:db8::1]/x"), Some(("2001:db8::1".into(), 443)));
        assert_eq!(host_and_port("http://[::1]:80"), Some(("::1".into(), 80)));
        assert_eq!(host_and_port("proxy.example:3128"), Some(("proxy.example".into(), 3128)));
    }

    #[test]
    fn a_name_without_an_address_is_told_from_a_server_that_is_silent() {
        let target = |url: &str| Target { url: url.into(), ..direct("x") };
        let problem = |url: &str| attempt(&target(url)).problem;
        assert!(matches!(problem("http://no-such-name.invalid/"), Some(Problem::Unresolved(_))));
        assert!(matches!(problem("http://127.0.0.1:1/"), Some(Problem::Unreachable(_))));
        assert!(matches!(problem("http://[::1]:1/"), Some(Problem::Unreachable(_))));
        assert!(matches!(problem("http:// mirror/"), Some(Problem::Unresolved(_))), "nothing is left out in silence");
    }
}
