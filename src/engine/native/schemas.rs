//! Databases' tables, Keystone's keys and its administrator. The five services' steps run side by side.
//!
//! A migration that was killed in its middle cannot be repeated: MariaDB has no transactions around table changes.
//! While none was ever completed, there is nothing to lose: the databases are made anew.

use super::Recipe;
use super::foundation::secret;
use super::python::{lock_version, program};
use crate::action::symlink::Symlink;
use crate::action::task::{Clears, Restartable, Task};
use crate::action::{ActionId, Checked};
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::sql::{self, Identifier};
use crate::host::{Error, Host, Result, files};
use crate::plan::Step;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use std::path::Path;

/// What every schema step waits for.
const BEFORE: &[&str] = &["databases", "byte-code", "configure"];

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    Ok(vec![
        identity(recipe)?,
        step("placement-schema", "Make Placement's tables").with(tables(
            &["placement"],
            "resource_providers",
            placement,
        )),
        step("image-schema", "Make Glance's tables")
            .with(Symlink::new(
                "/etc/glance/glance-api-paste.ini",
                "/opt/gpucloud/venv/etc/glance/glance-api-paste.ini",
            ))
            .with(tables(&["glance"], "images", glance)),
        step("compute-schema", "Make Nova's tables and cells")
            .with(Symlink::new("/etc/nova/api-paste.ini", "/opt/gpucloud/venv/etc/nova/api-paste.ini"))
            .with(tables(&["nova_cell1", "nova_api", "nova_cell0"], "services", nova)),
        step("network-schema", "Make Neutron's tables")
            .with(Symlink::new("/etc/neutron/api-paste.ini", "/opt/gpucloud/venv/etc/neutron/api-paste.ini"))
            .with(tables(&["neutron"], "networks", neutron)),
    ])
}

fn step(id: &str, title: &str) -> Step {
    Step::new(id, title).after(BEFORE)
}

/// Makes the tables of `databases`, once for each lock; the first of them must have `table`.
fn tables(databases: &'static [&'static str], table: &'static str, make: fn(&Host) -> Result<()>) -> Task {
    let first = databases[0];
    let id = ActionId::new("schema", first);
    let clear = move |_: &Host| databases.iter().try_for_each(|name| make_anew(name));
    let work = move |host: &Host| {
        make(host)?;
        Ok(sql::server()?.flush()?)
    };
    let work = Restartable { work, clear, clears: Clears::BeforeFirstSuccess }.noting(&id);
    let probe = move |_: &Host| has_table(first, table);
    Task::once(id, format!("Make the tables of {}", databases.join(", ")), &lock_version(), probe, work)
        .asking_the_running_system()
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
    program(tool).args(configuration.iter().copied()).args(args.iter().copied()).run(host)
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

fn keystone_manage(args: &[&str]) -> Command {
    program("keystone-manage").args(["--config-file", "/etc/keystone/keystone.conf"]).args(args.iter().copied())
}

fn identity(recipe: &Recipe) -> std::result::Result<Step, Failure> {
    Ok(step("identity-schema", "Make Keystone's tables, keys and administrator")
        .with(tables(&["keystone"], "project", |host| keystone_manage(&["db_sync"]).run(host)))
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
