//! The portal with a certificate of its own.

use super::world::{ADA, FORM, PAGE, Portal, ask, issued, over_tls, trusting};
use gpucloud::portal::tls::Authority;
use libtest_mimic::Failed;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

type Verdict = Result<(), Failed>;

/// How long another certificate may take to be shown.
const SHOWN: Duration = Duration::from_secs(10);

/// Nothing but the way to TLS is had without it, and what is sent without it is made nothing of.
pub fn led_there() -> Verdict {
    let portal = Portal::start_with_tls();
    for path in ["/", "/?next=%2Fs%2Fada%2Flab", "/s/ada/lab?reset", "/s/ada/api/status"] {
        let said = ask(portal.at, "GET", path, &[PAGE], "");
        assert_eq!((said.status, said.header("location")), (307, Some(portal.url(path).as_str())));
    }
    let plain = format!("http://{}", portal.at);
    let said = ask(portal.at, "POST", "/login", &[("Origin", &plain), FORM], &format!("token={ADA}"));
    assert_eq!((said.status, said.header("set-cookie")), (403, None));
    // The same over TLS, from a page that came without: whoever is on the way can make such a page.
    let said = portal.ask("POST", "/login", &[("Origin", &plain), FORM], &format!("token={ADA}"));
    assert_eq!((said.status, said.header("set-cookie")), (403, None));
    let wrong_name = ask(portal.at, "GET", "/", &[("Host", "evil.example"), PAGE], "");
    assert_eq!((wrong_name.status, wrong_name.header("location")), (421, None));
    let set = portal.ask("POST", "/login", &[("Origin", &portal.url("")), FORM], &format!("token={ADA}"));
    let set = set.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-") && set.contains("; Secure"), "{set}");
    let cookie = set.split(';').next().unwrap();
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", cookie)]).status, 200);
    assert_eq!(ask(portal.at, "GET", "/s/ada/api/status", &[("Cookie", cookie)], "").status, 307);
    Ok(())
}

/// What is downloaded is what the fingerprint is of, and programs of others take it for what it is meant to be.
pub fn certificate() -> Verdict {
    let portal = Portal::start_with_tls();
    for said in [ask(portal.at, "GET", "/certificate.crt", &[], ""), portal.get("/certificate.crt", &[])] {
        assert_eq!((said.status, said.header("content-type")), (200, Some("application/x-x509-ca-cert")));
        let fingerprint = Authority::new(said.body.clone()).fingerprint;
        assert!(ask(portal.at, "GET", "/certificate", &[PAGE], "").text().contains(&fingerprint));
        let dir = tempfile::tempdir()?;
        let (der, pem) = (dir.path().join("authority.crt"), dir.path().join("authority.pem"));
        std::fs::write(&der, &said.body)?;
        let openssl = |arguments: &[&str]| {
            let done = Command::new("openssl").args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            (done.status.success(), said + &String::from_utf8_lossy(&done.stderr))
        };
        let (der, pem) = (der.to_str().unwrap(), pem.to_str().unwrap());
        let (_, text) = openssl(&["x509", "-inform", "DER", "-in", der, "-noout", "-text", "-fingerprint", "-sha256"]);
        assert!(text.contains(&fingerprint) && text.contains("Name Constraints: critical"), "{text}");
        openssl(&["x509", "-inform", "DER", "-in", der, "-out", pem]);
        let shown = portal.tls_file();
        let shown = shown.to_str().unwrap();
        for (kind, name, is_good) in [
            ("-verify_ip", "127.0.0.1", true),
            ("-verify_hostname", "gpu.lab", true),
            ("-verify_hostname", "x.lab", false),
        ] {
            let (verified, said) = openssl(&["verify", "-x509_strict", "-CAfile", pem, kind, name, shown]);
            assert_eq!(verified, is_good, "{name}: {said}");
        }
    }
    let without = Portal::start();
    assert_eq!(without.get("/certificate", &[PAGE]).status, 404);
    assert!(!without.get("/", &[PAGE]).text().contains("/certificate"));
    Ok(())
}

/// Another certificate is shown from the next connection on; one that cannot be read changes nothing.
pub fn renewed() -> Verdict {
    let portal = Portal::start_with_tls();
    let mut open = portal.connect();
    let request = format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", portal.at);
    let mut answers = |what: &str| {
        open.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            open.read_exact(&mut byte).unwrap_or_else(|error| panic!("{what}: {error}"));
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{what}");
    };
    answers("as it was");
    let other = issued(None);
    let is_shown = || {
        let stream = TcpStream::connect(portal.at).unwrap();
        let mut stream = over_tls(trusting(&other.authority), stream);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").is_ok()
    };
    assert!(!is_shown());
    std::fs::write(portal.tls_file(), "no certificate")?;
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(portal.get("/", &[PAGE]).status, 200, "a certificate that cannot be read shuts all out");
    assert!(portal.log().contains("the certificate before is shown on"), "{}", portal.log());
    std::fs::write(portal.tls_file(), &other.shown)?;
    let begin = Instant::now();
    while !is_shown() {
        assert!(begin.elapsed() < SHOWN, "the new certificate is not shown");
        std::thread::sleep(Duration::from_millis(100));
    }
    answers("whoever was there is cut off");
    // The authority is kept as long as it may sign.
    assert_eq!(issued(Some(&other.authority)).authority, other.authority);
    Ok(())
}

/// Whoever begins a handshake and says no more keeps nobody else out.
pub fn stalled() -> Verdict {
    let portal = Portal::start_with_tls();
    let cookie = portal.log_in(ADA).unwrap();
    let begun = |bytes: &'static [u8]| {
        let mut stream = TcpStream::connect(portal.at).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let _silent: Vec<_> = (0..100).map(|_| begun(b"")).collect();
    let _half: Vec<_> = (0..100).map(|_| begun(&[22, 3, 1])).collect();
    let _nonsense: Vec<_> = (0..100).map(|_| begun(&[22, 3, 1, 0, 5, 1, 2, 3, 4, 5])).collect();
    let begin = Instant::now();
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    Ok(())
}
