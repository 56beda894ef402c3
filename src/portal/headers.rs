//! What passes between a browser and a notebook: hop-by-hop headers end here, the portal's cookies stay here, the notebook's
//! token is added on the way up, and on the way down a notebook sets cookies for its own pages only.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The portal's cookies, where pages come over plain HTTP and over TLS. A cookie whose name begins with `__Host-` is taken
/// by browsers only from TLS, for all paths and without a domain (RFC 6265bis, 4.1.3.2).
pub const COOKIES: [&str; 2] = ["gpucloud_session", "__Host-gpucloud_session"];

/// Letters of a session in a cookie.
const SESSION: usize = 64;
/// No more of one browser's are looked at.
const MOST_SESSIONS: usize = 64;

/// Headers that are a connection's and not a message's (RFC 9110, 7.6.1), but for `Upgrade`'s.
const OF_A_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Whether it asks to go on as a WebSocket. (`Connection: keep-alive, Upgrade`, as Firefox says.)
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Takes away what ends here; what `Connection` names too.
fn end_hop(headers: &mut HeaderMap, is_upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_A_HOP) {
        if name != header::UPGRADE {
            headers.remove(name);
        }
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if is_upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
}

/// The values of the portal's cookie, the one for all paths first: browsers send longer paths ahead of it (RFC 6265, 5.4), and
/// pages of notebooks can set such.
pub fn sessions<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let value = |cookie: &'a [u8]| {
        let (key, value) = std::str::from_utf8(cookie).ok()?.split_once('=')?;
        let is_one = value.len() == SESSION && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        (key == name && is_one).then_some(value)
    };
    let mut all: Vec<_> = cookies(headers).filter_map(value).collect();
    all.reverse();
    all.truncate(MOST_SESSIONS);
    all
}

/// As bytes: somebody's cookie may hold letters that are no ASCII, and is no reason to lose the others.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    values.flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

/// Makes a browser's headers those for a notebook, which is opened by `token`.
pub fn up(headers: &mut HeaderMap, token: &str, is_upgrade: bool) {
    end_hop(headers, is_upgrade);
    let name = |cookie: &[u8]| cookie.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii().to_owned();
    let ours = |cookie: &&[u8]| COOKIES.iter().any(|own| own.as_bytes() == name(cookie));
    let theirs: Vec<&[u8]> = cookies(headers).filter(|cookie| !ours(cookie)).collect();
    let theirs = HeaderValue::from_bytes(&theirs.join(&b"; "[..])).ok().filter(|value| !value.is_empty());
    headers.remove(header::COOKIE);
    if let Some(theirs) = theirs {
        headers.insert(header::COOKIE, theirs);
    }
    // A token of somebody's own choice, and what proxies say of whom they speak for: a notebook trusts neither.
    for name in [
        "authorization",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ] {
        headers.remove(name);
    }
    if let Ok(mut value) = HeaderValue::from_str(&format!("token {token}")) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
}

/// Makes a notebook's headers those for a browser; `base` is the path of the notebook's pages, `/s/ada/`.
pub fn down(headers: &mut HeaderMap, base: &str, is_upgrade: bool) {
    end_hop(headers, is_upgrade);
    let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    headers.remove(header::SET_COOKIE);
    let kept = set.iter().filter_map(|value| own_cookie(value.to_str().ok()?, base));
    for value in kept.filter_map(|value| HeaderValue::from_str(&value).ok()) {
        headers.append(header::SET_COOKIE, value);
    }
    // These speak for the whole origin, which is not one notebook's.
    for name in ["clear-site-data", "service-worker-allowed", "strict-transport-security", "public-key-pins"] {
        headers.remove(name);
    }
}

/// A cookie that a notebook sets, for its own pages; none of a name of ours.
fn own_cookie(set: &str, base: &str) -> Option<String> {
    let mut parts = set.split(';').map(str::trim);
    let pair = parts.next()?;
    let name = pair.split('=').next()?.trim();
    // Browsers take a cookie without a name for one whose name is its value's beginning (RFC 6265bis, 5.6).
    if name.is_empty() || !pair.contains('=') || name.to_ascii_lowercase().starts_with("__") || COOKIES.contains(&name)
    {
        return None;
    }
    let key = |part: &str| part.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let path = |part: &str| part.split_once('=').map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
    let mut kept = vec![pair.to_owned()];
    let mut below = base.to_owned();
    for part in parts {
        match key(part).as_str() {
            "domain" => {}
            "path" if path(part).starts_with(base) => below = path(part),
            "path" => {}
            _ => kept.push(part.to_owned()),
        }
    }
    kept.push(format!("Path={below}"));
    Some(kept.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn seen(map: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> = map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn a_notebook_sees_its_own_cookies_and_the_portal_s_word() {
        let mut map = headers(&[
            ("cookie", "_xsrf=1; gpucloud_session=secret; username-x=2"),
            ("cookie", "__Host-gpucloud_session=secret"),
            ("authorization", "token stolen"),
            ("x-forwarded-for", "192.0.2.1"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("x-xsrftoken", "1"),
        ]);
        up(&mut map, "inner", false);
        assert_eq!(seen(&map), ["authorization: token inner", "cookie: _xsrf=1; username-x=2", "x-xsrftoken: 1"]);
    }

    #[test]
    fn an_upgrade_goes_on_and_nothing_else_of_its_hop_does() {
        let mut map = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", "v1.kernel.websocket.jupyter.org"),
        ]);
        assert!(is_upgrade(&map));
        up(&mut map, "inner", true);
        let protocol = "sec-websocket-protocol: v1.kernel.websocket.jupyter.org";
        assert_eq!(seen(&map), ["authorization: token inner", "connection: upgrade", protocol, "upgrade: websocket"]);
        for other in [&[("connection", "upgrade")][..], &[("upgrade", "websocket")], &[("connection", "upgraded")]] {
            assert!(!is_upgrade(&headers(other)));
        }
        assert!(!is_upgrade(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])), "no other protocol");
        let mut other = headers(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        up(&mut other, "inner", false);
        assert_eq!(seen(&other), ["authorization: token inner"]);
    }

    #[test]
    fn a_notebook_sets_cookies_for_its_own_pages_only() {
        let own = |set: &str| own_cookie(set, "/s/ada/");
        assert_eq!(own("_xsrf=1; Path=/s/ada/").unwrap(), "_xsrf=1; Path=/s/ada/");
        assert_eq!(own("a=1; Path=/; Domain=example.edu; HttpOnly").unwrap(), "a=1; HttpOnly; Path=/s/ada/");
        assert_eq!(own("a=1; path=/s/bob/").unwrap(), "a=1; Path=/s/ada/");
        assert_eq!(own("a=1; Path=/s/ada/files/").unwrap(), "a=1; Path=/s/ada/files/");
        for bad in [
            "gpucloud_session=x; Path=/s/ada/",
            "__Host-gpucloud_session=x",
            "__host-gpucloud_session=x",
            "=gpucloud_session=x",
            "gpucloud_session",
        ] {
            assert_eq!(own(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let mut map = headers(&[("cookie", &format!("a=1; gpucloud_session={one}; gpucloud_session=x"))]);
        let other = [&b"x=\xc3\xbc; gpucloud_session="[..], two.as_bytes(), b";b=2"].concat();
        map.append("cookie", HeaderValue::from_bytes(&other).unwrap());
        assert_eq!(sessions(&map, COOKIES[0]), [two.as_str(), &one]);
        assert!(sessions(&map, COOKIES[1]).is_empty());
        up(&mut map, "inner", false);
        assert_eq!(map["cookie"].as_bytes(), b"a=1; x=\xc3\xbc; b=2");
    }
}
