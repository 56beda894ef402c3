//! Open vSwitch as every engine needs it: its settings, the datapath that this kernel can have, and the external
//! bridge. The bridge's address, forwarding and NAT belong to the network room.

use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::host::ovs::{self, Datapath};
use crate::host::{Host, Result};
use crate::paths::BRIDGE;

/// Column, key and value of a setting (ovs-vswitchd.conf.db(5), ovn-controller(8)).
pub type Setting = (&'static str, &'static str, String);

/// What the datapath asks for.
pub fn datapath_settings(datapath: Datapath) -> Vec<Setting> {
    match datapath {
        Datapath::System => Vec::new(),
        Datapath::Netdev => vec![
            // Packets of taps leave with unfinished checksums: without TSO emulation ping works and TCP hangs.
            ("other_config", "userspace-tso-enable", "true".into()),
            ("external_ids", "ovn-bridge-datapath-type", "netdev".into()),
        ],
    }
}

/// What makes a switch of the userspace datapath, which is in use, one of a kernel that is not there yet: a
/// program with its arguments. The next boot must be with that kernel.
pub fn for_another_kernel() -> Vec<&'static str> {
    let netdev = datapath_settings(Datapath::Netdev);
    let forgotten = netdev.iter().flat_map(|(column, key, _)| ["--", "remove", "Open_vSwitch", ".", column, key]);
    let bridges = [BRIDGE, "br-int"].iter().flat_map(|bridge| ["--", "set", "Bridge", bridge, "datapath_type=system"]);
    // This kernel cannot do it: nobody is waited for.
    ["ovs-vsctl", "--no-wait"].into_iter().chain(forgotten).chain(bridges).collect()
}

/// Settings of Open vSwitch itself; OVN reads its own from there.
pub fn settings(wanted: Vec<Setting>) -> Task {
    let again = wanted.clone();
    let probe = move |host: &Host| {
        let Some(now) = ovs::ask(host, &["get", "Open_vSwitch", ".", "external_ids", "other_config"])? else {
            return Ok(Checked::Later("when Open vSwitch runs".into()));
        };
        let missing = wanted.iter().find(|(_, key, value)| !has_setting(&now, key, value));
        Ok(missing.map_or(Checked::Done, |(_, key, value)| Checked::needed(format!("{key} = {value}"))))
    };
    let work = move |host: &Host| {
        let assignments = again.iter().map(|(column, key, value)| format!("{column}:{key}={}", quoted(value)));
        ovs::change(&["set", "Open_vSwitch", "."]).args(assignments).run(host)?;
        // TSO emulation is read at the start of the daemon only.
        crate::host::systemd::restart(host, "openvswitch-switch.service")
    };
    Task::new(ActionId::new("open-vswitch", "settings"), "Tell Open vSwitch where OVN is", probe, work)
}

/// Maps are printed as `{key="value", other=plain}`.
fn has_setting(printed: &str, key: &str, value: &str) -> bool {
    let quoted_value = quoted(value);
    let forms = [format!("{key}={quoted_value}"), format!("{key}={value}")];
    let ends = [",", "}"];
    forms.iter().any(|form| ends.iter().any(|end| printed.contains(&format!("{form}{end}"))))
}

fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

/// The external bridge; one that is there gets this datapath.
pub fn external_bridge(datapath: Datapath) -> Task {
    let probe = move |host: &Host| match ovs::ask(host, &["--if-exists", "get", "Bridge", BRIDGE, "datapath_type"])? {
        None => Ok(Checked::Later("when Open vSwitch runs".into())),
        Some(now) => {
            let now = now.trim().trim_matches('"').to_owned();
            let right = now == datapath.name() || (datapath == Datapath::System && now.is_empty() && exists(host)?);
            Ok(Checked::done_if(right, format!("make, datapath {}", datapath.name())))
        }
    };
    let work = move |host: &Host| ovs::add_bridge(host, BRIDGE, datapath);
    let argv = ["ovs-vsctl", "--timeout=30", "--if-exists", "del-br", BRIDGE];
    let undo = Undo::Program { argv: argv.iter().map(|word| (*word).to_owned()).collect() };
    Task::new(ActionId::new("bridge", BRIDGE), format!("Make the external bridge {BRIDGE}"), probe, work)
        .undone_by(undo)
}

fn exists(host: &Host) -> Result<bool> {
    Ok(ovs::ask(host, &["list-br"])?.is_some_and(|list| list.lines().any(|line| line == BRIDGE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_quoted_or_plain_and_whole() {
        let printed = r#"{hostname=box, ovn-bridge=br-int, ovn-encap-ip="10.0.0.2", ovn-remote="tcp:127.0.0.1:6642"}"#;
        assert!(has_setting(printed, "ovn-encap-ip", "10.0.0.2"));
        assert!(has_setting(printed, "hostname", "box"));
        assert!(!has_setting(printed, "ovn-encap-ip", "10.0.0.21"));
        assert!(!has_setting(printed, "hostname", "bo"));
    }
}
