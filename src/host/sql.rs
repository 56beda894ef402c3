//! Databases and accounts of the local MariaDB, over its unix socket, as root: the one place that uses the `mysql`
//! crate.
//!
//! What holds here:
//! - Root proves itself by the uid of the process (MariaDB's `unix_socket` plugin): no password.
//! - Names that reach a statement are [`Identifier`] and [`AccountHost`]: they cannot hold a bad character.
//! - A password never leaves this process, only its `mysql_native_password` hash does: never on a command line, in the
//!   server's general log, in an error.
//! - Nothing waits: who starts MariaDB waits for its probe (`engine/probe.rs`), and a look finds it there or not.
//! - Every call may be repeated: what is there already is left, what is missing already is fine.

mod error;

pub use error::{Cause, LET_ROOT_IN, SqlError};

use error::failed;
use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, OptsBuilder};
use sha1::{Digest, Sha1};
use std::cell::RefCell;
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Debian and Ubuntu put MariaDB's socket.
pub const DEFAULT_SOCKET: &str = "/run/mysqld/mysqld.sock";
/// How long one answer may take: a database with all its tables is dropped in seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Told to the crate so that it does not ask the server; our statements are short.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// "There is no such grant defined for user", `ER_NONEXISTING_GRANT`.
const NO_SUCH_GRANT: u16 = 1141;

/// The name of a database, table or account: `[a-z0-9_]{1,32}`, so that it needs no quoting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    /// Accepts `name`, or returns [`SqlError::Name`].
    pub fn new(name: &str) -> Result<Self, SqlError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if (1..=32).contains(&name.len()) && name.chars().all(allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(SqlError::Name(name.to_owned()))
        }
    }

    /// As the database part of a grant, where `_` is a wildcard for one character.
    fn as_grant_pattern(&self) -> String {
        self.0.replace('_', "\\_")
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From where an account may log in, the part behind the `@`: one address, or `localhost` (the unix socket).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountHost {
    /// The unix socket, and TCP from 127.0.0.1 unless `skip-name-resolve` is set.
    Localhost,
    /// One address.
    Address(IpAddr),
}

impl std::str::FromStr for AccountHost {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        match text {
            "localhost" => Ok(Self::Localhost),
            other => other.parse().map(Self::Address).map_err(|_| SqlError::Name(other.to_owned())),
        }
    }
}

impl fmt::Display for AccountHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str("localhost"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// How a server that let root in stands, and how it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// "11.8.9-MariaDB-0+deb13u1 from Debian".
    pub version: String,
    /// The setting that keeps it from taking changes, if any: "read_only".
    pub read_only: Option<&'static str>,
    /// Connections that are open, this one too.
    pub connections: u64,
    /// Connections that it allows; root has one beyond them.
    pub max_connections: u64,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// Its TCP port; none where it listens on its socket only.
    pub port: Option<u16>,
    /// The address that it listens on; none for every address.
    pub bind_address: Option<String>,
}

impl ServerState {
    /// Whether it is MariaDB: MySQL and Percona do not know the statements that are used here.
    pub fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// Whether nobody but root gets in.
    pub fn is_crowded(&self) -> bool {
        self.connections > self.max_connections
    }
}

/// What a look at the server came to.
#[derive(Debug)]
pub enum Look {
    /// Nobody listens on the socket.
    Nobody,
    /// It lets root in, and stands so.
    Open(ServerState),
    /// It does not let root in, or lets root do too little.
    Shut(SqlError),
}

/// Looks whether root may do everything in the server behind Debian's and Ubuntu's socket, within `limit`.
pub fn look(limit: Duration) -> Look {
    let asked = || -> Result<Option<ServerState>, SqlError> {
        let Some(sql) = connect_within(limit)? else { return Ok(None) };
        sql.require_all()?;
        sql.state().map(Some)
    };
    match asked() {
        Ok(None) => Look::Nobody,
        Ok(Some(state)) => Look::Open(state),
        Err(error) => Look::Shut(error),
    }
}

/// A MariaDB that let root in.
#[derive(Debug)]
pub struct Sql(RefCell<Conn>);

/// The server at Debian's and Ubuntu's place; `None` where nobody listens.
pub fn connect() -> Result<Option<Sql>, SqlError> {
    Sql::connect(Path::new(DEFAULT_SOCKET))
}

/// The same, where each answer may take `limit`.
pub fn connect_within(limit: Duration) -> Result<Option<Sql>, SqlError> {
    Sql::connect_within(Path::new(DEFAULT_SOCKET), limit)
}

/// The same where there must be one.
///
/// # Errors
/// [`SqlError::NotRunning`], or as [`connect`].
pub fn server() -> Result<Sql, SqlError> {
    connect()?.ok_or(SqlError::NotRunning)
}

impl Sql {
    /// Logs in at the server behind `socket`. `None` where the socket is missing or nobody listens.
    ///
    /// # Errors
    /// Root has a password instead of `unix_socket` (MariaDB's error 1045), or this process is not root's (1698):
    /// [`SqlError::Denied`].
    pub fn connect(socket: &Path) -> Result<Option<Self>, SqlError> {
        Self::connect_within(socket, LIMIT)
    }

    fn connect_within(socket: &Path, limit: Duration) -> Result<Option<Self>, SqlError> {
        let options = OptsBuilder::new()
            .user(Some("root"))
            .socket(Some(socket.to_string_lossy()))
            .read_timeout(Some(limit))
            .write_timeout(Some(limit))
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .prefer_socket(false);
        match Conn::new(options) {
            Ok(connection) => Ok(Some(Self(RefCell::new(connection)))),
            Err(error) if nobody_there(&error) => Ok(None),
            Err(error) => Err(failed("let root in", &error)),
        }
    }

    /// How the server stands and is set.
    pub fn state(&self) -> Result<ServerState, SqlError> {
        const SETTINGS: &str = "SELECT VERSION(), CAST(@@read_only AS CHAR), CAST(@@innodb_read_only AS CHAR), \
                                @@innodb_force_recovery, @@max_connections, @@datadir, @@port, @@bind_address, \
                                CAST(@@skip_networking AS CHAR)";
        type Row = (String, String, String, u64, u64, String, u16, Option<String>, String);
        let what = "tell its settings";
        let rows: Vec<Row> = self.query(what, SETTINGS)?;
        let broken = || SqlError::Failed { what: what.into(), said: "it gave no answer".into(), cause: Cause::Other };
        let (version, read_only, innodb, recovery, max_connections, data, port, bind_address, no_network) =
            rows.into_iter().next().ok_or_else(broken)?;
        let threads: Vec<(String, u64)> = self.query(what, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")?;
        // From 4 on InnoDB takes no changes (<https://mariadb.com/kb/en/innodb-recovery-modes/>).
        let settings = [
            ("read_only", is_on(&read_only)),
            ("innodb_read_only", is_on(&innodb)),
            ("innodb_force_recovery", recovery > 3),
        ];
        Ok(ServerState {
            version,
            read_only: settings.into_iter().find_map(|(name, on)| on.then_some(name)),
            connections: threads.first().map_or(0, |(_, count)| *count),
            max_connections,
            data: data.into(),
            port: (!is_on(&no_network)).then_some(port),
            bind_address: bind_address.filter(|address| !address.is_empty() && address != "*"),
        })
    }

    /// Fails where root may not do everything and give it away, or where nobody is asked who it is.
    fn require_all(&self) -> Result<(), SqlError> {
        let what = "show the grants of root";
        let lines: Vec<String> = self.query(what, "SHOW GRANTS")?;
        let all =
            |line: &String| line.starts_with("GRANT ALL PRIVILEGES ON *.* TO ") && line.contains("WITH GRANT OPTION");
        // MySQL 8 lists every privilege by its name; it is refused for another reason.
        let many = |line: &String| line.contains("CREATE USER") && line.contains("WITH GRANT OPTION");
        if lines.iter().any(|line| all(line) || many(line)) {
            return Ok(());
        }
        let said = "root has not all privileges".to_owned();
        Err(SqlError::Failed { what: "do all that the cloud needs".into(), said, cause: Cause::Unprivileged })
    }

    /// Whether a database of this name exists.
    pub fn database_exists(&self, name: &Identifier) -> Result<bool, SqlError> {
        let sql = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{name}'");
        self.any(&format!("look for the database {name}"), &sql)
    }

    /// Whether the account `name`@`host` exists. Another host is another account.
    pub fn user_exists(&self, name: &Identifier, host: AccountHost) -> Result<bool, SqlError> {
        let sql = format!("SELECT 1 FROM mysql.user WHERE User='{name}' AND Host='{host}'");
        self.any(&format!("look for the account {name}@{host}"), &sql)
    }

    /// Whether `database` has a table or view of this name.
    pub fn table_exists(&self, database: &Identifier, table: &Identifier) -> Result<bool, SqlError> {
        let sql =
            format!("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA='{database}' AND TABLE_NAME='{table}'");
        self.any(&format!("look for the table {database}.{table}"), &sql)
    }

    /// How many rows of a table fulfil `condition`, which must be our own text.
    pub fn count(&self, database: &Identifier, table: &Identifier, condition: &str) -> Result<u64, SqlError> {
        let sql = format!("SELECT COUNT(*) FROM {database}.{table} WHERE {condition}");
        let rows: Vec<u64> = self.query(&format!("count the rows of {database}.{table}"), &sql)?;
        Ok(rows.into_iter().next().unwrap_or(0))
    }

    /// The same with a value for each `?` of `condition`.
    pub fn count_with(
        &self,
        database: &Identifier,
        table: &Identifier,
        condition: &str,
        values: &[&str],
    ) -> Result<u64, SqlError> {
        let sql = format!("SELECT COUNT(*) FROM {database}.{table} WHERE {condition}");
        let values: Vec<mysql::Value> = values.iter().map(mysql::Value::from).collect();
        let count: Option<u64> = self
            .0
            .borrow_mut()
            .exec_first(sql, values)
            .map_err(|error| failed(&format!("count the rows of {database}.{table}"), &error))?;
        Ok(count.unwrap_or(0))
    }

    /// A text column of the first row that fulfils `condition`, which must be our own text.
    pub fn first(
        &self,
        database: &Identifier,
        table: &Identifier,
        column: &Identifier,
        condition: &str,
    ) -> Result<Option<String>, SqlError> {
        let sql = format!("SELECT {column} FROM {database}.{table} WHERE {condition} LIMIT 1");
        let rows: Vec<String> = self.query(&format!("look up {column} in {database}.{table}"), &sql)?;
        Ok(rows.into_iter().next())
    }

    /// Whether this is the password stored for `name`@`host`. False where there is no account.
    ///
    /// Compares hashes, because that asks the account and nothing else: a login over TCP also fails when the server
    /// does not listen there, or when an anonymous account comes first; and it leaves "Access denied" in the log.
    /// `mysql.user` is a view with these columns since 10.4 (<https://mariadb.com/kb/en/mysql-user-table/>).
    pub fn password_matches(&self, name: &Identifier, host: AccountHost, password: &str) -> Result<bool, SqlError> {
        let hash = native_password_hash(password);
        let sql = format!(
            "SELECT 1 FROM mysql.user WHERE User='{name}' AND Host='{host}' AND plugin='mysql_native_password' \
             AND authentication_string='{hash}'"
        );
        self.any(&format!("compare the password of {name}@{host}"), &sql).map_err(|error| without(&hash, error))
    }

    /// Whether the account holds all privileges on `database`, or on everything.
    pub fn has_all_grant(&self, name: &Identifier, host: AccountHost, database: &Identifier) -> Result<bool, SqlError> {
        let rows: Vec<String> = match self.0.borrow_mut().query(format!("SHOW GRANTS FOR '{name}'@'{host}'")) {
            Ok(rows) => rows,
            Err(mysql::Error::MySqlError(error)) if error.code == NO_SUCH_GRANT => Vec::new(),
            Err(error) => return Err(failed(&format!("show the grants of {name}@{host}"), &error)),
        };
        Ok(rows.iter().any(|line| gives_all(line, database)))
    }

    /// Creates a database for OpenStack. One that exists keeps the collation it has.
    ///
    /// The collation is named because the default is not the same everywhere: 11.8 takes `utf8mb4_uca1400_ai_ci` where
    /// 10.11 takes `utf8mb4_general_ci`.
    pub fn create_database(&self, name: &Identifier) -> Result<(), SqlError> {
        let sql = format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci");
        self.run(&format!("create the database {name}"), &sql)
    }

    /// Bytes that tables and indexes of these databases take, as MariaDB estimates them.
    pub fn size(&self, databases: &[Identifier]) -> Result<u64, SqlError> {
        let names: Vec<String> = databases.iter().map(|name| format!("'{name}'")).collect();
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS UNSIGNED) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA IN ({})",
            names.join(",")
        );
        Ok(self.query("measure databases", &sql)?.into_iter().next().unwrap_or(0))
    }

    /// The names of all databases.
    pub fn databases(&self) -> Result<Vec<String>, SqlError> {
        self.query("list the databases", "SHOW DATABASES")
    }

    /// Brings everything that was committed onto the disk, whatever the configuration leaves in memory.
    pub fn flush(&self) -> Result<(), SqlError> {
        self.run("write the databases to the disk", "FLUSH ENGINE LOGS")
    }

    /// Removes a database with everything in it.
    pub fn drop_database(&self, name: &Identifier) -> Result<(), SqlError> {
        self.run(&format!("drop the database {name}"), &format!("DROP DATABASE IF EXISTS `{name}`"))
    }

    /// Creates the account, or gives the one that exists this password. Grants stay.
    ///
    /// Sends the hash: a server with a password validation plugin refuses that while `strict_password_validation` is
    /// on. Debian and Ubuntu load none.
    pub fn set_user(&self, name: &Identifier, host: AccountHost, password: &str) -> Result<(), SqlError> {
        let hash = native_password_hash(password);
        for verb in ["CREATE USER IF NOT EXISTS", "ALTER USER"] {
            let sql = format!("{verb} '{name}'@'{host}' IDENTIFIED VIA mysql_native_password USING '{hash}'");
            self.run(&format!("set the account {name}@{host}"), &sql).map_err(|error| without(&hash, error))?;
        }
        Ok(())
    }

    /// Removes the account and its grants.
    pub fn drop_user(&self, name: &Identifier, host: AccountHost) -> Result<(), SqlError> {
        self.run(&format!("drop the account {name}@{host}"), &format!("DROP USER IF EXISTS '{name}'@'{host}'"))
    }

    /// Gives the account all privileges on `database`, which need not exist yet.
    ///
    /// # Errors
    /// The account does not exist: a grant creates none.
    pub fn grant_all(&self, database: &Identifier, name: &Identifier, host: AccountHost) -> Result<(), SqlError> {
        let pattern = database.as_grant_pattern();
        let sql = format!("GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{name}'@'{host}'");
        self.run(&format!("grant {database} to {name}@{host}"), &sql)
    }

    fn run(&self, what: &str, sql: &str) -> Result<(), SqlError> {
        self.0.borrow_mut().query_drop(sql).map_err(|error| failed(what, &error))
    }

    fn query<T: mysql::prelude::FromRow>(&self, what: &str, sql: &str) -> Result<Vec<T>, SqlError> {
        self.0.borrow_mut().query(sql).map_err(|error| failed(what, &error))
    }

    fn any(&self, what: &str, sql: &str) -> Result<bool, SqlError> {
        Ok(!self.query::<u8>(what, sql)?.is_empty())
    }
}

/// A missing socket and one left behind by a dead server are no errors: MariaDB is just not there.
fn nobody_there(error: &mysql::Error) -> bool {
    use ErrorKind::{ConnectionRefused, NotFound};
    let mysql::Error::DriverError(DriverError::CouldNotConnect(Some((_, _, kind)))) = error else { return false };
    matches!(kind, NotFound | ConnectionRefused)
}

/// A switch is a number in some versions, a word in others.
fn is_on(value: &str) -> bool {
    !matches!(value, "0" | "OFF")
}

/// The hash that MariaDB keeps for `mysql_native_password`: `*` and SHA1(SHA1(password)) in hex, what its function
/// `PASSWORD()` returns (<https://mariadb.com/kb/en/password/>).
///
/// From the generated passwords of this program (over 128 random bits) it cannot be turned back.
fn native_password_hash(password: &str) -> String {
    let twice = Sha1::digest(Sha1::digest(password.as_bytes()));
    format!("*{}", hex::encode_upper(twice))
}

/// Whether a line of `SHOW GRANTS` gives everything on `database`, its `_` escaped or not.
fn gives_all(line: &str, database: &Identifier) -> bool {
    let escaped = database.as_grant_pattern();
    ["*.*", &format!("`{escaped}`.*"), &format!("`{database}`.*")]
        .iter()
        .any(|on| line.starts_with(&format!("GRANT ALL PRIVILEGES ON {on} TO ")))
}

fn without(secret: &str, error: SqlError) -> SqlError {
    match error {
        SqlError::Failed { what, said, cause } => {
            SqlError::Failed { what, said: said.replace(secret, "(hidden)"), cause }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Identifier {
        Identifier::new(text).unwrap()
    }

    #[test]
    fn names_hold_no_bad_character() {
        for bad in ["", "a-b", "a`b", "a'b", "A", "a b", &"a".repeat(33)] {
            assert!(Identifier::new(bad).is_err(), "{bad}");
        }
        for bad in ["", "a'b", "%", "300.1.1.1"] {
            assert!(bad.parse::<AccountHost>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hash_is_the_one_of_mariadb() {
        // What SELECT PASSWORD('password') answers.
        assert_eq!(native_password_hash("password"), "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }

    #[test]
    fn only_everything_on_the_right_database_counts() {
        let gives = |line: &str| gives_all(line, &name("nova_api"));
        assert!(gives("GRANT ALL PRIVILEGES ON `nova\\_api`.* TO `nova`@`127.0.0.1`"));
        assert!(gives("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"));
        assert!(!gives("GRANT SELECT ON `nova\\_api`.* TO `nova`@`127.0.0.1`"));
        assert!(!gives("GRANT ALL PRIVILEGES ON `nova`.* TO `nova`@`127.0.0.1`"));
    }

    #[test]
    fn a_server_that_is_silent_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let begin = std::time::Instant::now();
        let error = Sql::connect_within(&socket, Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error.contains("did not answer in time"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(3), "it took {:?}", begin.elapsed());
    }

    #[test]
    fn nobody_listening_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        assert!(Sql::connect(&socket).unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(Sql::connect(&socket).unwrap().is_none());
    }
}
