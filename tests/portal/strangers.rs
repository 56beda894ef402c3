//! Who must not get in, and what must not get through: the rows of the security list.

use super::world::{ADA, BOB, FORM, INNER, PAGE, Portal, WORLD, ask, raw};
use libtest_mimic::Failed;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

type Verdict = Result<(), Failed>;

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The status of an upgrade with these headers beside its own: 101 where it goes on.
fn upgraded(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n");
    for (name, value) in UPGRADE.iter().chain(headers) {
        text += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    String::from_utf8_lossy(&first[9..]).parse().unwrap()
}

fn a_kernel(portal: &Portal, cookie: &str) -> String {
    let origin = portal.url("");
    let headers = [("Cookie", cookie), ("Origin", &origin), ("Content-Type", "application/json")];
    let said = portal.ask("POST", "/s/ada/api/kernels", &headers, "{}");
    assert_eq!(said.status, 201, "{}{}", said.head, said.text());
    let id = said.json()["id"].as_str().unwrap().to_owned();
    format!("/s/ada/api/kernels/{id}/channels")
}

pub fn without_a_session() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let socket = a_kernel(&portal, &cookie);
    let origin = portal.url("");
    for path in
        ["/s/ada/api", "/s/ada/api/status", "/s/ada/static/favicon.ico", "/s/ada/files/x", "/s/bob/api", "/s/x/"]
    {
        let said = portal.get(path, &[]);
        assert_eq!(said.status, 403, "{path}: {}", said.text());
        assert!(said.json()["message"].is_string(), "a program is led to no page");
    }
    let forged =
        ["gpucloud_session=", "gpucloud_session=0", "gpucloud_session=' OR 1=1 --", "__Host-gpucloud_session=x"];
    for cookie in forged {
        assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", cookie)]).status, 403, "{cookie}");
        assert_eq!(upgraded(portal.at, &socket, &[("Origin", &origin), ("Cookie", cookie)]), 403, "{cookie}");
    }
    // The notebook's own token in a stranger's hand opens nothing here.
    let token = format!("token {INNER}");
    assert_eq!(portal.get("/s/ada/api/status", &[("Authorization", &token)]).status, 403);
    assert_eq!(portal.get(&format!("/s/ada/api/status?token={INNER}"), &[]).status, 403);
    assert_eq!(upgraded(portal.at, &socket, &[("Origin", &origin)]), 403);
    let said = portal.get("/s/ada/lab/tree/a%20b.ipynb?x=1", &[PAGE]);
    assert_eq!(said.status, 303);
    assert_eq!(said.header("location"), Some("/?next=%2Fs%2Fada%2Flab%2Ftree%2Fa%2520b%2Eipynb%3Fx%3D1"));
    assert!(portal.get("/", &[PAGE]).text().contains("name=\"token\""));
    Ok(())
}

pub fn tokens() -> Verdict {
    let portal = Portal::start();
    let origin = portal.url("");
    let headers = [("Origin", origin.as_str()), FORM];
    for wrong in ["", "x", "00000-11111-22222-33334", "%00", "token", &"0".repeat(3000)] {
        let said = portal.ask("POST", "/login", &headers, &format!("token={wrong}"));
        assert!(said.status == 403 && said.header("set-cookie").is_none(), "{wrong}: {}", said.head);
        assert!(said.text().contains("This token is not known"), "{}", said.text());
    }
    assert_eq!(portal.ask("POST", "/login", &headers, "x=1").status, 422);
    let said = portal.ask("POST", "/login", &headers, &format!("token={}", "0".repeat(1 << 20)));
    assert!(matches!(said.status, 0 | 413), "{}", said.head);
    // Whoever tries many is told to wait, and shuts out nobody.
    for n in 0..120 {
        portal.ask("POST", "/login", &headers, &format!("token=wrong{n}"));
    }
    assert_eq!(portal.ask("POST", "/login", &headers, "token=wrong").status, 429);
    for typed in [ADA, "ooooo-iIlL1-22222-33333", "00000%2011111%2022222%2033333", "00000111112222233333"] {
        assert!(portal.log_in(typed).is_some(), "{typed}");
    }
    let log = portal.log();
    assert!(!log.contains("00000") && !log.contains("wrong1") && log.len() < 20_000, "{log}");
    assert!(log.contains("ada logged in from 127.0.0.1") && log.contains("a wrong token from 127.0.0.1"), "{log}");
    Ok(())
}

pub fn of_others() -> Verdict {
    let portal = Portal::start();
    let (ada, bob) = (portal.log_in(ADA).unwrap(), portal.log_in(BOB).unwrap());
    let socket = a_kernel(&portal, &ada);
    let origin = portal.url("");
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &ada)]).status, 200);
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &bob)]).status, 404);
    assert_eq!(portal.get("/s/nobody/api/status", &[("Cookie", &bob)]).status, 404, "it is not told apart");
    assert_eq!(upgraded(portal.at, &socket, &[("Origin", &origin), ("Cookie", &bob)]), 404);
    assert_eq!(upgraded(portal.at, &socket, &[("Origin", &origin), ("Cookie", &ada)]), 101);
    let page = portal.get("/", &[("Cookie", &bob), PAGE]).text();
    assert!(page.contains("<h2>bob</h2>") && !page.contains("ada"), "{page}");
    // A page of bob's may have set cookies for longer paths, which browsers send first: the portal's own decides.
    let junk = format!("gpucloud_session={}; ", "0".repeat(64)).repeat(10) + "gpucloud_session=x; other=\u{fc}; ";
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &format!("{junk}{bob}; {ada}"))]).status, 200);
    assert_eq!(portal.get("/s/bob/api/status", &[("Cookie", &format!("{bob}; {ada}"))]).status, 404);
    // Logged out, a copy of the cookie opens nothing.
    let said = portal.ask("POST", "/logout", &[("Cookie", &ada), ("Origin", &origin)], "");
    assert!(said.status == 303 && said.header("set-cookie").unwrap().contains("Max-Age=0"), "{}", said.head);
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &ada)]).status, 403);
    // One session for each browser: a login in it ends what was before.
    let first = portal.log_in(ADA).unwrap();
    let headers = [("Cookie", first.as_str()), ("Origin", &origin), FORM];
    let second = portal.ask("POST", "/login", &headers, &format!("token={ADA}"));
    let second = second.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &first)]).status, 403);
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &second)]).status, 200);
    Ok(())
}

pub fn from_other_sites() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let socket = a_kernel(&portal, &cookie);
    let origin = portal.url("");
    let evil: [&[(&str, &str)]; 5] = [
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", &origin)],
        &[],
    ];
    for from in evil {
        for (method, path) in [
            ("POST", "/s/ada/api/kernels"),
            ("POST", "/login"),
            ("POST", "/logout"),
            ("DELETE", "/s/ada/api/contents/x"),
            ("PUT", "/s/ada/api/contents/x"),
        ] {
            let mut headers = vec![("Cookie", cookie.as_str()), FORM];
            headers.extend(from);
            let said = portal.ask(method, path, &headers, &format!("token={ADA}"));
            assert!(
                said.status == 403 && said.header("set-cookie").is_none(),
                "{method} {path} {from:?}: {}",
                said.head
            );
        }
        // With an upgrade the origin decides.
        if from.iter().all(|(name, value)| *name != "Origin" || *value != origin) {
            let mut headers = vec![("Cookie", cookie.as_str())];
            headers.extend(from);
            assert_eq!(upgraded(portal.at, &socket, &headers), 403, "{from:?}");
        }
    }
    assert_eq!(upgraded(portal.at, &socket, &[("Cookie", &cookie), ("Sec-Fetch-Site", "same-origin")]), 403);
    let embedded = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    assert_eq!(portal.get("/s/ada/api/status", &embedded).status, 403);
    let linked = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), PAGE];
    assert_eq!(portal.get("/s/ada/lab", &linked).status, 200, "a link in a mail");
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200, "and the session is still good");
    Ok(())
}

pub fn led_away() -> Verdict {
    let portal = Portal::start();
    let origin = portal.url("");
    let headers = [("Origin", origin.as_str()), FORM];
    let led = |next: &str| {
        let said = portal.ask("POST", "/login", &headers, &format!("token={ADA}&next={next}"));
        assert_eq!(said.status, 303, "{}", said.head);
        said.header("location").unwrap().to_owned()
    };
    assert_eq!(led("%2Fs%2Fada%2Flab"), "/s/ada/lab");
    for bad in [
        "//evil.example",
        "%2f%2fevil.example",
        "/%5Cevil.example",
        "///evil.example",
        "https:evil.example",
        "%09//evil.example",
        "/s/%2e%2e//evil.example",
        "/s/x%0d%0aSet-Cookie:y",
    ] {
        assert_eq!(led(bad), "/", "{bad}");
    }
    let page = portal.get("/?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", &[PAGE]).text();
    assert!(!page.contains("<script>alert"), "{page}");
    Ok(())
}

/// A notebook of somebody who means ill; says what the portal sent, and answers each request with these headers.
fn notebook_that_says(headers: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut got, mut part) = (stream, Vec::new(), [0; 4096]);
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            while let Ok(n @ 1..) = stream.read(&mut part) {
                got.extend(&part[..n]);
                if got.windows(4).any(|part| part == b"\r\n\r\n") {
                    break;
                }
            }
            let _ = tell.send(String::from_utf8_lossy(&got).into_owned());
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok").as_bytes());
        }
    });
    (at, told)
}

pub fn cookies_of_a_notebook() -> Verdict {
    let portal = Portal::start();
    let (at, sent) = notebook_that_says(
        "Set-Cookie: gpucloud_session=tossed; Path=/\r\nSet-Cookie: __Host-gpucloud_session=x; Path=/; Secure\r\n\
         Set-Cookie: wide=1; Path=/; Domain=lab\r\nSet-Cookie: other=1; Path=/s/bob/\r\nClear-Site-Data: \"cookies\"\r\n\
         Service-Worker-Allowed: /\r\nStrict-Transport-Security: max-age=1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
    );
    let mut told = WORLD.told();
    told.notebooks.get_mut("ada").unwrap().place = Some(at);
    portal.tell(&told);
    let cookie = portal.log_in(ADA).unwrap();
    let cookies = format!("_xsrf=1; {cookie}; __Host-gpucloud_session=y");
    let said = portal
        .get("/s/ada/x", &[("Cookie", &cookies), ("X-Forwarded-For", "192.0.2.1"), ("Authorization", "token own")]);
    assert_eq!(said.headers("set-cookie"), ["wide=1; Path=/s/ada/", "other=1; Path=/s/ada/"]);
    for gone in ["clear-site-data", "service-worker-allowed", "strict-transport-security", "x-hop"] {
        assert!(said.header(gone).is_none(), "{gone}");
    }
    // Its looks at the place are connections without a request.
    let got = sent.iter().find(|text| text.starts_with("GET /s/ada/x ")).unwrap();
    assert!(got.contains("cookie: _xsrf=1\r\n") && got.contains(&format!("authorization: token {INNER}\r\n")), "{got}");
    assert!(got.to_lowercase().contains(&format!("host: {}", portal.at)), "Jupyter checks it: {got}");
    let secret = cookie.split('=').nth(1).unwrap();
    assert!(!got.contains(secret) && !got.contains("own") && !got.contains("192.0.2.1"), "{got}");
    Ok(())
}

pub fn smuggled() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let host = portal.at.to_string();
    for (line, why) in [
        ("GET /s/ada/../bob/api/status HTTP/1.1", "a step up"),
        ("GET /s/ada/%2e%2e/bob/api/status HTTP/1.1", "a step up, encoded"),
        ("GET /s/ada/..%2fbob/api HTTP/1.1", "a slash, encoded"),
        ("GET /s/ada/api%00 HTTP/1.1", "an end of a string"),
        ("GET http://evil.example/s/ada/api HTTP/1.1", "a whole address"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", "a tunnel"),
        ("GET s/ada/api HTTP/1.1", "no path"),
    ] {
        let said = raw(
            portal.at,
            format!("{line}\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        // Jupyter has an answer for each of them, too: it must not be asked.
        assert!(matches!(said.status, 400 | 421) && !said.head.contains("Tornado"), "{why}: {}", said.head);
    }
    for host in ["evil.example", "gpu.lab.evil.example", "", "gpu.lab\r\nHost: evil.example", "evil@gpu.lab"] {
        let said = raw(portal.at, format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(matches!(said.status, 400 | 421), "{host}: {}", said.head);
    }
    for host in ["gpu.lab", "GPU.lab:80", &host] {
        assert_eq!(ask(portal.at, "GET", "/", &[("Host", host)], "").status, 200, "{host}");
    }
    // A second request in the body of the first: it is a body, or refused, and never a request to the notebook.
    let (at, sent) = notebook_that_says("");
    let mut told = WORLD.told();
    told.notebooks.get_mut("ada").unwrap().place = Some(at);
    portal.tell(&told);
    let hidden = format!("GET /s/ada/hidden HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
    let head = format!("POST /s/ada/open HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nOrigin: http://{host}\r\n");
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", hidden.len() + 5),
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length : 5\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{hidden}"),
    ] {
        let mut stream = TcpStream::connect(portal.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(format!("{head}{framing}").as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        let got: Vec<String> = sent.try_iter().collect();
        // Two readings agree where the second request is one of its own behind a body that has ended.
        let is_pipelined = framing.contains("0\r\n\r\nGET") && got.len() == 2;
        assert!(is_pipelined || !got.iter().any(|text| text.starts_with("GET /s/ada/hidden")), "{framing}: {got:?}");
        assert!(!got.iter().any(|text| text.contains("xchunked") || text.contains("identity")), "{framing}: {got:?}");
    }
    Ok(())
}

pub fn long_and_slow() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let long = "x".repeat(1 << 20);
    // Refused before it was read to its end: the answer may be lost on the way (RFC 9112, 9.6).
    let is_refused = |status: u16| status == 0 || (400..500).contains(&status);
    assert!(is_refused(portal.get("/", &[("X-Long", &long)]).status));
    assert!(is_refused(portal.get(&format!("/{long}"), &[]).status));
    // Fifty who send a letter now and then, and a form that never ends: all are ended in their time, and nobody waits.
    let mut slow: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(portal.at).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    }
    let mut form = TcpStream::connect(portal.at).unwrap();
    let origin = portal.url("");
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nContent-Type: {}\r\nContent-Length: 100\r\n\r\ntoken=",
        portal.at, FORM.1
    );
    form.write_all(head.as_bytes()).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(36) {
        slow.iter_mut().for_each(|stream| _ = stream.write_all(b"a"));
        let asked = Instant::now();
        assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200);
        assert!(asked.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_secs(2));
    }
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let by_reset = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.is_ok() || ended.is_err_and(by_reset), "a slow head is never ended");
    }
    form.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut said = [0; 12];
    form.read_exact(&mut said)?;
    assert_eq!(&said[9..], b"408");
    Ok(())
}
