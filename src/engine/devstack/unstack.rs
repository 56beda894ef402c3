//! Taking back what stack.sh made. unstack.sh stops services and destroys guests; it leaves units, stray workers,
//! databases, packages, rules of iptables and a disabled ovn-central behind.

use crate::action::Undone;
use crate::action::purge;
use crate::action::undo::Stacked;
use crate::host::command::Command;
use crate::host::{Host, Result, files, iptables, ovs, systemd, users};
use crate::paths::BRIDGE;
use std::path::Path;
use std::time::Duration;

/// The account of stack.sh and of all services.
pub const ACCOUNT: &str = "stack";
/// Its home, and where everything is cloned.
pub const HOME: &str = "/opt/stack";
/// The unit in which stack.sh runs.
pub const UNIT: &str = "gpucloud-stack.service";
/// What we note of stack.sh.
pub const NOTES: &str = "/var/lib/gpucloud/devstack";
/// Packages that it brought, one a line.
pub const PACKAGES_ADDED: &str = "/var/lib/gpucloud/devstack/packages-added";
/// Open vSwitch, whose bridges it makes.
pub const SWITCH_UNIT: &str = "openvswitch-switch.service";

/// How long unstack.sh may take: it waits for each conductor.
const LIMIT: Duration = Duration::from_secs(900);

/// Where DevStack puts its units.
const UNITS: &str = "/etc/systemd/system";

/// Packages that a stack.sh which has ended brought; `None` where none has.
pub fn packages_added(host: &Host) -> Result<Option<Vec<String>>> {
    let noted = files::read_text(host, PACKAGES_ADDED)?;
    Ok(noted.map(|noted| noted.lines().map(str::to_owned).collect()))
}

/// Stops every unit of DevStack's, and workers that outlive theirs.
pub fn stop_units(host: &Host) -> Result<()> {
    for unit in units(host)? {
        systemd::stop(host, &unit)?;
    }
    users::end_processes(host, ACCOUNT)
}

fn units(host: &Host) -> Result<Vec<String>> {
    let mut all = files::list(host, UNITS)?;
    all.retain(|name| name.starts_with("devstack@") && name.ends_with(".service"));
    Ok(all)
}

/// Takes it back; says what stays.
pub fn run(host: &Host, stacked: &Stacked) -> Result<Undone> {
    let Stacked { range, leaves } = stacked;
    systemd::stop(host, UNIT)?;
    systemd::reset_failed(host, UNIT)?;
    unstack(host);
    stop_units(host)?;
    remove_units(host)?;
    let source = format!(" -s {range} ");
    for rule in iptables::masquerades(host).iter().filter(|rule| rule.contains(&source)) {
        iptables::delete(host, "nat", rule)?;
    }
    // unstack.sh stops it, and what others made there is taken back behind this.
    if systemd::unit(host, SWITCH_UNIT)?.load == "loaded" {
        systemd::start(host, SWITCH_UNIT)?;
    }
    for bridge in [BRIDGE, "br-int"].iter().filter(|name| leaves.links.iter().any(|link| link == *name)) {
        if ovs::is_running(host) {
            ovs::change(&["--if-exists", "del-br", bridge]).run(host)?;
        }
    }
    let result = match packages_added(host)? {
        Some(added) => purge::remove_packages(host, &added, leaves)?,
        None => Undone::Kept("packages of stack.sh stay: it never ended, so which it brought is not known".into()),
    };
    files::remove_tree(host, Path::new(NOTES))?;
    Ok(result)
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
    for unit in &units(host)? {
        systemd::disable(host, unit)?;
        systemd::reset_failed(host, unit)?;
        files::remove(host, &Path::new(UNITS).join(unit))?;
    }
    systemd::daemon_reload(host)
}
