//! Whether what will be downloaded can be: names resolve, servers answer, the clock is right.
//!
//! Which servers those are is read from the machine's own settings (apt sources, pip's index); none is named here.

use crate::host::command::Command;
use crate::host::{Host, Result, files, http};
use crate::ini;
use serde::Serialize;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

/// How long one server may take to accept a connection.
const LIMIT: Duration = Duration::from_secs(5);

/// Variables that downloads go by: proxies, pip's index, certificates.
pub const DOWNLOAD_VARIABLES: [&str; 9] = [
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

/// Those of them that name a proxy.
pub const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"];

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
}

/// A server to be tried.
struct Target {
    purpose: &'static str,
    url: String,
    trusted: RootCerts,
}

/// Tries every server of the machine's settings, all at once. Behind a proxy, it is the proxy that is tried.
pub fn probe(host: &Host) -> Result<Vec<Server>> {
    let targets = targets(host)?;
    Ok(std::thread::scope(|scope| {
        let tries: Vec<_> = targets.iter().map(|target| scope.spawn(|| attempt(target))).collect();
        tries.into_iter().filter_map(|thread| thread.join().ok()).collect()
    }))
}

fn attempt(target: &Target) -> Server {
    let Some((host, port)) = host_and_port(&target.url) else {
        let problem = Some(Problem::Unresolved("it is no address of a server".into()));
        let (purpose, host) = (target.purpose.to_owned(), target.url.clone());
        return Server { purpose, host, port: 0, problem, clock_ahead: None };
    };
    let problem = match (host.as_str(), port).to_socket_addrs() {
        Err(error) => Some(Problem::Unresolved(error.to_string())),
        Ok(addresses) => connect(addresses.collect()),
    };
    let said = if problem.is_none() { greet(target) } else { Ok(None) };
    let (clock_ahead, untrusted) = said.map_or_else(|problem| (None, Some(problem)), |ahead| (ahead, None));
    Server { purpose: target.purpose.to_owned(), host, port, problem: problem.or(untrusted), clock_ahead }
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

/// By how much its clock is ahead: any answer of an HTTP server has its date (RFC 9110, 6.6.1).
fn greet(target: &Target) -> std::result::Result<Option<i64>, Problem> {
    let tls = TlsConfig::builder().root_certs(target.trusted.clone()).build();
    let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).http_status_as_error(false);
    let agent = ureq::Agent::from(config.proxy(None).tls_config(tls).build());
    match agent.head(&target.url).call() {
        Ok(answer) => Ok(answer.headers().get("date").and_then(|date| seconds_ahead(date.to_str().ok()?))),
        Err(error) if error.to_string().contains("certificate") => Err(Problem::Untrusted(error.to_string())),
        // It does not like to be asked for this: the download will show.
        Err(_) => Ok(None),
    }
}

fn seconds_ahead(date: &str) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp().as_second() - jiff::Timestamp::now().as_second())
}

fn targets(host: &Host) -> Result<Vec<Target>> {
    let trusted = http::trusted(host)?;
    if let Some(url) = proxy(host) {
        return Ok(vec![Target { purpose: "everything (a proxy)", url, trusted }]);
    }
    let mut found: Vec<(&'static str, String)> = match apt_proxy(host)? {
        Some(url) => vec![("packages of the distribution (apt's proxy)", url)],
        None => apt_urls(host)?.into_iter().map(|url| ("packages of the distribution", url)).collect(),
    };
    found.extend(pip_index(host)?.map(|url| ("OpenStack's packages", url)));
    found.sort();
    found.dedup_by_key(|(purpose, url)| (*purpose, host_and_port(url).ok_or(url.clone())));
    Ok(found.into_iter().map(|(purpose, url)| Target { purpose, url, trusted: trusted.clone() }).collect())
}

/// The proxy of the environment, in whichever case it is written.
fn proxy(host: &Host) -> Option<String> {
    let names = PROXY_VARIABLES.iter().filter(|_| host.is_live());
    names.filter_map(|name| std::env::var(name).ok()).find(|url| !url.is_empty())
}

/// The proxy in apt's own settings, as apt understands them: they nest, and have comments of three kinds (apt.conf(5)).
fn apt_proxy(host: &Host) -> Result<Option<String>> {
    if !host.is_live() {
        return Ok(None);
    }
    let dump = Command::new("apt-config").args(["dump", "--format=%f=%v%n", "Acquire"]).quiet().read(host)?;
    Ok(proxy_in(&dump))
}

/// "DIRECT" is none; one for a single server (`Acquire::http::Proxy::HOST`) is not apt's.
fn proxy_in(dump: &str) -> Option<String> {
    let value = |name: &str| dump.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let proxies = ["Acquire::https::Proxy", "Acquire::http::Proxy"].into_iter().filter_map(value);
    proxies.filter(|url| url.contains("://")).map(str::to_owned).next()
}

/// Those of apt's settings that name a proxy, with their text.
pub fn apt_proxy_files(host: &Host) -> Result<Vec<(PathBuf, String)>> {
    let dir = Path::new("/etc/apt/apt.conf.d");
    let mut paths = vec![PathBuf::from("/etc/apt/apt.conf")];
    paths.extend(files::list(host, dir)?.into_iter().map(|name| dir.join(name)));
    let mut found = Vec::new();
    for path in paths {
        let text = files::read_text(host, &path)?.filter(|text| text.contains("Proxy"));
        found.extend(text.map(|text| (path, text)));
    }
    Ok(found)
}

/// Addresses in one-line and deb822 sources.
pub fn apt_urls(host: &Host) -> Result<Vec<String>> {
    let dir = Path::new("/etc/apt/sources.list.d");
    let mut paths = vec![Path::new("/etc/apt/sources.list").to_owned()];
    paths.extend(files::list(host, dir)?.into_iter().map(|name| dir.join(name)));
    let mut urls = Vec::new();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "list" || e == "sources")) {
        urls.extend(urls_in(&files::read_text(host, path)?.unwrap_or_default()));
    }
    Ok(urls)
}

fn urls_in(text: &str) -> Vec<String> {
    // A stanza of the newer form can be switched off as a whole (sources.list(5), "Enabled").
    let off = |stanza: &&str| !stanza.lines().any(|line| line.to_lowercase().replace(' ', "") == "enabled:no");
    let lines = text.split("\n\n").filter(off).flat_map(str::lines).map(str::trim);
    let words =
        lines.filter(|line| line.starts_with("deb ") || line.starts_with("URIs:")).flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with("http://") || word.starts_with("https://")).map(str::to_owned).collect()
}

/// pip's configured index; without one pip knows its own.
pub fn pip_index(host: &Host) -> Result<Option<String>> {
    if let Some(url) = std::env::var("PIP_INDEX_URL").ok().filter(|_| host.is_live()) {
        return Ok(Some(url));
    }
    let text = files::read_text(host, "/etc/pip.conf")?.unwrap_or_default();
    Ok(ini::values(&text, "global", "index-url").first().map(|url| (*url).to_owned()))
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

    #[test]
    fn servers_come_from_both_kinds_of_source_files() {
        let text = "Types: deb\nURIs: http://mirror.example/debian\n# deb http://old.example/x y main\ndeb [signed-by=/k] https://other.example/x y main\n";
        assert_eq!(urls_in(text), ["http://mirror.example/debian", "https://other.example/x"]);
    }

    #[test]
    fn a_source_that_is_switched_off_is_not_tried() {
        let text = "Enabled: no\nURIs: http://old.example/debian\n\nURIs: http://new.example/debian\n";
        assert_eq!(urls_in(text), ["http://new.example/debian"]);
    }

    #[test]
    fn ubuntus_sources_are_read_without_those_switched_off() {
        let host = Host::at(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ubuntu-24.04"));
        assert_eq!(apt_urls(&host).unwrap(), ["http://archive.ubuntu.example/ubuntu/"]);
    }

    #[test]
    fn apts_own_proxy_is_the_one_for_all_servers() {
        let proxy = |dump: &str| proxy_in(dump);
        let one = "Acquire::http=\nAcquire::http::Proxy=http://proxy.example:3128\n";
        assert_eq!(proxy(one).as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(proxy("Acquire::http::Proxy::mirror.example=http://other.example:1\n"), None);
        assert_eq!(proxy("Acquire::http::Proxy=DIRECT\n"), None);
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
        let server = attempt(&Target { purpose: "x", url, trusted: RootCerts::WebPki });
        assert!(server.problem.is_none() && server.clock_ahead.unwrap() > 365 * 24 * 3600, "{server:?}");
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
        let target = |url: &str| Target { purpose: "x", url: url.into(), trusted: RootCerts::WebPki };
        let problem = |url: &str| attempt(&target(url)).problem;
        assert!(matches!(problem("http://no-such-name.invalid/"), Some(Problem::Unresolved(_))));
        assert!(matches!(problem("http://127.0.0.1:1/"), Some(Problem::Unreachable(_))));
        assert!(matches!(problem("http://[::1]:1/"), Some(Problem::Unreachable(_))));
        assert!(matches!(problem("http:// mirror/"), Some(Problem::Unresolved(_))), "nothing is left out in silence");
    }
}
