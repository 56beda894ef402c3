//! Profiles: answers for a kind of use, completed by what was found on the machine. They feed `init` and the wizard
//! and nothing else.

use super::Config;
use crate::facts::Facts;
use crate::failure::Failure;
use toml::{Table, Value};

/// The profiles that come with the program: name and text.
pub const PROFILES: &[(&str, &str)] = &[
    ("workstation", include_str!("../../profiles/workstation.toml")),
    ("lab", include_str!("../../profiles/lab.toml")),
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
    let host = table.entry("host").or_insert_with(|| Value::Table(Table::new()));
    let Some(host) = host.as_table_mut() else { return Ok(()) };
    host.insert("address".into(), Value::String(address.to_string()));
    host.insert("interface".into(), Value::String(nic.name.clone()));
    host.insert("name".into(), Value::String(facts.os.short_host_name()));
    let administrators = crate::host::users::invoking_user().into_iter().map(Value::String).collect();
    host.insert("administrators".into(), Value::Array(administrators));
    Ok(())
}
