//! Whom a request calls, and on what way it came: pure.

use super::told::Told;
use axum::http::{HeaderMap, Uri, header, uri::Authority};
use percent_encoding::percent_decode_str;
use std::net::IpAddr;

/// Whether the request calls an address, which no foreign name leads to, or one of our names.
pub fn calls_us(uri: &Uri, headers: &HeaderMap, names: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    // An address in the request's line is a proxy's matter.
    if uri.authority().is_some() || host.as_str().contains('@') {
        return false;
    }
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok() || name == "localhost" || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether nobody on the way may take it for another path.
pub fn is_plain(path: &str) -> bool {
    let is_step = |part: &str| {
        let part = percent_decode_str(part).decode_utf8_lossy();
        part == "." || part == ".." || part.contains(['/', '\\', '\0'])
    };
    // Jupyter writes a file's folder with `/`, and encodes none.
    path.starts_with('/') && !path.split('/').any(is_step)
}

/// Whether a service that ends TLS itself says that a browser came without: some serve both.
pub fn came_plain(told: &Told, headers: &HeaderMap) -> bool {
    let says = |headers: &HeaderMap| headers.get("x-forwarded-proto").is_some_and(|proto| proto == "http");
    told.tunnel.as_ref().is_some_and(|tunnel| tunnel.tells_tls) && says(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_answered_to() {
        let names = vec!["gpu.example.edu".to_owned()];
        let calls = |hosts: &[&str], line: &str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append("host", host.parse().unwrap());
            }
            calls_us(&line.parse().unwrap(), &headers, &names)
        };
        for good in ["gpu.example.edu", "GPU.example.edu:8000", "192.0.2.10:8000", "[2001:db8::1]:8000", "localhost"] {
            assert!(calls(&[good], "/"), "{good}");
        }
        for bad in ["evil.example", "gpu.example.edu.evil.example", "x@gpu.example.edu", "", "a b"] {
            assert!(!calls(&[bad], "/"), "{bad}");
        }
        assert!(!calls(&[], "/") && !calls(&["gpu.example.edu", "evil.example"], "/"));
        assert!(!calls(&["gpu.example.edu"], "http://evil.example/"));
    }

    #[test]
    fn a_path_means_one_thing_only() {
        for good in ["/", "/s/ada/lab", "/s/ada/files/my%20file.txt", "/s/ada/api/contents/a..b/...", "/s/ada/a%25b"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in
            ["/s/ada/../bob/", "/s/ada/%2e%2E/bob/", "/s/ada/..%2fbob", "/s/ada/./x", "*", "", "/s/a%5c..", "/x%00"]
        {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
