//! What the services wait longer for where everything takes longer than on a real machine (`host.pace`): answers over
//! the queue, signs of life, OVN's databases. The factors were measured under emulation, where RPC calls, agents and
//! probes were lost with the defaults, and none with these.

use super::openvswitch;
use super::settings::{Conf, Setting};
use crate::action::file::File;
use crate::content::Content;
use crate::ini::Key;

/// Seconds of each on a real machine with room to spare; times the pace they are what was measured.
const NOVA: [(&str, &str, u32); 13] = [
    ("DEFAULT", "rpc_response_timeout", 75),
    ("DEFAULT", "long_rpc_timeout", 300),
    ("DEFAULT", "report_interval", 5),
    ("DEFAULT", "service_down_time", 50),
    ("DEFAULT", "vif_plugging_timeout", 150),
    ("DEFAULT", "block_device_allocate_retries", 50),
    ("neutron", "timeout", 50),
    ("placement", "timeout", 50),
    ("glance", "timeout", 50),
    ("cinder", "timeout", 50),
    ("keystone_authtoken", "http_connect_timeout", 25),
    ("oslo_messaging_rabbit", "heartbeat_timeout_threshold", 25),
    ("os_vif_ovs", "ovsdb_connection_timeout", 25),
];
const NEUTRON: [(&str, &str, u32); 6] = [
    ("DEFAULT", "rpc_response_timeout", 75),
    ("DEFAULT", "agent_down_time", 75),
    ("oslo_messaging_rabbit", "heartbeat_timeout_threshold", 25),
    ("keystone_authtoken", "http_connect_timeout", 25),
    ("nova", "timeout", 50),
    ("ovn", "ovsdb_connection_timeout", 75),
];
const CINDER: [(&str, &str, u32); 5] = [
    ("DEFAULT", "rpc_response_timeout", 75),
    ("DEFAULT", "report_interval", 5),
    ("DEFAULT", "service_down_time", 50),
    ("oslo_messaging_rabbit", "heartbeat_timeout_threshold", 25),
    ("keystone_authtoken", "http_connect_timeout", 25),
];
const AGENT: [(&str, &str, u32); 2] = [("ovn", "ovsdb_connection_timeout", 75), ("ovs", "ovsdb_timeout", 25)];

/// What OpenStack's services are told.
pub fn settings(pace: u32) -> Vec<Setting> {
    if pace == 1 {
        return Vec::new();
    }
    let of = |conf, table: &[(&str, &str, u32)]| -> Vec<Setting> {
        let key = |(section, key, seconds): &(&str, &str, u32)| Key::new(section, key, (seconds * pace).to_string());
        table.iter().map(|line| Setting::new(conf, key(line))).collect()
    };
    let probe = Key::new("ovn", "ovsdb_probe_interval", (PROBE_SECONDS * 1000 * pace).to_string());
    let probes = [Conf::Ml2, Conf::OvnAgent].map(|conf| Setting::new(conf, probe.clone())).to_vec();
    let [nova, ml2] = [of(Conf::Nova, &NOVA), of(Conf::Ml2, &NEUTRON)];
    [nova, ml2, of(Conf::OvnAgent, &AGENT), of(Conf::Cinder, &CINDER), probes].concat()
}

/// What systemd gives units that say nothing themselves (systemd-system.conf(5)).
pub fn systemd_limits(pace: u32) -> String {
    let seconds = 90 * pace;
    format!(
        "[Manager]\nDefaultTimeoutStartSec={seconds}\nDefaultTimeoutStopSec={seconds}\nDefaultDeviceTimeoutSec={seconds}\n"
    )
}

/// Limits of units of the distribution: those that say nothing have systemd's, 90 s; these two say what they need.
pub fn unit_limits(pace: u32) -> Vec<File> {
    if pace == 1 {
        return Vec::new();
    }
    let file = |path: &str, lines: &str| {
        let text = format!("# Written by gpucloud-install; see README.\n{lines}");
        File::new(format!("/etc/systemd/{path}"), Content::plain(text))
    };
    let limit = format!("[Service]\nTimeoutStartSec={}\n", 600 * pace);
    let of_unit = |unit: &str| file(&format!("system/{unit}.d/50-gpucloud-pace.conf"), &limit);
    vec![
        file("system.conf.d/50-gpucloud-pace.conf", &systemd_limits(pace)),
        of_unit("rabbitmq-server.service"),
        of_unit("mariadb.service"),
    ]
}

/// How often OVN's parts ask whether the other side is there.
const PROBE_SECONDS: u32 = 15;

/// What Open vSwitch tells OVN of this machine (ovn-controller(8)): milliseconds, seconds.
pub fn switch_settings(pace: u32) -> Vec<openvswitch::Setting> {
    if pace == 1 {
        return Vec::new();
    }
    let probe = PROBE_SECONDS * pace;
    vec![
        ("external_ids", "ovn-remote-probe-interval", (probe * 1000).to_string()),
        ("external_ids", "ovn-openflow-probe-interval", probe.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_machine_has_the_services_own_limits_and_an_emulated_one_longer_ones() {
        assert_eq!((settings(1), switch_settings(1)), (Vec::new(), Vec::new()));
        let wide = settings(12);
        let value = |name: &str| wide.iter().find(|setting| setting.key.name == name).unwrap().key.values[0].clone();
        assert_eq!((value("rpc_response_timeout").as_str(), value("ovsdb_probe_interval").as_str()), ("900", "180000"));
    }
}
