//! Taking back what stack.sh made. unstack.sh stops services and destroys guests; it leaves units, stray workers,
//! databases, packages, rules of iptables and a disabled ovn-central behind.

use super::prepare::SWITCH_UNIT;
use super::stack::{NOTES, PACKAGES_ADDED, UNIT};
use super::{ACCOUNT, HOME};
use crate::action::undo::{self, Leaves, Undone};
use crate::engine::packages;
use crate::host::command::Command;
use crate::host::{Host, Result, files, iptables, ovs, systemd, users};
use crate::network::BRIDGE;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long unstack.sh may take: it waits for each conductor.
const LIMIT: Duration = Duration::from_secs(900);

/// Where a cloud is saved before it is destroyed; the time is appended.
const SAVED: &str = "/var/lib/gpucloud/saved";
/// Where DevStack puts its units.
const UNITS: &str = "/etc/systemd/system";

/// Made by stack.sh and what it starts, and in none of the groups of packages (measured on Debian 13).
const LEFT: &[&str] = &[
    "/etc/nova",
    "/etc/neutron",
    "/etc/keystone",
    "/etc/glance",
    "/etc/placement",
    "/etc/cinder",
    "/etc/swift",
    "/etc/heat",
    "/etc/apache2",
    "/etc/uwsgi",
    "/var/log/apache2",
    "/var/lib/apache2",
    "/var/www",
    "/run/uwsgi",
    "/etc/bash_completion.d/osc.bash_completion",
    "/etc/crypttab",
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
    "/var/lib/swtpm-localca",
];

/// Everything that stack.sh may leave.
pub fn leaves() -> Leaves {
    let mut all = Leaves { paths: LEFT.iter().map(PathBuf::from).collect(), ..Leaves::default() };
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

/// Takes it back; says what stays.
pub fn run(host: &Host, leaves: &Leaves) -> Result<Undone> {
    systemd::stop(host, UNIT)?;
    systemd::reset_failed(host, UNIT).ok();
    unstack(host);
    remove_units(host)?;
    // Workers that outlived their units.
    users::end_processes(host, ACCOUNT)?;
    for rule in iptables::masquerades(host).iter().filter(|rule| rule.contains(" -s ")) {
        iptables::delete(host, "nat", rule)?;
    }
    // unstack.sh stops it, and what others made there is taken back behind this.
    if systemd::unit(host, SWITCH_UNIT)?.load == "loaded" {
        systemd::start(host, &[SWITCH_UNIT])?;
    }
    if ovs::is_running(host) {
        ovs::change(&["--if-exists", "del-br", BRIDGE, "--", "--if-exists", "del-br", "br-int"]).run(host)?;
    }
    let result = match files::read_text(host, PACKAGES_ADDED)? {
        Some(added) => {
            let added: Vec<String> = added.lines().map(str::to_owned).collect();
            undo::remove_packages(host, &added, leaves)?
        }
        None => Undone::Kept("packages of stack.sh stay: it never ended, so which it brought is not known".into()),
    };
    files::remove_tree(host, Path::new(NOTES))?;
    Ok(result)
}

/// What users have in databases, and how the cloud was configured, before both are destroyed.
pub fn save_away(host: &Host) -> Result<()> {
    let directory = PathBuf::from(format!("{SAVED}-{}", jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S")));
    files::make_parents(host, &directory)?;
    files::make_dir(host, &directory, 0o700, None)?;
    let dump = format!("--result-file={}", directory.join("databases.sql").display());
    Command::new("mariadb-dump").args(["--all-databases", "--single-transaction", &dump]).run(host)?;
    let archive = format!("--file={}", directory.join("configuration.tar.gz").display());
    let there = LEFT.iter().filter(|path| path.starts_with("/etc/") && files::exists(host, path));
    Command::new("tar").args(["--create", "--gzip", &archive]).args(there.copied()).run(host)?;
    host.warn(&format!("databases and configuration are saved in {}", directory.display()));
    Ok(())
}

/// Its own way first; what it leaves undone is done behind it.
pub fn unstack(host: &Host) {
    if !files::exists(host, format!("{HOME}/devstack/unstack.sh")) {
        return;
    }
    let script = Command::new("runuser")
        .args(["-u", ACCOUNT, "--", &format!("{HOME}/devstack/unstack.sh"), "--all"])
        .env("HOME", HOME)
        .env("USER", ACCOUNT)
        .limit(LIMIT);
    if let Err(error) = script.run(host) {
        host.warn(&format!("unstack.sh: {error}; what it leaves is removed all the same"));
    }
}

fn remove_units(host: &Host) -> Result<()> {
    let all = files::list(host, UNITS)?;
    for unit in all.iter().filter(|name| name.starts_with("devstack@") && name.ends_with(".service")) {
        systemd::stop(host, unit)?;
        systemd::disable(host, unit)?;
        systemd::reset_failed(host, unit).ok();
        files::remove(host, &Path::new(UNITS).join(unit))?;
    }
    systemd::daemon_reload(host)
}
