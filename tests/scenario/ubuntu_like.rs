//! A Debian with the habits of an Ubuntu Server, as far as Debian's own packages have them (`ubuntu_habits.sh` says
//! which): the whole installation by a user with sudo, a boot, and nothing left; once below networkd, once below
//! NetworkManager. It is no Ubuntu, and takes no test on one away.

use super::Verdict;
use crate::machine::tree::{difference, first_tree, tree};
use crate::machine::{address, inside, installer, note_secrets, ours, read, root, within, write};
use std::time::Duration;

/// Its host.
pub const LAB: &str = "suite-ubu";
const HABITS: &str = include_str!("ubuntu_habits.sh");
/// What begins again and again while the installation runs: whoever holds dpkg's lock, it is somebody else now and then.
const UPGRADES: &str = "while true; do unattended-upgrade; sleep 1; done";
/// What these habits, and the trial, write by themselves, each with its reason; or what goes with a package by Debian's own
/// hand.
const OF_HABITS: [(&str, &str); 8] = [
    ("var/log/", "logs of needrestart, of unattended-upgrades, of cloud-init"),
    ("var/lib/cloud/", "what cloud-init did at which boot"),
    ("var/lib/NetworkManager/", "its leases and state"),
    ("var/lib/needrestart/", "its state"),
    ("etc/hosts", "cloud-init makes it anew at each boot"),
    ("usr/share/netplan/", "Python's byte code of netplan, made when root calls it"),
    ("root/.ssh/", "the trial logs in to the instance"),
    ("etc/apparmor.d/disable", "removed where empty by each purge of a package with a profile (dh_apparmor)"),
];

pub fn networkd() -> Verdict {
    let own = host_with_habits();
    ours(&["lab", "reboot", LAB]).expect(0);
    let by = inside(LAB, &["networkctl", "status", "host0"]).expect(0).out;
    assert!(by.contains("/run/systemd/network/10-netplan-host0.network"), "{by}");
    from_nothing_to_nothing(&own)
}

/// The same, the link given to NetworkManager.
pub fn network_manager() -> Verdict {
    let own = host_with_habits();
    let path = "/etc/netplan/50-cloud-init.yaml";
    write(LAB, path, &read(LAB, path).replace("renderer: networkd", "renderer: NetworkManager"));
    inside(LAB, &["systemctl", "enable", "--quiet", "NetworkManager"]).expect(0);
    inside(LAB, &["systemctl", "mask", "--quiet", "systemd-networkd", "systemd-networkd.socket"]).expect(0);
    ours(&["lab", "reboot", LAB]).expect(0);
    let connected = || inside(LAB, &["nmcli", "-t", "-f", "NAME", "connection"]).out.contains("netplan-host0");
    assert!(within(Duration::from_secs(60), || connected() && address(LAB) == own));
    from_nothing_to_nothing(&own)
}

/// Its address.
fn host_with_habits() -> String {
    ours(&["lab", "down", LAB, "--yes"]);
    ours(&["lab", "up", "--name", LAB, "--no-install", "--yes"]).expect(0);
    let own = address(LAB);
    let gateway = format!("{}.1", own.rsplit_once('.').unwrap().0);
    write(LAB, "/root/habits.sh", HABITS);
    inside(LAB, &["sh", "/root/habits.sh", &own, &gateway, "host0"]).expect(0);
    own
}

/// What ada types, in a terminal of hers.
fn ada(command: &str) -> crate::machine::Done {
    let typed = format!("sudo gpucloud-install {command}");
    inside(
        LAB,
        &["su", "--login", "ada", "--command", &format!("script --quiet --return --command '{typed}' /dev/null")],
    )
}

fn from_nothing_to_nothing(own: &str) -> Verdict {
    assert!(inside(LAB, &["cat", "/etc/resolv.conf"]).expect(0).out.contains("127.0.0.53"));
    ada("init --profile lab").expect(0);
    let before = first_tree(LAB);
    inside(LAB, &["systemd-run", "--quiet", "--unit=upgrades", "sh", "-c", UPGRADES]).expect(0);
    let applied = ada("apply --yes").expect(0);
    inside(LAB, &["systemctl", "stop", "upgrades"]).expect(0);
    note_secrets(LAB);
    assert!(applied.out.contains("ufw"), "{}", applied.out);
    // clouds.yaml is for whoever installed.
    inside(LAB, &["su", "--login", "ada", "--command", "cat /etc/openstack/clouds.yaml"]).expect(0);
    whole(own);
    ours(&["lab", "reboot", LAB]).expect(0);
    whole(own);
    ada("uninstall --yes --and-lose-all-instances").expect(0);
    let mut left = difference(&before, &tree(LAB));
    left.retain(|line| !OF_HABITS.iter().any(|(path, _)| line.starts_with(path)));
    assert!(left.is_empty(), "{left:#?}");
    assert!(root(LAB).join("etc/netplan/50-cloud-init.yaml").exists());
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    Ok(())
}

fn whole(own: &str) {
    assert!(within(Duration::from_secs(90), || ada("status").code == 0), "{}", ada("status").out);
    ada("doctor").expect(0);
    let reached = || installer(LAB, &["instance", "ssh", "demo", "--", "true"]).code == 0;
    assert!(within(Duration::from_secs(180), reached), "the instance does not answer");
    assert_eq!(installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    assert!(inside(LAB, &["cat", "/etc/resolv.conf"]).expect(0).out.contains("127.0.0.53"));
    assert_eq!(address(LAB), own);
}
