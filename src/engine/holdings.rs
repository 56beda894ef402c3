//! What users have in a cloud, asked of the databases themselves: they tell while the APIs are down, too.
//! Every engine's `Engine::holdings` asks here.

use super::Holdings;
use crate::cloud::resource::{MARK, MARK_KEY};
use crate::host::Host;
use crate::host::sql::{self, Identifier};

/// Databases of MariaDB itself.
const SYSTEM: [&str; 5] = ["information_schema", "mysql", "performance_schema", "sys", "test"];

/// Something that users have, and the table in which a service keeps it.
pub struct Kind {
    /// The service's database.
    pub database: &'static str,
    table: &'static str,
    what: &'static str,
    /// Which rows are not those that a plan of ours made and takes back itself; `?` are key and value of our mark, as
    /// `cloud::resource` has them. A key alone is nobody's mark.
    of_users: &'static str,
}

/// What counts.
pub const KINDS: [Kind; 3] = [
    Kind {
        database: "nova_cell1",
        table: "instances",
        what: "instance",
        of_users: "NOT EXISTS (SELECT 1 FROM {database}.instance_metadata AS mark WHERE mark.instance_uuid = \
                   instances.uuid AND mark.`key` = ? AND BINARY mark.value = ? AND mark.deleted = 0)",
    },
    Kind {
        database: "glance",
        table: "images",
        what: "image",
        // Nova hands the mark on to snapshots of our instances; those are users'.
        of_users: "(NOT EXISTS (SELECT 1 FROM {database}.image_properties AS mark WHERE mark.image_id = images.id AND \
                   mark.name = ? AND BINARY mark.value = ? AND mark.deleted = 0) OR EXISTS (SELECT 1 FROM \
                   {database}.image_properties AS kind WHERE kind.image_id = images.id AND kind.name = 'image_type' AND \
                   kind.value = 'snapshot' AND kind.deleted = 0))",
    },
    Kind {
        database: "cinder",
        table: "volumes",
        what: "volume",
        of_users: "NOT EXISTS (SELECT 1 FROM {database}.volume_metadata AS mark WHERE mark.volume_id = volumes.id AND \
                   mark.`key` = ? AND BINARY mark.value = ? AND mark.deleted = 0)",
    },
];

impl Kind {
    /// How many of it users have in `database`; none where the service is not there.
    ///
    /// # Errors
    /// MariaDB's own.
    pub fn of_users(&self, sql: &sql::Sql, database: &Identifier) -> Result<u64, sql::SqlError> {
        let table = Identifier::new(self.table)?;
        if !sql.table_exists(database, &table)? {
            return Ok(0);
        }
        let of_users = self.of_users.replace("{database}", &database.to_string());
        sql.count_with(database, &table, &format!("{table}.deleted = 0 AND {of_users}"), &[MARK_KEY, MARK])
    }
}

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
    for kind in KINDS {
        match kind.of_users(sql, &Identifier::new(kind.database)?)? {
            0 => {}
            1 => found.push(format!("1 {}", kind.what)),
            n => found.push(format!("{n} {}s", kind.what)),
        }
    }
    let is_ours = |name: &str| SYSTEM.contains(&name) || own.contains(&name);
    let others = sql.databases()?.into_iter().filter(|name| server_goes && !is_ours(name));
    found.extend(others.map(|name| format!("the database {name}")));
    Ok(found)
}
