//! Open vSwitch and OVN: their daemons, and what OVN is told. What every engine tells Open vSwitch is in
//! `engine/openvswitch.rs`.

use super::Recipe;
use crate::action::task::Task;
use crate::action::unit::{Disabled, Enabled, Started};
use crate::action::{ActionId, Checked};
use crate::complaint::Complaint;
use crate::engine::openvswitch::{self, Setting};
use crate::engine::pace;
use crate::host::Host;
use crate::host::command::Command;
use crate::paths::BRIDGE;
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
            .with(openvswitch::settings(wanted_settings(recipe)))
            .with(openvswitch::external_bridge(recipe.datapath()))
            .with(Started::new("ovn-central.service").until(LIMIT, |host| has_sockets(host, &OVN_SOCKETS)))
            .with(connection("nb", 6641, recipe.config.host.pace))
            .with(connection("sb", 6642, recipe.config.host.pace))
            .with(Started::new("ovn-host.service")),
    ]
}

const OVN_SOCKETS: [&str; 2] = ["/run/ovn/ovnnb_db.sock", "/run/ovn/ovnsb_db.sock"];

fn has_sockets(host: &Host, paths: &[&str]) -> std::result::Result<(), Complaint> {
    let missing = paths.iter().find(|path| !crate::host::files::exists(host, path));
    missing.map_or(Ok(()), |path| Err(Complaint::passing(format!("{path} is not there yet"))))
}

fn wanted_settings(recipe: &Recipe) -> Vec<Setting> {
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
    wanted.extend(openvswitch::datapath_settings(recipe.datapath()));
    wanted.extend(pace::switch_settings(recipe.config.host.pace));
    wanted
}

/// Lets clients reach one of the OVN databases by TCP on loopback.
fn connection(database: &'static str, port: u16, pace: u32) -> Task {
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
        let probe = format!("inactivity_probe={}", INACTIVITY_PROBE * pace);
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
