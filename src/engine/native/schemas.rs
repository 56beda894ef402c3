//! Databases' tables, Keystone's keys and its administrator. The services' steps run side by side.
//!
//! A migration that was killed in its middle cannot be repeated: MariaDB has no transactions around table changes. So a
//! stop request waits for its end, and a kill or a power cut is repaired by the next apply:
//! - While no migration was ever completed, there is nothing to lose: the databases are made anew.
//! - An upgrade (another lock) saves the databases first and puts them back. From before the dump until the migration is
//!   done the services that use them stand still, in a boot between too ([`dump_of`]): what a user did meanwhile would be
//!   lost. The dump goes when the migration is done.

use super::Recipe;
use super::foundation::secret;
use super::python::{lock_version, program, volumes_lock_version};
use crate::action::symlink::Symlink;
use crate::action::task::{self, Restartable, Standing, Task};
use crate::action::{ActionId, Checked};
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::sql::{self, Identifier};
use crate::host::{Error, Host, Result, dump, files, systemd};
use crate::plan::Step;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where databases are saved before an upgrade changes them.
pub(super) const DUMPS: &str = "/var/lib/gpucloud/dumps";
/// How long one program may take to change the tables of a large cloud.
const MIGRATION_LIMIT: Duration = Duration::from_secs(2 * 3600);
/// What every schema step waits for.
const BEFORE: &[&str] = &["databases", "byte-code", "configure"];

/// The tables of one part of OpenStack.
struct Schema {
    /// Its databases.
    databases: &'static [&'static str],
    /// The first of them has this table, once all is made.
    table: &'static str,
    /// The services, by id, that read and write them.
    services: &'static [&'static str],
    /// Makes them, or brings them forward.
    make: fn(&Host) -> Result<()>,
    /// Names the lock that they are made with.
    version: fn() -> String,
}

const IDENTITY: Schema = Schema {
    databases: &["keystone"],
    table: "project",
    services: &["keystone"],
    make: keystone,
    version: lock_version,
};
const INVENTORY: Schema = Schema {
    databases: &["placement"],
    table: "resource_providers",
    services: &["placement"],
    make: placement,
    version: lock_version,
};
const IMAGE: Schema =
    Schema { databases: &["glance"], table: "images", services: &["glance-api"], make: glance, version: lock_version };
const COMPUTE: Schema = Schema {
    databases: &["nova_cell1", "nova_api", "nova_cell0"],
    table: "services",
    services: &["nova-api", "nova-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy"],
    make: nova,
    version: lock_version,
};
const NETWORK: Schema = Schema {
    databases: &["neutron"],
    table: "networks",
    services: &["neutron-api", "neutron-ovn-maintenance", "neutron-periodic"],
    make: neutron,
    version: lock_version,
};
const VOLUMES: Schema = Schema {
    databases: &["cinder"],
    table: "volumes",
    services: &["cinder-api", "cinder-scheduler", "cinder-volume"],
    make: cinder,
    version: volumes_lock_version,
};
static SCHEMAS: [Schema; 6] = [IDENTITY, INVENTORY, IMAGE, COMPUTE, NETWORK, VOLUMES];

fn schema_of(service: &str) -> Option<&'static Schema> {
    SCHEMAS.iter().find(|schema| schema.services.contains(&service))
}

/// While this file is there, an upgrade of the service's databases is going on, or was cut off.
pub(super) fn dump_of(service: &str) -> Option<PathBuf> {
    schema_of(service).map(Schema::dump)
}

/// Changes when the tables of the service were brought forward; it stood still meanwhile.
pub(super) fn stamp_of(service: &str) -> Option<PathBuf> {
    schema_of(service).map(|schema| task::stamp_path(&schema.id()))
}

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    let [identity, inventory, image, compute, network, volumes] = &SCHEMAS;
    let mut steps = vec![
        self::identity(recipe, identity)?,
        step("placement-schema", "Make Placement's tables").with(tables(recipe, inventory)?),
        step("image-schema", "Make Glance's tables")
            .with(Symlink::new(
                "/etc/glance/glance-api-paste.ini",
                "/opt/gpucloud/venv/etc/glance/glance-api-paste.ini",
            ))
            .with(tables(recipe, image)?),
        step("compute-schema", "Make Nova's tables and cells")
            .with(Symlink::new("/etc/nova/api-paste.ini", "/opt/gpucloud/venv/etc/nova/api-paste.ini"))
            .with(tables(recipe, compute)?),
        step("network-schema", "Make Neutron's tables")
            .with(Symlink::new("/etc/neutron/api-paste.ini", "/opt/gpucloud/venv/etc/neutron/api-paste.ini"))
            .with(tables(recipe, network)?),
    ];
    if recipe.config.volumes.are_wanted() {
        steps.push(step("volume-schema", "Make Cinder's tables").with(tables(recipe, volumes)?));
    }
    Ok(steps)
}

fn step(id: &str, title: &str) -> Step {
    Step::new(id, title).after(BEFORE)
}

/// Makes the tables, once for each lock.
fn tables(recipe: &Recipe, schema: &'static Schema) -> std::result::Result<Task, Failure> {
    let units = schema.services.iter().map(|id| Ok(recipe.service(id)?.unit.clone()));
    let units = units.collect::<std::result::Result<Vec<String>, Failure>>()?;
    let ready = move |host: &Host, standing| schema.make_ready(host, standing, &units);
    let work = |host: &Host| schema.bring_forward(host);
    let version = (schema.version)();
    let work = Restartable { ready, work }.noting(&schema.id(), &version);
    let probe = |_: &Host| has_table(schema.databases[0], schema.table);
    Ok(Task::once(schema.id(), format!("Make {}", schema.name()), &version, probe, work).asking_the_running_system())
}

impl Schema {
    fn id(&self) -> ActionId {
        ActionId::new("schema", self.databases[0])
    }

    fn name(&self) -> String {
        format!("the tables of {}", self.databases.join(", "))
    }

    fn dump(&self) -> PathBuf {
        Path::new(DUMPS).join(format!("{}.sql", self.databases[0]))
    }

    fn make_ready(&self, host: &Host, standing: Standing, units: &[String]) -> Result<()> {
        match standing {
            Standing::Nothing => Ok(()),
            Standing::Half => self.databases.iter().try_for_each(|name| make_anew(name)),
            Standing::Whole | Standing::Torn => self.save(host, units),
            Standing::HalfChanged => self.put_back(host, units),
        }
    }

    fn save(&self, host: &Host, units: &[String]) -> Result<()> {
        let databases = self.databases.iter().map(|name| Identifier::new(name));
        let databases = databases.collect::<std::result::Result<Vec<_>, _>>()?;
        dump::refuse_without_room(host, &databases, Path::new(DUMPS))?;
        stand_still(host, units)?;
        dump::save(host, &databases, &self.dump())
    }

    fn put_back(&self, host: &Host, units: &[String]) -> Result<()> {
        if !files::exists(host, self.dump()) {
            // It goes when all is done: nothing was left half changed.
            return self.save(host, units);
        }
        stand_still(host, units)?;
        dump::load(host, &self.dump())
    }

    /// A stop request waits for its end.
    fn bring_forward(&self, host: &Host) -> Result<()> {
        (self.make)(&host.to_its_end(self.name())?)?;
        sql::server()?.flush()?;
        dump::remove(host, &self.dump())
    }
}

fn stand_still(host: &Host, units: &[String]) -> Result<()> {
    systemd::stop_all(host, &units.iter().map(String::as_str).collect::<Vec<_>>())
}

fn make_anew(name: &str) -> Result<()> {
    let (sql, name) = (sql::server()?, Identifier::new(name)?);
    sql.drop_database(&name)?;
    Ok(sql.create_database(&name)?)
}

fn has_table(database: &str, table: &str) -> Result<Checked> {
    let Some(sql) = sql::connect()? else { return Ok(Checked::Later("when MariaDB runs".into())) };
    let there = sql.table_exists(&Identifier::new(database)?, &Identifier::new(table)?)?;
    Ok(Checked::done_if(there, "make"))
}

fn run(host: &Host, tool: &str, configuration: &[&str], args: &[&str]) -> Result<()> {
    program(tool).args(configuration.iter().copied()).args(args.iter().copied()).limit(MIGRATION_LIMIT).run(host)
}

const PLACEMENT: &[&str] = &["--config-file", "/etc/placement/placement.conf"];
const GLANCE: &[&str] =
    &["--config-file", "/etc/glance/glance-api.conf", "--config-dir", "/etc/glance/glance-api.conf.d"];
const NOVA: &[&str] = &["--config-file", "/etc/nova/nova.conf", "--config-dir", "/etc/nova/nova.conf.d"];
const NEUTRON: &[&str] = &[
    "--config-file",
    "/etc/neutron/neutron.conf",
    "--config-file",
    "/etc/neutron/plugins/ml2/ml2_conf.ini",
    "--config-dir",
    "/etc/neutron/neutron.conf.d",
];

const CINDER: &[&str] = &["--config-file", "/etc/cinder/cinder.conf", "--config-dir", "/etc/cinder/cinder.conf.d"];

fn placement(host: &Host) -> Result<()> {
    run(host, "placement-manage", PLACEMENT, &["db", "sync"])
}

fn glance(host: &Host) -> Result<()> {
    run(host, "glance-manage", GLANCE, &["db_sync"])?;
    run(host, "glance-manage", GLANCE, &["db_load_metadefs", "/opt/gpucloud/venv/etc/glance/metadefs"])
}

/// Cell mappings are written as templates that Nova fills from its own configuration: no password in an argument or
/// in the database (docs.openstack.org/nova, "Template URLs in Cell Mappings").
const CELL0_DATABASE: &str = "{scheme}://{username}:{password}@{hostname}/nova_cell0?{query}";
const CELL1_DATABASE: &str = "{scheme}://{username}:{password}@{hostname}/{path}?{query}";
const CELL_QUEUE: &str = "{scheme}://{username}:{password}@{hostname}:{port}/{path}";

fn nova(host: &Host) -> Result<()> {
    run(host, "nova-manage", NOVA, &["api_db", "sync"])?;
    run(host, "nova-manage", NOVA, &["cell_v2", "map_cell0", "--database_connection", CELL0_DATABASE])?;
    // Nova refuses a second cell of the same name.
    if sql::server()?.count(&Identifier::new("nova_api")?, &Identifier::new("cell_mappings")?, "name = 'cell1'")? == 0 {
        let cell1 = ["cell_v2", "create_cell", "--name", "cell1", "--database_connection", CELL1_DATABASE];
        run(host, "nova-manage", NOVA, &[&cell1[..], &["--transport-url", CELL_QUEUE]].concat())?;
    }
    run(host, "nova-manage", NOVA, &["db", "sync"])
}

fn neutron(host: &Host) -> Result<()> {
    run(host, "neutron-db-manage", NEUTRON, &["upgrade", "heads"])
}

fn cinder(host: &Host) -> Result<()> {
    run(host, "cinder-manage", CINDER, &["db", "sync"])
}

fn keystone_manage(args: &[&str]) -> Command {
    program("keystone-manage").args(["--config-file", "/etc/keystone/keystone.conf"]).args(args.iter().copied())
}

fn keystone(host: &Host) -> Result<()> {
    keystone_manage(&["db_sync"]).limit(MIGRATION_LIMIT).run(host)
}

fn identity(recipe: &Recipe, schema: &'static Schema) -> std::result::Result<Step, Failure> {
    Ok(step("identity-schema", "Make Keystone's tables, keys and administrator")
        .with(tables(recipe, schema)?)
        .with(keys("fernet"))
        .with(keys("credential"))
        .with(bootstrap(recipe)?))
}

/// Keystone signs tokens, and encrypts stored credentials, with these: key 1 is in use, key 0 the next
/// (docs.openstack.org/keystone, "Fernet - Frequently Asked Questions"). Written here: `keystone-manage` takes two
/// seconds for each pair.
fn keys(kind: &'static str) -> Task {
    let dir = format!("/etc/keystone/{kind}-keys");
    let key = |n: u8| Path::new(&dir).join(n.to_string());
    let (next, first) = (key(0), key(1));
    let first_again = first.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &first), "make"));
    let work = move |host: &Host| {
        let owner = files::owner(host, super::ACCOUNT, super::ACCOUNT)?;
        for path in [&next, &first_again] {
            files::write(host, path, fernet_key()?.as_bytes(), 0o600, owner)?;
        }
        Ok(())
    };
    Task::new(ActionId::new("keys", kind), format!("Make Keystone's {kind} keys"), probe, work)
}

/// 32 random bytes as text (github.com/fernet/spec).
fn fernet_key() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::protocol("make a random key", error))?;
    Ok(URL_SAFE.encode(bytes))
}

/// The administrator, the roles, and Keystone's own entry in the catalog. The password goes in by environment.
fn bootstrap(recipe: &Recipe) -> std::result::Result<Task, Failure> {
    let url = format!("http://{}:5000/v3", recipe.config.host.address);
    let region = recipe.config.cloud.region.to_string();
    let password = secret(recipe, "admin")?;
    let version = files::hash(format!("{url} {region} {}", password.expose()).as_bytes());
    let work = move |host: &Host| {
        keystone_manage(&["bootstrap", "--bootstrap-region-id", &region])
            .args(["--bootstrap-public-url", &url, "--bootstrap-internal-url", &url, "--bootstrap-admin-url", &url])
            .env("OS_BOOTSTRAP_PASSWORD", password.expose())
            .run(host)
    };
    let id = ActionId::new("keystone", "administrator");
    Ok(Task::once(id, "Make the cloud's administrator", &version, |_| has_administrator(), work)
        .asking_the_running_system())
}

fn has_administrator() -> Result<Checked> {
    let Some(sql) = sql::connect()? else { return Ok(Checked::Later("when MariaDB runs".into())) };
    let (database, table) = (Identifier::new("keystone")?, Identifier::new("local_user")?);
    let there = sql.table_exists(&database, &table)? && sql.count(&database, &table, "name = 'admin'")? > 0;
    Ok(Checked::done_if(there, "make"))
}
