//! By which way a server is reached: by itself, or by a proxy that the environment names. (What apt's settings say of
//! proxies: `apt.rs`.)

use crate::host::Host;
use ureq::http::Uri;

/// Variables that name a proxy.
pub const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"];

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// By itself.
    Direct,
    /// By a proxy.
    Proxy {
        /// Its address.
        url: String,
        /// Who says so.
        by: &'static str,
    },
}

/// Variables that name a proxy for whatever is not named by itself; apt does not read them.
const FOR_ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];

/// The way to a server by the variables of the environment, in whichever case they are written; `no_proxy` names those
/// that are reached by themselves.
pub(super) fn of_environment(host: &Host, uri: &Uri) -> Way {
    way(host, uri, &FOR_ALL)
}

/// The same for apt.
pub(super) fn of_environment_for_apt(host: &Host, uri: &Uri) -> Way {
    way(host, uri, &[])
}

fn way(host: &Host, uri: &Uri, for_all: &[&str]) -> Way {
    let names: &[&str] = if uri.scheme_str() == Some("https") { &PROXY_VARIABLES[..2] } else { &PROXY_VARIABLES[2..] };
    let set = names.iter().chain(for_all).filter(|_| host.is_live()).filter_map(|name| std::env::var(name).ok());
    match set.into_iter().find(|url| !url.is_empty()) {
        Some(url) if !is_excepted(host, uri) => Way::Proxy { url, by: "the environment" },
        _ => Way::Direct,
    }
}

/// Whether `no_proxy` names the server.
pub(super) fn is_excepted(host: &Host, uri: &Uri) -> bool {
    let set = ["no_proxy", "NO_PROXY"].into_iter().filter(|_| host.is_live()).find_map(|name| std::env::var(name).ok());
    let Some(server) = uri.host().map(str::to_ascii_lowercase) else { return false };
    let excepts = |name: &str| {
        let name = name.trim().trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        name == "*" || (!name.is_empty() && (server == name || server.ends_with(&format!(".{name}"))))
    };
    set.is_some_and(|names| names.split(',').any(excepts))
}
