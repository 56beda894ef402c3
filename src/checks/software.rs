//! What is on the machine already.

use super::{Administrator, Outcome, Subject};
use crate::action::account::no_account;
use crate::config::EngineName;
use crate::finding::Finding;
use crate::host::RoomError;
use crate::host::sql::{self, Look, ServerState, SqlError};

/// The stable name of what concerns services of the administrator's own.
const OWN: &str = "own-services";

pub(super) fn other_clouds(s: &Subject) -> Vec<Finding> {
    let clouds = &s.facts.software.clouds;
    let finding = |(name, path): &(String, String)| {
        Finding::stop(
            "other-cloud",
            format!("there are traces of {name} here"),
            format!("remove it with its own means, then what is left: rm -r {path}"),
        )
        .seen(path)
    };
    if clouds.is_empty() {
        vec![Finding::pass("other-cloud", "no other cloud here")]
    } else {
        clouds.iter().map(finding).collect()
    }
}

pub(super) fn own_databases(s: &Subject) -> Vec<Finding> {
    let databases = &s.facts.software.databases;
    if s.is_begun() || databases.is_empty() {
        return Vec::new();
    }
    let what = "MariaDB here holds databases of another OpenStack, which would be used as ours";
    let next = "if nobody needs them any more: mariadb-dump them away, then drop them";
    vec![Finding::stop("own-databases", what, next).seen(databases.join(", "))]
}

pub(super) fn shared_services(s: &Subject) -> Vec<Finding> {
    // Without a journal nobody can tell whose they are: they were taken for ours when the cloud was made.
    let known = |name: &String| s.our_packages.contains(name) || s.journal_is_lost();
    let shared: Vec<_> = s.facts.software.shared.iter().filter(|(name, _)| !known(name)).collect();
    if shared.is_empty() {
        return Vec::new();
    }
    if shared.iter().any(|(name, _)| name == "rabbitmq-server") {
        let next = "remove it, or use another machine";
        return vec![Finding::stop(
            "own-services",
            "a RabbitMQ of your own is here: the cloud would rename its node",
            next,
        )];
    }
    let names: Vec<String> = shared.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let seen = names.join(", ");
    vec![if s.config.host.share_services {
        Finding::warn(
            "own-services",
            "the cloud will use services that were here before",
            "make a backup of them first",
        )
        .seen(seen)
    } else {
        let next = "remove them, or say share_services = true under [host] to let the cloud use them";
        Finding::stop("own-services", "services of your own would be used by the cloud", next).seen(seen)
    }]
}

/// The address to which MariaDB is limited, and on which the services look for it.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// Its port there.
const PORT: u16 = 3306;

/// Whether root gets into the database server by its socket, and the services by loopback: asked before anything is
/// changed, not behind it.
pub(super) fn database(s: &Subject) -> Outcome {
    s.seen.database.judged(|database| {
        let stop = |what: String, next: &str| vec![Finding::stop(OWN, what, next)];
        match &database.look {
            Look::Nobody if database.unit == "active" => stop(
                format!("your MariaDB runs, but not behind its usual socket {}", sql::DEFAULT_SOCKET),
                "socket = /run/mysqld/mysqld.sock in the section [mysqld] of /etc/mysql, then: systemctl restart mariadb",
            ),
            Look::Nobody if s.is_begun() => Vec::new(),
            Look::Nobody if database.unit == "failed" => stop(
                "your MariaDB does not start".into(),
                "journalctl -u mariadb -n 30 says why; mend it, then: systemctl start mariadb",
            ),
            Look::Nobody => {
                let what = "your MariaDB does not run: the installation starts it; whether it lets the cloud in cannot be told";
                vec![Finding::warn(OWN, what, "to know before: systemctl start mariadb, then: gpucloud-install plan")]
            }
            Look::Shut(SqlError::Denied { said }) => {
                let next = sql::LET_ROOT_IN;
                vec![Finding::stop(OWN, "root cannot log in to your MariaDB by its socket", next).seen(said)]
            }
            Look::Shut(error) => {
                let next = RoomError::next(error).unwrap_or_default();
                vec![Finding::stop(OWN, error.to_string(), next).seen(RoomError::evidence(error).unwrap_or_default())]
            }
            Look::Open(state) => stands(s, state),
        }
    })
}

/// What is wrong with a server that lets root in.
fn stands(s: &Subject, state: &ServerState) -> Vec<Finding> {
    let restart = "then: systemctl restart mariadb";
    let stop = |what: String, next: String| vec![Finding::stop(OWN, what, next)];
    let shared = !s.is_begun();
    match (&state.bind_address, state.port) {
        _ if !state.is_mariadb() => stop(
            format!("the database server here is no MariaDB ({})", state.version),
            "move what it holds to MariaDB, or use another machine".into(),
        ),
        _ if let Some(setting) = state.read_only => {
            stop(format!("MariaDB takes no changes: {setting} is on"), sql::Cause::ReadOnly.next().into())
        }
        (_, None) => stop(
            "your MariaDB listens on its socket only; the cloud's services ask 127.0.0.1".into(),
            format!("take skip-networking out of /etc/mysql, {restart}"),
        ),
        (_, Some(port)) if port != PORT => stop(
            format!("your MariaDB listens on port {port}; the cloud's services ask {PORT}"),
            format!("port = {PORT} in /etc/mysql, {restart}"),
        ),
        (address, _) if shared && !address.as_deref().is_some_and(|address| LOOPBACK.contains(&address)) => {
            let where_now = address.as_deref().unwrap_or("every address");
            let what = format!("your MariaDB listens on {where_now}: the cloud limits it to 127.0.0.1");
            let next =
                "where other machines use it, say so for good: bind-address in /etc/mysql/mariadb.conf.d/zz-own.cnf";
            vec![Finding::warn(OWN, what, next)]
        }
        _ => Vec::new(),
    }
}

/// Whether the services get into a cache of the administrator's own.
pub(super) fn cache(s: &Subject) -> Outcome {
    s.seen.cache.judged(|complaint| {
        let Some(complaint) = complaint else { return Vec::new() };
        let next = match complaint.next.as_str() {
            "" => "-l 127.0.0.1 and -p 11211 in /etc/memcached.conf, then: systemctl restart memcached",
            next => next,
        };
        let what = format!("the cloud's services cannot use your memcached: {}", complaint.what);
        vec![Finding::stop(OWN, what, next).seen(&complaint.evidence)]
    })
}

/// Whether the administrators of the answers have accounts here, wherever those come from.
pub(super) fn administrators(s: &Subject) -> Outcome {
    s.seen.administrators.judged(|all| all.iter().flat_map(administrator).collect())
}

fn administrator(account: &Administrator) -> Option<Finding> {
    match account {
        Administrator { is_known: false, is_member: false, name, .. } => Some(no_account(name)),
        Administrator { is_known: false, name, .. } => {
            let what = format!("{name} (host.administrators) has no account here any more");
            Some(Finding::warn(
                "administrators",
                what,
                "take it out of host.administrators, then: gpucloud-install apply",
            ))
        }
        Administrator { obstacle: Some(obstacle), .. } => {
            let what = format!("{obstacle}: keys that are made will lie in /root/.ssh");
            let next = "sudo gpucloud-install instance ssh finds them; or name a key of your own (public_key in \
                        resources.key_pairs)";
            Some(Finding::warn("administrators", what, next))
        }
        Administrator { .. } => None,
    }
}

/// A cloud that stands cannot do without its passwords.
pub(super) fn lost_secrets(s: &Subject) -> Vec<Finding> {
    let ours = s.facts.software.ours;
    if !ours.applied || ours.secrets {
        return Vec::new();
    }
    let what = "the passwords of this cloud are lost (secrets.toml); new ones can be made, the old ones cannot be told";
    let next =
        "gpucloud-install apply makes new ones and restarts what uses them; clients take /etc/openstack/clouds.yaml";
    vec![Finding::warn("secrets", what, next)]
}

/// And cannot be removed without its journal.
pub(super) fn lost_journal(s: &Subject) -> Vec<Finding> {
    if !s.journal_is_lost() {
        return Vec::new();
    }
    let what = "the journal of this cloud is lost: what was here before it cannot be told any more, and not put back";
    let next =
        "the cloud works on; put /var/lib/gpucloud back from a backup, or keep in mind that uninstall removes nothing";
    vec![Finding::warn("journal", what, next)]
}

/// Volumes that nobody will make.
pub(super) fn volumes(s: &Subject) -> Vec<Finding> {
    let count = s.config.resources.volumes.len();
    if count == 0 || s.seen.has_volumes {
        return Vec::new();
    }
    let what = format!("this cloud has no volume service: {count} declared volumes are skipped");
    let next = match s.config.engine {
        EngineName::Native => "volumes.backend = \"lvm\" gives it one",
        EngineName::Devstack => "devstack.services = [\"cinder\"] gives a new cloud one",
    };
    vec![Finding::warn("volumes", what, next)]
}

/// Before anything is changed: a private key goes nowhere, and a file that is no image spoils no run.
pub(super) fn files(s: &Subject) -> Vec<Finding> {
    let finding = |file: &crate::resources::named_files::WrongFile| {
        Finding::stop(super::FILES, format!("{}: {}", file.answer, file.problem), file.next.clone())
    };
    s.seen.wrong_files.iter().map(finding).collect()
}
