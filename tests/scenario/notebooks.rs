//! Notebooks: the image built, one made and worked in from this machine, what it reaches and who reaches it, its home and
//! its token, the host's boot, and the end.

use super::{ANSWERS, LAB, Verdict, documents};
use crate::machine::{Done, Helper, address, inside, installer, ours, read, within, write};
use serde_json::Value;
use std::time::Duration;

const KERNEL: &str = include_str!("../fixtures/kernel.py");
const REACH: &str = include_str!("../fixtures/reach.py");
/// Debian 13 boots under emulation in half a minute, on a busy machine in two.
const BOOT: Duration = Duration::from_secs(300);

fn notebook(args: &[&str]) -> Done {
    notebook_of(LAB, args)
}

fn notebook_of(lab: &str, args: &[&str]) -> Done {
    let all: Vec<&str> = ["notebook"].iter().chain(args).copied().collect();
    installer(lab, &all)
}

/// A program in the notebook.
fn in_notebook(name: &str, program: &[&str]) -> Done {
    let all: Vec<&str> = ["notebook", "ssh", name, "--"].iter().chain(program).copied().collect();
    installer(LAB, &all)
}

/// What a cell says in a new kernel, asked from the host over the kernel's WebSocket.
fn cell(name: &str, code: &str) -> Done {
    cell_of(LAB, name, code)
}

fn cell_of(lab: &str, name: &str, code: &str) -> Done {
    write(lab, "/root/kernel.py", KERNEL);
    let shown = notebook_of(lab, &["show", name, "--json"]).expect(0).json();
    let (address, token) = (shown["address"].as_str().unwrap(), shown["token_file"].as_str().unwrap());
    let script = format!("python3 /root/kernel.py {address} 8888 /s/{name}/ \"$1\" <{token}");
    inside(lab, &["sh", "-c", &script, "sh", code])
}

/// The answers of a lab want notebooks from here on.
fn switch_on(lab: &str) {
    let answers = read(lab, ANSWERS);
    let (before, classroom) = answers.split_once("[classroom]").expect("no [classroom] in the answers");
    write(lab, ANSWERS, &format!("{before}[classroom]{}", classroom.replacen("enabled = false", "enabled = true", 1)));
    installer(lab, &["apply", "--yes", "--json"]).expect(0);
    let again = installer(lab, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0, "a second apply finds something to do: {again}");
}

/// The way of a notebook on a cloud of another kind.
pub fn come_and_go(lab: &str) -> Verdict {
    switch_on(lab);
    notebook_of(lab, &["create", "ada"]).expect(0);
    assert_eq!(cell_of(lab, "ada", "1 + 1").expect(0).out.trim(), "2");
    let status = installer(lab, &["status", "--json"]).expect(0).json();
    assert_eq!(layer(&status)["detail"], "1 answers");
    notebook_of(lab, &["delete", "ada", "--and-its-data", "--yes"]).expect(0);
    Ok(())
}

/// The image is built beside the cloud, and a notebook can be worked in.
pub fn made() -> Verdict {
    switch_on(LAB);
    of_the_image();
    let made = notebook(&["create", "ada", "--json"]).expect(0);
    documents::check("notebook create", &made.json());
    documents::check("notebook show", &notebook(&["show", "ada", "--json"]).expect(0).json());
    documents::check("notebook list", &notebook(&["list", "--json"]).expect(0).json());
    documents::check("notebook logs", &notebook(&["logs", "ada", "--json"]).expect(0).json());
    documents::check("notebook token", &notebook(&["token", "ada", "--json"]).expect(0).json());
    let status = installer(LAB, &["status", "--json"]).expect(0).json();
    assert_eq!(layer(&status)["detail"], "1 answers");
    let twice = notebook(&["create", "ada"]);
    assert!(twice.code == 1 && twice.err.contains("there is a notebook ada already"), "{}", twice.err);
    let without = notebook(&["create", "bob", "--gpu"]);
    assert!(without.code == 1 && without.err.contains("no card is claimed"), "{}", without.err);
    Ok(())
}

/// From another machine's point of view: what a cell says through the portal, by the token of its student.
fn through_the_portal(name: &str, token: &str, code: &str) -> Result<String, String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let shown = installer(LAB, &["portal", "show", "--json"]).expect(0).json();
    let program = Command::new("python3")
        .args(["-c", KERNEL, &address(LAB), "8000", &format!("/s/{name}/"), code])
        .arg(shown["fingerprint"].as_str().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut program = program.unwrap();
    program.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let done = program.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

fn student_token(name: &str, options: &[&str]) -> String {
    let shown = notebook(&[&["token", name, "--json"], options].concat()).expect(0).json();
    let (token, link) = (shown["token"].as_str().unwrap().to_owned(), shown["link"].as_str().unwrap());
    assert_eq!(link, format!("https://{}:8000/#t={token}", address(LAB)));
    token
}

/// Students come by the portal, by a token of their own that outlives what it opens.
pub fn by_the_portal() -> Verdict {
    documents::check("portal show", &installer(LAB, &["portal", "show", "--json"]).expect(0).json());
    let token = student_token("ada", &[]);
    assert_eq!(through_the_portal("ada", &token, "2 + 2"), Ok("4".into()));
    let inner = read(LAB, "/var/lib/gpucloud/classroom/notebooks/ada/token");
    assert!(through_the_portal("ada", inner.trim(), "1").unwrap_err().contains("lets nobody in: 403"));
    let renewed = student_token("ada", &["--new"]);
    assert_ne!(token, renewed);
    // Whoever came in the second before is cut off in the middle of a cell: only the next try is told so.
    let is_out = || through_the_portal("ada", &token, "1").is_err_and(|error| error.contains("lets nobody in: 403"));
    assert!(within(Duration::from_secs(90), is_out), "an old token lets somebody in");
    assert_eq!(through_the_portal("ada", &renewed, "3 + 3"), Ok("6".into()));
    // Whoever breaks into the portal has its account: it reads what it is told, and nothing else of ours.
    let reads = "for file in /etc/gpucloud/secrets.toml /var/lib/gpucloud/classroom/key /etc/openstack/clouds.yaml \
                 /var/lib/gpucloud-portal/told.json; do head -c 1 $file >/dev/null 2>&1 && echo $file; done; true";
    let said = inside(LAB, &["runuser", "-u", "gpucloud-portal", "--", "sh", "-c", reads]).expect(0).out;
    assert_eq!(said.trim(), "/var/lib/gpucloud-portal/told.json");
    for file in ["x", "told.json", "tls.pem"].map(|name| format!("/var/lib/gpucloud-portal/{name}")) {
        let file = file.as_str();
        assert_ne!(inside(LAB, &["runuser", "-u", "gpucloud-portal", "--", "touch", file]).code, 0, "{file}");
    }
    let status = installer(LAB, &["status", "--json"]).expect(0).json();
    let page = status["layers"].as_array().unwrap().iter().find(|layer| layer["name"] == "portal").unwrap();
    assert_eq!(page["detail"], format!("students open https://{}:8000/", address(LAB)));
    // A certificate that is lost is made anew, by the authority that students trust.
    let fingerprint = || installer(LAB, &["portal", "show", "--json"]).expect(0).json()["fingerprint"].clone();
    let before = fingerprint();
    inside(LAB, &["rm", "/var/lib/gpucloud-portal/tls.pem"]).expect(0);
    inside(LAB, &["systemctl", "start", "gpucloud-portal-renew.service"]).expect(0);
    assert_eq!(fingerprint(), before);
    // It is one of the services that are brought back.
    inside(LAB, &["systemctl", "stop", "gpucloud-portal.service"]).expect(0);
    assert_eq!(installer(LAB, &["status"]).code, 1);
    installer(LAB, &["recover"]).expect(0);
    assert_eq!(through_the_portal("ada", &renewed, "4 + 4"), Ok("8".into()));
    Ok(())
}

/// What `status` says of notebooks.
fn layer(status: &Value) -> &Value {
    let mut layers = status["layers"].as_array().unwrap().iter();
    layers.find(|layer| layer["name"] == "notebooks").expect("no layer of notebooks")
}

/// What is in it, and what must not be.
fn of_the_image() {
    let script = "cd /var/lib/gpucloud/images && qemu-img convert -O raw notebook /root/notebook.raw && \
                  for what in 'cat /etc/machine-id' 'ls /etc/ssh' 'stat /opt/notebook/server/bin/jupyter-lab' \
                  'stat /opt/notebook/kernel/bin/ipython' 'ls /etc/systemd/system/multi-user.target.wants' \
                  'cat /root/.ssh/authorized_keys'; do echo \"== $what\"; debugfs -R \"$what\" /root/notebook.raw 2>&1; done; \
                  rm /root/notebook.raw";
    let said = inside(LAB, &["sh", "-c", script]).expect(0).out;
    let part = |name: &str| -> String {
        let begin = said.find(&format!("== {name}\n")).unwrap_or_else(|| panic!("no {name}: {said}"));
        let rest = &said[begin + name.len() + 4..];
        rest.lines().take_while(|line| !line.starts_with("== ")).filter(|line| !line.starts_with("debugfs ")).collect()
    };
    assert_eq!(part("cat /etc/machine-id").trim(), "", "two notebooks must not share a machine id");
    assert!(!part("ls /etc/ssh").contains("ssh_host_"), "two notebooks must not share a host key");
    assert!(part("cat /root/.ssh/authorized_keys").contains("not found"), "nobody's key is in the image");
    assert!(part("stat /opt/notebook/server/bin/jupyter-lab").contains("User:     0"), "the server is root's");
    assert!(part("stat /opt/notebook/kernel/bin/ipython").contains("User:  1000"), "the kernel is the student's");
    let wants = part("ls /etc/systemd/system/multi-user.target.wants");
    assert!(wants.contains("notebook.service"), "{wants}");
}

/// From this machine, over the WebSocket, as a browser does.
pub fn worked_in() -> Verdict {
    let done = cell("ada", "1 + 1").expect(0);
    assert_eq!(done.out.trim(), "2", "{}", done.err);
    let done = cell("ada", "import numpy, pandas, os; (int(numpy.arange(4).sum()), os.getuid())").expect(0);
    assert_eq!(done.out.trim(), "(6, 1000)", "{}", done.err);
    // What belongs to the server is not the student's to change; what the cells run in is.
    let touch = "import os; [os.access(p, os.W_OK) for p in ('/opt/notebook/server', '/opt/notebook/kernel')]";
    assert_eq!(cell("ada", touch).expect(0).out.trim(), "[False, True]");
    // A home that is nearly full is said among its files, and not any more when there is room again.
    let fill = "set -e; cd /home/student; left=$(df --output=avail --block-size=1M . | tail -n 1); \
                fallocate --length $((left - 100))M big; systemctl start notebook-space; stat --format=%U HOME*; cat HOME*; \
                rm big; systemctl start notebook-space; ls HOME* 2>&1 || true";
    let said = in_notebook("ada", &[fill]).expect(0).out;
    assert!(
        said.starts_with("student\n") && said.contains("/home/student/big") && said.contains("No such file"),
        "{said}"
    );
    Ok(())
}

/// A notebook reaches the world and nothing of this machine; nobody but this machine reaches a notebook.
pub fn closed() -> Verdict {
    let address = inside(LAB, &["hostname", "-I"]).expect(0).out;
    let host = address.split_whitespace().next().unwrap().to_owned();
    let shown = notebook(&["show", "ada", "--json"]).expect(0).json();
    let ada = shown["address"].as_str().unwrap().to_owned();
    let own = read(LAB, "/var/lib/gpucloud/classroom/port.json");
    let own: Value = serde_json::from_str(&own).unwrap();
    let portal = own["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    let gateway = inside(LAB, &["ip", "-4", "-o", "addr", "show", "br-ex"]).expect(0).out;
    let gateway = gateway.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned();
    // What listens on all of the host's addresses, so that only the rules keep a notebook from it.
    let listener = "import socket, time; s = socket.create_server(('0.0.0.0', 7777)); print('listens', flush=True); \
                    time.sleep(300)";
    let _listening = Helper::start(LAB, listener);
    let heard = inside(LAB, &["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 7777), 2)"]);
    heard.expect(0);
    let mut places = Vec::new();
    for to in [&host, &portal, &gateway] {
        places.extend(["5000", "8774", "7777", "3306"].map(|port| format!("{to}:{port}")));
    }
    places.push("169.254.169.254:80".into());
    let script = format!("{REACH}\n");
    let asked = |who: &[&str]| {
        let mut all = who.to_vec();
        all.extend(["/opt/notebook/kernel/bin/python", "-c"]);
        all.push(&script);
        all.extend(places.iter().map(String::as_str));
        let quoted: Vec<String> = all.iter().map(|word| shell(word)).collect();
        in_notebook("ada", &[&quoted.join(" ")]).expect(0).out
    };
    assert_eq!(asked(&[]).trim(), "", "root in a notebook reaches this machine");
    assert_eq!(asked(&["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]).trim(), "");
    // The other way round: an instance of another project, and this machine beside them.
    let from_demo = format!("for port in 22 8888; do nc -w 3 {ada} $port </dev/null && echo reached; done; true");
    let said = installer(LAB, &["instance", "ssh", "demo", "--", &from_demo]).expect(0).out;
    assert!(!said.contains("reached"), "an instance reaches a notebook: {said}");
    Ok(())
}

fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A home comes back into the next notebook of its name, and its student's token opens that one.
pub fn kept() -> Verdict {
    let write_file = "open('work.txt', 'w').write('mine'); import os; os.utime('work.txt', (1e9, 1e9)); \
                      os.symlink('work.txt', 'link'); os.listdir('.')";
    cell("ada", write_file).expect(0);
    let token = student_token("ada", &[]);
    documents::check("notebook delete", &notebook(&["delete", "ada", "--yes", "--json"]).expect(0).json());
    assert_eq!(notebook(&["list", "--json"]).expect(0).json()["saved"][0], "ada");
    let refused = installer(LAB, &["uninstall", "--yes"]);
    assert!(refused.code == 3 && refused.err.contains("the saved home of 1 notebook"), "{}", refused.err);
    notebook(&["create", "ada"]).expect(0);
    let look = "import os; s = os.stat('work.txt'); (open('link').read(), int(s.st_mtime), s.st_uid)";
    assert_eq!(through_the_portal("ada", &token, look), Ok("('mine', 1000000000, 1000)".into()));
    Ok(())
}

/// After the host's boot the way is there, and the notebook answers again.
pub fn back_after_a_boot() -> Verdict {
    ours(&["lab", "reboot", LAB]).expect(0);
    // One notebook that still boots is no complaint of the cloud's.
    let answers = || {
        let status = installer(LAB, &["status", "--json"]);
        status.code == 0 && layer(&status.json())["detail"] == "1 answers"
    };
    assert!(within(BOOT, answers), "{}", installer(LAB, &["status"]).out);
    assert_eq!(cell("ada", "1 + 1").expect(0).out.trim(), "2");
    assert_eq!(through_the_portal("ada", &student_token("ada", &[]), "1 + 1"), Ok("2".into()));
    // Its link taken away, the network's unit brings it back.
    inside(LAB, &["ip", "link", "set", "gcportal0", "down"]).expect(0);
    installer(LAB, &["network", "keep"]).expect(0);
    assert_eq!(cell("ada", "1 + 1").expect(0).out.trim(), "2");
    notebook(&["delete", "ada", "--and-its-data", "--yes"]).expect(0);
    assert_eq!(notebook(&["list", "--json"]).expect(0).json()["saved"], serde_json::json!([]));
    Ok(())
}
