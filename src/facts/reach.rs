//! Whether what will be downloaded can be: names resolve, servers answer, the clock is right.
//!
//! Which servers those are is read from the machine's own settings (apt sources, pip's index); none is named here.

use crate::host::{Host, Result, files};
use serde::Serialize;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

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
}

/// Why a server cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Its name has no address.
    Unresolved(String),
    /// It has an address, but does not answer.
    Unreachable(String),
}

/// Tries every server of the machine's settings, all at once. A proxy stands for all of them.
pub fn probe(host: &Host) -> Result<Vec<Server>> {
    let targets = match proxy(host)? {
        Some((name, port)) => vec![("everything (a proxy)".to_owned(), name, port)],
        None => servers(host)?,
    };
    Ok(std::thread::scope(|scope| {
        let tries: Vec<_> = targets.into_iter().map(|target| scope.spawn(|| attempt(target))).collect();
        tries.into_iter().filter_map(|thread| thread.join().ok()).collect()
    }))
}

fn attempt((purpose, host, port): (String, String, u16)) -> Server {
    let problem = match (host.as_str(), port).to_socket_addrs() {
        Err(error) => Some(Problem::Unresolved(error.to_string())),
        Ok(addresses) => connect(addresses.collect()),
    };
    Server { purpose, host, port, problem }
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

fn proxy(host: &Host) -> Result<Option<(String, u16)>> {
    let names = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"];
    let from_environment = names.iter().find_map(|name| std::env::var(name).ok());
    if let Some(url) = from_environment.filter(|url| !url.is_empty() && host.is_live()) {
        return Ok(host_and_port(&url));
    }
    Ok(None)
}

fn servers(host: &Host) -> Result<Vec<(String, String, u16)>> {
    let mut found = Vec::new();
    for url in apt_urls(host)? {
        found.extend(host_and_port(&url).map(|(name, port)| ("packages of the distribution".to_owned(), name, port)));
    }
    if let Some(url) = pip_index(host)? {
        found.extend(host_and_port(&url).map(|(name, port)| ("OpenStack's packages".to_owned(), name, port)));
    }
    found.sort();
    found.dedup();
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
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let words = lines.flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with("http://") || word.starts_with("https://")).map(str::to_owned).collect()
}

/// pip's configured index; without one pip knows its own.
pub fn pip_index(host: &Host) -> Result<Option<String>> {
    if let Some(url) = std::env::var("PIP_INDEX_URL").ok().filter(|_| host.is_live()) {
        return Ok(Some(url));
    }
    let text = files::read_text(host, "/etc/pip.conf")?.unwrap_or_default();
    let value = text.lines().find_map(|line| line.trim().strip_prefix("index-url")?.trim().strip_prefix('='));
    Ok(value.map(|url| url.trim().to_owned()))
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?.rsplit('@').next()?;
    let default = if scheme == "https" { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((name, port)) => Some((name.to_owned(), port.parse().ok()?)),
        None => Some((authority.to_owned(), default)),
    }
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
    fn a_url_gives_name_and_port() {
        assert_eq!(host_and_port("https://u:p@mirror.example:8443/x"), Some(("mirror.example".into(), 8443)));
        assert_eq!(host_and_port("http://mirror.example/x"), Some(("mirror.example".into(), 80)));
    }

    #[test]
    fn a_name_without_an_address_is_told_from_a_server_that_is_silent() {
        let server = attempt(("x".into(), "no-such-name.invalid".into(), 80));
        assert!(matches!(server.problem, Some(Problem::Unresolved(_))));
        let server = attempt(("x".into(), "127.0.0.1".into(), 1));
        assert!(matches!(server.problem, Some(Problem::Unreachable(_))));
    }
}
