//! Profiles: answers for a kind of use, completed by what was found on the machine. They feed `init` and the wizard
//! and nothing else.

use super::devstack::{Branch, DevstackAnswers, GitBase};
use super::{Config, network};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::systems;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use toml::{Table, Value};

/// The profiles that come with the program: name and text.
pub const PROFILES: &[(&str, &str)] = &[
    ("workstation", include_str!("../../profiles/workstation.toml")),
    ("lab", include_str!("../../profiles/lab.toml")),
    ("devstack", include_str!("../../profiles/devstack.toml")),
];

/// Answers from a profile and the facts of this machine.
///
/// # Errors
/// No such profile, or a fact that no answer can do without (no address) is missing.
pub fn answers(profile: &str, facts: &Facts) -> Result<Config, Failure> {
    let (_, text) = PROFILES.iter().find(|(name, _)| *name == profile).ok_or_else(|| unknown(profile))?;
    let mut table: Table = toml::from_str(text).map_err(|e| Failure::usage(format!("profile {profile}: {e}"), ""))?;
    complete(&mut table, facts)?;
    table.try_into().map_err(|e: toml::de::Error| Failure::usage(format!("profile {profile}: {}", e.message()), ""))
}

fn unknown(profile: &str) -> Failure {
    let names: Vec<&str> = PROFILES.iter().map(|(name, _)| *name).collect();
    Failure::usage(format!("there is no profile called `{profile}`"), format!("choose one of: {}", names.join(", ")))
}

fn complete(table: &mut Table, facts: &Facts) -> Result<(), Failure> {
    let (nic, address) = facts.network.uplink().ok_or_else(|| {
        let what = "no link of this machine has an IPv4 address and a default route";
        Failure::new(what, "", "bring the network up, or write host.address and host.interface by hand")
    })?;
    let Some(host) = table_of(table, "host") else { return Ok(()) };
    host.insert("address".into(), Value::String(address.to_string()));
    host.insert("interface".into(), Value::String(nic.name.clone()));
    host.insert("name".into(), Value::String(facts.os.short_host_name()));
    let administrators = crate::host::users::invoking_user().into_iter().map(Value::String).collect();
    host.insert("administrators".into(), Value::Array(administrators));
    let known = systems::find(&facts.os.id, &facts.os.version);
    let devstack = DevstackAnswers {
        branch: Branch::of(known.map_or("master", |system| system.branch)),
        ..DevstackAnswers::default()
    };
    if let (Ok(Value::Table(devstack)), Some(cloud)) = (Value::try_from(devstack), table_of(table, "cloud")) {
        cloud.insert("git_base".into(), Value::String(GitBase::default().to_string()));
        table.entry("devstack").or_insert(Value::Table(devstack));
    }
    complete_network(table, facts, address)
}

fn table_of<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

/// Ranges that nobody uses here, the LAN as the administrators' network, and the name servers of this machine.
fn complete_network(table: &mut Table, facts: &Facts, address: Ipv4Addr) -> Result<(), Failure> {
    let Some(network) = table_of(table, "network") else { return Ok(()) };
    let (range, tenants) = (free_range(facts, RANGES)?, free_range(facts, TENANT_RANGES)?);
    let lan = facts.network.owner(address).and_then(|(_, own)| Ipv4Net::new(address, own.prefix_len).ok());
    let strings = |all: Vec<String>| Value::Array(all.into_iter().map(Value::String).collect());
    let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
    network.insert("range".into(), text(&range));
    network.insert("gateway".into(), text(&network::default_gateway(&range)));
    network.insert("pool".into(), text(&network::default_pool(&range)));
    network.insert("tenant_range".into(), text(&tenants));
    network.insert("dns".into(), strings(facts.network.name_servers.iter().map(ToString::to_string).collect()));
    network.insert("admin_networks".into(), strings(lan.iter().map(|lan| lan.trunc().to_string()).collect()));
    network.insert("port_maps".into(), strings(Vec::new()));
    network.insert("bridge_links".into(), strings(Vec::new()));
    complete_resources(table, &tenants);
    Ok(())
}

/// A declared network that says no subnet gets the next one of the projects' range.
fn complete_resources(table: &mut Table, tenants: &Ipv4Net) {
    let networks = table_of(table, "resources").and_then(|resources| resources.get_mut("networks")?.as_array_mut());
    let subnets = tenants.subnets(24).into_iter().flatten();
    for (network, subnet) in networks.into_iter().flatten().filter_map(Value::as_table_mut).zip(subnets) {
        network.entry("subnet").or_insert(Value::String(subnet.to_string()));
    }
}

/// External networks that are offered, DevStack's own first.
const RANGES: &[&str] = &["172.24.4.0/24", "172.24.5.0/24", "10.224.0.0/24", "192.168.224.0/24"];
/// Networks of projects that are offered.
const TENANT_RANGES: &[&str] = &["10.254.0.0/16", "10.253.0.0/16", "172.30.0.0/16", "192.168.240.0/20"];

fn free_range(facts: &Facts, offered: &[&str]) -> Result<Ipv4Net, Failure> {
    let others = || facts.network.routes.iter().filter(|route| route.interface != crate::paths::BRIDGE);
    let nets = offered.iter().filter_map(|text| text.parse::<Ipv4Net>().ok());
    let free = nets.into_iter().find(|net| !others().any(|route| network::overlap(&route.net, net)));
    free.ok_or_else(|| {
        let what = format!("this machine has routes to all of {}", offered.join(", "));
        Failure::new(what, "", "write network.range and network.tenant_range by hand")
    })
}
