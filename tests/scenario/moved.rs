//! A host that gets another name, and one that gets another address, below a cloud with a running instance.

use super::{ANSWERS, LAB, Verdict, run_is_active};
use crate::machine::{address, inside, installer, read, within, write};
use std::time::Duration;

/// Where a lab host has its address.
const LINK: &str = "/etc/systemd/network/10-host0.network";
/// What a boot starts, and what would take the new name.
const STARTED_AT_BOOT: &str = "systemctl restart libvirtd openvswitch-switch ovn-controller gpucloud-nova-compute \
                               gpucloud-neutron-ovn-agent";

/// Nothing of the cloud takes the new name: it is healthy, nothing is to be done, and an instance can be made.
pub fn renamed() -> Verdict {
    let before = inside(LAB, &["hostname"]).expect(0).out;
    call("Gpu-Two.example.org");
    inside(LAB, &["sh", "-c", STARTED_AT_BOOT]).expect(0);
    let healthy = || installer(LAB, &["status"]).code == 0;
    assert!(within(Duration::from_secs(90), healthy), "{}", installer(LAB, &["status"]).out);
    assert_eq!(installer(LAB, &["plan", "--json"]).expect(0).json()["pending"], 0);
    assert_eq!(installer(LAB, &["recover", "--json"]).expect(0).json()["changed"], 0);
    let launch =
        ["instance", "launch", "named", "--image", "guest", "--flavor", "ds2G", "--key", "demo", "--wait", "0"];
    let launched = installer(LAB, &[&launch[..], &["--no-floating-ip", "--json"]].concat()).expect(0).json();
    assert_eq!(launched["state"], "ACTIVE", "{launched}");
    installer(LAB, &["instance", "delete", "named", "--yes"]).expect(0);
    call(before.trim());
    Ok(())
}

/// hostname(1) refuses names that the kernel takes.
fn call(name: &str) {
    inside(LAB, &["python3", "-c", "import socket, sys; socket.sethostname(sys.argv[1])", name]).expect(0);
}

fn give_address(link: &str) {
    write(LAB, LINK, link);
    inside(LAB, &["sh", "-c", "networkctl reload && networkctl reconfigure host0"]).expect(0);
}

/// The lost address is named first, with both ways out; `apply` moves the cloud, goes on after it was killed, and the
/// instance is reached where it was.
pub fn moved() -> Verdict {
    let (old, link, answers) = (address(LAB), read(LAB, LINK), read(LAB, ANSWERS));
    let new = format!("{}.9", old.rsplit_once('.').unwrap().0);
    installer(LAB, &["instance", "ssh", "demo", "--", "true"]).expect(0);
    give_address(&link.replace(&old, &new));
    assert!(within(Duration::from_secs(20), || address(LAB) == new));
    for verb in ["status", "doctor", "recover"] {
        let said = installer(LAB, &[verb, "--yes"]).expect(1);
        let said = said.out + &said.err;
        let first = said.lines().find(|line| line.contains("is gone")).unwrap_or_default();
        assert!(first.contains(&old) && said.contains("give it back") && said.contains(&new), "{verb}: {said}");
    }
    installer(LAB, &["apply", "--yes"]).expect(3);
    write(LAB, ANSWERS, &answers.replace(&format!("address = \"{old}\""), &format!("address = \"{new}\"")));
    installer(LAB, &["apply", "--yes", "--detach"]).expect(0);
    let catalog = || inside(LAB, &["grep", "--quiet", "step-started.*start-identity", "/run/gpucloud/events.jsonl"]);
    assert!(within(Duration::from_secs(90), || catalog().code == 0), "Keystone was not started anew");
    inside(LAB, &["systemctl", "kill", "--signal=KILL", "gpucloud-run.service"]).expect(0);
    assert!(within(Duration::from_secs(20), || !run_is_active(LAB)));
    installer(LAB, &["apply", "--yes"]).expect(0);
    installer(LAB, &["status"]).expect(0);
    let applied = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(applied["changed"], 0, "{applied}");
    installer(LAB, &["instance", "ssh", "demo", "--", "true"]).expect(0);
    let clients = "openstack --os-cloud gpucloud endpoint list -f value -c URL; cat /etc/openstack/clouds.yaml";
    let known = inside(LAB, &["sh", "-c", clients]).expect(0).out;
    assert!(known.contains(&new) && !known.contains(&old), "{known}");
    // Metadata comes by the new address too: an instance that boots gets its key.
    installer(LAB, &["instance", "launch", "behind", "--image", "guest", "--flavor", "ds2G", "--key", "demo"])
        .expect(0);
    installer(LAB, &["instance", "delete", "behind", "--yes"]).expect(0);
    Ok(())
}
