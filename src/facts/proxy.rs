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

/// The way to a server by the variables of the environment, in whichever case they are written; `no_proxy` names those
/// that are reached by themselves.
pub(super) fn of_environment(host: &Host, uri: &Uri) -> Way {
    let names: &[&str] = if uri.scheme_str() == Some("https") { &PROXY_VARIABLES[..2] } else { &PROXY_VARIABLES[2..] };
    let all = ["all_proxy", "ALL_PROXY"];
    let set = names.iter().chain(&all).filter(|_| host.is_live()).filter_map(|name| std::env::var(name).ok());
    let excepted = ureq::Proxy::try_from_env().is_some_and(|proxy| proxy.is_no_proxy(uri));
    match set.into_iter().find(|url| !url.is_empty()) {
        Some(url) if !excepted => Way::Proxy { url, by: "the environment" },
        _ => Way::Direct,
    }
}
