//! Lines that a room needs in the configuration of OpenStack's services: it gives them to the engine, which has a place
//! for each. The keys themselves stand in the room that needs them (`network::settings`), which `Installation::new` asks.
//! Two rooms never write one file, and none writes a service's own.
//!
//! The native engine writes a file of ours into the `.d` directory of each service, beside the administrator's own
//! files, which come later by their names and so win; DevStack gets them into local.conf and merges them key by key.

use crate::ini::{self, Key};

/// A configuration, by who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conf {
    /// Nova's, of all its services and of the hypervisor.
    Nova,
    /// Of Neutron with its ML2 plugin.
    Ml2,
    /// Of Neutron's agent beside each hypervisor.
    OvnAgent,
    /// Cinder's, where the cloud has volumes.
    Cinder,
    /// Placement's.
    Placement,
}

impl Conf {
    /// All.
    pub const ALL: [Conf; 5] = [Conf::Nova, Conf::Ml2, Conf::OvnAgent, Conf::Cinder, Conf::Placement];
}

/// A key that a room asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub conf: Conf,
    /// What.
    pub key: Key,
}

impl Setting {
    /// `key` in `conf`.
    pub fn new(conf: Conf, key: Key) -> Self {
        Self { conf, key }
    }
}

/// The keys of one configuration.
pub fn keys_of(all: &[Setting], conf: Conf) -> Vec<Key> {
    all.iter().filter(|setting| setting.conf == conf).map(|setting| setting.key.clone()).collect()
}

/// The keys as a file of their own.
pub fn file_of(keys: &[Key]) -> String {
    let head = "# Written by gpucloud-install. Own lines belong into a file of your own beside this one.\n".to_owned();
    keys.iter().fold(head, |text, key| ini::set(&text, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_section_stand_together() {
        let keys = [Key::new("pci", "a", "1"), Key::new("ovn", "b", "2"), Key::new("pci", "c", "3")];
        let text = file_of(&keys);
        assert_eq!(text.matches("[pci]").count(), 1, "{text}");
        assert_eq!((ini::values(&text, "pci", "c"), ini::values(&text, "ovn", "b")), (vec!["3"], vec!["2"]));
    }
}
