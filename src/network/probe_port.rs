//! A port of the external bridge in a network namespace of its own, with an address of the external network and the
//! cloud's router: what is tried there is tried as by an instance.

use crate::host::{Error, Host, Result, files, links, ovs};
use crate::paths::BRIDGE;
use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::time::Duration;

/// The port's name, free of what Neutron and libvirt call theirs.
const PORT: &str = "gpucloud-probe";
/// How long Open vSwitch may take to make it.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs `work` where only the port at `address` leads out, by `gateway`. Everything that `work` opens must be opened on
/// the thread that it runs on. The port is gone afterwards.
pub fn with_port<T: Send>(
    host: &Host,
    address: Ipv4Net,
    gateway: Ipv4Addr,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    ovs::add_internal_port(host, BRIDGE, PORT)?;
    let done = wait_for_port(host).and_then(|()| work_behind_port(address, gateway, work));
    ovs::delete_port(host, BRIDGE, PORT)?;
    done
}

fn wait_for_port(host: &Host) -> Result<()> {
    host.wait_until("a port of br-ex", LIMIT, Duration::from_millis(20), || {
        Ok(links::links()?.iter().any(|link| link.name == PORT))
    })
}

fn work_behind_port<T: Send>(address: Ipv4Net, gateway: Ipv4Addr, work: impl FnOnce() -> T + Send) -> Result<T> {
    let (send_namespace, namespace) = mpsc::channel();
    let (send_moved, moved) = mpsc::channel();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // The namespace goes with this thread.
            let _ = send_namespace.send(own_namespace());
            match moved.recv() {
                Ok(()) => configure(address, gateway).map(|()| work()),
                Err(_) => Err(Error::protocol("try the network as an instance", "its port could not be moved")),
            }
        });
        let failed = || Error::protocol("try the network as an instance", "its thread died");
        let namespace = namespace.recv().map_err(|_| failed())?;
        links::move_to(PORT, &namespace?)?;
        let _ = send_moved.send(());
        drop(send_moved);
        worker.join().map_err(|_| failed())?
    })
}

fn own_namespace() -> Result<File> {
    let failed = |error: &dyn std::fmt::Display| Error::protocol("make a network namespace", error.to_string());
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| failed(&error))?;
    files::open(&Host::live(), "/proc/thread-self/ns/net")?.ok_or_else(|| failed(&"/proc is not there"))
}

fn configure(address: Ipv4Net, gateway: Ipv4Addr) -> Result<()> {
    links::set_up("lo")?;
    links::set_up(PORT)?;
    links::add_address(PORT, IpAddr::V4(address.addr()), address.prefix_len())?;
    Ok(links::add_default_route(gateway)?)
}
