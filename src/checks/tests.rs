//! Each check against facts that it must judge.

use super::*;
use crate::config::network::Access;
use crate::config::tests::sample;
use crate::config::volumes::{VolumeAnswers, VolumeBackend};
use crate::config::{EngineName, Virt};
use crate::facts::listeners::Listener;
use crate::facts::reach::{Problem, Server};
use crate::facts::{filters, hardware, kvm::Kvm, network, os, pci, software, storage};

fn facts() -> Facts {
    let filesystem =
        |below: &str| storage::Filesystem { below: below.into(), size: 2 << 40, free: 1 << 40, writable: true };
    Facts {
        live: true,
        os: os::Os {
            id: "debian".into(),
            version: "12".into(),
            pretty_name: "Debian 12".into(),
            codename: "bookworm".into(),
            kernel: "6.1".into(),
            host_name: "gpubox.example".into(),
            systemd: true,
            container: None,
            openvswitch_module: true,
            missing_for_volumes: Vec::new(),
        },
        hardware: hardware::Hardware {
            processors: 32,
            model: "x".into(),
            vendor: "AuthenticAMD".into(),
            virtualization: true,
            hypervisor: false,
            memory: 128 << 30,
        },
        storage: storage::Storage { data: filesystem("/var/lib"), programs: filesystem("/opt") },
        network: network::Network {
            nics: vec![network::Nic {
                name: "eno1".into(),
                up: true,
                carrier: true,
                addresses: vec![network::NicAddress {
                    address: "192.0.2.10".parse().unwrap(),
                    prefix_len: 24,
                    dynamic: false,
                }],
                ..network::Nic::default()
            }],
            routes: vec![route("192.0.2.0/24", "eno1")],
            ..network::Network::default()
        },
        filters: filters::Filters::default(),
        displays: vec![pci::Function {
            address: "0000:41:00.0".into(),
            vendor: "10de".into(),
            device: "2684".into(),
            class: 0x03_0000,
            ..pci::Function::default()
        }],
        kvm: Kvm::Works.into(),
        software: software::Software::default(),
        own_devstack_lines: Vec::new(),
    }
}

fn route(net: &str, interface: &str) -> network::NetworkRoute {
    network::NetworkRoute { net: net.parse().unwrap(), interface: interface.into() }
}

fn filter(owner: &str, hook: &str) -> filters::Filter {
    filters::Filter { owner: owner.into(), hook: hook.into(), evidence: "x".into() }
}

/// The level of check `id` after `change` was made to a machine on which all is well.
fn level(id: &str, change: impl FnOnce(&mut Facts, &mut Config)) -> Level {
    let (mut facts, mut config) = (facts(), sample());
    change(&mut facts, &mut config);
    let subject = Subject { facts: &facts, config: &config, our_packages: &[], seen: &Seen::default() };
    let findings: Vec<Finding> = run(&subject).into_iter().filter(|finding| finding.id == id).collect();
    for finding in findings.iter().filter(|finding| finding.level > Level::Pass) {
        assert!(!finding.next.is_empty(), "{id} does not say what to do");
    }
    worst(&findings)
}

/// What is said of what was seen on the wire.
fn on_the_wire(seen: Seen) -> Vec<Finding> {
    let (facts, config) = (facts(), sample());
    of_the_wire(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen })
}

fn reach(servers: &[Server]) -> Vec<Finding> {
    on_the_wire(Seen { servers: Asked::Told(servers.to_vec()), ..Seen::default() })
}

#[test]
fn a_good_machine_passes_everything() {
    let (facts, config) = (facts(), sample());
    let subject = Subject { facts: &facts, config: &config, our_packages: &[], seen: &Seen::default() };
    let bad: Vec<Finding> = run(&subject).into_iter().filter(|finding| finding.level > Level::Pass).collect();
    assert_eq!(bad, []);
}

#[test]
fn volumes_are_refused_where_they_cannot_be_kept() {
    use Level::{Pass, Stop, Warn};
    let volumes = |change: fn(&mut Facts, &mut Config)| {
        level("volumes", |f, c| {
            c.volumes.backend = VolumeBackend::Lvm;
            change(f, c);
        })
    };
    assert_eq!(volumes(|_, _| {}), Pass);
    assert_eq!(volumes(|f, _| f.os.container = Some("lxc".into())), Stop);
    assert_eq!(volumes(|f, _| f.os.missing_for_volumes = vec!["dm_mod"]), Stop);
    assert_eq!(volumes(|f, _| f.software.lvm_lines = vec!["global_filter".into()]), Stop);
    assert_eq!(volumes(|f, _| f.storage.data.free = 20 << 30), Warn);
    assert_eq!(volumes(|f, c| (f.os.container, c.volumes) = (Some("lxc".into()), VolumeAnswers::default())), Pass);
}

#[test]
fn a_disk_that_holds_something_is_refused() {
    let empty = Disk { kind: "disk".into(), size: 1 << 40, ..Disk::default() };
    let level = |disk: Option<Disk>| {
        let (facts, mut config) = (facts(), sample());
        config.volumes.backend = VolumeBackend::Lvm;
        config.volumes.device = "/dev/sdb".parse().unwrap();
        let seen = Seen { volume_disk: Asked::Told(disk), ..Seen::default() };
        let findings = of(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen }, &["volumes"]);
        assert!(findings.iter().all(|finding| finding.level == Level::Pass || !finding.next.is_empty()));
        worst(&findings)
    };
    assert_eq!(level(Some(empty.clone())), Level::Pass);
    assert_eq!(level(None), Level::Stop);
    let spoilt: [fn(&mut Disk); 5] = [
        |disk| disk.kind = "lvm".into(),
        |disk| disk.read_only = true,
        |disk| disk.users = vec!["/srv".into()],
        |disk| disk.content = vec!["ext4".into()],
        |disk| disk.size = 1 << 20,
    ];
    for spoil in spoilt {
        let mut disk = empty.clone();
        spoil(&mut disk);
        assert_eq!(level(Some(disk.clone())), Level::Stop, "{disk:?}");
    }
}

#[test]
fn each_fault_is_found_with_its_level() {
    use Level::{Stop, Warn};
    assert_eq!(level("system", |f, _| f.os.version = "11".into()), Stop);
    assert_eq!(level("system", |f, c| (f.os.version, c.engine) = ("14".into(), EngineName::Devstack)), Warn);
    assert_eq!(level("system", |f, c| (f.os.version, c.engine) = ("11".into(), EngineName::Devstack)), Stop);
    assert_eq!(level("systemd", |f, _| f.os.systemd = false), Stop);
    assert_eq!(level("memory", |f, _| f.hardware.memory = 4 << 30), Stop);
    assert_eq!(level("memory", |f, _| f.hardware.memory = 32 << 30), Warn);
    assert_eq!(level("storage", |f, _| f.storage.data.free = 1 << 30), Stop);
    assert_eq!(level("storage", |f, _| f.storage.data.writable = false), Stop);
    assert_eq!(level("storage", |f, _| f.storage.data.size = 100 << 30), Warn);
    assert_eq!(level("gpu", |f, _| f.displays.clear()), Warn);
    assert_eq!(level("gpu", |f, _| f.displays[0].device = "1b80".into()), Warn);
    assert_eq!(level("virtualization", |f, _| f.kvm = Kvm::NoDevice.into()), Warn);
    assert_eq!(level("address", |_, c| c.host.address = "192.0.2.99".parse().unwrap()), Stop);
    assert_eq!(level("address", |_, c| c.host.interface = "eth9".parse().unwrap()), Stop);
    assert_eq!(level("address", |f, _| f.network.nics[0].addresses[0].dynamic = true), Warn);
    assert_eq!(level("host-name", |_, c| c.host.name = "other".parse().unwrap()), Level::Pass);
    assert_eq!(level("host-name", |f, _| f.os.host_name = "localhost.localdomain".into()), Warn);
    assert_eq!(level("host-name", |f, _| f.os.host_name = "gpu_box".into()), Stop);
    assert_eq!(
        level("other-cloud", |f, _| f.software.clouds.push(("DevStack".into(), "/opt/stack/devstack".into()))),
        Stop
    );
    assert_eq!(level("own-databases", |f, _| f.software.databases.push("keystone".into())), Stop);
    assert_eq!(level("own-services", |f, _| f.software.shared.push(("mariadb-server".into(), "1".into()))), Stop);
}

#[test]
fn each_conflict_of_the_network_is_found_with_its_level() {
    use Level::{Pass, Stop, Warn};
    assert_eq!(level("ranges", |f, _| f.network.routes.push(route("172.24.0.0/16", "docker0"))), Stop);
    assert_eq!(level("ranges", |f, _| f.network.routes.push(route("10.254.7.0/24", "tun0"))), Stop);
    assert_eq!(level("ranges", |f, _| f.network.routes.push(route("172.16.0.0/12", "tun0"))), Warn);
    assert_eq!(level("ranges", |f, _| f.network.routes.push(route("172.24.4.0/24", "br-ex"))), Pass);
    let in_lan = |range: &str| {
        let range = range.parse().unwrap();
        move |_: &mut Facts, c: &mut Config| (c.network.access, c.network.range) = (Access::ProxyArp, range)
    };
    assert_eq!(level("ranges", in_lan("192.0.2.128/27")), Pass);
    assert_eq!(level("ranges", in_lan("198.51.100.0/27")), Stop);
    let router_in_range = |f: &mut Facts, c: &mut Config| {
        in_lan("192.0.2.128/27")(f, c);
        let gateway = Some("192.0.2.130".parse().unwrap());
        f.network.default_route = Some(network::DefaultRoute { interface: "eno1".into(), gateway, source: None });
    };
    assert_eq!(level("ranges", router_in_range), Stop);
    assert_eq!(level("bridge-links", |_, c| c.network.bridge_links = vec!["eno9".parse().unwrap()]), Stop);
    assert_eq!(level("bridge-links", |_, c| c.network.bridge_links = vec!["eno1".parse().unwrap()]), Stop);
    assert_eq!(level("packet-filter", |f, _| f.filters.dropping.push(filter("Docker", "forward"))), Warn);
    assert_eq!(level("packet-filter", |f, _| f.filters.dropping.push(filter("table inet own", "input"))), Warn);
    assert_eq!(level("packet-filter", |f, _| f.filters.legacy = true), Warn);
    let opened = |f: &mut Facts, _: &mut Config| {
        f.filters.dropping.push(filter("ufw", "forward"));
        f.filters.opened.push("ufw".into());
    };
    assert_eq!(level("packet-filter", opened), Pass);
    assert_eq!(level("router-advertisements", |f, _| f.network.ignores_router_advertisements = true), Warn);
    assert_eq!(level("dns", |_, c| c.network.dns = vec!["127.0.0.53".parse().unwrap()]), Stop);
    assert_eq!(level("dns", |_, c| c.network.dns.clear()), Warn);
    let taken = [("192.0.2.7".parse().unwrap(), "52:54:00:00:00:01".to_owned())].into();
    assert_eq!(worst(&on_the_wire(Seen { taken: Asked::Told(taken), ..Seen::default() })), Stop);
}

#[test]
fn kvm_on_demand_stops_where_it_does_not_work() {
    let broken = |f: &mut Facts, c: &mut Config| {
        f.kvm = Kvm::NoDevice.into();
        c.compute.virt = Virt::Kvm;
    };
    assert_eq!(level("virtualization", broken), Level::Stop);
}

#[test]
fn own_services_may_be_shared_and_ours_are_no_finding() {
    let shared = |f: &mut Facts, c: &mut Config| {
        f.software.shared.push(("mariadb-server".into(), "1".into()));
        c.host.share_services = true;
    };
    assert_eq!(level("own-services", shared), Level::Warn);
    let (mut facts, config) = (facts(), sample());
    facts.software.shared.push(("mariadb-server".into(), "1".into()));
    let ours = ["mariadb-server".to_owned()];
    let subject = Subject { facts: &facts, config: &config, our_packages: &ours, seen: &Seen::default() };
    assert!(run(&subject).iter().all(|finding| finding.id != "own-services"));
}

/// What is said of a machine where that was seen, all being well else.
fn seen(seen: Seen) -> Vec<Finding> {
    let (facts, config) = (facts(), sample());
    let findings = run(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen });
    let grave: Vec<Finding> = findings.into_iter().filter(|finding| finding.level > Level::Pass).collect();
    assert!(grave.iter().all(|finding| !finding.next.is_empty()), "{grave:?}");
    grave
}

fn database(unit: &str, look: sql::Look) -> Vec<(Level, String)> {
    let found = seen(Seen { database: Asked::Told(Database { unit: unit.into(), look }), ..Seen::default() });
    assert!(found.iter().all(|finding| finding.id == "own-services"));
    found.into_iter().map(|finding| (finding.level, format!("{} {}", finding.what, finding.next))).collect()
}

#[test]
fn a_database_that_does_not_let_the_cloud_in_stops_before_anything_is_changed() {
    let good = || sql::ServerState {
        version: "11.8.9-MariaDB-0+deb13u1 from Debian".into(),
        read_only: None,
        connections: 2,
        max_connections: 151,
        data: "/var/lib/mysql/".into(),
        port: Some(3306),
        bind_address: Some("127.0.0.1".into()),
    };
    let open = |change: fn(&mut sql::ServerState)| {
        let mut state = good();
        change(&mut state);
        database("active", sql::Look::Open(state))
    };
    assert_eq!(open(|_| ()), []);
    let denied = sql::SqlError::Denied { said: "Access denied for user 'root'@'localhost'".into() };
    for (found, level, words) in [
        (
            database("active", sql::Look::Shut(denied)),
            Level::Stop,
            "ALTER USER root@localhost IDENTIFIED VIA unix_socket OR",
        ),
        (database("active", sql::Look::Nobody), Level::Stop, "socket = /run/mysqld/mysqld.sock"),
        (database("inactive", sql::Look::Nobody), Level::Warn, "the installation starts it"),
        (database("failed", sql::Look::Nobody), Level::Stop, "journalctl -u mariadb"),
        (open(|s| s.version = "8.0.39-0ubuntu0.24.04.2".into()), Level::Stop, "no MariaDB"),
        (open(|s| s.read_only = Some("innodb_force_recovery")), Level::Stop, "innodb_force_recovery is on"),
        (open(|s| s.port = None), Level::Stop, "skip-networking"),
        (open(|s| s.port = Some(3307)), Level::Stop, "port 3307"),
        (open(|s| s.bind_address = Some("0.0.0.0".into())), Level::Warn, "listens on 0.0.0.0"),
        (open(|s| s.bind_address = None), Level::Warn, "every address"),
    ] {
        assert!(found.len() == 1 && found[0].0 == level && found[0].1.contains(words), "{words}: {found:?}");
    }
}

#[test]
fn a_cache_that_does_not_answer_stops() {
    let cache = |complaint| seen(Seen { cache: Asked::Told(complaint), ..Seen::default() });
    assert_eq!(cache(None), []);
    let silent = cache(Some(Complaint::passing("127.0.0.1:11211 does not answer")));
    assert!(silent[0].level == Level::Stop && silent[0].next.contains("/etc/memcached.conf"), "{silent:?}");
}

#[test]
fn administrators_without_an_account_are_named_before_anything_is_changed() {
    let ada = Administrator { name: "ada".into(), is_known: true, is_member: false, obstacle: None };
    let found = |change: fn(&mut Administrator)| {
        let mut account = ada.clone();
        change(&mut account);
        let found = seen(Seen { administrators: Asked::Told(vec![account]), ..Seen::default() });
        found.into_iter().map(|finding| (finding.level, finding.what)).collect::<Vec<_>>()
    };
    assert_eq!(found(|_| ()), []);
    let unknown = found(|a| a.is_known = false);
    assert!(unknown[0].0 == Level::Stop && unknown[0].1.contains("no account ada"), "{unknown:?}");
    let gone = found(|a| (a.is_known, a.is_member) = (false, true));
    assert_eq!(gone[0].0, Level::Warn);
    let closed = found(|a| a.obstacle = Some("ada may not write below /nfs/ada".into()));
    assert!(closed[0].0 == Level::Warn && closed[0].1.contains("/root/.ssh"), "{closed:?}");
}

#[test]
fn a_dead_name_server_is_told_from_a_closed_port() {
    let server = |problem| Server {
        purpose: "packages".into(),
        host: "mirror.example".into(),
        port: 80,
        problem: Some(problem),
        clock_ahead: None,
        size: None,
    };
    let servers = [server(Problem::Unresolved("x".into())), server(Problem::Unreachable("y".into()))];
    let found: Vec<String> = reach(&servers).into_iter().map(|f| f.what).collect();
    assert!(found[0].contains("cannot be resolved") && found[1].contains("does not answer"), "{found:?}");
}

#[test]
fn a_clock_that_differs_from_a_servers_is_told_by_how_much() {
    let server = |ahead| Server {
        purpose: "packages".into(),
        host: "mirror.example".into(),
        port: 80,
        problem: None,
        clock_ahead: Some(ahead),
        size: None,
    };
    assert_eq!(worst(&reach(&[server(20)])), Level::Pass);
    let findings = reach(&[server(-3600)]);
    assert_eq!(worst(&findings), Level::Stop);
    assert!(findings.iter().any(|f| f.what == "this machine's clock is 60 minutes ahead of that of mirror.example"));
    // The other clock is some seconds off, too.
    for (ahead, said) in
        [(-3590, "60 minutes ahead of"), (700 * 86400 - 7, "700 days behind"), (7190, "2 hours behind")]
    {
        let findings = reach(&[server(ahead)]);
        assert!(findings.iter().any(|finding| finding.what.contains(said)), "{findings:?}");
    }
}

#[test]
fn amperes_first_cards_are_new_enough_and_turings_are_not() {
    for (device, expected) in
        [("20b0", Level::Pass), ("2684", Level::Pass), ("2182", Level::Warn), ("1eb8", Level::Warn)]
    {
        let mut facts = facts();
        facts.displays[0].device = device.into();
        let config = sample();
        let subject = Subject { facts: &facts, config: &config, our_packages: &[], seen: &Seen::default() };
        assert_eq!(worst(&machine::gpu(&subject)), expected, "{device}");
    }
}

#[test]
fn a_captured_tree_is_not_judged_by_what_it_cannot_tell_and_that_is_said() {
    let facts = Facts { live: false, network: network::Network::default(), kvm: Kvm::NoDevice.into(), ..facts() };
    let config = sample();
    let findings = run(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &Seen::default() });
    for id in ["address", "storage", VIRTUALIZATION] {
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.id == id).collect();
        assert!(matches!(found.as_slice(), [one] if one.level == Level::Warn), "{id}: {found:?}");
        assert!(found[0].what.starts_with("could not be asked whether"), "{found:?}");
    }
}

#[test]
fn what_could_not_be_looked_at_is_a_warning_that_says_why() {
    let seen = Seen {
        servers: Asked::Failed("no such device".into()),
        taken: Asked::Failed("no such device".into()),
        ..Seen::default()
    };
    let found = on_the_wire(seen);
    assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), ["servers", "clock", "pool"]);
    assert!(found.iter().all(|f| f.level == Level::Warn && f.evidence == "no such device" && !f.next.is_empty()));
    let (mut facts, config) = (facts(), sample());
    facts.filters.unread = Some("cannot start `nft`".into());
    let seen = Seen {
        on_cloud_ports: Asked::Failed("x".into()),
        on_mapped_ports: Asked::Failed("y".into()),
        ..Seen::default()
    };
    let found = run(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen });
    let bad: Vec<&str> = found.iter().filter(|f| f.level > Level::Pass).map(|f| f.id).collect();
    assert_eq!(bad, ["packet-filter", "ports", "port-maps"]);
}

#[test]
fn a_port_that_another_has_is_named_with_its_service() {
    let (facts, mut config) = (facts(), sample());
    let listener = Listener {
        address: "0.0.0.0".parse().unwrap(),
        port: 9292,
        program: Some("nginx".into()),
        pid: None,
        unit: Some("nginx.service".into()),
    };
    config.network.port_maps = vec!["tcp 9292 -> 192.0.2.7:80".parse().unwrap()];
    let port = CloudPort { port: 9292, service: "glance-api", unit: "g.service".into(), open: true };
    let seen = Seen {
        ports: vec![port],
        on_cloud_ports: Asked::Told(vec![listener]),
        on_mapped_ports: Asked::Told(Vec::new()),
        ..Seen::default()
    };
    let found = run(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen });
    let of = |id: &str| found.iter().find(|f| f.id == id).unwrap_or_else(|| panic!("no {id}: {found:?}"));
    assert_eq!(of("ports").what, "port 9292, which glance-api needs, is taken by nginx");
    assert!(of("port-maps").what.ends_with("away from glance-api"), "{:?}", of("port-maps"));
}

#[test]
fn every_check_has_a_name_and_says_what_is_so_when_all_is_well() {
    let mut all: Vec<Described> = CHECKS.iter().map(|check| check.described).collect();
    assert!(all.iter().all(|check| !check.id.contains(' ') && check.description.len() > 10));
    all.sort_by_key(|check| (check.id, check.description));
    all.dedup();
    assert_eq!(all.len(), CHECKS.len());
}

/// Readers filter by the id: it must be in the list.
#[test]
fn findings_have_the_id_of_their_check() {
    let (mut facts, mut config) = (facts(), sample());
    facts.os.version = "11".into();
    facts.software.ours.applied = true;
    facts.filters.legacy = true;
    config.network.dns.clear();
    let seen = Seen { servers: Asked::Told(Vec::new()), ..Seen::default() };
    let subject = Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen };
    for check in CHECKS {
        assert!(check.findings(&subject).iter().all(|finding| finding.id == check.described.id));
    }
}

#[test]
fn files_that_are_not_what_they_should_be_stop_all() {
    let (facts, config) = (facts(), sample());
    let wrong = crate::resources::named_files::WrongFile {
        answer: "resources.key_pairs: k".into(),
        problem: "/root/k holds a private key".into(),
        next: "ssh-keygen -y -f /root/k > /root/k.pub".into(),
    };
    let seen = Seen { wrong_files: vec![wrong.clone()], ..Seen::default() };
    let found = run(&Subject { facts: &facts, config: &config, our_packages: &[], seen: &seen });
    let stops: Vec<&Finding> = found.iter().filter(|finding| finding.level == Level::Stop).collect();
    assert_eq!(stops.len(), 1, "{stops:?}");
    assert_eq!(
        (stops[0].what.as_str(), &stops[0].next),
        ("resources.key_pairs: k: /root/k holds a private key", &wrong.next)
    );
}
