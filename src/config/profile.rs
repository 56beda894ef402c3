//! Profiles: answers for a kind of use, completed by what was found on the machine. They feed `init` and the wizard
//! and nothing else.

use super::detected::Detected;
use super::devstack::{Branch, DevstackAnswers, GitBase};
use super::{Config, network};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::systems;
use ipnet::Ipv4Net;
use toml::{Table, Value};

/// The profiles that come with the program: name and text.
pub const PROFILES: &[(&str, &str)] = &[
    ("workstation", include_str!("../../profiles/workstation.toml")),
    ("lab", include_str!("../../profiles/lab.toml")),
    ("devstack", include_str!("../../profiles/devstack.toml")),
    ("vagrant", include_str!("../../profiles/vagrant.toml")),
];

/// Answers from a profile and the facts of this machine.
///
/// # Errors
/// No such profile, or a fact that no answer can do without (no address) is missing. What else was found here and is no
/// answer is left out or replaced, and stands in [`notes`].
pub fn answers(profile: &str, facts: &Facts) -> Result<Config, Failure> {
    let mut table = read(profile)?;
    let found = Detected::of(facts, takes_second_link(&mut table))?;
    complete(&mut table, facts, &found);
    table.try_into().map_err(|e: toml::de::Error| Failure::usage(format!("profile {profile}: {}", e.message()), ""))
}

fn unknown(profile: &str) -> Failure {
    let names: Vec<&str> = PROFILES.iter().map(|(name, _)| *name).collect();
    Failure::usage(format!("there is no profile called `{profile}`"), format!("choose one of: {}", names.join(", ")))
}

/// What has to be said of the answers that this machine gave itself to a profile.
pub fn notes(profile: &str, facts: &Facts) -> Vec<Finding> {
    let detected = read(profile).and_then(|mut table| Detected::of(facts, takes_second_link(&mut table)));
    detected.map_or_else(|_| Vec::new(), |detected| detected.notes)
}

fn read(profile: &str) -> Result<Table, Failure> {
    let (_, text) = PROFILES.iter().find(|(name, _)| *name == profile).ok_or_else(|| unknown(profile))?;
    toml::from_str(text).map_err(|e| Failure::usage(format!("profile {profile}: {e}"), ""))
}

/// Whether a profile wants the cloud at a second link, where the machine has one. No answer: it goes out of the table.
fn takes_second_link(table: &mut Table) -> bool {
    let wanted = table_of(table, "network").and_then(|network| network.remove("prefer_second_link"));
    wanted.and_then(|value| value.as_bool()).unwrap_or_default()
}

fn complete(table: &mut Table, facts: &Facts, found: &Detected) {
    let Some(host) = table_of(table, "host") else { return };
    host.insert("address".into(), text(&found.address));
    host.insert("interface".into(), text(&found.interface));
    host.insert("name".into(), text(&found.name));
    host.insert("administrators".into(), texts(&found.administrators));
    host.insert("pace".into(), Value::Integer(facts.hardware.pace().into()));
    let known = systems::find(&facts.os.id, &facts.os.version);
    let devstack = DevstackAnswers {
        branch: Branch::of(known.map_or("master", |system| system.branch)),
        ..DevstackAnswers::default()
    };
    if let (Ok(Value::Table(devstack)), Some(cloud)) = (Value::try_from(devstack), table_of(table, "cloud")) {
        cloud.insert("git_base".into(), Value::String(GitBase::default().to_string()));
        table.entry("devstack").or_insert(Value::Table(devstack));
    }
    complete_network(table, found);
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

fn texts(values: &[impl ToString]) -> Value {
    Value::Array(values.iter().map(text).collect())
}

fn table_of<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

fn complete_network(table: &mut Table, found: &Detected) {
    let Some(network) = table_of(table, "network") else { return };
    if let Some(access) = found.access {
        network.insert("access".into(), Value::String(access.name().into()));
    }
    network.insert("range".into(), text(&found.range));
    network.insert("gateway".into(), text(&network::default_gateway(&found.range)));
    network.insert("pool".into(), text(&network::default_pool(&found.range)));
    network.insert("tenant_range".into(), text(&found.tenant_range));
    network.insert("dns".into(), texts(&found.dns));
    network.insert("admin_networks".into(), texts(&found.admin_networks));
    network.insert("port_maps".into(), Value::Array(Vec::new()));
    network.insert("bridge_links".into(), Value::Array(Vec::new()));
    complete_resources(table, &found.tenant_range);
}

/// A declared network that says no subnet gets the next one of the projects' range.
fn complete_resources(table: &mut Table, tenants: &Ipv4Net) {
    let networks = table_of(table, "resources").and_then(|resources| resources.get_mut("networks")?.as_array_mut());
    let subnets = tenants.subnets(24).into_iter().flatten();
    for (network, subnet) in networks.into_iter().flatten().filter_map(Value::as_table_mut).zip(subnets) {
        network.entry("subnet").or_insert(Value::String(subnet.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::network::Access;
    use crate::facts::network::{DefaultRoute, Network, Nic, NicAddress};
    use crate::host::Host;

    fn nic(name: &str, address: &str, dynamic: bool) -> Nic {
        let address = NicAddress { address: address.parse().unwrap(), prefix_len: 24, dynamic };
        Nic { name: name.into(), addresses: vec![address], ..Nic::default() }
    }

    fn facts(nics: Vec<Nic>) -> Facts {
        let dir = tempfile::tempdir().unwrap();
        let default_route = Some(DefaultRoute { interface: "eth0".into(), gateway: None, source: None });
        let network = Network { nics, default_route, ..Network::default() };
        Facts { network, ..Facts::gather(&Host::at(dir.path())).unwrap() }
    }

    fn first() -> Nic {
        nic("eth0", "192.168.121.7", true)
    }

    #[test]
    fn of_two_links_vagrants_machine_answers_at_the_second() {
        let config = answers("vagrant", &facts(vec![first(), nic("eth1", "192.168.61.10", false)])).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!((config.host.interface.as_str(), config.host.address.to_string()), ("eth1", "192.168.61.10".into()));
        assert_eq!(
            (config.network.access, config.network.range.to_string()),
            (Access::ProxyArp, "192.168.61.192/26".into())
        );
        assert_eq!(config.network.pool.to_string(), "192.168.61.202-192.168.61.254");
        assert_eq!(config.network.admin_networks, ["192.168.61.0/24".parse().unwrap()]);
    }

    #[test]
    fn a_second_link_without_an_address_changes_nothing() {
        let bare = Nic { name: "eth1".into(), ..Nic::default() };
        let config = answers("vagrant", &facts(vec![first(), bare])).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config, answers("vagrant", &facts(vec![first()])).unwrap());
        assert_eq!((config.host.interface.as_str(), config.network.access), ("eth0", Access::Nat));
    }

    #[test]
    fn no_other_profile_looks_for_a_second_link() {
        for (name, _) in PROFILES.iter().filter(|(name, _)| *name != "vagrant") {
            let two = answers(name, &facts(vec![first(), nic("eth1", "192.168.61.10", false)])).unwrap();
            assert_eq!(two, answers(name, &facts(vec![first()])).unwrap(), "{name}");
        }
    }
}
