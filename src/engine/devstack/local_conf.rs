//! Lines for the services' configuration (`engine/settings.rs`) as DevStack takes them. They land twice: in local.conf,
//! for stack.sh, and key by key in the files of a cloud that stands, without stack.sh.

use super::{Devstack, stack};
use crate::engine::settings::{Conf, Setting, keys_of};
use crate::engine::{Engine, EngineInput};
use crate::host::{Host, files};
use crate::ini::{self, Key};
use std::path::{Path, PathBuf};

/// Nova's configuration.
const NOVA_CONF: &str = "/etc/nova/nova.conf";

/// Its name in local.conf.
pub(super) fn header(conf: Conf) -> &'static str {
    match conf {
        Conf::Nova => "[[post-config|$NOVA_CONF]]",
        Conf::Ml2 => "[[post-config|/$NEUTRON_CORE_PLUGIN_CONF]]",
        Conf::OvnAgent => "[[post-config|$OVN_AGENT_CONF]]",
        Conf::Cinder => "[[post-config|$CINDER_CONF]]",
        Conf::Placement => "[[post-config|$PLACEMENT_CONF]]",
    }
}

/// Where it lies. nova-cpu.conf is copied from nova.conf when n-cpu is started by stack.sh, and is a file of its own
/// then.
pub(super) fn paths(conf: Conf) -> Vec<PathBuf> {
    match conf {
        Conf::Nova => vec![NOVA_CONF.into(), "/etc/nova/nova-cpu.conf".into()],
        Conf::Ml2 => vec!["/etc/neutron/plugins/ml2/ml2_conf.ini".into()],
        Conf::OvnAgent => vec!["/etc/neutron/plugins/ml2/ovn_agent.ini".into()],
        Conf::Cinder => vec!["/etc/cinder/cinder.conf".into()],
        Conf::Placement => vec!["/etc/placement/placement.conf".into()],
    }
}

/// DevStack's own filters lack the one for cards.
const FILTERS: &str = "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter,\
                       ServerGroupAffinityFilter,PciPassthroughFilter";

/// What DevStack's own defaults leave to be said, and what the rooms ask for.
pub(super) fn settings(order: &EngineInput) -> Vec<Setting> {
    let mut all = of_devstack();
    all.extend(host_key(order.host, &order.facts.os.host_name));
    let has_volumes = Devstack.has_volumes(order.config);
    all.extend(order.settings.iter().filter(|setting| has_volumes || setting.conf != Conf::Cinder).cloned());
    all
}

/// Nova's name of this machine, which else is the kernel's of each day: the one that it was given, or, before stack.sh
/// gives Open vSwitch the same (`external-ids:hostname`), the kernel's of today. A cloud that stands without it keeps
/// what it has.
fn host_key(host: &Host, kernels: &str) -> Option<Setting> {
    let conf = files::read_text(host, Path::new(NOVA_CONF)).ok().flatten().unwrap_or_default();
    let given = ini::values(&conf, "DEFAULT", "host").first().map(|name| (*name).to_owned());
    let name = given.or_else(|| (!stack::has_completed(host)).then(|| kernels.to_owned()))?;
    Some(Setting::new(Conf::Nova, Key::new("DEFAULT", "host", name)))
}

fn of_devstack() -> Vec<Setting> {
    vec![
        Setting::new(Conf::Nova, Key::new("DEFAULT", "resume_guests_state_on_host_boot", "True")),
        Setting::new(Conf::Nova, Key::new("filter_scheduler", "enabled_filters", FILTERS)),
    ]
}

/// As sections of local.conf.
pub(super) fn sections(all: &[Setting]) -> String {
    let mut text = String::new();
    for conf in Conf::ALL {
        let mut keys = keys_of(all, conf);
        keys.retain(|key| !key.values.is_empty());
        let mut section = None;
        for key in &keys {
            if section.is_none() {
                text.push_str(&format!("\n{}\n", header(conf)));
            }
            if section != Some(&key.section) {
                text.push_str(&format!("[{}]\n", key.section));
                section = Some(&key.section);
            }
            for value in &key.values {
                text.push_str(&format!("{} = {}\n", key.name, quoted(value)));
            }
        }
    }
    text
}

/// Plain JSON loses its quotes on the way through DevStack's scripts: `{"a":"b"}` becomes `{a:b}`. Between these quotes
/// it arrives as it is (tried with stable/2026.1).
fn quoted(value: &str) -> String {
    if value.contains('"') { format!("\"'{value}'\"") } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_quoted_for_devstack_and_plain_values_are_not() {
        let alias = Key {
            section: "pci".into(),
            name: "alias".into(),
            values: vec![r#"{"name":"a"}"#.into(), r#"{"name":"b"}"#.into()],
        };
        let plain = Key::new("pci", "report_in_placement", "False");
        let all = [alias, plain].map(|key| Setting::new(Conf::Nova, key));
        let expected = "\n[[post-config|$NOVA_CONF]]\n[pci]\nalias = \"'{\"name\":\"a\"}'\"\n\
                        alias = \"'{\"name\":\"b\"}'\"\nreport_in_placement = False\n";
        assert_eq!(sections(&all), expected);
    }

    #[test]
    fn what_a_room_asks_for_stands_in_its_own_section() {
        let dns = Setting::new(Conf::Ml2, Key::new("ovn", "dns_servers", "192.0.2.53"));
        let limit = Setting::new(Conf::OvnAgent, Key::new("ovn", "ovsdb_connection_timeout", "900"));
        let beat = Setting::new(Conf::Cinder, Key::new("DEFAULT", "report_interval", "60"));
        let look = Setting::new(Conf::Placement, Key::new("placement", "a", "b"));
        let text = sections(&[of_devstack(), vec![dns, limit, beat, look]].concat());
        assert!(Conf::ALL.iter().all(|conf| text.matches(header(*conf)).count() == 1), "{text}");
    }
}
