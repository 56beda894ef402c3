//! The dead-man switch with packets: the LAN's machine is the gateway, and drops what it is told to.

use crate::world::World;
use gpucloud::config::network::Access;
use gpucloud::facts::network::{DefaultRoute, Network};
use gpucloud::host::nft::Policy;
use gpucloud::host::{Host, Result};
use gpucloud::network::consent::Confirmation;
use gpucloud::network::guard::Guard;
use gpucloud::network::state::{Change, NetworkState};
use gpucloud::network::timer::RollbackTimer;
use libtest_mimic::Failed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the gateway does not answer.
const ICMP: &str = "ip protocol icmp drop";
const EVERYTHING: &str = "meta nfproto ipv4 drop";

/// Takes nothing back by itself.
#[derive(Default)]
struct ByHand(AtomicBool);

impl RollbackTimer for ByHand {
    fn start(&self, _limit: Duration) -> Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        self.0.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn is_armed(&self) -> Result<bool> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

struct Guarded {
    world: World,
    dir: tempfile::TempDir,
    timer: Arc<ByHand>,
}

impl Guarded {
    /// A machine whose gateway drops what `filter` says.
    fn new(filter: &str) -> Self {
        let world = World::new(Access::Nat);
        world.host(&["ip", "route", "add", "default", "via", "192.0.2.7"]);
        let rules = format!("table inet stealth {{ chain input {{ type filter hook input priority 0; {filter}; }}; }}");
        world.lan(&["nft", &rules]);
        Self { world, dir: tempfile::tempdir().unwrap(), timer: Arc::default() }
    }

    fn guard(&self) -> Guard {
        Guard::with(&Host::live(), self.dir.path(), self.timer.clone())
    }

    /// As an unattended `apply` would, with no name server, and nobody logged in.
    fn bring_about(&self, desired: &NetworkState) -> Result<Vec<Change>> {
        let default_route =
            Some(DefaultRoute { interface: "up0".into(), gateway: Some(self.world.lan_address()), source: None });
        let network = Network { default_route, ..Network::default() };
        let (guard, owned, desired) = (self.guard(), self.world.ownership(), desired.clone());
        self.world.inside("host", move || guard.bring_about(&desired, &owned, &network, Confirmation::Witnesses))
    }

    fn settled(&self) -> bool {
        self.guard().records().pending().unwrap().is_none() && !self.timer.is_armed().unwrap()
    }

    /// The host's rules, addresses and parameters are as before, and the gateway is reached.
    fn assert_taken_back(&self, before: &str, error: &str) {
        assert_eq!(self.world.oracle(), before, "{error}");
        assert!(self.settled(), "{error}");
        let way = self.world.host(&["ip", "route", "get", "192.0.2.7"]);
        assert!(way.contains("dev up0"), "{way}");
    }
}

/// The desired table, dropping all that comes in; with `open`, a first rule lets everything in all the same.
fn dropping(world: &World, open: bool) -> NetworkState {
    let mut desired = world.desired();
    let input = desired.table.as_mut().unwrap().chains.iter_mut().find(|chain| chain.name == "input").unwrap();
    input.base.as_mut().unwrap().policy = Policy::Drop;
    input.rules.truncate(1);
    if open {
        input.rules[0].matches.clear();
    }
    desired
}

/// The bridge takes the gateway's own address.
fn stealing(world: &World) -> NetworkState {
    let mut desired = world.desired();
    desired.bridge.as_mut().unwrap().addresses.insert("192.0.2.7/25".parse().unwrap());
    desired
}

/// A gateway that drops pings answers otherwise, and is missed.
pub fn rules_behind_a_gateway_without_icmp() -> std::result::Result<(), Failed> {
    let guarded = Guarded::new(ICMP);
    let before = guarded.world.oracle();
    let error = guarded.bring_about(&dropping(&guarded.world, false)).unwrap_err().to_string();
    assert!(error.contains("it cut off the gateway 192.0.2.7"), "{error}");
    guarded.assert_taken_back(&before, &error);
    guarded.bring_about(&dropping(&guarded.world, true))?;
    assert!(guarded.settled() && guarded.world.oracle().contains("policy drop"), "{}", guarded.world.oracle());
    Ok(())
}

/// A gateway that answers no packet at all is asked by ARP whether links still lead to it.
pub fn addresses_behind_a_silent_gateway() -> std::result::Result<(), Failed> {
    let guarded = Guarded::new(EVERYTHING);
    let before = guarded.world.oracle();
    let error = guarded.bring_about(&stealing(&guarded.world)).unwrap_err().to_string();
    assert!(error.contains("it cut off the gateway 192.0.2.7"), "{error}");
    guarded.assert_taken_back(&before, &error);
    guarded.bring_about(&guarded.world.desired())?;
    assert!(guarded.settled() && guarded.guard().records().standing()?.is_some());
    let (wanted, owned) = (guarded.world.desired(), guarded.world.ownership());
    assert_eq!(guarded.world.inside("host", move || crate::world::remaining(&wanted, &owned)), Vec::<String>::new());
    Ok(())
}

/// ARP passes rules by: where only that answers, a person says whether rules cut off. Nobody does: they go.
pub fn rules_behind_a_silent_gateway() -> std::result::Result<(), Failed> {
    let guarded = Guarded::new(EVERYTHING);
    let before = guarded.world.oracle();
    let guard = guarded.guard();
    let namespace = guarded.world.namespace("host");
    let timer = std::thread::spawn(move || {
        crate::world::enter(namespace);
        while guard.records().pending().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(1));
        guard.take_back().unwrap()
    });
    let error = guarded.bring_about(&dropping(&guarded.world, false)).unwrap_err().to_string();
    timer.join().unwrap();
    assert!(error.contains("nobody said yes"), "{error}");
    guarded.assert_taken_back(&before, &error);
    Ok(())
}

/// What ARP says is asked anew each time, and is not what the kernel remembers.
pub fn arp_is_asked_anew() -> std::result::Result<(), Failed> {
    let guarded = Guarded::new(EVERYTHING);
    let answers = || {
        guarded.world.inside("host", || {
            let gateway = std::net::Ipv4Addr::new(192, 0, 2, 7);
            gpucloud::host::links::neighbours::answers("up0", gateway, Duration::from_secs(1)).unwrap()
        })
    };
    assert!(answers() && answers());
    guarded.world.lan(&["ip", "link", "set", "lan0", "arp", "off"]);
    assert!(!answers());
    guarded.world.lan(&["ip", "link", "set", "lan0", "arp", "on"]);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !answers() {
        assert!(std::time::Instant::now() < end, "a gateway that answers again is not heard");
    }
    Ok(())
}
