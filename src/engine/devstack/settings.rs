//! Lines for the services' configuration. They land twice: in local.conf, for stack.sh, and key by key in the files of
//! a cloud that stands, without stack.sh.

use crate::config::Config;
use crate::ini::Key;
use std::path::PathBuf;

/// A configuration file that DevStack makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conf {
    /// Nova's. nova-cpu.conf is copied from it when n-cpu is started by stack.sh, and is a file of its own then.
    Nova,
    /// Of Neutron's ML2 plugin.
    Ml2,
}

impl Conf {
    /// All.
    pub const ALL: [Conf; 2] = [Conf::Nova, Conf::Ml2];

    /// Its name in local.conf.
    pub fn header(self) -> &'static str {
        match self {
            Conf::Nova => "[[post-config|$NOVA_CONF]]",
            Conf::Ml2 => "[[post-config|/$NEUTRON_CORE_PLUGIN_CONF]]",
        }
    }

    /// Where it lies.
    pub fn paths(self) -> Vec<PathBuf> {
        match self {
            Conf::Nova => vec!["/etc/nova/nova.conf".into(), "/etc/nova/nova-cpu.conf".into()],
            Conf::Ml2 => vec!["/etc/neutron/plugins/ml2/ml2_conf.ini".into()],
        }
    }
}

/// DevStack's own filters lack the one for cards.
const FILTERS: &str = "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter,\
                       ServerGroupAffinityFilter,PciPassthroughFilter";

/// All of them.
pub fn settings(config: &Config) -> Vec<(Conf, Key)> {
    let dns: Vec<String> = config.network.dns.iter().map(ToString::to_string).collect();
    let mut all = vec![
        (Conf::Nova, Key::new("DEFAULT", "resume_guests_state_on_host_boot", "True")),
        (Conf::Nova, Key::new("filter_scheduler", "enabled_filters", FILTERS)),
    ];
    all.extend((!dns.is_empty()).then(|| (Conf::Ml2, Key::new("ovn", "dns_servers", dns.join(",")))));
    all
}

/// Keys of one file.
pub fn of(all: &[(Conf, Key)], conf: Conf) -> Vec<Key> {
    all.iter().filter(|(other, _)| *other == conf).map(|(_, key)| key.clone()).collect()
}

/// As sections of local.conf.
pub fn sections(all: &[(Conf, Key)]) -> String {
    let mut text = String::new();
    for conf in Conf::ALL {
        let keys = of(all, conf);
        let mut section = None;
        for key in &keys {
            if section.is_none() {
                text.push_str(&format!("\n{}\n", conf.header()));
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
    use crate::config::tests::sample;

    #[test]
    fn json_is_quoted_for_devstack_and_plain_values_are_not() {
        let alias = Key {
            section: "pci".into(),
            name: "alias".into(),
            values: vec![r#"{"name":"a"}"#.into(), r#"{"name":"b"}"#.into()],
        };
        let all = vec![(Conf::Nova, alias), (Conf::Nova, Key::new("pci", "report_in_placement", "False"))];
        let expected = "\n[[post-config|$NOVA_CONF]]\n[pci]\nalias = \"'{\"name\":\"a\"}'\"\n\
                        alias = \"'{\"name\":\"b\"}'\"\nreport_in_placement = False\n";
        assert_eq!(sections(&all), expected);
    }

    #[test]
    fn every_file_has_its_sections() {
        let text = sections(&settings(&sample()));
        assert!(Conf::ALL.iter().all(|conf| text.matches(conf.header()).count() == 1), "{text}");
    }
}
