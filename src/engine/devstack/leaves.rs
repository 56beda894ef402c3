//! What stack.sh leaves on a machine beside packages, one path a line (what packages leave: `engine/packages.rs`), and
//! saving it before it is destroyed.

use crate::action::undo::Leaves;
use crate::engine::packages;
use crate::host::command::Command;
use crate::host::{Host, Result, files, systemd};
use std::path::PathBuf;

/// Where a cloud is saved before it is destroyed; the time is appended.
const SAVED: &str = "/var/lib/gpucloud/saved";

/// Configuration of the services, with passwords in it.
pub(super) const CONFIGURATION: [&str; 8] = [
    "/etc/nova",
    "/etc/neutron",
    "/etc/keystone",
    "/etc/glance",
    "/etc/placement",
    "/etc/cinder",
    "/etc/swift",
    "/etc/heat",
];

/// Made by stack.sh and what it starts, and in none of the groups of packages (measured on Debian 12 and 13).
const LEFT: &[&str] = &[
    "/etc/apache2",
    "/etc/uwsgi",
    "/var/log/apache2",
    "/var/lib/apache2",
    "/var/www",
    "/run/uwsgi",
    "/etc/bash_completion.d/nova-manage.bash_completion",
    "/etc/bash_completion.d/osc.bash_completion",
    "/etc/crypttab",
    "/etc/mysql/my.cnf",
    "/etc/sudoers.d/cinder-rootwrap",
    "/etc/sudoers.d/neutron-rootwrap",
    "/etc/sudoers.d/nova-rootwrap",
    "/etc/sudoers.d/zz-secure-path",
    "/root/.cache/python-entrypoints",
    "/usr/local/bin/cinder-manage",
    "/usr/local/bin/cinder-rtstool",
    "/usr/local/bin/glance",
    "/usr/local/bin/nova-manage",
    "/usr/local/bin/openstack",
    "/usr/local/bin/privsep-helper",
    "/usr/local/bin/rally",
    "/usr/local/bin/tox",
    "/var/lib/haproxy",
    "/var/lib/swtpm-localca",
];
/// Directories that go when nothing is in them.
const SHELLS: &[&str] = &["/etc/bash_completion.d", "/root/.cache"];
/// Users and groups of packages that no group of ours has.
const ACCOUNTS: &[&str] = &["postgres", "ssl-cert", "systemd-coredump"];
/// Directories of others whose permissions its packages change, and leave changed.
pub const CHANGED_PERMISSIONS: &[&str] = packages::COMPUTE.changed_permissions;

fn left() -> impl Iterator<Item = &'static str> {
    CONFIGURATION.iter().chain(LEFT).copied()
}

/// Everything that stack.sh may leave.
pub fn all() -> Leaves {
    let mut all = Leaves {
        paths: left().map(PathBuf::from).collect(),
        shells: SHELLS.iter().map(PathBuf::from).collect(),
        accounts: ACCOUNTS.iter().map(|name| (*name).to_owned()).collect(),
        ..Leaves::default()
    };
    for group in [packages::DATABASE, packages::NETWORK, packages::COMPUTE] {
        let own = group.leaves();
        all.units.extend(own.units);
        all.paths.extend(own.paths);
        all.shells.extend(own.shells);
        all.accounts.extend(own.accounts);
        all.links.extend(own.links);
    }
    all
}

/// What users have in databases, and how the cloud was configured, before both are destroyed.
pub fn save_away(host: &Host) -> Result<()> {
    let directory = PathBuf::from(format!("{SAVED}-{}", jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S")));
    files::make_parents(host, &directory)?;
    files::make_dir(host, &directory, 0o700, None)?;
    // Where it does not start, what cannot be dumped is not destroyed either.
    systemd::start(host, "mariadb.service")?;
    let dump = format!("--result-file={}", directory.join("databases.sql").display());
    Command::new("mariadb-dump").args(["--all-databases", "--single-transaction", &dump]).run(host)?;
    let archive = format!("--file={}", directory.join("configuration.tar.gz").display());
    let there = left().filter(|path| path.starts_with("/etc/") && files::exists(host, path));
    Command::new("tar").args(["--create", "--gzip", &archive]).args(there).run(host)?;
    host.warn(&format!("databases and configuration are saved in {}", directory.display()));
    Ok(())
}
