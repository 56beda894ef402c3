//! Databases, queues and clouds that are here already.

use super::lvm;
use crate::host::{Host, Result, files, git, packages};
use crate::paths::{APPLIED, JOURNAL, SECRETS};
use serde::Serialize;
use std::path::Path;

/// What is here already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Software {
    /// Packages of the administrator's own that the cloud would share: name and version.
    pub shared: Vec<(String, String)>,
    /// Traces of other clouds: what, and the path that shows it.
    pub clouds: Vec<(String, String)>,
    /// Databases that have the names of OpenStack's own.
    pub databases: Vec<String>,
    /// Version of `python3`, "3.11.2".
    pub python: Option<String>,
    /// The administrator's own lines in LVM's configuration that a file of ours would replace.
    pub lvm_lines: Vec<String>,
    /// What an earlier apply left.
    pub ours: EarlierApply,
}

/// What an earlier apply left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct EarlierApply {
    /// An apply was complete once.
    pub applied: bool,
    /// The journal, which uninstall goes by.
    pub journal: bool,
    /// The passwords.
    pub secrets: bool,
}

/// Packages whose service the cloud would share with whoever installed it.
const SHARED: [&str; 8] = [
    "mariadb-server",
    "mysql-server",
    "rabbitmq-server",
    "memcached",
    "libvirt-daemon-system",
    "openvswitch-switch",
    "ovn-central",
    "ovn-host",
];

/// Traces of other clouds.
const CLOUDS: [(&str, &str); 7] = [
    ("DevStack", "/opt/stack/devstack"),
    ("MicroStack", "/var/snap/microstack"),
    ("Sunbeam", "/var/snap/openstack"),
    ("Kolla-Ansible", "/etc/kolla"),
    ("OpenStack-Ansible", "/etc/openstack_deploy"),
    ("Packstack", "/var/tmp/packstack"),
    ("OpenStack packages of the distribution", "/usr/bin/nova-compute"),
];

/// OpenStack's databases, as every installer names them.
const DATABASES: [&str; 9] =
    ["keystone", "placement", "glance", "nova", "nova_api", "nova_cell0", "nova_cell1", "neutron", "cinder"];

/// Reads them.
pub fn read(host: &Host) -> Result<Software> {
    let installed = packages::installed(host)?;
    let shared = SHARED.iter().filter_map(|name| Some(((*name).to_owned(), installed.get(*name)?.clone())));
    // Our own clone of DevStack begins with a file of ours.
    let own = |name: &str| name == "DevStack" && files::exists(host, git::SETTINGS);
    let clouds = CLOUDS.iter().filter(|(name, path)| files::exists(host, path) && !own(name));
    Ok(Software {
        shared: shared.collect(),
        clouds: clouds.map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect(),
        databases: databases(host)?,
        python: installed.get("python3").map(|version| upstream_version(version)),
        lvm_lines: lvm::own_lines(host)?,
        ours: EarlierApply {
            applied: files::exists(host, APPLIED),
            journal: files::exists(host, JOURNAL),
            secrets: files::exists(host, SECRETS),
        },
    })
}

/// MariaDB keeps each database in a directory of its name.
fn databases(host: &Host) -> Result<Vec<String>> {
    let mut names = files::list(host, "/var/lib/mysql")?;
    names.retain(|name| DATABASES.contains(&name.as_str()));
    Ok(names)
}

/// "3.11.2-1+b1" is upstream's 3.11.2.
fn upstream_version(version: &str) -> String {
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    without_epoch.split(['-', '+', '~']).next().unwrap_or(without_epoch).to_owned()
}
/// Where the administrator's own sections of local.conf lie, one file each.
const OWN_DEVSTACK_LINES: &str = "/etc/gpucloud/local.conf.d";

/// The contents of those files, by name.
pub fn own_devstack_lines(host: &Host) -> Result<Vec<String>> {
    let mut names = files::list(host, OWN_DEVSTACK_LINES)?;
    names.retain(|name| name.ends_with(".conf"));
    names.sort();
    let read = |name: &String| files::read_text(host, Path::new(OWN_DEVSTACK_LINES).join(name)).transpose();
    names.iter().filter_map(read).collect()
}
