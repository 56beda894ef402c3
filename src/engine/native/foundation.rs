//! Starts MariaDB, RabbitMQ and memcached, and makes databases and accounts in them.

use super::Recipe;
use crate::action::database::{Database, DatabaseUser};
use crate::action::task::Task;
use crate::action::unit::Started;
use crate::action::{ActionId, Checked};
use crate::config::secrets::Secret;
use crate::failure::Failure;
use crate::host::sql::Identifier;
use crate::host::{Host, Result, amqp, rabbitmq};
use crate::plan::Step;
use std::time::Duration;

/// The account of all services in the queue.
pub(super) const QUEUE_USER: &str = "openstack";
/// Debian's port mapper of Erlang listens everywhere unless told otherwise.
const PORT_MAPPER_DROP_IN: &str = "/etc/systemd/system/epmd.socket.d/gpucloud.conf";
/// Database and the account that owns it.
const DATABASES: [(&str, &str); 7] = [
    ("keystone", "keystone"),
    ("placement", "placement"),
    ("glance", "glance"),
    ("nova_api", "nova"),
    ("nova_cell0", "nova"),
    ("nova_cell1", "nova"),
    ("neutron", "neutron"),
];
const ACCOUNTS: [&str; 5] = ["keystone", "placement", "glance", "nova", "neutron"];
/// Database and account of a cloud with volumes.
const VOLUMES: &str = "cinder";

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    Ok(vec![start_database(recipe)?, databases(recipe)?, start_queue(recipe)?])
}

fn start_database(recipe: &Recipe) -> std::result::Result<Step, Failure> {
    Ok(Step::new("start-database", "Start database and cache")
        .after(&["install-database"])
        .with(recipe.public_file("/etc/mysql/mariadb.conf.d/99-gpucloud.cnf")?)
        .with_all(recipe.start("mariadb")?)
        .with_all(recipe.start("memcached")?))
}

fn databases(recipe: &Recipe) -> std::result::Result<Step, Failure> {
    let mut step = Step::new("databases", "Make databases").after(&["start-database"]);
    let more = recipe.config.volumes.are_wanted().then_some(VOLUMES);
    for name in ACCOUNTS.into_iter().chain(more) {
        let password = secret(recipe, &format!("{name}_db"))?;
        step = step.with(DatabaseUser { name: identifier(name)?, password });
    }
    for (name, account) in DATABASES.into_iter().chain(more.map(|name| (name, name))) {
        step = step.with(Database { name: identifier(name)?, account: identifier(account)? });
    }
    Ok(step)
}

/// The names of the cloud's databases, that of a cloud with volumes too.
pub(super) fn database_names() -> Vec<&'static str> {
    DATABASES.iter().map(|(name, _)| *name).chain([VOLUMES]).collect()
}

pub(super) fn secret(recipe: &Recipe, name: &str) -> std::result::Result<Secret, Failure> {
    let found = recipe.secrets.get(name).cloned();
    found.ok_or_else(|| Failure::bug(format!("no secret is called {name}")))
}

fn identifier(name: &str) -> std::result::Result<Identifier, Failure> {
    Ok(Identifier::new(name).map_err(crate::host::Error::from)?)
}

fn start_queue(recipe: &Recipe) -> std::result::Result<Step, Failure> {
    Ok(Step::new("start-queue", "Start the queue")
        .after(&["install-database"])
        .with(recipe.public_file(PORT_MAPPER_DROP_IN)?)
        .with(Started::new("epmd.socket").reading(vec![PORT_MAPPER_DROP_IN.into()]))
        .with(recipe.public_file("/etc/rabbitmq/rabbitmq-env.conf")?)
        .with(recipe.public_file("/etc/rabbitmq/conf.d/10-gpucloud.conf")?.access(0o640, "root", "rabbitmq"))
        .with_all(recipe.start("rabbitmq")?)
        .with(queue_user(secret(recipe, "rabbit")?)))
}

/// RabbitMQ makes the account itself at its first start; this mends one that was there before, or a changed password.
fn queue_user(password: Secret) -> Task {
    let again = password.clone();
    let probe = move |_: &Host| queue_login(&password);
    let work = move |host: &Host| rabbitmq::give_account(host, QUEUE_USER, again.expose());
    Task::new(ActionId::new("queue-user", QUEUE_USER), "Make the queue's account", probe, work)
        .asking_the_running_system()
}

fn queue_login(password: &Secret) -> Result<Checked> {
    Ok(match amqp::login(amqp::DEFAULT_PORT, QUEUE_USER, password.expose(), Duration::from_secs(10)) {
        amqp::Login::Ok | amqp::Login::Blocked => Checked::Done,
        amqp::Login::NoServer => Checked::Later("when RabbitMQ runs".into()),
        amqp::Login::Refused(_) => Checked::needed("make, with a password and permissions"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::holdings::KINDS;

    /// Else it would count as somebody else's, and nobody could uninstall.
    #[test]
    fn every_database_in_which_users_have_something_is_the_clouds_own() {
        assert!(KINDS.iter().all(|kind| database_names().contains(&kind.database)));
    }
}
