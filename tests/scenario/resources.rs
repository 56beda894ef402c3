//! What the cloud has for its users: declared, made, used, damaged, mended; the verbs; undone.

use super::{ANSWERS, LAB, Verdict, documents};
use crate::machine::{Done, inside, installer, ours, read, write};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A cloud under test: the same is tried on each engine.
pub struct Cloud {
    pub lab: &'static str,
    /// Names in clouds.yaml.
    pub user: &'static str,
    pub admin: &'static str,
    /// The stock client.
    pub client: &'static str,
    pub nova_api: &'static str,
    pub neutron_api: &'static str,
    /// The others whose logs show what was asked.
    pub other_apis: [&'static str; 2],
}

pub const NATIVE: Cloud = Cloud {
    lab: LAB,
    user: "gpucloud-demo",
    admin: "gpucloud",
    client: "/opt/gpucloud/venv/bin/openstack",
    nova_api: "gpucloud-nova-api.service",
    neutron_api: "gpucloud-neutron-api.service",
    other_apis: ["gpucloud-glance-api.service", "gpucloud-keystone.service"],
};

pub const DEVSTACK: Cloud = Cloud {
    lab: "suite-ds",
    user: "devstack",
    admin: "devstack-admin",
    client: "/opt/stack/data/venv/bin/openstack",
    nova_api: "devstack@n-api.service",
    neutron_api: "devstack@neutron-api.service",
    other_apis: ["devstack@g-api.service", "devstack@keystone.service"],
};

impl Cloud {
    fn inside(&self, args: &[&str]) -> Done {
        inside(self.lab, args)
    }

    fn installer(&self, args: &[&str]) -> Done {
        installer(self.lab, args)
    }

    fn apply(&self) -> Value {
        self.installer(&["apply", "--yes", "--json"]).expect(0).json()
    }

    /// What the stock client says, as the project's user or the administrator.
    pub fn openstack(&self, who: &str, args: &[&str]) -> String {
        let mut all = vec![self.client, "--os-cloud", who];
        all.extend(args);
        self.inside(&all).expect(0).out
    }

    fn stock_list(&self, who: &str, what: &[&str]) -> Vec<String> {
        let mut args = what.to_vec();
        args.extend(["list", "--format", "value", "--column", "Name"]);
        let mut names: Vec<String> = self.openstack(who, &args).lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Whether the stock client lists what we list, column by column.
    fn agrees(&self, theirs: &str, ours: &str, columns: &[(&str, &str)]) {
        let rows = |list: &Value, names: Vec<&str>| {
            let row = |entry: &Value| names.iter().map(|name| entry[*name].to_string()).collect::<Vec<_>>();
            let mut rows: Vec<_> = list.as_array().unwrap().iter().map(row).collect();
            rows.sort();
            rows
        };
        let stock: Value =
            serde_json::from_str(&self.openstack(self.user, &[theirs, "list", "--format", "json"])).unwrap();
        let listed = self.installer(&[ours, "list", "--json"]).expect(0).json();
        let stock = rows(&stock, columns.iter().map(|(theirs, _)| *theirs).collect());
        let listed = rows(&listed[format!("{ours}s")], columns.iter().map(|(_, ours)| *ours).collect());
        assert!(!listed.is_empty());
        assert_eq!(listed, stock, "{ours} list");
    }

    fn floating_ip(&self, name: &str) -> String {
        let shown = self.installer(&["instance", "show", name, "--json"]).expect(0).json();
        shown["floating_ip"].as_str().unwrap().to_owned()
    }

    fn answers(&self) -> String {
        read(self.lab, ANSWERS)
    }

    fn answer(&self, answers: &str) {
        write(self.lab, ANSWERS, answers);
    }

    /// A host that has just come back boots its emulated guests for a minute.
    fn wait_for_ssh(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(240);
        let answers =
            || self.installer(&["instance", "show", name, "--json"]).expect(0).json()["ssh"]["answers"] == true;
        while !answers() {
            assert!(Instant::now() < end, "{name} does not answer SSH after its host's boot");
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// Fails, and says so.
    fn fails(&self, args: &[&str], said: &str) {
        let done = self.installer(args);
        assert!(done.code != 0 && done.err.contains(said), "{args:?}: {} {}", done.code, done.err);
    }

    /// Requests that change something, in the logs of the APIs.
    fn writes(&self) -> usize {
        let mut args = vec!["journalctl", "--no-pager", "--output", "cat"];
        for unit in [self.nova_api, self.neutron_api].iter().chain(&self.other_apis) {
            args.extend(["--unit", unit]);
        }
        let log = self.inside(&args).expect(0).out;
        let changes = ["POST /", "PUT /", "DELETE /", "PATCH /"];
        let is_login = |line: &str| line.contains("/auth/tokens");
        let is_write = |line: &&str| changes.iter().any(|change| line.contains(change)) && !is_login(line);
        log.lines().filter(is_write).count()
    }
}

/// DevStack has more than one image, flavor and network.
fn launch<'a>(name: &'a str, flavor: &'a str) -> [&'a str; 9] {
    ["instance", "launch", name, "--image", "guest", "--network", "private", "--flavor", flavor]
}

/// From an empty cloud to an instance that answers, from the host and from the LAN.
pub fn answers(cloud: &Cloud) -> Verdict {
    cloud.wait_for_ssh("demo");
    let address = cloud.floating_ip("demo");
    cloud.inside(&["ping", "-c", "1", "-W", "3", &address]).expect(0);
    let uname = cloud.installer(&["instance", "ssh", "demo", "--", "uname", "-n"]).expect(0).out;
    assert_eq!(uname.trim(), "demo");
    // A client of the LAN: this machine, by a port that leads in.
    let answers = cloud.answers();
    let port_map = format!("port_maps = [\"tcp 8022 -> {address}:22\"]");
    cloud.answer(&answers.replace("port_maps = []", &port_map));
    cloud.installer(&["network", "apply", "--yes"]).expect(0);
    let host = crate::machine::address(cloud.lab);
    let mut stream = TcpStream::connect_timeout(&format!("{host}:8022").parse()?, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting)?;
    assert_eq!(&greeting, b"SSH-");
    // The machine itself answers nobody on a tap, where no security group would be asked.
    let past = format!(
        "ip route add {host}/32 dev eth0; nc -w 5 {host} 8022 </dev/null; ip route del {host}/32 dev eth0; \
                        ip neigh show {host}"
    );
    let neighbour = cloud.installer(&["instance", "ssh", "demo", "--", &past]).out;
    assert!(!neighbour.contains("SSH-") && !neighbour.contains("lladdr"), "{neighbour}");
    cloud.answer(&answers);
    cloud.installer(&["network", "apply", "--yes"]).expect(0);
    // Out to the world goes through the router: its gateway answers.
    cloud.installer(&["instance", "ssh", "demo", "--", "ping", "-c", "1", "-W", "3", "172.24.4.1"]).expect(0);
    Ok(())
}

/// A second apply changes nothing, and the stock client sees what we list.
pub fn agree(cloud: &Cloud) -> Verdict {
    let before = cloud.writes();
    assert!(before > 5, "the APIs' logs do not show what was made");
    assert_eq!(cloud.apply()["changed"], 0);
    assert_eq!(cloud.writes(), before, "a second apply wrote to the cloud");
    cloud.agrees("server", "instance", &[("Name", "name"), ("Status", "state"), ("Flavor", "flavor"), ("ID", "id")]);
    cloud.agrees("image", "image", &[("Name", "name"), ("Status", "status"), ("ID", "id")]);
    let sizes = [("VCPUs", "vcpus"), ("RAM", "memory_mib"), ("Disk", "disk_gib")];
    cloud.agrees("flavor", "flavor", &[&[("Name", "name"), ("ID", "id")][..], &sizes].concat());
    let quota = cloud.installer(&["quota", "show", "--json"]).expect(0).json();
    let stock: Value = serde_json::from_str(&cloud.openstack(cloud.user, &["quota", "show", "--format", "json"]))?;
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
pub fn mended(cloud: &Cloud) -> Verdict {
    let address = cloud.floating_ip("demo");
    cloud.openstack(cloud.user, &["floating", "ip", "delete", &address]);
    cloud.openstack(cloud.admin, &["flavor", "delete", "ds2G"]);
    let rules = cloud.openstack(
        cloud.user,
        &["security", "group", "rule", "list", "ssh", "--protocol", "tcp", "-f", "value", "-c", "ID"],
    );
    for rule in rules.lines() {
        cloud.openstack(cloud.user, &["security", "group", "rule", "delete", rule]);
    }
    let doctor = cloud.installer(&["doctor"]).expect(1).out;
    for name in ["floating-ip/demo", "flavor/ds2G", "security-group/ssh"] {
        assert!(doctor.contains(name), "{name} is not named:\n{doctor}");
    }
    let mut run = std::process::Command::new(crate::machine::program())
        .args(["lab", "exec", cloud.lab, "--", "gpucloud-install", "apply", "--yes", "--foreground"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(1500));
    cloud.inside(&["pkill", "--signal", "KILL", "gpucloud-instal"]);
    run.kill()?;
    run.wait()?;
    cloud.apply();
    assert_eq!(cloud.stock_list(cloud.admin, &["flavor"]).iter().filter(|name| *name == "ds2G").count(), 1);
    assert_eq!(cloud.openstack(cloud.user, &["floating", "ip", "list", "-f", "value", "-c", "ID"]).lines().count(), 1);
    cloud.installer(&["doctor"]).expect(0);
    Ok(())
}

/// Two of one name, a pool without a free address, a disk without room: said, with what to do.
pub fn said(cloud: &Cloud) -> Verdict {
    let second = cloud.openstack(cloud.user, &["network", "create", "private", "-f", "value", "-c", "id"]);
    cloud.fails(&["apply", "--yes"], "2 are called private");
    cloud.fails(&launch("two", "ds2G"), "2 are called private");
    cloud.openstack(cloud.user, &["network", "delete", second.trim()]);

    let only = cloud.floating_ip("demo");
    let shown = cloud.openstack(cloud.admin, &["subnet", "show", "public-subnet", "--format", "json"]);
    let whole = serde_json::from_str::<Value>(&shown)?["allocation_pools"][0].clone();
    let pool = |first: &str, last: &str| {
        let pool = format!("start={first},end={last}");
        let subnet = ["subnet", "set", "--no-allocation-pool", "--allocation-pool", &pool, "public-subnet"];
        cloud.openstack(cloud.admin, &subnet);
    };
    pool(&only, &only);
    cloud.fails(&launch("two", "ds2G"), "pool has no free address");
    pool(whole["start"].as_str().unwrap(), whole["end"].as_str().unwrap());
    cloud.installer(&["instance", "delete", "two", "--yes"]).expect(0);

    // A server of images, and room for a third of one.
    let script = "mkdir -p /srv/site && truncate -s 3M /srv/site/big.img && mount -t tmpfs -o size=1m tmpfs \
                  /var/lib/gpucloud/images && systemd-run --quiet --unit=site python3 -m http.server 8099 -d /srv/site";
    cloud.inside(&["sh", "-c", script]).expect(0);
    std::thread::sleep(Duration::from_secs(1));
    // Zeros alone are no disk, unless somebody says so.
    let add = ["image", "add", "big", "--from", "http://127.0.0.1:8099/big.img", "--format", "raw"];
    cloud.fails(&add, "No space left on device");
    cloud.inside(&["umount", "/var/lib/gpucloud/images"]).expect(0);
    cloud.fails(&add[..5], "big.img begins with nothing but zeros");
    cloud.installer(&add).expect(0);
    cloud.installer(&["image", "delete", "big", "--yes"]).expect(0);
    cloud.inside(&["sh", "-c", "systemctl stop site.service; rm -r /srv/site"]).expect(0);
    Ok(())
}

/// The everyday verbs, and what they say when something is wrong.
pub fn verbs(cloud: &Cloud) -> Verdict {
    cloud.fails(
        &["instance", "launch", "one", "--flavor", "ds2G", "--network", "private", "--image", "nosuch"],
        "no image called nosuch",
    );
    cloud.fails(&launch("demo", "ds2G"), "already");
    cloud.fails(&["instance", "show", "nosuch"], "no instance called nosuch");
    cloud.fails(&["flavor", "add", "ds2G", "--vcpus", "1", "--memory-mib", "64"], "already");
    cloud.fails(&["image", "add", "x", "--from", "nosuch"], "neither an image of the catalogue");
    cloud.fails(&["quota", "set", "nosuch=1"], "does not count");
    let flavors = ["flavor", "add", "tiny", "--vcpus", "1", "--memory-mib", "192", "--disk-gib", "1", "--json"];
    assert_eq!(cloud.installer(&flavors).expect(0).json()["memory_mib"], 192);
    let launched = cloud.installer(&[&launch("one", "tiny")[..], &["--json"]].concat());
    let launched = launched.expect(0).json();
    documents::check("instance launch", &launched);
    assert_eq!(launched["state"], "ACTIVE");
    assert!(launched["answered_after"].as_f64().unwrap() > 0.0);
    // Where the way to an instance ends: at somebody else's packet filter, at its own security groups.
    // (Its own packets are dropped as well: a guest is sometimes there within the second, and refuses.)
    let foreign = "add table inet foreign; \
                   add chain inet foreign f { type filter hook forward priority 10; policy drop; }; \
                   add chain inet foreign o { type filter hook output priority 10; }; \
                   add rule inet foreign o ip daddr 172.24.4.0/24 tcp dport 22 drop";
    cloud.inside(&["nft", foreign]).expect(0);
    let cut_off = [&launch("cut-off", "tiny")[..], &["--wait", "1"]].concat();
    cloud.fails(&cut_off, "network probe, other filters: ");
    cloud.inside(&["nft", "delete table inet foreign"]).expect(0);
    cloud.installer(&["instance", "delete", "cut-off", "--yes"]).expect(0);
    let shut = [&launch("shut", "tiny")[..], &["--security-group", "default"]].concat();
    cloud.fails(&shut, "none of its security groups lets this machine in on TCP 22");
    cloud.installer(&["instance", "delete", "shut", "--yes"]).expect(0);
    cloud.installer(&["instance", "stop", "one"]).expect(0);
    cloud.installer(&["instance", "start", "one"]).expect(0);
    cloud.installer(&["instance", "resize", "one", "--flavor", "ds2G", "--yes"]).expect(0);
    let console = cloud.installer(&["instance", "console", "one", "--json"]).expect(0).json();
    assert!(console["url"].as_str().unwrap().contains("6080"), "{console}");
    // Nova's own words, and what to do.
    cloud.installer(&["quota", "set", "instances=2"]).expect(0);
    cloud.fails(&launch("three", "tiny"), "quota is full");
    cloud.installer(&["quota", "set", "instances=10"]).expect(0);
    cloud.installer(&["flavor", "add", "huge", "--vcpus", "1", "--memory-mib", "900000", "--disk-gib", "1"]).expect(0);
    cloud.fails(&launch("three", "huge"), "quota is full");
    cloud.installer(&["quota", "set", "memory_mib=-1"]).expect(0);
    cloud.fails(&launch("three", "huge"), "Placement has no host");
    cloud.installer(&["instance", "delete", "three", "--yes"]).expect(0);
    let deleted = cloud.installer(&["instance", "delete", "one", "--yes", "--json"]).expect(0).json();
    documents::check("instance delete", &deleted);
    assert_eq!(deleted["given_back"][0], launched["floating_ip"]);
    for flavor in ["huge", "tiny"] {
        cloud.installer(&["flavor", "delete", flavor, "--yes"]).expect(0);
    }
    Ok(())
}

/// An instance of a user on our network: the network stays, and that is said.
pub fn kept_for_users(cloud: &Cloud) -> Verdict {
    let answers = cloud.answers();
    cloud.openstack(
        cloud.user,
        &["server", "create", "theirs", "--image", "guest", "--flavor", "ds2G", "--network", "private", "--wait"],
    );
    let without: String = answers.split("[resources]").next().unwrap().to_owned();
    cloud.answer(&without);
    let done = cloud.installer(&["apply", "--yes"]);
    let said = format!("{}{}", done.out, done.err);
    assert!(said.contains("network private"), "{said}");
    assert!(cloud.stock_list(cloud.admin, &["network"]).contains(&"private".to_owned()));
    cloud.answer(&answers);
    cloud.apply();
    cloud.installer(&["instance", "delete", "theirs", "--yes"]).expect(0);
    Ok(())
}

/// More is declared later, and taken back when it is no longer declared.
pub fn declared_later(cloud: &Cloud) -> Verdict {
    let answers = cloud.answers();
    let more = answers
        .replace("quota = {}", "quota = { instances = 12, floating_ips = 7 }")
        .replace("flavors = [\n", "flavors = [\n    { name = \"extra\", vcpus = 1, memory_mib = 256, disk_gib = 1, specs = { \"hw:cpu_policy\" = \"shared\" } },\n")
        .replace("key_pairs = [\n", "key_pairs = [\n    { name = \"second\", kind = \"rsa\" },\n")
        .replace("volumes = []", "volumes = [{ name = \"data\", size_gib = 1 }]");
    cloud.answer(&more);
    let done = cloud.installer(&["apply", "--yes"]).expect(0);
    assert!(format!("{}{}", done.out, done.err).contains("no volume service"), "{}", done.err);
    let quota = cloud.installer(&["quota", "show", "--json"]).expect(0).json();
    assert_eq!((limit(&quota, "instances"), limit(&quota, "floating_ips")), (12.into(), 7.into()));
    let flavor = cloud.openstack(cloud.admin, &["flavor", "show", "extra", "-f", "value", "-c", "properties"]);
    assert!(flavor.contains("hw:cpu_policy"), "{flavor}");
    let key = cloud.inside(&["ssh-keygen", "-l", "-f", "/root/.ssh/gpucloud-second"]).expect(0).out;
    assert!(key.starts_with("3072 ") && key.contains("RSA"), "{key}");
    assert_eq!(cloud.inside(&["stat", "-c", "%a %U", "/root/.ssh/gpucloud-second"]).expect(0).out.trim(), "600 root");
    assert_eq!(cloud.apply()["changed"], 0);
    cloud.answer(&answers);
    cloud.apply();
    assert!(!cloud.stock_list(cloud.admin, &["flavor"]).contains(&"extra".to_owned()));
    // Ways into instances stay, as those do: until `uninstall`.
    assert!(cloud.stock_list(cloud.user, &["keypair"]).contains(&"second".to_owned()));
    assert_eq!(cloud.inside(&["ls", "/root/.ssh"]).expect(0).out.matches("second").count(), 2);
    cloud.installer(&["quota", "set", "instances=10", "floating_ips=50"]).expect(0);
    assert_eq!(cloud.apply()["changed"], 0);
    Ok(())
}

/// Somebody else's of a declared name: told in what it differs, and left as it is, by each apply.
pub fn of_others(cloud: &Cloud) -> Verdict {
    let answers = cloud.answers();
    cloud.openstack(cloud.user, &["security", "group", "create", "web"]);
    let flavor = ["flavor", "create", "theirs", "--vcpus", "1", "--ram", "64", "--disk", "1"];
    cloud.openstack(cloud.admin, &flavor);
    let more = answers
        .replace("flavors = [\n", "flavors = [\n    { name = \"theirs\", vcpus = 1, memory_mib = 128, disk_gib = 1 },\n")
        .replace("security_groups = [\n", "security_groups = [\n    { name = \"web\", rules = [\"in tcp 80\"] },\n    { name = \"six\", rules = [\"in 443/TCP from 203.0.113.5\", \"in icmpv6\", \"in tcp 22 from ::/0\"] },\n");
    cloud.answer(&more);
    let first = cloud.apply();
    assert_eq!(first["left_alone"].as_array().unwrap().len(), 2, "{first}");
    let plan = cloud.installer(&["plan"]).expect(0).out;
    assert!(plan.contains("web is somebody else's") && plan.contains("it misses the rule \"in tcp 80\""), "{plan}");
    assert!(plan.contains("64 MiB, 1 GiB instead of") && plan.contains("Nothing to do"), "{plan}");
    assert_eq!(cloud.apply()["changed"], 0);
    cloud.answer(&answers.replace("\"ssh\"", "\"default\""));
    cloud.fails(&["apply", "--yes"], "default belongs to Neutron");
    cloud.answer(&answers);
    cloud.apply();
    cloud.openstack(cloud.user, &["security", "group", "delete", "web"]);
    cloud.openstack(cloud.admin, &["flavor", "delete", "theirs"]);
    Ok(())
}

/// Instances that users called as they like, and a key of another kind.
pub fn named_by_users(cloud: &Cloud) -> Verdict {
    cloud.inside(&["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/root/ecdsa"]).expect(0);
    cloud.openstack(cloud.user, &["keypair", "create", "--public-key", "/root/ecdsa.pub", "ecdsa"]);
    cloud.installer(&[&launch("Größe (1)", "ds2G")[..], &["--key", "ecdsa"]].concat()).expect(0);
    let address = cloud.floating_ip("Größe (1)");
    let ssh = ["ssh", "-o", "StrictHostKeyChecking=no", "-i", "/root/ecdsa", &format!("root@{address}"), "hostname"];
    assert_eq!(cloud.inside(&ssh).expect(0).out.trim(), "grosse-1");
    cloud.installer(&["instance", "delete", "Größe (1)", "--yes"]).expect(0);
    let create = |name: &str| {
        let server = ["server", "create", name, "--image", "guest", "--flavor", "ds2G", "--network", "private"];
        cloud.openstack(cloud.user, &[&server[..], &["--format", "value", "--column", "id"]].concat()).trim().to_owned()
    };
    let ids = [create("twin"), create("twin")];
    cloud.fails(&["instance", "delete", "twin", "--yes"], &ids[1]);
    let listed = cloud.installer(&["instance", "list"]).expect(0).out;
    assert!(ids.iter().all(|id| listed.contains(id)), "{listed}");
    for id in &ids {
        cloud.installer(&["instance", "delete", id, "--yes"]).expect(0);
    }
    cloud.fails(&["instance", "show", "dmeo"], "did you mean demo?");
    let refused = create("Größe");
    let end = Instant::now() + Duration::from_secs(120);
    let show = || cloud.installer(&["instance", "show", &refused, "--json"]).expect(0).json();
    while show()["state"] != "ERROR" {
        assert!(Instant::now() < end, "{}", show());
        std::thread::sleep(Duration::from_secs(2));
    }
    let shown = show();
    assert!(shown["cause"].as_str().unwrap().contains("host name"), "{shown}");
    cloud.installer(&["instance", "delete", "Größe", "--yes"]).expect(0);
    cloud.openstack(cloud.user, &["keypair", "delete", "ecdsa"]);
    Ok(())
}

/// An API that is away for a while is waited for.
pub fn patient(cloud: &Cloud) -> Verdict {
    cloud.openstack(cloud.admin, &["flavor", "delete", "ds2G"]);
    cloud.inside(&["systemctl", "stop", cloud.nova_api]).expect(0);
    let done = cloud.apply();
    assert!(done["changed"].as_u64().unwrap() >= 2, "{done}");
    Ok(())
}

/// APIs that stop while something is made: waited for, and nothing is made twice.
pub fn stopped_in_the_middle(cloud: &Cloud) -> Verdict {
    let address = cloud.floating_ip("demo");
    cloud.openstack(cloud.user, &["server", "delete", "--wait", "demo"]);
    cloud.openstack(cloud.user, &["floating", "ip", "delete", &address]);
    cloud.openstack(cloud.user, &["port", "delete", "demo"]);
    let mut run = std::process::Command::new(crate::machine::program())
        .args([
            "lab",
            "exec",
            cloud.lab,
            "--",
            "gpucloud-install",
            "apply",
            "--yes",
            "--foreground",
            "--progress",
            "json",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    for line in BufReader::new(run.stderr.take().unwrap()).lines() {
        let line = line?;
        let away = |unit: &str| {
            cloud.inside(&["systemctl", "kill", "--signal", "KILL", unit]);
            cloud.inside(&["systemctl", "stop", unit]).expect(0);
            std::thread::sleep(Duration::from_secs(4));
            cloud.inside(&["systemctl", "start", unit]).expect(0);
        };
        if line.contains("\"step-started\"") && line.contains("\"port-demo\"") {
            away(cloud.neutron_api);
        }
        if line.contains("\"step-started\"") && line.contains("\"instance-demo\"") {
            away(cloud.nova_api);
        }
        said.push(line);
    }
    assert!(run.wait()?.success(), "{}", said.join("\n"));
    assert_eq!(cloud.stock_list(cloud.user, &["server"]), ["demo"]);
    let ports = cloud.stock_list(cloud.user, &["port"]);
    assert_eq!(ports.iter().filter(|name| *name == "demo").count(), 1, "{ports:?}");
    cloud.installer(&["doctor"]).expect(0);
    Ok(())
}

/// The same on a real DevStack, cloned from the mirror of `GPUCLOUD_TEST_GIT_BASE`. Its network `private` is its own:
/// what users have there holds back nothing of ours.
pub fn on_devstack() -> Verdict {
    let mirror = std::env::var(MIRROR)?;
    let up = ["lab", "up", "--name", DEVSTACK.lab, "--engine", "devstack", "--git-base", &mirror, "--yes"];
    ours(&up).expect(0);
    for trial in [answers, agree, mended, verbs, said, declared_later, patient, stopped_in_the_middle] {
        trial(&DEVSTACK)?;
    }
    super::notebooks::come_and_go(DEVSTACK.lab)?;
    ours(&["lab", "down", DEVSTACK.lab, "--yes"]).expect(0);
    Ok(())
}

/// Where the mirror is said.
const MIRROR: &str = "GPUCLOUD_TEST_GIT_BASE";

/// Why DevStack cannot be tried.
pub fn no_mirror() -> Option<String> {
    std::env::var_os(MIRROR).is_none().then(|| format!("DevStack needs a mirror of its repositories: {MIRROR}"))
}
