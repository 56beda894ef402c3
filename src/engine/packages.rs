//! Packages of the distribution that every cloud needs, in groups, and what they leave when they are purged.

use crate::action::undo::Leaves;
use std::path::PathBuf;

/// What one purpose needs: packages, and what they leave when they are purged (measured on Debian 12 and 13).
pub struct Group {
    /// Names it in a plan.
    pub purpose: &'static str,
    /// What a person reads.
    pub title: &'static str,
    /// The packages.
    pub names: &'static [&'static str],
    /// Package, and a directory that it makes when it is configured first.
    pub made_once: &'static [(&'static str, &'static str)],
    /// Units that must stop before the packages go.
    pub units: &'static [&'static str],
    /// Files, and directories with all in them.
    pub paths: &'static [&'static str],
    /// Directories that go when nothing is in them.
    pub shells: &'static [&'static str],
    /// Users and groups.
    pub accounts: &'static [&'static str],
    /// Network links.
    pub links: &'static [&'static str],
    /// Directories that were there, and get other permissions.
    pub changed_permissions: &'static [&'static str],
}

/// Python itself.
pub const PYTHON: Group = Group {
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

/// MariaDB, RabbitMQ, memcached.
pub const DATABASE: Group = Group {
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

/// Open vSwitch and OVN.
pub const NETWORK: Group = Group {
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

/// libvirt, QEMU and what goes with them.
pub const COMPUTE: Group = Group {
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
        // Machines that Nova defined, as it names them (`instance_name_template`), and nobody else's.
        "/etc/libvirt/qemu/instance-*",
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

/// LVM, and iSCSI on both of its sides.
pub const VOLUMES: Group = Group {
    purpose: "volumes",
    title: "Install LVM and iSCSI",
    names: &["lvm2", "open-iscsi", "tgt"],
    made_once: &[],
    units: &["tgt.service", "open-iscsi.service", "iscsid.socket", "iscsid.service"],
    // Copies of what groups were, and whom this machine spoke to: made as they are used.
    paths: &["/etc/lvm", "/etc/iscsi", "/var/lib/iscsi"],
    shells: &[],
    accounts: &["rdma"],
    links: &[],
    changed_permissions: &[],
};

impl Group {
    /// What the packages leave.
    pub fn leaves(&self) -> Leaves {
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        Leaves {
            units: owned(self.units),
            paths: self.paths.iter().map(PathBuf::from).collect(),
            shells: self.shells.iter().map(PathBuf::from).collect(),
            accounts: owned(self.accounts),
            links: owned(self.links),
            permissions: Vec::new(),
        }
    }
}
