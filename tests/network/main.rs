//! The network room against real kernels: namespaces for a LAN client, this machine and a guest. What packets do is the
//! oracle, and `ip` and `nft`; never our own reader.
//!
//! ```text
//! lan 192.0.2.7 --- up0 192.0.2.10 [host] br-ex 172.24.4.1 --- guest 172.24.4.20
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod cut;
mod world;

use gpucloud::config::network::Access;
use gpucloud::host::nft::Transport;
use gpucloud::network::live;
use gpucloud::network::state::{NetworkState, changes};
use libtest_mimic::{Arguments, Failed, Trial};
use std::time::{Duration, Instant};
use world::{GUEST, HOST, World};

fn main() {
    let arguments = Arguments::from_args();
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("ignored: network namespaces need root");
    }
    let trial = |name: &'static str, test: fn() -> Result<(), Failed>| Trial::test(name, test).with_ignored_flag(!root);
    let trials = vec![
        trial("each_switch_does_what_it_is_for", each_switch),
        trial("nat_leads_out_and_by_chosen_ports_in", nat),
        trial("proxy_arp_answers_for_the_range_and_nothing_else", proxy_arp),
        trial("with_proxy_arp_instances_go_out_by_a_link_whose_network_does_not_know_them", second_way_out),
        trial("routed_reaches_the_range_by_a_route", routed),
        trial("a_state_is_brought_about_once_and_taken_back_without_a_trace", there_and_back),
        trial("fifty_replacements_lose_no_packet", fifty_replacements),
        trial("two_hundred_port_maps_are_one_batch", many_port_maps),
        trial("a_guest_reaches_no_metadata_service_beyond_the_host", metadata),
        trial("the_cloud_s_ports_are_open_to_administrators_only_and_ssh_to_all", lockdown),
        trial("addresses_that_are_taken_are_found_in_time", taken_addresses),
        trial("rules_that_cut_off_go_behind_a_gateway_without_icmp", cut::rules_behind_a_gateway_without_icmp),
        trial("addresses_that_cut_off_go_behind_a_silent_gateway", cut::addresses_behind_a_silent_gateway),
        trial("rules_behind_a_silent_gateway_need_a_person", cut::rules_behind_a_silent_gateway),
        trial("arp_is_asked_anew_each_time", cut::arp_is_asked_anew),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// The table of what each step is for: forwarding, masquerade, answers to ARP, and a route at the LAN's side.
fn each_switch() -> Result<(), Failed> {
    let cases = [
        // forwarding, masquerade, proxy, route | host to guest, guest to LAN, LAN to guest
        (true, true, false, false, [true, true, false]),
        (true, true, false, true, [true, true, true]),
        (false, true, false, true, [true, false, false]),
        (true, false, false, false, [true, false, false]),
        (true, false, false, true, [true, true, true]),
        (true, true, true, false, [true, true, true]),
        (true, false, true, false, [true, true, true]),
    ];
    for (n, (forwarding, masquerade, proxy, route, expected)) in cases.into_iter().enumerate() {
        // A LAN that holds the range, so that its machines ask for guests by ARP; or one that has a route.
        let access = if masquerade { Access::Nat } else { Access::Routed };
        let world = if route { World::new(access) } else { World::with_range_in_lan(access) };
        let mut desired = world.desired();
        if let (Some(table), Access::Nat) = (desired.table.as_mut(), access) {
            // Nat's own rules let nobody in; here only the switches are tried.
            table.chains.retain(|chain| chain.name == "postrouting");
        }
        desired.sysctls.insert("net.ipv4.ip_forward".into(), Some(u8::from(forwarding).to_string()));
        if proxy {
            desired.proxies = [("up0".to_owned(), [GUEST.parse()?].into())].into();
        }
        world.bring_about(&desired);
        if route {
            world.lan(&["ip", "route", "add", "172.24.4.0/24", "via", HOST]);
        }
        let seen = [
            world.pings("host", world.guest_address()),
            world.pings("guest", world.lan_address()),
            world.pings("lan", world.guest_address()),
        ];
        assert_eq!(
            seen, expected,
            "row {n}: forwarding {forwarding}, masquerade {masquerade}, proxy {proxy}, route {route}"
        );
    }
    Ok(())
}

fn nat() -> Result<(), Failed> {
    let world = World::new(Access::Nat);
    world.bring_about(&world.desired());
    assert!(world.pings("guest", world.lan_address()));
    assert!(!world.pings("lan", world.guest_address()));
    let _guest = world.listen("guest", "172.24.4.20:22");
    let _other = world.listen("guest", "172.24.4.20:23");
    assert!(world.connects("lan", "192.0.2.10:8022"), "the port map leads nowhere");
    world.lan(&["ip", "route", "add", "172.24.4.0/24", "via", HOST]);
    assert!(world.connects("lan", "172.24.4.20:22"), "what a port map lets in");
    assert!(!world.connects("lan", "172.24.4.20:23"), "only chosen ports lead in");
    Ok(())
}

fn proxy_arp() -> Result<(), Failed> {
    let world = World::with_range_in_lan(Access::ProxyArp);
    world.bring_about(&world.desired());
    assert!(world.pings("lan", world.guest_address()) && world.pings("guest", world.lan_address()));
    let guest = world.guest_address().to_string();
    let answered = world.lan(&["ip", "neigh", "show", &guest]);
    let own = world.host(&["cat", "/sys/class/net/up0/address"]);
    assert!(answered.contains(own.trim()), "{answered} is not {own}");
    // This machine knows a way to 198.51.100.0/24 too, and must not answer for it.
    world.host(&["ip", "route", "add", "198.51.100.0/24", "dev", "br-ex"]);
    world.lan(&["ip", "route", "add", "198.51.100.0/24", "dev", "lan0"]);
    assert!(!world.pings("lan", "198.51.100.9".parse()?));
    let silent = world.lan(&["ip", "neigh", "show", "198.51.100.9"]);
    assert!(!silent.contains("lladdr"), "{silent}");
    // Where the way to the world was before, nothing is answered any more.
    let (mut desired, mut owned) = (world.desired(), world.ownership());
    owned.uplinks.insert("br-ex".to_owned());
    desired.proxies = [("br-ex".to_owned(), [GUEST.parse()?].into())].into();
    let wanted = desired.clone();
    world.inside("host", move || {
        let host = gpucloud::host::Host::live();
        let changes = changes(&live::current(&host, &wanted, &owned).unwrap(), &wanted);
        live::apply(&host, &changes).unwrap();
    });
    let left = world.host(&["ip", "neigh", "show", "proxy"]);
    assert!(left.contains("br-ex") && !left.contains("up0"), "{left}");
    Ok(())
}

/// As in Vagrant's machines: the link that instances have addresses of is not the one with the default route.
fn second_way_out() -> Result<(), Failed> {
    let world = World::with_range_in_lan(Access::ProxyArp);
    world.bring_about(&world.desired());
    world.add_second_link("198.51.100.1/24", "198.51.100.9/24");
    assert!(world.pings("guest", world.lan_address()));
    // Nobody there has a way to the guest's own address.
    world.lan(&["ip", "addr", "del", "192.0.2.7/24", "dev", "lan0"]);
    assert!(world.pings("guest", "198.51.100.9".parse()?));
    Ok(())
}

fn routed() -> Result<(), Failed> {
    let world = World::new(Access::Routed);
    world.bring_about(&world.desired());
    assert!(!world.pings("lan", world.guest_address()));
    world.lan(&["ip", "route", "add", "172.24.4.0/24", "via", HOST]);
    assert!(world.pings("lan", world.guest_address()) && world.pings("guest", world.lan_address()));
    // The guest's own address arrives: no translation.
    let _listener = world.listen("lan", "192.0.2.7:9000");
    assert!(world.connects("guest", "192.0.2.7:9000"));
    let seen = world.host(&["nft", "list", "ruleset"]);
    assert!(!seen.contains("masquerade"), "{seen}");
    Ok(())
}

fn there_and_back() -> Result<(), Failed> {
    for access in [Access::Nat, Access::ProxyArp, Access::Routed] {
        let world = if access == Access::ProxyArp { World::with_range_in_lan(access) } else { World::new(access) };
        let before = world.oracle();
        let desired = world.desired();
        world.bring_about(&desired);
        let once = world.oracle();
        let (owned, wanted) = (world.ownership(), desired.clone());
        assert_eq!(world.inside("host", move || world::remaining(&wanted, &owned)), Vec::<String>::new());
        world.bring_about(&desired);
        assert_eq!(world.oracle(), once, "a second time changed something");
        assert_eq!(once.matches("chain input").count(), 1, "{once}");
        world.host(&["nft", "flush", "ruleset"]);
        world.host(&["ip", "addr", "flush", "dev", "br-ex"]);
        world.bring_about(&desired);
        assert_eq!(world.oracle(), once, "what was flushed did not come back");
        world.take_back(&desired);
        assert_eq!(world.oracle(), before, "{access:?} left something");
    }
    Ok(())
}

/// Rules are replaced while pings and a TCP stream cross: nothing is lost, the stream goes on.
fn fifty_replacements() -> Result<(), Failed> {
    let world = World::new(Access::Nat);
    let desired = world.desired();
    world.bring_about(&desired);
    let stream = world.stream("guest", "lan", "192.0.2.7:9001");
    let pinger = world.ping_until_told("guest", world.lan_address());
    for n in 0..50 {
        let mut other = desired.clone();
        let purpose = format!("replacement {n}");
        let table = other.table.as_mut().unwrap();
        table.chains.last_mut().unwrap().rules[0].purpose = purpose.clone();
        world.bring_about(&other);
        assert!(world.host(&["nft", "list", "table", "inet", "gpucloud"]).contains(&purpose));
    }
    let (sent, lost) = pinger.stop();
    assert!(sent > 50 && lost == 0, "{lost} of {sent} pings were lost");
    assert!(stream.stop() > 0, "the stream broke");
    Ok(())
}

fn many_port_maps() -> Result<(), Failed> {
    let mut world = World::new(Access::Nat);
    world.config.network.port_maps =
        (0..200_u16).map(|n| format!("tcp {} -> 172.24.4.{}:22", 10_000 + n, 10 + n).parse().unwrap()).collect();
    assert!(world.config.network.port_maps.iter().all(|map| map.transport == Transport::Tcp));
    world.bring_about(&world.desired());
    let listed = world.host(&["nft", "list", "table", "inet", "gpucloud"]);
    assert_eq!(listed.matches("dnat ip to").count(), 200, "{listed}");
    let _guest = world.listen("guest", "172.24.4.20:22");
    assert!(world.connects("lan", "192.0.2.10:10010"));
    Ok(())
}

fn metadata() -> Result<(), Failed> {
    let world = World::new(Access::Nat);
    world.lan(&["ip", "addr", "add", "169.254.169.254/32", "dev", "lan0"]);
    world.host(&["ip", "route", "add", "169.254.169.254/32", "dev", "up0"]);
    let _service = world.listen("lan", "169.254.169.254:80");
    let mut open = world.desired();
    let forward = open.table.as_mut().unwrap().chains.iter_mut().find(|chain| chain.name == "forward").unwrap();
    forward.rules.remove(0);
    world.bring_about(&open);
    assert!(world.connects("guest", "169.254.169.254:80"), "the test reaches nothing even without the rule");
    world.bring_about(&world.desired());
    assert!(!world.connects("guest", "169.254.169.254:80"), "a guest reaches a metadata service beyond the host");
    Ok(())
}

fn lockdown() -> Result<(), Failed> {
    let world = World::new(Access::Nat);
    world.bring_about(&world.desired());
    let ports = [22_u16, 80, 5000, 8774, 9292, 9696];
    let _listeners: Vec<_> = ports.iter().map(|port| world.listen("host", &format!("0.0.0.0:{port}"))).collect();
    let open = |from: &str| -> Vec<u16> {
        ports.into_iter().filter(|port| world.connects(from, &format!("192.0.2.10:{port}"))).collect()
    };
    assert_eq!(open("lan"), [22, 80, 5000, 8774, 9292, 9696], "an administrators' network");
    assert_eq!(open("guest"), [22, 80, 5000, 8774, 9292, 9696], "instances");
    assert_eq!(open("host"), [22, 80, 5000, 8774, 9292, 9696], "the machine itself");
    // Another machine of the LAN, in no administrators' network.
    world.lan(&["ip", "addr", "del", "192.0.2.7/24", "dev", "lan0"]);
    world.lan(&["ip", "addr", "add", "192.0.2.200/24", "dev", "lan0"]);
    assert_eq!(open("lan"), [22, 80], "a machine that is none of the administrators'");
    Ok(())
}

fn taken_addresses() -> Result<(), Failed> {
    let world = World::with_range_in_lan(Access::ProxyArp);
    world.lan(&["ip", "addr", "add", "192.0.2.150/24", "dev", "lan0"]);
    let mut network = world.config.network.clone();
    network.pool = "192.0.2.11-192.0.2.254".parse()?;
    let begin = Instant::now();
    let taken = world.inside("host", move || gpucloud::network::probe::taken_addresses("up0", &network).unwrap());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let addresses: Vec<String> = taken.keys().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.150"]);
    Ok(())
}

/// For [`World::take_back`].
fn back(before: &NetworkState, desired: &NetworkState) -> Vec<gpucloud::network::state::Change> {
    gpucloud::network::state::inverse(&changes(before, desired))
}
