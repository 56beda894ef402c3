//! Whether a request comes from a page of this portal. The portal's word opens a notebook (`Authorization`), which switches
//! off Jupyter's own checks of origin (jupyter_server, `should_check_origin`): this one stands in their place.
//!
//! Browsers send `Sec-Fetch-Site` with requests but not with WebSockets' upgrades (Chromium 156), and not on plain HTTP
//! (W3C, Fetch Metadata: only trustworthy URLs), so `Origin` against `Host` decides there.

use axum::http::{HeaderMap, Method, Uri, header};

/// Whether it may go on. Over TLS a page without is another one: whoever is on the way can make such a page.
pub fn allows(method: &Method, headers: &HeaderMap, is_upgrade: bool, over_tls: bool) -> bool {
    let is_ours = |origin: &str| is_ours(origin, headers, over_tls);
    let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if is_upgrade {
        return says("origin").is_some_and(is_ours);
    }
    let site = says("sec-fetch-site");
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        // Another site may lead here by a link, and embed nothing.
        return matches!(site, None | Some("same-origin" | "none")) || says("sec-fetch-mode") == Some("navigate");
    }
    match (site, says("origin"), says("referer")) {
        (Some(site), origin, _) => site == "same-origin" && origin.is_none_or(is_ours),
        (None, Some(origin), _) => is_ours(origin),
        (None, None, Some(page)) => is_ours(page),
        (None, None, None) => false,
    }
}

/// Whether an origin, or the address of a page, is at the host that was asked.
fn is_ours(origin: &str, headers: &HeaderMap, over_tls: bool) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let usual = match origin.scheme_str() {
        Some("http") if !over_tls => ":80",
        Some("https") => ":443",
        _ => return false,
    };
    let plain = |authority: &str| authority.strip_suffix(usual).unwrap_or(authority).to_ascii_lowercase();
    origin.authority().is_some_and(|authority| plain(authority.as_str()) == plain(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(method: &Method, upgrade: bool, headers: &[(&'static str, &str)]) -> bool {
        let mut all = HeaderMap::new();
        all.insert("host", "gpu.example.edu".parse().unwrap());
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        allows(method, &all, upgrade, false)
    }

    #[test]
    fn an_upgrade_needs_an_origin_of_ours() {
        let upgrade = |headers: &[(&'static str, &str)]| allowed(&Method::GET, true, headers);
        assert!(upgrade(&[("origin", "https://gpu.example.edu")]));
        assert!(upgrade(&[("origin", "https://GPU.example.edu:443")]));
        for bad in
            ["https://evil.example", "null", "", "https://gpu.example.edu.evil.example", "https://gpu.example.edu:8443"]
        {
            assert!(!upgrade(&[("origin", bad)]), "{bad}");
        }
        assert!(!upgrade(&[]), "no origin at all");
        assert!(!upgrade(&[("sec-fetch-site", "same-origin")]), "an upgrade is told by its origin alone");
        assert!(!upgrade(&[("origin", "https://evil.example"), ("referer", "https://gpu.example.edu/")]));
    }

    #[test]
    fn what_changes_something_comes_from_our_own_pages() {
        let post = |headers: &[(&'static str, &str)]| allowed(&Method::POST, false, headers);
        assert!(post(&[("sec-fetch-site", "same-origin")]));
        assert!(post(&[("sec-fetch-site", "same-origin"), ("origin", "https://gpu.example.edu")]));
        assert!(post(&[("origin", "https://gpu.example.edu")]), "plain HTTP has no Sec-Fetch-Site");
        assert!(post(&[("referer", "https://gpu.example.edu/s/ada/lab")]), "an old browser");
        for site in ["cross-site", "same-site", "none", "SAME-ORIGIN"] {
            assert!(!post(&[("sec-fetch-site", site), ("origin", "https://gpu.example.edu")]), "{site}");
        }
        assert!(!post(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]));
        assert!(!post(&[("origin", "null")]));
        assert!(!post(&[("referer", "https://evil.example/gpu.example.edu")]));
        assert!(!post(&[]), "nobody says where it comes from");
        for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"LOCK").unwrap()] {
            assert!(!allowed(&method, false, &[("origin", "https://evil.example")]));
        }
    }

    #[test]
    fn another_site_may_link_and_not_embed() {
        let get = |headers: &[(&'static str, &str)]| allowed(&Method::GET, false, headers);
        assert!(get(&[]) && get(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]));
        assert!(get(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), "a link in a mail");
        assert!(get(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors")]), "an image of a page of ours");
        assert!(!get(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!get(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    }
}
