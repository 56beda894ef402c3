//! The name under which Nova knows the hypervisor. libvirt tells it the machine's host name (`virConnectGetHostname`),
//! and Nova refuses to be another hypervisor later (nova/compute/manager.py, "Possible rename detected"). libvirtd
//! therefore runs with a host name of its own (a drop-in of its unit, `host/uts.rs`), which stays what it was: the
//! machine may be renamed. One with a dot is told as it is, without asking a name server (libvirt's `virGetHostname`).

use super::EngineError;
use crate::config::Config;
use crate::facts::Facts;
use crate::host::sql::{self, Identifier};
use crate::host::{Host, Result, files};
use std::path::Path;
use std::time::Duration;

/// Where libvirtd is given its name.
pub const DROP_IN: &str = "/etc/systemd/system/libvirtd.service.d/gpucloud.conf";
/// What stands before the name there.
const BEFORE: &str = "run-as-host ";
/// Where Nova notes its hypervisors.
const DATABASE: &str = "nova_cell1";
/// How long the database may take to say what Nova knows.
const LIMIT: Duration = Duration::from_secs(5);

/// The name: the one that was given, else the one that Nova knows, else a new one.
///
/// # Errors
/// The drop-in cannot be read; or Nova has its tables here, and the database does not say what stands there: a name that
/// was only guessed would be kept for ever.
pub fn name(host: &Host, config: &Config, facts: &Facts) -> Result<String> {
    let given = files::read_text(host, Path::new(DROP_IN))?;
    if let Some(given) = given.as_deref().and_then(name_in) {
        return Ok(given.to_owned());
    }
    let has_tables = host.is_live() && facts.software.databases.iter().any(|name| name == DATABASE);
    let known = if has_tables { known_to_nova().map_err(|_| EngineError::HypervisorUnknown)? } else { None };
    Ok(known.unwrap_or_else(|| new_name(config.host.name.as_str())))
}

/// One that is a host name and no more than 64 bytes.
fn new_name(host_name: &str) -> String {
    format!("{}.internal", host_name[..host_name.len().min(50)].trim_end_matches('-'))
}

fn name_in(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.split_once(BEFORE))?;
    line.1.split_whitespace().next()
}

/// Of a cloud that was installed before this was written, or whose drop-in is gone. There is one hypervisor.
fn known_to_nova() -> Result<Option<String>> {
    let sql = sql::connect_within(LIMIT)?.ok_or(EngineError::HypervisorUnknown)?;
    let (database, table) = (Identifier::new(DATABASE)?, Identifier::new("compute_nodes")?);
    if !sql.table_exists(&database, &table)? {
        return Ok(None);
    }
    Ok(sql.first(&database, &table, &Identifier::new("hypervisor_hostname")?, "deleted = 0 ORDER BY id")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;

    #[test]
    fn a_name_that_was_given_stays() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let facts = Facts::gather(&host).unwrap();
        assert_eq!(name(&host, &sample(), &facts).unwrap(), "gpubox.internal");
        let template = include_str!("../../templates/etc/systemd/system/libvirtd.service.d/gpucloud.conf");
        let text = template.replace("{{ hypervisor_name }}", "old.example");
        files::write(&host, Path::new(DROP_IN), text.as_bytes(), 0o644, None).unwrap();
        let mut renamed = sample();
        renamed.host.name = "other".parse().unwrap();
        assert_eq!(name(&host, &renamed, &facts).unwrap(), "old.example");
    }

    #[test]
    fn a_new_name_is_a_host_name() {
        assert_eq!(new_name("gpu-box-"), "gpu-box.internal");
        assert!(new_name(&"a".repeat(64)).len() <= 64);
    }
}
