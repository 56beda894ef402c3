//! Wrong input and unfit machines: message, exit status, and that nothing changed.

use super::{ANSWERS, Verdict, nothing_changed};
use crate::machine::{Done, Helper, inside, installer, read, root, write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the trials themselves put into the host.
pub const OF_TRIALS: [&str; 5] =
    ["etc/gpucloud/secrets.toml", "root/key.pem", "root/cert.pem", "root/meminfo", "root/libfaketime.so"];

/// Refused with `code` and these words, on a machine that stays as it was.
fn refused(lab: &str, what: &str, done: Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{what}: output: {}\nerrors: {}", done.out, done.err);
    for word in words.iter().chain(&["next:"]) {
        assert!(done.err.contains(word) || done.out.contains(word), "{what}: no `{word}` in\n{}{}", done.out, done.err);
    }
    nothing_changed(lab);
}

/// Texts that are wrong by themselves: exit status 2.
pub fn answers(lab: &str) -> Verdict {
    let good = read(lab, ANSWERS);
    let cases = [
        ("an unknown key", "workers =", "workrs =", "did you mean `workers`"),
        ("an address that is none", "address = \"", "address = \"999.", "address"),
        ("a link name with a blank", "interface = \"host0\"", "interface = \"host 0\"", "is not a link name"),
        ("a number that is too large", "workers = 1", "workers = 1000", "workers"),
        ("a word that is none of the choices", "virt = \"auto\"", "virt = \"xen\"", "virt"),
        ("a missing bracket", "[cloud]", "[cloud", "line"),
        ("an account with a colon", "administrators = []", "administrators = [\"a:b\"]", "is not an account name"),
    ];
    for (what, from, to, word) in cases {
        assert!(good.contains(from), "{what}: {good}");
        write(lab, ANSWERS, &good.replace(from, to));
        refused(lab, what, installer(lab, &["apply", "--yes"]), 2, &[word, ANSWERS]);
    }
    write(lab, ANSWERS, &good);
    for (what, secret, word) in [
        ("a short password", "admin = \"short1\"", "at least 8 characters"),
        ("a password that a shell would read", "admin = \"abc$(id)defgh\"", "letters and digits only"),
        ("a password without quotes", "admin = 12345678", "line 1"),
    ] {
        write(lab, "/etc/gpucloud/secrets.toml", secret);
        let done = installer(lab, &["apply", "--yes"]);
        let value = secret.split(['"', ' ']).find(|part| part.len() > 5 && !part.contains("admin")).unwrap();
        assert!(!done.err.contains(value) && !done.out.contains(value), "{what}: it is shown: {}", done.err);
        refused(lab, what, done, 2, &[word]);
    }
    std::fs::remove_file(root(lab).join("etc/gpucloud/secrets.toml"))?;
    Ok(())
}

/// A file that stands for another machine, put back afterwards.
fn with_file<T>(lab: &str, path: &str, text: &str, work: impl FnOnce() -> T) -> T {
    let real = root(lab).join(path.trim_start_matches('/'));
    let before = std::fs::read(&real).ok();
    std::fs::create_dir_all(real.parent().unwrap()).unwrap();
    std::fs::write(&real, text).unwrap();
    let result = work();
    match before {
        Some(before) => std::fs::write(&real, before).unwrap(),
        None => std::fs::remove_file(&real).unwrap(),
    }
    result
}

/// Machines that cannot be used as they are: exit status 3.
pub fn machines(lab: &str) -> Verdict {
    let apply = || installer(lab, &["apply", "--yes"]);
    let good = read(lab, ANSWERS);
    write(lab, ANSWERS, &good.replace("10.78.", "10.79."));
    refused(lab, "somebody else's address", apply(), 3, &["is not an address of this machine"]);

    write(lab, ANSWERS, &good);

    let release = "ID=ubuntu\nVERSION_ID=\"18.04\"\nPRETTY_NAME=\"Ubuntu 18.04 LTS\"\n";
    let done = with_file(lab, "/usr/lib/os-release", release, apply);
    refused(lab, "an old system", done, 3, &["Ubuntu 18.04 LTS is not supported", "Debian 13"]);
    inside(lab, &["mkdir", "-p", "/opt/stack/devstack"]).expect(0);
    let done = apply();
    inside(lab, &["rm", "-r", "/opt/stack"]).expect(0);
    refused(lab, "an older DevStack", done, 3, &["traces of DevStack"]);

    let done = with_file(lab, "/etc/resolv.conf", "nameserver 127.0.0.1\n", apply);
    refused(lab, "no name server", done, 3, &["cannot be resolved", "/etc/resolv.conf"]);
    let done = inside(lab, &["env", "https_proxy=http://127.0.0.1:9", "gpucloud-install", "apply", "--yes"]);
    refused(lab, "a proxy that is not there", done, 3, &["127.0.0.1 port 9", "proxy"]);
    inside(lab, &["ip", "link", "set", "host0", "down"]).expect(0);
    let done = apply();
    inside(lab, &["ip", "link", "set", "host0", "up"]).expect(0);
    inside(lab, &["networkctl", "reconfigure", "host0"]).expect(0);
    refused(lab, "no network", done, 3, &[]);

    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let total = meminfo.lines().next().unwrap_or_default();
    write(lab, "/root/meminfo", &meminfo.replace(total, "MemTotal:        3000000 kB"));
    inside(lab, &["mount", "--bind", "/root/meminfo", "/proc/meminfo"]).expect(0);
    let done = apply();
    inside(lab, &["umount", "/proc/meminfo"]).expect(0);
    refused(lab, "too little memory", done, 3, &["2.9 GiB of memory are too few", "at least 8 GiB"]);

    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "gpucloud-install", "apply", "--yes"];
    refused(lab, "no root", inside(lab, &nobody), 3, &["needs root", "sudo gpucloud-install apply --yes"]);
    refused(lab, "no terminal", installer(lab, &["apply"]), 2, &["add --yes"]);
    Ok(())
}

/// A clock that is two years off, for the program and everything it starts (libfaketime): named, not "TLS failed".
pub fn wrong_clock(lab: &str) -> Verdict {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    std::fs::copy(library, root(lab).join("root/libfaketime.so"))?;
    for (shift, word) in [("-700d", "before this release was made"), ("+700d", "700 days ahead of")] {
        let faked = ["env", "LD_PRELOAD=/root/libfaketime.so", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
        let shift = format!("FAKETIME={shift}");
        let apply = [&faked[..], &[&shift, "gpucloud-install", "apply", "--yes"]].concat();
        refused(lab, &shift, inside(lab, &apply), 3, &["clock", word]);
    }
    Ok(())
}

/// A disk that fills up in the middle of a run: stopped midway, in words; with room, the next apply goes on.
pub fn full_disk(lab: &str) -> Verdict {
    let notes = "/var/lib/gpucloud";
    inside(lab, &["mkdir", "-p", notes]).expect(0);
    inside(lab, &["mount", "-t", "tmpfs", "-o", "size=28k,mode=0755", "tmpfs", notes]).expect(0);
    let done = installer(lab, &["apply", "--yes"]).expect(4);
    assert!(done.err.contains("No space left on device") && done.err.contains("free space"), "{}", done.err);
    let journal = read(lab, "/var/lib/gpucloud/journal.jsonl");
    for line in journal.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("a torn line: {e}: {line}"));
    }
    inside(lab, &["mount", "-o", "remount,size=64m", notes]).expect(0);
    let plan = installer(lab, &["plan", "--json"]).expect(0).json();
    assert!(plan["pending"].as_u64().unwrap() > 0);
    Ok(())
}

/// A port that another program has: program and port are named.
pub fn taken_port(lab: &str) -> Verdict {
    let serve =
        "import socket,time\ns=socket.create_server(('0.0.0.0',9292))\nprint('ready',flush=True)\ntime.sleep(60)";
    let server = Helper::start(lab, serve);
    let done = installer(lab, &["apply", "--yes"]);
    drop(server);
    refused(lab, "a taken port", done, 3, &["port 9292, which glance-api needs, is taken by python3"]);
    Ok(())
}

/// A server that nothing on this machine vouches for, as behind a proxy that intercepts TLS.
pub fn untrusted_server(lab: &str) -> Verdict {
    let certificate =
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let dir = root(lab).join("root");
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let made = Command::new(certificate[0])
        .args(&certificate[1..])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()?;
    assert!(made.success());
    let serve = "import http.server,ssl\ns=http.server.HTTPServer(('127.0.0.1',4443),http.server.SimpleHTTPRequestHandler)\n\
                 c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\nc.load_cert_chain('/root/cert.pem','/root/key.pem')\n\
                 s.socket=c.wrap_socket(s.socket,server_side=True)\nprint('ready',flush=True)\ns.serve_forever()";
    let server = Helper::start(lab, serve);
    let apply = ["env", "PIP_INDEX_URL=https://localhost:4443/simple", "gpucloud-install", "apply", "--yes"];
    let done = inside(lab, &apply);
    drop(server);
    refused(lab, "an untrusted server", done, 3, &["nothing here vouches for localhost", "update-ca-certificates"]);
    Ok(())
}

/// Services of the administrator's own.
pub fn own_services(lab: &str) -> Verdict {
    inside(lab, &["sh", "-c", "apt-get -qq update && apt-get -qq -y install memcached >/dev/null 2>&1"]).expect(0);
    let done = installer(lab, &["apply", "--yes"]).expect(3);
    assert!(done.out.contains("memcached") && done.err.contains("share_services = true"), "{}{}", done.out, done.err);
    let good = read(lab, ANSWERS);
    write(lab, ANSWERS, &good.replace("share_services = false", "share_services = true"));
    let plan = installer(lab, &["plan"]).expect(0);
    assert!(plan.out.contains("will use services that were here before"), "{}", plan.out);
    write(lab, ANSWERS, &good);
    inside(lab, &["apt-get", "-qq", "-y", "purge", "--auto-remove", "memcached"]).expect(0);
    Ok(())
}

/// Somebody holds dpkg's lock: waited for, with the name.
pub fn held_lock(lab: &str) -> Verdict {
    let hold = "import fcntl,time\nf=open('/var/lib/dpkg/lock-frontend','w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(8)";
    let holder = Helper::start(lab, hold);
    installer(lab, &["apply", "--yes", "--detach"]).expect(0);
    holder.wait();
    std::thread::sleep(Duration::from_secs(1));
    let events = inside(lab, &["cat", "/run/gpucloud/events.jsonl"]).out;
    inside(lab, &["systemctl", "stop", "gpucloud-run.service"]).expect(0);
    assert!(events.contains("waiting for the package lock, held by python3"), "{events}");
    Ok(())
}

/// A package index on loopback: below /altered a wheel has another content, below /stopping its download ends early.
const INDEX: &str = r#"
import http.server
class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wheel = 'uv-VERSION-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl'
        body = b'x' * 5000 if self.path.endswith('.whl') else f'<a href="{wheel}">{wheel}</a>'.encode()
        stops = self.path.startswith('/stopping') and self.path.endswith('.whl')
        self.send_response(200)
        self.send_header('content-type', 'application/octet-stream' if self.path.endswith('.whl') else 'text/html')
        self.send_header('content-length', str(len(body) * (100 if stops else 1)))
        self.end_headers()
        self.wfile.write(body)
    do_HEAD = do_GET
server = http.server.ThreadingHTTPServer(('127.0.0.1', 8081), Index)
print('ready', flush=True)
server.serve_forever()
"#;

/// A download that was altered, and one that stops in the middle: stopped midway, in words; the next apply goes on.
pub fn broken_mirrors(lab: &str) -> Verdict {
    let lock = include_str!("../../profiles/native/uv.lock");
    let version = lock.split("==").nth(1).and_then(|rest| rest.split([' ', '\n']).next()).unwrap();
    let _server = Helper::start(lab, &INDEX.replace("VERSION", version));
    for (path, word) in [("altered", "was altered or is incomplete"), ("stopping", "next:")] {
        let index = format!("PIP_INDEX_URL=http://127.0.0.1:8081/{path}/simple");
        let done = inside(lab, &["env", &index, "gpucloud-install", "apply", "--yes"]).expect(4);
        assert!(done.err.contains(word) && done.err.contains("Install uv"), "{path}: {}", done.err);
    }
    Ok(())
}
