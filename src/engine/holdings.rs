//! What users have in a cloud, asked of the databases themselves: they tell while the APIs are down, too.
//! Every engine's `Engine::holdings` asks here.

use super::Holdings;
use crate::host::Host;
use crate::host::sql::{self, Identifier};

/// Databases of MariaDB itself.
const SYSTEM: [&str; 5] = ["information_schema", "mysql", "performance_schema", "sys", "test"];
/// What counts: database, table, its name, and which rows are not those that a plan of ours made and takes back itself
/// (`cloud::resource::MARK_KEY`).
const KINDS: [(&str, &str, &str, &str); 3] = [
    (
        "nova_cell1",
        "instances",
        "instance",
        "uuid NOT IN (SELECT instance_uuid FROM nova_cell1.instance_metadata WHERE `key` = 'gpucloud' AND deleted = 0)",
    ),
    (
        "glance",
        "images",
        "image",
        // Nova hands the mark on to snapshots of our instances; those are users'.
        "(id NOT IN (SELECT image_id FROM glance.image_properties WHERE name = 'gpucloud' AND deleted = 0) OR id IN \
         (SELECT image_id FROM glance.image_properties WHERE name = 'image_type' AND value = 'snapshot' AND deleted = 0))",
    ),
    (
        "cinder",
        "volumes",
        "volume",
        "id NOT IN (SELECT volume_id FROM cinder.volume_metadata WHERE `key` = 'gpucloud' AND deleted = 0)",
    ),
];

/// Instances, images, volumes. Where MariaDB goes with `our_packages`, databases on it that are not among the cloud's
/// `own` count too.
pub fn of_databases(host: &Host, our_packages: &[String], own: &[&str]) -> Holdings {
    let goes = our_packages.iter().any(|name| name == "mariadb-server");
    match sql::connect() {
        Ok(Some(sql)) => count(&sql, goes, own),
        Ok(None) if !crate::host::files::exists(host, "/var/lib/mysql/nova_cell1") => Holdings::Nothing,
        Ok(None) => Holdings::Unknown("MariaDB, which knows it, does not run: systemctl start mariadb".into()),
        Err(error) => Holdings::Unknown(error.to_string()),
    }
}

fn count(sql: &sql::Sql, server_goes: bool, own: &[&str]) -> Holdings {
    match held(sql, server_goes, own) {
        Ok(found) if found.is_empty() => Holdings::Nothing,
        Ok(found) => Holdings::Some(found),
        Err(error) => Holdings::Unknown(error.to_string()),
    }
}

fn held(sql: &sql::Sql, server_goes: bool, own: &[&str]) -> Result<Vec<String>, sql::SqlError> {
    let mut found = Vec::new();
    for (database, table, what, ours) in KINDS {
        let (database, table) = (Identifier::new(database)?, Identifier::new(table)?);
        let exists = sql.table_exists(&database, &table)?;
        let condition = format!("deleted = 0 AND {ours}");
        match if exists { sql.count(&database, &table, &condition)? } else { 0 } {
            0 => {}
            1 => found.push(format!("1 {what}")),
            n => found.push(format!("{n} {what}s")),
        }
    }
    let is_ours = |name: &str| SYSTEM.contains(&name) || own.contains(&name);
    let others = sql.databases()?.into_iter().filter(|name| server_goes && !is_ours(name));
    found.extend(others.map(|name| format!("the database {name}")));
    Ok(found)
}
