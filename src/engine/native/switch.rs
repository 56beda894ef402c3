//! Open vSwitch and OVN: daemons, their settings, and the external bridge. The bridge's address, forwarding and NAT
//! belong to the network room.

use super::Recipe;
use crate::action::task::Task;
use crate::action::unit::{Disabled, Enabled, Started};
use crate::action::{ActionId, Checked, Undo};
use crate::host::command::Command;
use crate::host::ovs::{self, Datapath};
use crate::host::{Host, Result};
use crate::network::BRIDGE;
use crate::plan::{Hold, Step};
use std::time::Duration;

/// The step in which the bridge is made.
pub(super) const STEP: &str = "switch";
/// The physical network that Neutron calls it.
const PHYSICAL_NETWORK: &str = "public";
/// OVN waits this long (milliseconds) before it takes a silent client for dead; the default of 5 s is too short for a
/// host that is busy starting instances.
const INACTIVITY_PROBE: u32 = 60_000;
/// How long the OVN databases may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let step = Step::new(STEP, "Start Open vSwitch and OVN")
        .after(&["install-network"])
        .holding(Hold::OpenVSwitch)
        .on_compute();
    vec![
        step.with(Enabled { unit: "openvswitch-switch.service".into() })
            .with(Enabled { unit: "ovn-central.service".into() })
            .with(Enabled { unit: "ovn-host.service".into() })
            // The agent starts a proxy of its own for each network.
            .with(Disabled { unit: "haproxy.service".into() })
            .with(
                Started::new("openvswitch-switch.service")
                    .until(LIMIT, |host| has_sockets(host, &["/run/openvswitch/db.sock"])),
            )
            .with(settings(recipe))
            .with(bridge(recipe))
            .with(Started::new("ovn-central.service").until(LIMIT, |host| has_sockets(host, &OVN_SOCKETS)))
            .with(connection("nb", 6641))
            .with(connection("sb", 6642))
            .with(Started::new("ovn-host.service")),
    ]
}

const OVN_SOCKETS: [&str; 2] = ["/run/ovn/ovnnb_db.sock", "/run/ovn/ovnsb_db.sock"];

fn has_sockets(host: &Host, paths: &[&str]) -> std::result::Result<(), String> {
    let missing = paths.iter().find(|path| !crate::host::files::exists(host, path));
    missing.map_or(Ok(()), |path| Err(format!("{path} is not there yet")))
}

/// Open vSwitch's own settings (ovs-vswitchd.conf.db(5), ovn-controller(8)).
fn wanted_settings(recipe: &Recipe) -> Vec<(&'static str, &'static str, String)> {
    let address = recipe.config.host.address.to_string();
    let external = |key, value: &str| ("external_ids", key, value.to_owned());
    let mut wanted = vec![
        external("ovn-bridge", "br-int"),
        external("ovn-remote", "tcp:127.0.0.1:6642"),
        external("ovn-encap-type", "geneve"),
        external("ovn-encap-ip", &address),
        external("hostname", recipe.config.host.name.as_str()),
        external("ovn-cms-options", "enable-chassis-as-gw"),
        external("ovn-bridge-mappings", &format!("{PHYSICAL_NETWORK}:{BRIDGE}")),
    ];
    if recipe.userspace_datapath() {
        // Packets of taps leave with unfinished checksums: without TSO emulation ping works and TCP hangs.
        wanted.push(("other_config", "userspace-tso-enable", "true".into()));
        wanted.push(external("ovn-bridge-datapath-type", "netdev"));
    }
    wanted
}

fn settings(recipe: &Recipe) -> Task {
    let wanted = wanted_settings(recipe);
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

fn bridge(recipe: &Recipe) -> Task {
    let datapath = recipe.datapath();
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

/// Lets clients reach one of the OVN databases by TCP on loopback.
fn connection(database: &'static str, port: u16) -> Task {
    let target = format!("ptcp:{port}:127.0.0.1");
    let (wanted, program) = (target.clone(), format!("ovn-{database}ctl"));
    let socket = format!("/run/ovn/ovn{database}_db.sock");
    let program_again = program.clone();
    let probe = move |host: &Host| {
        if !crate::host::files::exists(host, &socket) {
            return Ok(Checked::Later("when OVN runs".into()));
        }
        let now = Command::new(&program).args(["--timeout=5", "get-connection"]).read(host).unwrap_or_default();
        Ok(Checked::done_if(now.contains(&wanted), format!("listen at {wanted}")))
    };
    let work = move |host: &Host| {
        let probe = format!("inactivity_probe={INACTIVITY_PROBE}");
        Command::new(&program_again)
            .args(["--timeout=30", "set-connection", &target, "--", "set", "connection", ".", &probe])
            .run(host)
    };
    Task::new(
        ActionId::new("ovn-connection", database),
        format!("Open OVN's {database} database on loopback"),
        probe,
        work,
    )
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
