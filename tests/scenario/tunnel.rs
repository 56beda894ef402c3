//! The way for students outside, in a cloud: pagekite's program under its unit, and a server of pagekite's beside it.

use super::{ANSWERS, LAB, Verdict, documents};
use crate::machine::{inside, installer, program, read, root, within, write};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const TOKEN: &str = "kite-and-secret";
const SERVER: &str = "isfrontend\nhost = 127.0.0.1\nports = 9444\nprotos = http,websocket\n\
                      domain = http,websocket:localhost:kite-and-secret\nnullui\n";

/// Puts other values below these sections.
fn answer(changes: &[(&str, &str, &str)]) {
    let mut answers = read(LAB, ANSWERS);
    for (section, from, to) in changes {
        let (before, rest) = answers.split_once(&format!("[{section}]")).expect("no such section");
        assert!(rest.contains(from), "no {from} below [{section}]");
        answers = format!("{before}[{section}]{}", rest.replacen(from, to, 1));
    }
    write(LAB, ANSWERS, &answers);
    installer(LAB, &["apply", "--yes"]).expect(0);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0, "a second apply finds something to do: {again}");
}

/// Types a token; returns what was said of it.
fn give(token: &str) -> std::process::Output {
    let mut tool = Command::new(program())
        .args(["lab", "exec", LAB, "--", "gpucloud-install", "tunnel", "token", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    tool.wait_with_output().unwrap()
}

fn shown() -> serde_json::Value {
    installer(LAB, &["tunnel", "show", "--json"]).expect(0).json()
}

/// It waits for its token, is held by an account that may nothing else, leads to the portal, and leaves nothing.
pub fn comes_and_goes() -> Verdict {
    let refused = installer(LAB, &["tunnel", "show"]).expect(3);
    assert!(refused.err.contains("kind below [tunnel]"), "{}", refused.err);
    answer(&[
        ("classroom", "enabled = false", "enabled = true"),
        ("classroom", "image = \"\"", "image = \"guest\""),
        ("tunnel", "kind = \"none\"", "kind = \"pagekite\""),
        ("tunnel", "address = \"\"", "address = \"localhost:9443\""),
        ("tunnel", "server = \"\"", "server = \"127.0.0.1:9444\""),
    ]);
    let status = installer(LAB, &["status"]).expect(0).out;
    assert!(status.contains("it has no token yet; sudo gpucloud-install tunnel token"), "{status}");
    assert!(!give("with:colon").status.success());
    assert_eq!(shown()["has_token"], false);
    let given = give(TOKEN);
    documents::check("tunnel token", &serde_json::from_slice(&given.stdout)?);
    documents::check("tunnel show", &shown());
    write(LAB, "/root/server.rc", SERVER);
    inside(LAB, &["systemd-run", "--unit=kite", "pagekite", "--clean", "--optfile=/root/server.rc"]).expect(0);
    let ask = ["curl", "--silent", "--fail", "--header", "Host: localhost", "http://127.0.0.1:9444/alive"];
    assert!(within(Duration::from_secs(60), || inside(LAB, &ask).code == 0), "{}", shown());
    // Where it is called `localhost:9443` nobody serves: the portal is there, and not reached by that name.
    assert_ne!(shown()["tunnel"]["state"], "up");
    let processes = inside(LAB, &["ps", "-o", "user:20,args", "-C", "pagekite"]).expect(0).out;
    assert!(processes.contains("gpucloud-tunnel") && !processes.contains(TOKEN), "{processes}");
    let reads = "for file in /etc/gpucloud/secrets.toml /var/lib/gpucloud/classroom/tunnel.token \
                 /var/lib/gpucloud-portal/told.json /var/lib/gpucloud-tunnel/told.json; do \
                 head -c 1 $file >/dev/null 2>&1 && echo $file; done; true";
    let said = inside(LAB, &["runuser", "-u", "gpucloud-tunnel", "--", "sh", "-c", reads]).expect(0).out;
    assert_eq!(said.trim(), "/var/lib/gpucloud-tunnel/told.json");
    assert_eq!(inside(LAB, &["systemctl", "--failed", "--no-legend"]).out.trim(), "");
    inside(LAB, &["systemctl", "stop", "kite"]).expect(0);
    answer(&[("tunnel", "kind = \"pagekite\"", "kind = \"none\"")]);
    assert_ne!(inside(LAB, &["id", "gpucloud-tunnel"]).code, 0);
    let left = std::fs::read_dir(root(LAB).join("var/lib/gpucloud-tunnel"))?.count();
    assert_eq!((left, root(LAB).join("run/gpucloud-tunnel").exists()), (0, false), "something of it is left");
    Ok(())
}
