//! Three network namespaces: a machine of the LAN, this machine, a guest on its bridge.

use crate::back;
use gpucloud::config::Config;
use gpucloud::config::network::Access;
use gpucloud::engine::engine;
use gpucloud::host::Host;
use gpucloud::host::ovs::Datapath;
use gpucloud::network::desired;
use gpucloud::network::live::{self, Ownership};
use gpucloud::network::state::{NetworkState, changes};
use nix::sched::{CloneFlags, setns};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub const HOST: &str = "192.0.2.10";
pub const GUEST: &str = "192.0.2.140";

const LIMIT: Duration = Duration::from_millis(1500);

static NEXT: AtomicUsize = AtomicUsize::new(0);

pub struct World {
    name: String,
    pub config: Config,
    guest: Ipv4Addr,
    before: RefCell<Option<NetworkState>>,
}

impl World {
    /// The guests' range is another than the LAN's.
    pub fn new(access: Access) -> Self {
        Self::make(access, "172.24.4.0/24", "172.24.4.1", "172.24.4.10-172.24.4.250", "172.24.4.20")
    }

    /// The guests' range is a part of the LAN's.
    pub fn with_range_in_lan(access: Access) -> Self {
        Self::make(access, "192.0.2.128/27", "192.0.2.129", "192.0.2.131-192.0.2.158", GUEST)
    }

    fn make(access: Access, range: &str, gateway: &str, pool: &str, guest: &str) -> Self {
        let name = format!("gpc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let config = config(access, range, gateway, pool);
        let world = Self { name, config, guest: guest.parse().unwrap(), before: RefCell::default() };
        for place in ["lan", "host", "guest"] {
            run("ip", &["netns", "add", &world.place(place)]);
            world.ip(place, &["link", "set", "lo", "up"]);
        }
        world.join("lan", "lan0", "host", "up0");
        world.join("guest", "eth0", "host", "br-ex");
        world.ip("lan", &["addr", "add", "192.0.2.7/24", "dev", "lan0"]);
        world.ip("host", &["addr", "add", "192.0.2.10/24", "dev", "up0"]);
        let bits = range.split('/').nth(1).unwrap();
        world.ip("guest", &["addr", "add", &format!("{guest}/{bits}"), "dev", "eth0"]);
        world.ip("guest", &["route", "add", "default", "via", gateway]);
        world
    }

    fn place(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    fn join(&self, a: &str, link: &str, b: &str, other: &str) {
        let (a, b) = (self.place(a), self.place(b));
        run("ip", &["link", "add", link, "netns", &a, "type", "veth", "peer", "name", other, "netns", &b]);
        run("ip", &["-n", &a, "link", "set", link, "up"]);
        run("ip", &["-n", &b, "link", "set", other, "up"]);
    }

    /// Another network between the host and the LAN's machine, which have these addresses there.
    pub fn add_second_link(&self, host: &str, lan: &str) {
        self.join("lan", "lan1", "host", "up1");
        self.ip("host", &["addr", "add", host, "dev", "up1"]);
        self.ip("lan", &["addr", "add", lan, "dev", "lan1"]);
    }

    fn ip(&self, place: &str, args: &[&str]) {
        run("ip", &[&["-n", &self.place(place)], args].concat());
    }

    /// Runs a program in the host's namespace.
    pub fn host(&self, argv: &[&str]) -> String {
        run("ip", &[&["netns", "exec", &self.place("host")], argv].concat())
    }

    /// Runs a program in the LAN's namespace.
    pub fn lan(&self, argv: &[&str]) -> String {
        run("ip", &[&["netns", "exec", &self.place("lan")], argv].concat())
    }

    /// Runs code in a namespace.
    pub fn inside<T: Send + 'static>(&self, place: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(place, work).join().unwrap()
    }

    fn spawn<T: Send + 'static>(&self, place: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.namespace(place);
        std::thread::spawn(move || {
            enter(namespace);
            work()
        })
    }

    pub fn namespace(&self, place: &str) -> File {
        File::open(Path::new("/run/netns").join(self.place(place))).unwrap()
    }

    pub fn guest_address(&self) -> IpAddr {
        IpAddr::V4(self.guest)
    }

    pub fn lan_address(&self) -> IpAddr {
        "192.0.2.7".parse().unwrap()
    }

    pub fn ownership(&self) -> Ownership {
        Ownership::of(&self.config, None)
    }

    pub fn desired(&self) -> NetworkState {
        desired(&self.config, &engine(self.config.engine).services(&self.config), Datapath::Netdev)
    }

    pub fn bring_about(&self, desired: &NetworkState) {
        let (wanted, owned) = (desired.clone(), self.ownership());
        let before = self.inside("host", move || {
            let host = Host::live();
            let before = live::current(&host, &wanted, &owned).unwrap();
            live::apply(&host, &changes(&before, &wanted)).unwrap();
            live::verify(&host, &wanted, &owned).unwrap();
            before
        });
        self.before.borrow_mut().get_or_insert(before);
    }

    pub fn take_back(&self, desired: &NetworkState) {
        let back = back(self.before.borrow().as_ref().unwrap(), desired);
        self.inside("host", move || live::apply(&Host::live(), &back).unwrap());
    }

    /// All that could have been changed, as others see it.
    pub fn oracle(&self) -> String {
        let addresses: serde_json::Value =
            serde_json::from_str(&self.host(&["ip", "-j", "-4", "addr", "show", "dev", "br-ex"])).unwrap();
        let addresses: Vec<String> = addresses[0]["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| format!("{}/{}", a["local"], a["prefixlen"]))
            .collect();
        format!(
            "{addresses:?}\n{}\n{}\n{}\n{}",
            self.host(&["nft", "--stateless", "list", "ruleset"]),
            self.host(&["ip", "neigh", "show", "proxy"]),
            self.host(&["cat", "/proc/sys/net/ipv4/ip_forward"]),
            self.host(&["cat", "/proc/sys/net/ipv4/neigh/up0/proxy_delay"])
        )
    }

    pub fn pings(&self, from: &str, to: IpAddr) -> bool {
        self.inside(from, move || ping::ping(to, LIMIT).is_ok())
    }

    pub fn connects(&self, from: &str, to: &str) -> bool {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(from, move || TcpStream::connect_timeout(&to, LIMIT).is_ok())
    }

    /// Accepts connections until it is dropped.
    pub fn listen(&self, place: &str, address: &str) -> TcpListener {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(place, move || TcpListener::bind(address).unwrap())
    }

    /// Bytes that go there and back all the time.
    pub fn stream(&self, from: &str, to: &str, address: &str) -> Task {
        let listener = self.listen(to, address);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let address: SocketAddr = address.parse().unwrap();
        let client = self.inside(from, move || TcpStream::connect_timeout(&address, LIMIT).unwrap());
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Task::start(move |end| {
            let (mut client, mut rounds) = (client, 0);
            while !end.load(Ordering::SeqCst) {
                let mut byte = [0];
                client.write_all(b"x").unwrap();
                client.read_exact(&mut byte).unwrap();
                rounds += 1;
            }
            (rounds, 0)
        })
    }

    pub fn ping_until_told(&self, from: &str, to: IpAddr) -> Pinging {
        let end = Arc::new(AtomicBool::new(false));
        let end_again = end.clone();
        let thread = self.spawn(from, move || {
            let (mut sent, mut lost) = (0, 0);
            while !end_again.load(Ordering::SeqCst) {
                sent += 1;
                lost += usize::from(ping::ping(to, LIMIT).is_err());
                std::thread::sleep(Duration::from_millis(2));
            }
            (sent, lost)
        });
        Pinging(Task { end, thread })
    }
}

/// Moves the calling thread.
pub fn enter(namespace: File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

impl Drop for World {
    fn drop(&mut self) {
        for place in ["lan", "host", "guest"] {
            let _ = Command::new("ip").args(["netns", "del", &self.place(place)]).status();
        }
    }
}

/// What goes on until it is stopped.
pub struct Task {
    end: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

impl Task {
    fn start(work: impl FnOnce(&AtomicBool) -> (usize, usize) + Send + 'static) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let end_again = end.clone();
        Self { end, thread: std::thread::spawn(move || work(&end_again)) }
    }

    pub fn stop(self) -> usize {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap().0
    }
}

pub struct Pinging(Task);

impl Pinging {
    /// How many were sent, and how many lost.
    pub fn stop(self) -> (usize, usize) {
        self.0.end.store(true, Ordering::SeqCst);
        self.0.thread.join().unwrap()
    }
}

/// What is still to do, in words.
pub fn remaining(desired: &NetworkState, owned: &Ownership) -> Vec<String> {
    let now = live::current(&Host::live(), desired, owned).unwrap();
    changes(&now, desired).iter().map(ToString::to_string).collect()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn config(access: Access, range: &str, gateway: &str, pool: &str) -> Config {
    let maps = if access == Access::Nat && range.starts_with("172") { "\"tcp 8022 -> 172.24.4.20:22\"" } else { "" };
    let text = format!(
        r#"
engine = "native"
[host]
address = "{HOST}"
interface = "up0"
name = "gpubox"
administrators = []
share_services = false
[cloud]
region = "RegionOne"
dashboard = true
workers = 1
[compute]
virt = "auto"
[network]
access = "nat"
range = "{range}"
gateway = "{gateway}"
pool = "{pool}"
tenant_range = "10.254.0.0/16"
dns = ["192.0.2.7"]
admin_networks = ["192.0.2.0/26"]
port_maps = [{maps}]
bridge_links = []
"#
    );
    let mut config: Config = Config::parse(&text, Path::new("test")).unwrap();
    config.network.access = access;
    config
}
