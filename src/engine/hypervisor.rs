//! The name under which Nova knows the hypervisor. libvirt tells it the machine's host name (`virConnectGetHostname`),
//! and Nova refuses to be another hypervisor later (nova/compute/manager.py, "Possible rename detected"). libvirtd
//! therefore runs with a host name of its own (a drop-in of its unit), which stays what it was: the machine may be
//! renamed. One with a dot is told as it is, without asking a name server (libvirt's `virGetHostname`).

use crate::config::Config;
use crate::host::sql::{self, Identifier};
use crate::host::{Host, Result, files};
use std::path::Path;
use std::time::Duration;

/// Where libvirtd is given its name.
pub const DROP_IN: &str = "/etc/systemd/system/libvirtd.service.d/gpucloud.conf";
/// What stands before the name there.
const VARIABLE: &str = "Environment=HYPERVISOR_NAME=";
/// How long the database may take to say what Nova knows.
const LIMIT: Duration = Duration::from_secs(2);

/// The name: the one that was given, else the one that Nova knows, else a new one.
///
/// # Errors
/// The drop-in cannot be read.
pub fn name(host: &Host, config: &Config) -> Result<String> {
    let given = files::read_text(host, Path::new(DROP_IN))?;
    let given = given.as_deref().and_then(name_in).map(str::to_owned);
    let known = || if host.is_live() { known_to_nova(config.host.name.as_str()) } else { None };
    Ok(given.or_else(known).unwrap_or_else(|| new_name(config.host.name.as_str())))
}

/// One that hostname(1) sets: no underscore, no hyphen before a dot, at most 64 bytes.
fn new_name(host_name: &str) -> String {
    let label = host_name.replace('_', "-");
    format!("{}.internal", label[..label.len().min(50)].trim_end_matches('-'))
}

fn name_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(VARIABLE)).map(str::trim).filter(|name| !name.is_empty())
}

/// Of a cloud that was installed before this was written, or whose drop-in is gone.
fn known_to_nova(service_host: &str) -> Option<String> {
    let sql = sql::connect_within(LIMIT).ok()??;
    let (database, table) = (Identifier::new("nova_cell1").ok()?, Identifier::new("compute_nodes").ok()?);
    if !sql.table_exists(&database, &table).ok()? {
        return None;
    }
    let column = Identifier::new("hypervisor_hostname").ok()?;
    sql.first(&database, &table, &column, "deleted = 0 AND host = ?", &[service_host]).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;

    #[test]
    fn a_name_that_was_given_stays() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        assert_eq!(name(&host, &sample()).unwrap(), "gpubox.internal");
        let text = "[Service]\nEnvironment=HYPERVISOR_NAME=old.example\n";
        files::write(&host, Path::new(DROP_IN), text.as_bytes(), 0o644, None).unwrap();
        let mut renamed = sample();
        renamed.host.name = "other".parse().unwrap();
        assert_eq!(name(&host, &renamed).unwrap(), "old.example");
    }

    #[test]
    fn a_new_name_is_one_that_hostname_sets() {
        assert_eq!(new_name("gpu_box_"), "gpu-box.internal");
        assert!(new_name(&"a".repeat(64)).len() <= 64);
    }
}
