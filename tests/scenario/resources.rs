//! What the cloud has for its users: declared, made, used, damaged, mended; the verbs; undone.

use super::{LAB, Verdict, documents};
use crate::machine::{inside, installer, read, write};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::Duration;

fn apply() -> Value {
    installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()
}

/// What the stock client says, as the project's user or the administrator.
fn openstack(cloud: &str, args: &[&str]) -> String {
    let mut all = vec!["/opt/gpucloud/venv/bin/openstack", "--os-cloud", cloud];
    all.extend(args);
    inside(LAB, &all).expect(0).out
}

fn stock_list(cloud: &str, what: &[&str]) -> Vec<String> {
    let mut args = what.to_vec();
    args.extend(["list", "--format", "value", "--column", "Name"]);
    let mut names: Vec<String> = openstack(cloud, &args).lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn names(document: &Value, key: &str) -> Vec<String> {
    let entries = document[key].as_array().unwrap();
    let mut names: Vec<String> = entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn list(what: &str) -> Value {
    installer(LAB, &[what, "list", "--json"]).expect(0).json()
}

fn floating_ip(name: &str) -> String {
    let shown = installer(LAB, &["instance", "show", name, "--json"]).expect(0).json();
    shown["floating_ip"].as_str().unwrap().to_owned()
}

/// From an empty cloud to an instance that answers, from the host and from the LAN.
pub fn answers() -> Verdict {
    let address = floating_ip("demo");
    inside(LAB, &["ping", "-c", "1", "-W", "3", &address]).expect(0);
    let uname = installer(LAB, &["instance", "ssh", "demo", "--", "uname", "-n"]).expect(0).out;
    assert_eq!(uname.trim(), "demo");
    // A client of the LAN: this machine, by a port that leads in.
    let answers = read(LAB, "/etc/gpucloud/gpucloud.toml");
    write(
        LAB,
        "/etc/gpucloud/gpucloud.toml",
        &answers.replace("port_maps = []", &format!("port_maps = [\"tcp 8022 -> {address}:22\"]")),
    );
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    let host = crate::machine::address(LAB);
    let mut stream = TcpStream::connect_timeout(&format!("{host}:8022").parse()?, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting)?;
    assert_eq!(&greeting, b"SSH-");
    write(LAB, "/etc/gpucloud/gpucloud.toml", &answers);
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    // Out to the world goes through the router: its gateway answers.
    installer(LAB, &["instance", "ssh", "demo", "--", "ping", "-c", "1", "-W", "3", "172.24.4.1"]).expect(0);
    Ok(())
}

/// Requests that change something, in the logs of the APIs.
fn writes() -> usize {
    let units = ["gpucloud-nova-api", "gpucloud-neutron-api", "gpucloud-glance-api", "gpucloud-keystone"];
    let mut args = vec!["journalctl", "--no-pager", "--output", "cat"];
    for unit in &units {
        args.extend(["--unit", unit]);
    }
    let log = inside(LAB, &args).expect(0).out;
    let changes = ["POST /v2", "PUT /v2", "DELETE /v2", "PATCH /v2", "POST /v3/users", "PATCH /v3/users"];
    log.lines().filter(|line| changes.iter().any(|change| line.contains(change))).count()
}

/// A second apply changes nothing, and the stock client sees what we list.
pub fn agree() -> Verdict {
    let before = writes();
    assert!(before > 5, "the APIs' logs do not show what was made");
    assert_eq!(apply()["changed"], 0);
    assert_eq!(writes(), before, "a second apply wrote to the cloud");
    assert_eq!(names(&list("instance"), "instances"), stock_list("gpucloud-demo", &["server"]));
    assert_eq!(names(&list("image"), "images"), stock_list("gpucloud-demo", &["image"]));
    assert_eq!(names(&list("flavor"), "flavors"), stock_list("gpucloud-demo", &["flavor"]));
    let quota = installer(LAB, &["quota", "show", "--json"]).expect(0).json();
    let stock: Value = serde_json::from_str(&openstack("gpucloud-demo", &["quota", "show", "--format", "json"]))?;
    for (ours, theirs) in [
        ("instances", "instances"),
        ("vcpus", "cores"),
        ("memory_mib", "ram"),
        ("networks", "networks"),
        ("floating_ips", "floating-ips"),
    ] {
        let row =
            stock.as_array().unwrap().iter().find(|row| row["Resource"].as_str().unwrap().replace('_', "-") == theirs);
        assert_eq!(limit(&quota, ours), row.unwrap()["Limit"], "{ours}: {stock}");
    }
    Ok(())
}

/// What `quota show --json` says of one thing.
fn limit(quota: &Value, name: &str) -> Value {
    quota["quota"].as_array().unwrap().iter().find(|counted| counted["name"] == name).unwrap()["limit"].clone()
}

/// Deleted and changed behind our back: named, mended; a kill in the middle makes nothing twice.
pub fn mended() -> Verdict {
    let address = floating_ip("demo");
    openstack("gpucloud-demo", &["floating", "ip", "delete", &address]);
    openstack("gpucloud", &["flavor", "delete", "ds2G"]);
    let rules = openstack(
        "gpucloud-demo",
        &["security", "group", "rule", "list", "ssh", "--protocol", "tcp", "-f", "value", "-c", "ID"],
    );
    for rule in rules.lines() {
        openstack("gpucloud-demo", &["security", "group", "rule", "delete", rule]);
    }
    let doctor = installer(LAB, &["doctor"]).expect(1).out;
    for name in ["floating-ip/demo", "flavor/ds2G", "security-group/ssh"] {
        assert!(doctor.contains(name), "{name} is not named:\n{doctor}");
    }
    let mut run = std::process::Command::new(crate::machine::program())
        .args(["lab", "exec", LAB, "--", "gpucloud-install", "apply", "--yes", "--foreground"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(1500));
    inside(LAB, &["pkill", "--signal", "KILL", "gpucloud-instal"]);
    run.kill()?;
    run.wait()?;
    apply();
    assert_eq!(stock_list("gpucloud", &["flavor"]).iter().filter(|name| *name == "ds2G").count(), 1);
    assert_eq!(openstack("gpucloud-demo", &["floating", "ip", "list", "-f", "value", "-c", "ID"]).lines().count(), 1);
    installer(LAB, &["doctor"]).expect(0);
    Ok(())
}

/// Two of one name, a pool without a free address, a disk without room: said, with what to do.
pub fn said() -> Verdict {
    let fails = |args: &[&str], said: &str| {
        let done = installer(LAB, args);
        assert!(done.code != 0 && done.err.contains(said), "{args:?}: {} {}", done.code, done.err);
    };
    let second = openstack("gpucloud-demo", &["network", "create", "private", "-f", "value", "-c", "id"]);
    fails(&["apply", "--yes"], "2 are called private");
    fails(&["instance", "launch", "two", "--network", "private", "--image", "guest"], "2 are called private");
    openstack("gpucloud-demo", &["network", "delete", second.trim()]);

    let only = floating_ip("demo");
    let pool = |first: &str, last: &str| {
        let pool = format!("start={first},end={last}");
        let subnet = ["subnet", "set", "--no-allocation-pool", "--allocation-pool", &pool, "public-subnet"];
        openstack("gpucloud", &subnet);
    };
    pool(&only, &only);
    fails(&["instance", "launch", "two", "--image", "guest"], "pool has no free address");
    pool("172.24.4.10", "172.24.4.250");
    installer(LAB, &["instance", "delete", "two", "--yes"]).expect(0);

    // A server of images, and room for a third of one.
    let script = "mkdir -p /srv/site && truncate -s 3M /srv/site/big.img && mount -t tmpfs -o size=1m tmpfs \
                  /var/lib/gpucloud/images && systemd-run --quiet --unit=site python3 -m http.server 8099 -d /srv/site";
    inside(LAB, &["sh", "-c", script]).expect(0);
    std::thread::sleep(Duration::from_secs(1));
    let add = ["image", "add", "big", "--from", "http://127.0.0.1:8099/big.img"];
    fails(&add, "No space left on device");
    inside(LAB, &["umount", "/var/lib/gpucloud/images"]).expect(0);
    installer(LAB, &add).expect(0);
    installer(LAB, &["image", "delete", "big", "--yes"]).expect(0);
    inside(LAB, &["sh", "-c", "systemctl stop site.service; rm -r /srv/site"]).expect(0);
    Ok(())
}

/// The everyday verbs, and what they say when something is wrong.
pub fn verbs() -> Verdict {
    let wrong = |args: &[&str], said: &str| {
        let done = installer(LAB, args);
        assert!(done.code != 0 && done.err.contains(said), "{args:?}: {} {}", done.code, done.err);
    };
    wrong(&["instance", "launch", "one", "--image", "nosuch"], "no image called nosuch");
    wrong(&["instance", "launch", "demo"], "already");
    wrong(&["instance", "show", "nosuch"], "no instance called nosuch");
    wrong(&["flavor", "add", "ds2G", "--vcpus", "1", "--memory-mib", "64"], "already");
    wrong(&["image", "add", "x", "--from", "nosuch"], "neither an image of the catalogue");
    wrong(&["quota", "set", "nosuch=1"], "does not count");
    let flavors = ["flavor", "add", "tiny", "--vcpus", "1", "--memory-mib", "192", "--disk-gib", "1", "--json"];
    assert_eq!(installer(LAB, &flavors).expect(0).json()["memory_mib"], 192);
    let launched = installer(LAB, &["instance", "launch", "one", "--flavor", "tiny", "--image", "guest", "--json"]);
    let launched = launched.expect(0).json();
    documents::check("instance launch", &launched);
    assert_eq!(launched["state"], "ACTIVE");
    assert!(launched["answered_after"].as_f64().unwrap() > 0.0);
    // Where the way to an instance ends: at somebody else's packet filter, at its own security groups.
    let foreign =
        "add table inet foreign; add chain inet foreign f { type filter hook forward priority 10; policy drop; }";
    inside(LAB, &["nft", foreign]).expect(0);
    let cut_off = ["instance", "launch", "cut-off", "--flavor", "tiny", "--image", "guest", "--wait", "1"];
    wrong(&cut_off, "network probe, other filters: ");
    inside(LAB, &["nft", "delete table inet foreign"]).expect(0);
    installer(LAB, &["instance", "delete", "cut-off", "--yes"]).expect(0);
    let shut = ["instance", "launch", "shut", "--flavor", "tiny", "--image", "guest", "--security-group", "default"];
    wrong(&shut, "none of its security groups lets anybody in on TCP 22");
    installer(LAB, &["instance", "delete", "shut", "--yes"]).expect(0);
    installer(LAB, &["instance", "stop", "one"]).expect(0);
    installer(LAB, &["instance", "start", "one"]).expect(0);
    installer(LAB, &["instance", "resize", "one", "--flavor", "ds2G", "--yes"]).expect(0);
    let console = installer(LAB, &["instance", "console", "one", "--json"]).expect(0).json();
    assert!(console["url"].as_str().unwrap().contains("6080"), "{console}");
    // Nova's own words, and what to do.
    installer(LAB, &["quota", "set", "instances=2"]).expect(0);
    wrong(&["instance", "launch", "three", "--flavor", "tiny", "--image", "guest"], "quota is full");
    installer(LAB, &["quota", "set", "instances=10"]).expect(0);
    installer(LAB, &["flavor", "add", "huge", "--vcpus", "1", "--memory-mib", "900000", "--disk-gib", "1"]).expect(0);
    wrong(&["instance", "launch", "three", "--flavor", "huge", "--image", "guest"], "quota is full");
    installer(LAB, &["quota", "set", "memory_mib=-1"]).expect(0);
    wrong(&["instance", "launch", "three", "--flavor", "huge", "--image", "guest"], "Placement has no host");
    installer(LAB, &["instance", "delete", "three", "--yes"]).expect(0);
    let deleted = installer(LAB, &["instance", "delete", "one", "--yes", "--json"]).expect(0).json();
    documents::check("instance delete", &deleted);
    assert_eq!(deleted["given_back"][0], launched["floating_ip"]);
    for flavor in ["huge", "tiny"] {
        installer(LAB, &["flavor", "delete", flavor, "--yes"]).expect(0);
    }
    Ok(())
}

/// An instance of a user on our network: the network stays, and that is said.
pub fn kept_for_users() -> Verdict {
    let answers = read(LAB, "/etc/gpucloud/gpucloud.toml");
    openstack(
        "gpucloud-demo",
        &["server", "create", "theirs", "--image", "guest", "--flavor", "ds2G", "--network", "private", "--wait"],
    );
    let without: String = answers.split("[resources]").next().unwrap().to_owned();
    write(LAB, "/etc/gpucloud/gpucloud.toml", &without);
    let done = installer(LAB, &["apply", "--yes"]);
    let said = format!("{}{}", done.out, done.err);
    assert!(said.contains("network private"), "{said}");
    assert!(stock_list("gpucloud", &["network"]).contains(&"private".to_owned()));
    write(LAB, "/etc/gpucloud/gpucloud.toml", &answers);
    apply();
    installer(LAB, &["instance", "delete", "theirs", "--yes"]).expect(0);
    Ok(())
}

/// More is declared later, and taken back when it is no longer declared.
pub fn declared_later() -> Verdict {
    let answers = read(LAB, "/etc/gpucloud/gpucloud.toml");
    let more = answers
        .replace("quota = {}", "quota = { instances = 12, floating_ips = 7 }")
        .replace("flavors = [\n", "flavors = [\n    { name = \"extra\", vcpus = 1, memory_mib = 256, disk_gib = 1, specs = { \"hw:cpu_policy\" = \"shared\" } },\n")
        .replace("key_pairs = [\n", "key_pairs = [\n    { name = \"second\", kind = \"rsa\" },\n")
        .replace("volumes = []", "volumes = [{ name = \"data\", size_gib = 1 }]");
    write(LAB, "/etc/gpucloud/gpucloud.toml", &more);
    let done = installer(LAB, &["apply", "--yes"]).expect(0);
    assert!(format!("{}{}", done.out, done.err).contains("no volume service"), "{}", done.err);
    let quota = installer(LAB, &["quota", "show", "--json"]).expect(0).json();
    assert_eq!((limit(&quota, "instances"), limit(&quota, "floating_ips")), (12.into(), 7.into()));
    let flavor = openstack("gpucloud", &["flavor", "show", "extra", "-f", "value", "-c", "properties"]);
    assert!(flavor.contains("hw:cpu_policy"), "{flavor}");
    let key = inside(LAB, &["ssh-keygen", "-l", "-f", "/root/.ssh/gpucloud-second"]).expect(0).out;
    assert!(key.starts_with("3072 ") && key.contains("RSA"), "{key}");
    assert_eq!(inside(LAB, &["stat", "-c", "%a %U", "/root/.ssh/gpucloud-second"]).expect(0).out.trim(), "600 root");
    assert_eq!(apply()["changed"], 0);
    write(LAB, "/etc/gpucloud/gpucloud.toml", &answers);
    apply();
    assert!(!stock_list("gpucloud", &["flavor"]).contains(&"extra".to_owned()));
    // Ways into instances stay, as those do: until `uninstall`.
    assert!(stock_list("gpucloud-demo", &["keypair"]).contains(&"second".to_owned()));
    assert_eq!(inside(LAB, &["ls", "/root/.ssh"]).expect(0).out.matches("second").count(), 2);
    installer(LAB, &["quota", "set", "instances=10", "floating_ips=50"]).expect(0);
    assert_eq!(apply()["changed"], 0);
    Ok(())
}

/// An API that is away for a while is waited for.
pub fn patient() -> Verdict {
    openstack("gpucloud", &["flavor", "delete", "ds2G"]);
    inside(LAB, &["systemctl", "stop", "gpucloud-nova-api.service"]).expect(0);
    let done = apply();
    assert!(done["changed"].as_u64().unwrap() >= 2, "{done}");
    Ok(())
}

/// APIs that stop while something is made: waited for, and nothing is made twice.
pub fn stopped_in_the_middle() -> Verdict {
    let address = floating_ip("demo");
    openstack("gpucloud-demo", &["server", "delete", "--wait", "demo"]);
    openstack("gpucloud-demo", &["floating", "ip", "delete", &address]);
    openstack("gpucloud-demo", &["port", "delete", "demo"]);
    let mut run = std::process::Command::new(crate::machine::program())
        .args(["lab", "exec", LAB, "--", "gpucloud-install", "apply", "--yes", "--foreground", "--progress", "json"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    for line in BufReader::new(run.stderr.take().unwrap()).lines() {
        let line = line?;
        let away = |unit: &str| {
            inside(LAB, &["systemctl", "kill", "--signal", "KILL", unit]);
            inside(LAB, &["systemctl", "stop", unit]).expect(0);
            std::thread::sleep(Duration::from_secs(4));
            inside(LAB, &["systemctl", "start", unit]).expect(0);
        };
        if line.contains("\"step-started\"") && line.contains("\"port-demo\"") {
            away("gpucloud-neutron-api.service");
        }
        if line.contains("\"step-started\"") && line.contains("\"instance-demo\"") {
            away("gpucloud-nova-api.service");
        }
        said.push(line);
    }
    assert!(run.wait()?.success(), "{}", said.join("\n"));
    assert_eq!(stock_list("gpucloud-demo", &["server"]), ["demo"]);
    let ports = stock_list("gpucloud-demo", &["port"]);
    assert_eq!(ports.iter().filter(|name| *name == "demo").count(), 1, "{ports:?}");
    installer(LAB, &["doctor"]).expect(0);
    Ok(())
}
