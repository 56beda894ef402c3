//! MariaDB and RabbitMQ where they run: in a lab host with a cloud. What is made here has names of its own and goes.

use gpucloud::cloud::resource::{MARK, MARK_KEY};
use gpucloud::engine::holdings::KINDS;
use gpucloud::host::amqp::{self, Login};
use gpucloud::host::command::Command;
use gpucloud::host::sql::{self, AccountHost, Identifier};
use gpucloud::host::{Host, dump, files};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const SECRETS: &str = "/etc/gpucloud/secrets.toml";
const LOOPBACK: AccountHost = AccountHost::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

pub fn why_no_mariadb() -> Option<String> {
    match sql::connect() {
        Ok(Some(_)) => None,
        Ok(None) => Some("MariaDB does not run here".into()),
        Err(error) => Some(error.to_string()),
    }
}

pub fn why_no_rabbitmq() -> Option<String> {
    let no_cloud = !std::path::Path::new(SECRETS).exists();
    no_cloud.then(|| "there is no cloud here whose queue could be asked".into())
}

fn name(text: &str) -> Identifier {
    Identifier::new(text).unwrap()
}

pub fn databases_come_and_go() {
    let (sql, database) = (sql::server().unwrap(), name("hands_test"));
    sql.drop_database(&database).unwrap();
    assert!(!sql.database_exists(&database).unwrap());
    for _ in 0..2 {
        sql.create_database(&database).unwrap();
        assert!(sql.database_exists(&database).unwrap());
    }
    assert!(!sql.table_exists(&database, &name("t")).unwrap());
    assert!(sql.table_exists(&name("mysql"), &name("user")).unwrap());
    assert_eq!(sql.count(&name("mysql"), &name("user"), "User = 'nobody_has_this_name'").unwrap(), 0);
    for _ in 0..2 {
        sql.drop_database(&database).unwrap();
    }
    assert!(!sql.database_exists(&database).unwrap());
}

pub fn accounts_come_and_go_with_password_and_grants() {
    let (sql, account) = (sql::server().unwrap(), name("hands_test_account"));
    let (database, other) = (name("hands_test_grants"), name("hands_testxgrants"));
    sql.drop_user(&account, LOOPBACK).unwrap();
    assert!(!sql.user_exists(&account, LOOPBACK).unwrap());
    assert!(!sql.password_matches(&account, LOOPBACK, "first").unwrap());
    assert!(!sql.has_all_grant(&account, LOOPBACK, &database).unwrap());
    for password in ["first", "second"] {
        sql.set_user(&account, LOOPBACK, password).unwrap();
        assert!(sql.password_matches(&account, LOOPBACK, password).unwrap());
    }
    assert!(!sql.password_matches(&account, LOOPBACK, "first").unwrap());
    assert!(!sql.user_exists(&account, AccountHost::Localhost).unwrap(), "another host is another account");
    sql.grant_all(&database, &account, LOOPBACK).unwrap();
    assert!(sql.has_all_grant(&account, LOOPBACK, &database).unwrap());
    assert!(!sql.has_all_grant(&account, LOOPBACK, &other).unwrap(), "_ is a wildcard in a grant");
    sql.drop_user(&account, LOOPBACK).unwrap();
    assert!(!sql.user_exists(&account, LOOPBACK).unwrap());
}

/// Tables, rows and collation come back; what was made since is gone.
pub fn a_dump_brings_back_what_was() {
    let (sql, host, database) = (sql::server().unwrap(), Host::live(), name("hands_test_dump"));
    let run = |statement: &str| Command::new("mariadb").args(["--execute", statement]).run(&host).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tables.sql");
    sql.create_database(&database).unwrap();
    run("CREATE TABLE hands_test_dump.kept (id INT PRIMARY KEY, name VARBINARY(9)); \
         INSERT INTO hands_test_dump.kept VALUES (1, X'00FF27'), (2, 'two')");
    let databases = [database.clone()];
    assert!(sql.size(&databases).unwrap() > 0);
    dump::refuse_without_room(&host, &databases, dir.path()).unwrap();
    dump::save(&host, &databases, &path).unwrap();
    assert_eq!(files::status(&host, &path).unwrap().unwrap().mode, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "half of a dump stays behind");
    run("ALTER TABLE hands_test_dump.kept ADD half INT; DELETE FROM hands_test_dump.kept WHERE id = 1; \
         CREATE TABLE hands_test_dump.since (id INT)");
    for _ in 0..2 {
        dump::load(&host, &path).unwrap();
        assert!(!sql.table_exists(&database, &name("since")).unwrap());
        assert_eq!(sql.count(&database, &name("kept"), "id = 1 AND name = X'00FF27'").unwrap(), 1);
        assert_eq!(
            sql.count(
                &name("information_schema"),
                &name("columns"),
                "table_schema = 'hands_test_dump' AND column_name = 'half'"
            )
            .unwrap(),
            0
        );
    }
    dump::remove(&host, &path).unwrap();
    sql.drop_database(&database).unwrap();
    // Nothing can be written there.
    assert!(dump::refuse_without_room(&host, &[name("mysql")], std::path::Path::new("/proc")).is_err());
}

pub fn refusal_says_what_was_to_be_done() {
    let sql = sql::server().unwrap();
    let error = sql.grant_all(&name("x"), &name("nobody_has_this_name"), LOOPBACK).unwrap_err().to_string();
    assert!(error.starts_with("MariaDB could not grant x to nobody_has_this_name@127.0.0.1: "), "{error}");
}

/// Runs statements as the administrator would.
fn run(statements: &str) {
    let done = std::process::Command::new("mariadb").args(["--execute", statements]).output().unwrap();
    assert!(done.status.success(), "{statements}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Tables with the columns of Nova, Glance and Cinder that count. A thing without a mark, one with our key and
/// another's value, one whose mark was deleted, and one of ours: three are users'. A mark of nobody hides none.
pub fn only_our_whole_mark_makes_a_thing_ours() {
    let (sql, database) = (sql::server().unwrap(), name("hands_test_holdings"));
    sql.drop_database(&database).unwrap();
    for kind in &KINDS {
        assert_eq!(kind.of_users(&sql, &database).unwrap(), 0, "{} without tables", kind.database);
    }
    sql.create_database(&database).unwrap();
    for (things, id, marks, of, key) in [
        ("instances", "uuid", "instance_metadata", "instance_uuid", "`key`"),
        ("images", "id", "image_properties", "image_id", "name"),
        ("volumes", "id", "volume_metadata", "volume_id", "`key`"),
    ] {
        run(&format!(
            "USE {database}; CREATE TABLE {things} ({id} VARCHAR(36), deleted INT); CREATE TABLE {marks} ({of} \
             VARCHAR(36), {key} VARCHAR(255), value VARCHAR(255), deleted INT); INSERT INTO {things} VALUES ('bare', 0), \
             ('user', 0), ('old', 0), ('ours', 0), ('gone', 1); INSERT INTO {marks} VALUES ('user', '{MARK_KEY}', 'mine', \
             0), ('old', '{MARK_KEY}', '{MARK}', 1), ('ours', '{MARK_KEY}', '{MARK}', 0), (NULL, '{MARK_KEY}', '{MARK}', \
             0);"
        ));
    }
    for kind in &KINDS {
        assert_eq!(kind.of_users(&sql, &database).unwrap(), 3, "{}", kind.database);
    }
    run(&format!("INSERT INTO {database}.image_properties VALUES ('ours', 'image_type', 'snapshot', 0)"));
    assert_eq!(KINDS[1].of_users(&sql, &database).unwrap(), 4, "a snapshot of our instance is a user's");
    sql.drop_database(&database).unwrap();
}

pub fn right_password_is_let_in_and_wrong_ones_are_not() {
    let secrets: toml::Table = std::fs::read_to_string(SECRETS).unwrap().parse().unwrap();
    let password = secrets["rabbit"].as_str().unwrap();
    let login = |user, password| amqp::login(amqp::DEFAULT_PORT, user, password, Duration::from_secs(5));
    assert_eq!(login("openstack", password), Login::Ok);
    assert!(matches!(login("openstack", "wrong"), Login::Refused(_)));
    assert!(matches!(login("nobody", password), Login::Refused(_)));
}
