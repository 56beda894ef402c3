//! Packages of the distribution. dpkg is one lock, so the groups come one after the other, first what most steps wait
//! for: while the next group is unpacked, databases are made and schemas written.

use super::Recipe;
use crate::action::file::File;
use crate::action::packages::{ARCHIVES, Archives, Packages};
use crate::action::task::Task;
use crate::action::undo::Leaves;
use crate::action::{ActionId, Checked};
use crate::content::Content;
use crate::host::{Host, files};
use crate::plan::{Hold, Step};
use std::path::{Path, PathBuf};

/// What one purpose needs: packages, and what they leave when they are purged (measured on Debian 12 and 13).
struct Group {
    purpose: &'static str,
    title: &'static str,
    names: &'static [&'static str],
    made_once: &'static [(&'static str, &'static str)],
    units: &'static [&'static str],
    paths: &'static [&'static str],
    shells: &'static [&'static str],
    accounts: &'static [&'static str],
    links: &'static [&'static str],
    changed_permissions: &'static [&'static str],
}

const PYTHON: Group = Group {
    purpose: "python",
    title: "Install Python",
    names: &["python3", "python3-venv"],
    made_once: &[],
    units: &[],
    paths: &[],
    shells: &[],
    accounts: &[],
    links: &[],
    changed_permissions: &[],
};

const DATABASE: Group = Group {
    purpose: "database",
    title: "Install database, queue and cache",
    names: &["mariadb-server", "rabbitmq-server", "memcached"],
    made_once: &[("mariadb-server", "/var/lib/mysql")],
    // A running port mapper holds on to its account.
    units: &["rabbitmq-server.service", "epmd.socket", "epmd.service", "mariadb.service", "memcached.service"],
    // Purging keeps databases, and with them the account.
    paths: &["/var/lib/mysql", "/etc/mysql/debian.cnf", "/var/log/mysql", "/var/lib/rabbitmq", "/var/log/rabbitmq"],
    shells: &["/etc/mysql", "/etc/rabbitmq", "/etc/apparmor.d"],
    accounts: &["mysql", "rabbitmq", "memcache", "epmd"],
    links: &[],
    changed_permissions: &[],
};

const NETWORK: Group = Group {
    purpose: "network",
    title: "Install Open vSwitch and OVN",
    names: &["openvswitch-switch", "ovn-central", "ovn-host", "haproxy", "iptables", "nftables"],
    made_once: &[],
    units: &[
        "ovn-host.service",
        "ovn-central.service",
        "openvswitch-switch.service",
        "haproxy.service",
        "uuidd.socket",
    ],
    // Left where they are, a new installation would find the old bridges and the old network.
    paths: &["/var/lib/openvswitch", "/var/log/openvswitch", "/var/lib/ovn", "/var/log/ovn", "/var/lib/libuuid"],
    shells: &["/etc/openvswitch", "/etc/ovn"],
    accounts: &["openvswitch", "haproxy", "uuidd"],
    // Links of the userspace datapath, and of the kernel's, outlive the daemon.
    links: &["br-ex", "br-int", "ovs-netdev", "ovs-system", "genev_sys_6081"],
    changed_permissions: &[],
};

const COMPUTE: Group = Group {
    purpose: "compute",
    title: "Install the hypervisor",
    names: &[
        "libvirt-daemon-system",
        "libvirt-clients",
        "qemu-system-x86",
        "qemu-utils",
        "ovmf",
        "python3-libvirt",
        "genisoimage",
        "openssh-client",
        "novnc",
    ],
    made_once: &[],
    units: &[
        "libvirtd.socket",
        "libvirtd-ro.socket",
        "libvirtd-admin.socket",
        "libvirtd.service",
        "virtlogd.socket",
        "virtlogd-admin.socket",
        "virtlogd.service",
        "virtlockd.socket",
        "virtlockd-admin.socket",
        "systemd-machined.service",
    ],
    paths: &[
        "/var/lib/libvirt/qemu",
        "/var/lib/libvirt/dnsmasq",
        "/var/lib/libvirt/swtpm",
        "/var/log/libvirt",
        "/var/cache/libvirt",
        "/etc/apparmor.d/local/abstractions",
    ],
    // Images of machines that are not ours may lie there.
    shells: &[
        "/var/lib/libvirt",
        "/var/lib/machines",
        "/var/lib/portables",
        "/etc/libvirt",
        "/etc/xml",
        "/etc/apparmor.d",
    ],
    // novnc makes an account called nova.
    accounts: &["libvirt-qemu", "libvirt", "nova", "polkitd", "_ssh", "rdma", "dnsmasq", "tss", "swtpm"],
    links: &["virbr0"],
    // polkitd makes it its own, and leaves it so (Debian 12).
    changed_permissions: &["/usr/share/polkit-1/rules.d"],
};

pub(super) fn steps(_recipe: &Recipe) -> Vec<Step> {
    vec![
        quiet(),
        install(&PYTHON, &["quiet"]),
        download(),
        install(&DATABASE, &["quiet", "download"]),
        install(&NETWORK, &["quiet", "download"]),
        install(&COMPUTE, &["quiet", "download"]),
    ]
}

/// For the time of the run: packages start no daemon before it is configured, and needrestart asks nothing.
fn quiet() -> Step {
    let policy = Content::plain(include_str!("../../../templates/usr/sbin/policy-rc.d"));
    Step::new("quiet", "Keep packages from starting daemons")
        .after(&["prepare"])
        .with(File::new("/usr/sbin/policy-rc.d", policy).access(0o755, "root", "root").for_the_run())
}

fn download() -> Step {
    let names = [&DATABASE, &NETWORK, &COMPUTE].into_iter().flat_map(|group| group.names);
    Step::new("download", "Download packages")
        .after(&["install-python"])
        .holding(Hold::Packages)
        .with(Archives { names: names.map(|name| (*name).to_owned()).collect() })
}

/// A killed or failed run finds the archives again; a complete one needs them no more.
pub(super) fn tidy() -> Task {
    let probe = |host: &Host| Ok(Checked::done_if(!files::exists(host, ARCHIVES), "remove the downloaded packages"));
    let work = |host: &Host| files::remove_tree(host, Path::new(ARCHIVES));
    Task::new(ActionId::new("tidy", "archives"), "Remove the downloaded packages", probe, work).at_runtime()
}

fn install(group: &Group, after: &[&str]) -> Step {
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    Step::new(&format!("install-{}", group.purpose), group.title).after(after).holding(Hold::Packages).with(Packages {
        purpose: group.purpose.into(),
        names: owned(group.names),
        leaves: Leaves {
            units: owned(group.units),
            paths: group.paths.iter().map(PathBuf::from).collect(),
            shells: group.shells.iter().map(PathBuf::from).collect(),
            accounts: owned(group.accounts),
            links: owned(group.links),
            permissions: Vec::new(),
        },
        made_once: group.made_once.iter().map(|(package, path)| ((*package).to_owned(), PathBuf::from(path))).collect(),
        changed_permissions: group.changed_permissions.iter().map(PathBuf::from).collect(),
    })
}
