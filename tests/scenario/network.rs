//! The network of a cloud that stands: kept, closed, never cut off, in the ways that need Open vSwitch.

use super::{ANSWERS, LAB, Verdict};
use crate::groups::saved::before;
use crate::machine::{inside, installer, program, read, root, within, write};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

fn forwarding() -> String {
    inside(LAB, &["cat", "/proc/sys/net/ipv4/ip_forward"]).expect(0).out
}

fn address() -> String {
    inside(LAB, &["hostname", "-I"]).expect(0).out.split_whitespace().next().unwrap().to_owned()
}

fn reaches(port: u16) -> bool {
    let address: SocketAddr = format!("{}:{port}", address()).parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok()
}

fn probe(lab: &str) -> Value {
    installer(lab, &["network", "probe", "--json"]).json()
}

fn is_whole(lab: &str) -> bool {
    let once = |tables: &str, text: &str| tables.matches(text).count() == 1;
    let all = inside(lab, &["nft", "list", "ruleset"]).out;
    let ours = inside(lab, &["nft", "list", "table", "inet", "gpucloud"]).out;
    installer(lab, &["network", "show"]).code == 0 && once(&all, "table inet gpucloud") && once(&ours, "masquerade")
}

/// Fails the test unless the table is back, once, within half a minute.
pub fn is_whole_again(when: &str) {
    assert!(within(Duration::from_secs(35), || is_whole(LAB)), "not whole {when}");
}

/// What others flush, restart or remove is back, once. An emulated machine gets `pace` times as long.
pub fn kept(lab: &str, pace: u32) -> Verdict {
    let whole_within = |seconds| within(Duration::from_secs(seconds) * pace, || is_whole(lab));
    assert!(is_whole(lab));
    assert_eq!(probe(lab)["ok"], true, "{}", probe(lab));
    inside(lab, &["systemctl", "start", "nftables.service"]).expect(0);
    inside(lab, &["systemctl", "restart", "gpucloud-network.service"]).expect(0);
    for verb in ["restart", "reload"] {
        inside(lab, &["systemctl", verb, "nftables.service"]).expect(0);
        assert!(whole_within(5), "not back behind {verb} of nftables");
    }
    inside(lab, &["systemctl", "stop", "nftables.service"]).expect(0);
    inside(lab, &["nft", "flush", "ruleset"]).expect(0);
    inside(lab, &["ovs-vsctl", "del-br", "br-ex"]).expect(0);
    assert!(whole_within(35), "not back within half a minute");
    assert_eq!(probe(lab)["ok"], true, "{}", probe(lab));
    // Whoever has the journal's lock does not keep the rules away.
    let flushed = "nft flush ruleset; gpucloud-install network keep";
    inside(lab, &["flock", "/var/lib/gpucloud/journal.lock", "sh", "-ec", flushed]).expect(0);
    assert!(is_whole(lab), "a busy journal keeps the rules away");
    // doctor has no damage, and a second apply nothing to do.
    inside(lab, &["systemctl", "start", "gpucloud-network.service"]).expect(0);
    assert_eq!(installer(lab, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    assert_eq!(installer(lab, &["network", "apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    Ok(())
}

/// Behind a boot: the same one table, and an instance sees the world.
pub fn as_before_the_boot() {
    assert!(is_whole(LAB));
    assert_eq!(probe(LAB)["ok"], true, "{}", probe(LAB));
}

/// Ports that a machine outside finds open, of all below 30000.
fn open_ports() -> Vec<u64> {
    let address: std::net::IpAddr = address().parse().unwrap();
    let scan = |from: u16| {
        let ports = (from..from + 1000).filter(|port| *port > 0);
        let open = ports.filter(|port| {
            TcpStream::connect_timeout(&SocketAddr::new(address, *port), Duration::from_millis(400)).is_ok()
        });
        open.map(u64::from).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..30).map(|n| scope.spawn(move || scan(n * 1000))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Administrators reach the documented ports and no other; others none of them; SSH is everybody's.
pub fn closed() -> Verdict {
    let ssh =
        "import socket\ns=socket.create_server(('0.0.0.0',22))\nprint('ready',flush=True)\nwhile True: s.accept()";
    let _ssh = crate::machine::Helper::start(LAB, ssh);
    let status = installer(LAB, &["status", "--json"]).expect(0).json();
    let mut documented: Vec<u64> =
        status["ports"].as_array().unwrap().iter().map(|p| p["port"].as_u64().unwrap()).collect();
    documented.insert(0, 22);
    assert_eq!(open_ports(), documented);
    let good = read(LAB, ANSWERS);
    let line = good.lines().find(|line| line.starts_with("admin_networks")).unwrap();
    write(LAB, ANSWERS, &good.replace(line, "admin_networks = [\"203.0.113.0/24\"]"));
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    assert_eq!(open_ports_of(&documented), [22]);
    installer(LAB, &["status"]).expect(0);
    write(LAB, ANSWERS, &good);
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    assert_eq!(open_ports_of(&documented), documented);
    Ok(())
}

fn open_ports_of(ports: &[u64]) -> Vec<u64> {
    ports.iter().copied().filter(|port| reaches(u16::try_from(*port).unwrap())).collect()
}

/// A change that cuts the machine off: taken back in time although its installer was killed; or at once, where those who
/// answered before are asked.
pub fn never_locked_out() -> Verdict {
    let cut = program().with_file_name("examples").join("cut");
    std::fs::copy(&cut, root(LAB).join("root/cut"))?;
    for how in ["rules", "address"] {
        let mut child = Command::new(program())
            .args(["lab", "exec", LAB, "--", "/root/cut", how])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        assert!(within(Duration::from_secs(8), || !reaches(5000)), "{how} cut nothing off");
        inside(LAB, &["pkill", "--signal", "KILL", "--exact", "cut"]).expect(0);
        child.wait()?;
        assert!(within(Duration::from_secs(15), || reaches(5000)), "{how}: still cut off");
        assert!(within(Duration::from_secs(5), || is_whole(LAB)), "{how}: not as before");
    }
    inside(LAB, &["/root/cut", "witnessed"]).expect(0);
    let said = read(LAB, "/root/cut.result");
    assert!(said.contains("it cut off the gateway") && said.contains("answers again"), "{said}");
    assert!(reaches(5000) && is_whole(LAB));
    confirmed_by_a_person()
}

/// Without a yes a change lasts for as long as was said; with one, it stays.
fn confirmed_by_a_person() -> Verdict {
    let good = read(LAB, ANSWERS);
    let line = good.lines().find(|line| line.starts_with("port_maps")).unwrap();
    write(LAB, ANSWERS, &good.replace(line, "port_maps = [\"tcp 8022 -> 172.24.4.20:22\"]"));
    let mapped =
        || inside(LAB, &["nft", "list", "table", "inet", "gpucloud"]).out.contains("dnat ip to 172.24.4.20:22");
    installer(LAB, &["network", "apply", "--yes", "--until-confirmed", "5"]).expect(0);
    assert!(mapped());
    assert!(
        !read(LAB, "/var/lib/gpucloud/applied.toml").contains("port_maps = [\"tcp"),
        "it would come back after a boot"
    );
    assert!(installer(LAB, &["plan"]).expect(0).out.contains("take back the change that nobody confirmed"));
    assert!(within(Duration::from_secs(12), || !mapped()), "nobody said yes, and it stayed");
    installer(LAB, &["network", "apply", "--yes", "--until-confirmed", "30"]).expect(0);
    assert!(installer(LAB, &["network", "confirm"]).expect(0).out.contains("stays"));
    std::thread::sleep(Duration::from_secs(1));
    assert!(mapped());
    assert!(
        read(LAB, "/var/lib/gpucloud/applied.toml").contains("port_maps = [\"tcp"),
        "what was confirmed is not noted"
    );
    write(LAB, ANSWERS, &good.replace(line, "port_maps = [\"tcp 8080 -> 172.24.4.20:80\"]"));
    let refused = installer(LAB, &["network", "apply", "--yes"]).expect(3);
    assert!(refused.err.contains("would take port 8080 away from horizon"), "{}", refused.err);
    write(LAB, ANSWERS, &good);
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    assert!(!mapped());
    Ok(())
}

/// A second card in the bridge: a guest and a machine behind that card reach each other, past this machine.
pub fn bridged() -> Verdict {
    let good = read(LAB, ANSWERS);
    let shell = |script: &str| inside(LAB, &["sh", "-ec", script]).expect(0);
    shell(
        "ip netns add far; ip link add eno2 type veth peer name far0 netns far; ip link set eno2 up
           ip -n far addr add 172.24.4.1/24 dev far0; ip -n far link set far0 up",
    );
    let edited = good.replace("access = \"nat\"", "access = \"bridged\"");
    let line = edited.lines().find(|line| line.starts_with("bridge_links")).unwrap();
    write(LAB, ANSWERS, &edited.replace(line, "bridge_links = [\"host0\"]"));
    let refused = installer(LAB, &["network", "apply", "--yes"]).expect(2);
    assert!(refused.err.contains("host0 carries this machine's own address"), "{}", refused.err);
    write(LAB, ANSWERS, &edited.replace(line, "bridge_links = [\"eno2\"]"));
    let ports = || inside(LAB, &["ovs-vsctl", "list-ports", "br-ex"]).expect(0).out;
    installer(LAB, &["network", "apply", "--yes", "--until-confirmed", "600"]).expect(0);
    assert!(ports().contains("eno2"));
    // A power cut before the yes: Open vSwitch keeps its ports on the disk, /run is empty.
    shell("systemctl stop gpucloud-network-rollback.timer; rm -r /run/gpucloud/network");
    inside(LAB, &["systemctl", "restart", "gpucloud-network.service"]).expect(0);
    assert!(!ports().contains("eno2"), "a port that nobody confirmed survives a boot");
    assert!(is_whole(LAB));
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    shell("ovs-vsctl add-port br-ex guest0 -- set Interface guest0 type=internal; sleep 1; ip netns add guest
           ip link set guest0 netns guest; ip -n guest addr add 172.24.4.20/24 dev guest0; ip -n guest link set guest0 up
           ip netns exec guest ping -c 2 -W 2 172.24.4.1; ip netns exec far ping -c 2 -W 2 172.24.4.20");
    assert!(!inside(LAB, &["ip", "addr", "show", "br-ex"]).out.contains("172.24.4.1"));
    // After a boot nobody else switches the card on.
    shell("ip link set eno2 down");
    installer(LAB, &["network", "keep"]).expect(0);
    assert!(inside(LAB, &["ip", "link", "show", "eno2"]).out.contains(",UP"), "the card is off");
    shell("ovs-vsctl del-port br-ex guest0; ip netns del guest");
    write(LAB, ANSWERS, &good);
    installer(LAB, &["network", "apply", "--yes"]).expect(0);
    assert!(!ports().contains("eno2"));
    shell("ip link del eno2; ip netns del far");
    assert!(is_whole(LAB));
    assert_eq!(probe(LAB)["ok"], true, "{}", probe(LAB));
    Ok(())
}

const BY_HAND: &str = "-A POSTROUTING -o host0 -j MASQUERADE";

/// What the way of old has left is shown, taken over, and (by `uninstall`) put back.
pub fn adopted() -> Verdict {
    for _ in 0..2 {
        let rule = ["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "host0", "-j", "MASQUERADE"];
        inside(LAB, &rule).expect(0);
    }
    let plan = installer(LAB, &["plan"]).expect(0).out;
    assert!(plan.contains(BY_HAND), "{plan}");
    installer(LAB, &["apply", "--yes"]).expect(0);
    assert!(!by_hand().contains(BY_HAND));
    assert!(is_whole(LAB));
    Ok(())
}

/// Rules of iptables' nat table, as long as it is installed.
fn by_hand() -> String {
    inside(LAB, &["iptables", "-t", "nat", "-S"]).out
}

/// Behind `uninstall`: rules made by hand are back, nothing of ours is left in the kernel.
pub fn nothing_left() {
    let rules = inside(LAB, &["nft", "list", "ruleset"]).expect(0).out;
    assert_eq!(rules.matches("oifname \"host0\"").count(), 2, "{rules}");
    assert!(!rules.contains("gpucloud"), "{rules}");
    assert_eq!(forwarding(), before(LAB).forwarding);
    assert_eq!(inside(LAB, &["ip", "neigh", "show", "proxy"]).out.trim(), "");
    assert!(!inside(LAB, &["ip", "-br", "link"]).out.contains("br-ex"));
    inside(LAB, &["nft", "flush", "ruleset"]).expect(0);
}

/// A firewall of others, for real: how it comes, how it is opened for the cloud, and what restarts it.
struct Firewall {
    owner: &'static str,
    package: &'static str,
    /// Switches it on, dropping what is forwarded.
    begin: &'static str,
    open: &'static str,
    restart: &'static str,
    end: &'static str,
}

const FIREWALLS: [Firewall; 3] = [
    Firewall {
        owner: "ufw",
        package: "ufw",
        begin: "ufw --force enable",
        open: "ufw route allow in on br-ex; ufw route allow out on br-ex",
        restart: "systemctl restart ufw.service",
        end: "ufw --force disable; nft delete table ip filter; nft delete table ip6 filter",
    },
    Firewall {
        owner: "firewalld",
        package: "firewalld",
        begin: "systemctl start firewalld.service",
        open: "set -e; firewall-cmd --permanent --zone=trusted --add-interface=br-ex
               firewall-cmd --permanent --new-policy=gpucloud
               firewall-cmd --permanent --policy=gpucloud --add-ingress-zone=trusted
               firewall-cmd --permanent --policy=gpucloud --add-egress-zone=public
               firewall-cmd --permanent --policy=gpucloud --set-target=ACCEPT
               firewall-cmd --reload",
        restart: "systemctl restart firewalld.service",
        end: "systemctl stop firewalld.service",
    },
    // It drops what is forwarded only where it switched forwarding on itself.
    Firewall {
        owner: "Docker",
        package: "docker.io",
        begin: "sysctl -qw net.ipv4.ip_forward=0; systemctl restart docker.service",
        open: "iptables -I DOCKER-USER -i br-ex -j ACCEPT; iptables -I DOCKER-USER -o br-ex -j ACCEPT",
        restart: "systemctl restart docker.service",
        end: "systemctl stop docker.service docker.socket",
    },
];

/// Real firewalls beside ours: named, opened as we say, and the cloud's table is still one.
pub fn beside_firewalls() -> Verdict {
    let shell = |line: &str| inside(LAB, &["sh", "-c", line]);
    shell("apt-get -qq update").expect(0);
    for Firewall { owner, package, begin, open, restart, end } in FIREWALLS {
        shell(&format!("apt-get -qq -y --no-install-recommends install {package} >/dev/null 2>&1")).expect(0);
        shell(begin).expect(0);
        let doctor = installer(LAB, &["doctor"]).out;
        assert!(doctor.contains(&format!("{owner} drops what this machine should forward")), "{doctor}");
        assert_eq!(probe(LAB)["ok"], false, "{owner}: {}", probe(LAB));
        shell(open).expect(0);
        assert_eq!(probe(LAB)["ok"], true, "{owner}: {}", probe(LAB));
        shell(restart).expect(0);
        assert!(within(Duration::from_secs(35), || is_whole(LAB)), "not back behind {restart}");
        assert_eq!(probe(LAB)["ok"], true, "{owner}: {}", probe(LAB));
        shell(end).expect(0);
    }
    // What the firewalls' packages took with them; the next group goes on here.
    installer(LAB, &["apply", "--yes"]).expect(0);
    Ok(())
}
