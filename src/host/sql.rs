//! Databases and accounts of a local MariaDB, over its unix socket, as root.
//!
//! What holds here:
//! - Root proves itself by the uid of the process (MariaDB's `unix_socket` plugin): no password.
//! - Names that reach SQL are [`Identifier`] and [`AccountHost`]: they cannot hold a bad character.
//! - A password never leaves this process. Only its `mysql_native_password` hash does, over the
//!   unix socket: never on a command line, in the server's general log, in an error.
//! - Every call may be repeated: what is there already is left, what is missing already is fine.
//!
//! No client program and no crate: `mariadb` takes 10 ms to start, `mysql` 28 brings 88 crates.

mod client;
mod packet;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use sha1::{Digest, Sha1};

use client::Connection;

/// Where Debian and Ubuntu put MariaDB's socket.
pub const DEFAULT_SOCKET: &str = "/run/mysqld/mysqld.sock";

/// "There is no such grant defined for user", `ER_NONEXISTING_GRANT`.
const NO_SUCH_GRANT: u16 = 1141;

/// What can go wrong in talking to MariaDB.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The socket is there but cannot be used: no permission, for instance.
    #[error("cannot reach MariaDB at {}: {source}", socket.display())]
    Socket {
        /// The socket that was tried.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, twice, or who listens is no MariaDB.
    #[error("MariaDB could not be asked to {what}: {source}")]
    Broken {
        /// What was to be done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The server said no; `said` is its own line.
    #[error("MariaDB could not {what}: {said}")]
    Refused {
        /// What was to be done.
        what: String,
        /// The server's number of the error.
        code: u16,
        /// The error line, without any hash.
        said: String,
    },
    /// The server did not answer within the time limit.
    #[error("MariaDB did not {what} within {} seconds", limit.as_secs())]
    Timeout {
        /// What was to be done.
        what: String,
        /// The time limit.
        limit: Duration,
    },
    /// A name that is not `[a-z0-9_]{1,32}`.
    #[error("`{0}` cannot name a database or account: use a-z, 0-9 and _, at most 32")]
    Name(String),
}

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

/// From where an account may log in: the part behind the `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountHost {
    /// `localhost`: the unix socket, and TCP from 127.0.0.1 unless `skip-name-resolve` is set.
    Localhost,
    /// `%`: from anywhere.
    Anywhere,
    /// One address.
    Address(IpAddr),
}

impl std::str::FromStr for AccountHost {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        match text {
            "localhost" => Ok(Self::Localhost),
            "%" => Ok(Self::Anywhere),
            other => other.parse().map(Self::Address).map_err(|_| SqlError::Name(other.to_owned())),
        }
    }
}

impl fmt::Display for AccountHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str("localhost"),
            Self::Anywhere => f.write_str("%"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A MariaDB that let root in. All calls share a session, one at a time.
#[derive(Debug)]
pub struct Sql {
    socket: PathBuf,
    /// `None` after it broke; the next call makes a new one.
    connection: Mutex<Option<Connection>>,
}

/// The server at Debian's and Ubuntu's place; `None` where nobody listens.
pub fn connect() -> Result<Option<Sql>, SqlError> {
    Sql::connect(Path::new(DEFAULT_SOCKET))
}

impl Sql {
    /// Logs in at the server behind `socket`. `None` where the socket is missing or nobody listens.
    ///
    /// Where root has a password instead of `unix_socket`, this is [`SqlError::Refused`] with
    /// MariaDB's error 1045; where this process is not root's, with 1698.
    pub fn connect(socket: &Path) -> Result<Option<Self>, SqlError> {
        match Connection::open(socket) {
            Ok(connection) => Ok(Some(Self { socket: socket.to_owned(), connection: Mutex::new(Some(connection)) })),
            Err(SqlError::Socket { source, .. }) if nobody_there(source.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server's version as it says it, such as `10.11.14-MariaDB-0+deb12u2`.
    pub fn version(&self) -> Result<String, SqlError> {
        let answer = self.value("tell its version", "SELECT VERSION()")?;
        Ok(answer.unwrap_or_default())
    }

    /// The names of all databases, the server's own among them.
    pub fn databases(&self) -> Result<Vec<String>, SqlError> {
        let rows = self.query("list its databases", "SHOW DATABASES")?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Whether a database of this name exists.
    pub fn database_exists(&self, name: &Identifier) -> Result<bool, SqlError> {
        Ok(self.collation(name)?.is_some())
    }

    /// Whether the account `name`@`host` exists. Another host is another account.
    pub fn user_exists(&self, name: &Identifier, host: AccountHost) -> Result<bool, SqlError> {
        let sql = format!("SELECT 1 FROM mysql.user WHERE User='{name}' AND Host='{host}'");
        self.any(&format!("look for the account {name}@{host}"), &sql)
    }

    /// Whether `database` has a table or view of this name.
    pub fn table_exists(&self, database: &Identifier, table: &Identifier) -> Result<bool, SqlError> {
        let sql = format!(
            "SELECT 1 FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA='{database}' AND TABLE_NAME='{table}'"
        );
        self.any(&format!("look for the table {database}.{table}"), &sql)
    }

    /// How many rows of a table fulfil `condition`, which must be our own text.
    pub fn count(&self, database: &Identifier, table: &Identifier, condition: &str) -> Result<u64, SqlError> {
        let sql = format!("SELECT COUNT(*) FROM {database}.{table} WHERE {condition}");
        let value = self.value(&format!("count the rows of {database}.{table}"), &sql)?;
        Ok(value.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Whether this is the password stored for `name`@`host`. False where there is no account.
    ///
    /// Compares hashes, because that asks the account and nothing else: a login over TCP also
    /// fails when the server does not listen there, when `skip-name-resolve` makes 127.0.0.1
    /// another host than localhost, or when an anonymous account comes first; and it leaves
    /// "Access denied" in the log and counts towards `max_password_errors`.
    /// `mysql.user` is a view with these columns since 10.4
    /// (<https://mariadb.com/kb/en/mysql-user-table/>); seen on 10.11 and 11.8.
    pub fn password_matches(&self, name: &Identifier, host: AccountHost, password: &str) -> Result<bool, SqlError> {
        let hash = native_password_hash(password);
        let sql = format!(
            "SELECT 1 FROM mysql.user WHERE User='{name}' AND Host='{host}' \
             AND plugin='mysql_native_password' AND authentication_string='{hash}'"
        );
        self.any(&format!("compare the password of {name}@{host}"), &sql)
    }

    /// Whether the account holds all privileges on `database`, or on everything.
    pub fn has_all_grant(&self, name: &Identifier, host: AccountHost, database: &Identifier) -> Result<bool, SqlError> {
        let what = format!("show the grants of {name}@{host}");
        let sql = format!("SHOW GRANTS FOR '{name}'@'{host}'");
        let rows = match self.query(&what, &sql) {
            Err(SqlError::Refused { code: NO_SUCH_GRANT, .. }) => Vec::new(),
            answer => answer?,
        };
        Ok(rows.iter().flatten().any(|line| gives_all(line, database)))
    }

    /// The default collation of a database; `None` where there is no such database.
    pub fn collation(&self, database: &Identifier) -> Result<Option<String>, SqlError> {
        let sql = format!(
            "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
             WHERE SCHEMA_NAME='{database}'"
        );
        self.value(&format!("look for the database {database}"), &sql)
    }

    /// Creates a database for OpenStack. One that exists keeps the collation it has.
    ///
    /// The collation is named because the default is not the same everywhere: 11.8 takes
    /// `utf8mb4_uca1400_ai_ci` where 10.11 takes `utf8mb4_general_ci`.
    pub fn create_database(&self, name: &Identifier) -> Result<(), SqlError> {
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS `{name}` \
             CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        );
        self.run(&format!("create the database {name}"), &sql)
    }

    /// Removes a database with everything in it.
    pub fn drop_database(&self, name: &Identifier) -> Result<(), SqlError> {
        let sql = format!("DROP DATABASE IF EXISTS `{name}`");
        self.run(&format!("drop the database {name}"), &sql)
    }

    /// Creates the account, or gives the one that exists this password. Grants stay.
    ///
    /// Sends the hash: a server with a password validation plugin refuses that while
    /// `strict_password_validation` is on. Debian and Ubuntu load none.
    pub fn set_user(&self, name: &Identifier, host: AccountHost, password: &str) -> Result<(), SqlError> {
        let hash = native_password_hash(password);
        let proof = format!("IDENTIFIED VIA mysql_native_password USING '{hash}'");
        let what = format!("set the account {name}@{host}");
        for verb in ["CREATE USER IF NOT EXISTS", "ALTER USER"] {
            let sql = format!("{verb} '{name}'@'{host}' {proof}");
            self.run(&what, &sql).map_err(|error| without(&hash, error))?;
        }
        Ok(())
    }

    /// Removes the account and its grants.
    pub fn drop_user(&self, name: &Identifier, host: AccountHost) -> Result<(), SqlError> {
        let sql = format!("DROP USER IF EXISTS '{name}'@'{host}'");
        self.run(&format!("drop the account {name}@{host}"), &sql)
    }

    /// Gives the account all privileges on `database`, which need not exist yet.
    ///
    /// Fails where the account does not exist: a grant creates none.
    pub fn grant_all(&self, database: &Identifier, name: &Identifier, host: AccountHost) -> Result<(), SqlError> {
        let pattern = database.as_grant_pattern();
        let sql = format!("GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{name}'@'{host}'");
        self.run(&format!("grant {database} to {name}@{host}"), &sql)
    }

    fn run(&self, what: &str, sql: &str) -> Result<(), SqlError> {
        self.query(what, sql).map(drop)
    }

    fn any(&self, what: &str, sql: &str) -> Result<bool, SqlError> {
        Ok(!self.query(what, sql)?.is_empty())
    }

    /// The first column of the first row.
    fn value(&self, what: &str, sql: &str) -> Result<Option<String>, SqlError> {
        let rows = self.query(what, sql)?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()))
    }
}

/// The hash that MariaDB keeps for `mysql_native_password`: `*` and SHA1(SHA1(password)) in hex,
/// what its function `PASSWORD()` returns (<https://mariadb.com/kb/en/password/>).
///
/// From the generated passwords of this program (over 128 random bits) it cannot be turned back.
fn native_password_hash(password: &str) -> String {
    use fmt::Write;
    let twice = Sha1::digest(Sha1::digest(password.as_bytes()));
    twice.iter().fold(String::from("*"), |mut hex, byte| {
        let _never_fails_on_a_string = write!(hex, "{byte:02X}");
        hex
    })
}

/// A missing socket and one left behind by a dead server are no errors: MariaDB is just not there.
fn nobody_there(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
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
        SqlError::Refused { what, code, said } => {
            SqlError::Refused { what, code, said: said.replace(secret, "(hidden)") }
        }
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// A MariaDB of its own in a temporary folder; killed when dropped.
    struct Server {
        process: Child,
        folder: tempfile::TempDir,
    }

    impl Server {
        /// `None` where there is no MariaDB or no root, said on stderr.
        fn start() -> Option<Self> {
            if !nix::unistd::Uid::effective().is_root() {
                eprintln!("skipped: needs root");
                return None;
            }
            if !Path::new("/usr/sbin/mariadbd").exists() {
                eprintln!("skipped: needs mariadb-server");
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            initialise(folder.path());
            let process = spawn(folder.path());
            let server = Self { process, folder };
            server.wait_until_it_answers();
            Some(server)
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join("sock")
        }

        fn sql(&self) -> Sql {
            Sql::connect(&self.socket()).unwrap().unwrap()
        }

        fn restart(&mut self) {
            let process = nix::unistd::Pid::from_raw(self.process.id() as i32);
            nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
            self.process.wait().unwrap();
            self.process = spawn(self.folder.path());
            self.wait_until_it_answers();
        }

        fn wait_until_it_answers(&self) {
            let end = Instant::now() + Duration::from_secs(60);
            while !matches!(Sql::connect(&self.socket()), Ok(Some(_))) {
                assert!(Instant::now() < end, "mariadbd did not start");
                std::thread::sleep(Duration::from_millis(200));
            }
        }

        /// Whether a login with this password works, as a service would do it.
        fn login_works(&self, user: &str, password: &str) -> bool {
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "-e", "SELECT 1", "--user", user]);
            client.arg("--socket").arg(self.socket());
            client.env("MYSQL_PWD", password);
            client.output().unwrap().status.success()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }

    fn initialise(folder: &Path) {
        let mut data = std::ffi::OsString::from("--datadir=");
        data.push(folder.join("data"));
        let made = Command::new("mariadb-install-db")
            .env("TMPDIR", folder) // a starting server clears temporary tables away there
            .args(["--no-defaults", "--user=root", "--skip-test-db", "--force"])
            .args(["--auth-root-authentication-method=socket"])
            .arg(data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn spawn(folder: &Path) -> Child {
        let at = |option: &str, name: &str| format!("{option}={}", folder.join(name).display());
        Command::new("/usr/sbin/mariadbd")
            .env("TMPDIR", folder)
            .args(["--no-defaults", "--user=root", "--skip-networking"])
            .args([at("--datadir", "data"), at("--socket", "sock")])
            .args([at("--pid-file", "pid"), at("--general-log-file", "general.log")])
            .arg("--general-log=1")
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn name(text: &str) -> Identifier {
        Identifier::new(text).unwrap()
    }

    #[test]
    fn names_hold_no_bad_character() {
        for bad in ["", "Nova", "a b", "a'b", "a`b", "a-b", "é", &"a".repeat(33)] {
            assert!(matches!(Identifier::new(bad), Err(SqlError::Name(_))), "{bad}");
        }
        assert_eq!(name("nova_cell0").to_string(), "nova_cell0");
        assert_eq!(name("nova_cell0").as_grant_pattern(), "nova\\_cell0");
    }

    #[test]
    fn hash_is_the_one_of_mariadb() {
        // What SELECT PASSWORD("password") answers; accounts_come_and_go asks a server.
        let expected = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19";
        assert_eq!(native_password_hash("password"), expected);
    }

    #[test]
    fn only_everything_on_the_right_database_counts() {
        let nova = name("nova_api");
        let all = |on: &str| format!("GRANT ALL PRIVILEGES ON {on} TO `nova`@`%`");
        for on in ["*.*", "`nova\\_api`.*", "`nova_api`.*"] {
            assert!(gives_all(&all(on), &nova), "{on}");
        }
        for line in [all("`nova`.*"), "GRANT USAGE ON *.* TO `nova`@`%`".into()] {
            assert!(!gives_all(&line, &nova), "{line}");
        }
    }

    #[test]
    fn nobody_listening_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("sock");
        assert!(Sql::connect(&socket).unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists());
        assert!(Sql::connect(&socket).unwrap().is_none());
    }

    #[test]
    fn hash_is_not_in_errors() {
        let error = SqlError::Refused { what: "set".into(), code: 1064, said: "near '*AB'".into() };
        assert_eq!(without("*AB", error).to_string(), "MariaDB could not set: near '(hidden)'");
    }

    #[test]
    fn databases_come_and_go() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        eprintln!("MariaDB {}", sql.version().unwrap());
        let nova = name("nova_api");
        assert!(!sql.database_exists(&nova).unwrap());
        sql.create_database(&nova).unwrap();
        sql.create_database(&nova).unwrap();
        assert!(sql.database_exists(&nova).unwrap());
        assert!(sql.databases().unwrap().contains(&"nova_api".to_owned()));
        let collation = sql.collation(&nova).unwrap();
        assert_eq!(collation.as_deref(), Some("utf8mb4_general_ci"));
        assert!(!sql.table_exists(&nova, &name("flavors")).unwrap());
        sql.run("test", "CREATE TABLE nova_api.flavors (id INT)").unwrap();
        assert!(sql.table_exists(&nova, &name("flavors")).unwrap());
        sql.drop_database(&nova).unwrap();
        sql.drop_database(&nova).unwrap();
        assert_eq!(sql.collation(&nova).unwrap(), None);
    }

    #[test]
    fn accounts_come_and_go() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        let (nova, host) = (name("nova"), AccountHost::Localhost);
        assert!(!sql.user_exists(&nova, host).unwrap());
        let theirs = sql.value("test", "SELECT PASSWORD('first')").unwrap();
        assert_eq!(theirs, Some(native_password_hash("first")));
        assert!(!sql.password_matches(&nova, host, "first").unwrap());
        sql.set_user(&nova, host, "first").unwrap();
        assert!(sql.password_matches(&nova, host, "first").unwrap());
        assert!(server.login_works("nova", "first"));
        sql.set_user(&nova, host, "second").unwrap();
        assert!(!sql.password_matches(&nova, host, "first").unwrap());
        assert!(sql.password_matches(&nova, host, "second").unwrap());
        assert!(server.login_works("nova", "second"));
        assert!(!server.login_works("nova", "first"));
        assert!(sql.user_exists(&nova, host).unwrap());
        assert!(!sql.user_exists(&nova, AccountHost::Anywhere).unwrap());
        sql.drop_user(&nova, host).unwrap();
        sql.drop_user(&nova, host).unwrap();
        assert!(!sql.user_exists(&nova, host).unwrap());
        let log = std::fs::read_to_string(server.folder.path().join("data/general.log"))
            .or_else(|_| std::fs::read_to_string(server.folder.path().join("general.log")))
            .unwrap();
        assert!(log.contains("ALTER USER 'nova'") && !log.contains("second"), "{log}");
    }

    #[test]
    fn accounts_live_at_each_kind_of_host() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        let address = AccountHost::Address([192, 0, 2, 7].into());
        for host in [AccountHost::Localhost, AccountHost::Anywhere, address] {
            sql.set_user(&name("glance"), host, "x").unwrap();
            assert!(sql.user_exists(&name("glance"), host).unwrap(), "{host}");
        }
    }

    /// What DevStack and `mysql_secure_installation` may have done before us.
    #[test]
    fn root_with_a_password_only_is_an_error() {
        let Some(server) = Server::start() else {
            return;
        };
        let only_password = "ALTER USER root@localhost IDENTIFIED BY 'x'";
        server.sql().run("test", only_password).unwrap();
        let error = Sql::connect(&server.socket()).unwrap_err().to_string();
        assert!(error.contains("ERROR 1045 (28000)"), "{error}");
    }

    /// Debian's own root is the second; each other is one that an administrator may choose.
    #[test]
    fn root_gets_in_by_uid_whatever_comes_first() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        let ways = [
            "unix_socket",
            "mysql_native_password USING 'invalid' OR unix_socket",
            "mysql_native_password AS PASSWORD('x') OR unix_socket",
            "unix_socket OR mysql_native_password USING 'invalid'",
            "mysql_old_password AS '0123456789abcdef' OR unix_socket",
        ];
        for way in ways {
            sql.run("test", &format!("ALTER USER root@localhost IDENTIFIED VIA {way}")).unwrap();
            server.sql().version().unwrap();
        }
    }

    #[test]
    fn lost_connections_are_made_anew() {
        let Some(mut server) = Server::start() else {
            return;
        };
        let (sql, other) = (server.sql(), server.sql());
        let id = sql.value("test", "SELECT CONNECTION_ID()").unwrap().unwrap();
        other.run("test", &format!("KILL {id}")).unwrap();
        assert_ne!(sql.value("test", "SELECT CONNECTION_ID()").unwrap().unwrap(), id);
        sql.run("test", "SET SESSION wait_timeout=1").unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(sql.value("test", "SELECT @@lock_wait_timeout").unwrap().unwrap(), "60");
        server.restart();
        sql.version().unwrap();
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        let error = sql.version().unwrap_err();
        assert!(matches!(error, SqlError::Socket { .. }), "{error}");
        server.process = spawn(server.folder.path());
        server.wait_until_it_answers();
        sql.version().unwrap();
    }

    #[test]
    fn threads_share_a_session() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        let ask = |n: u32| assert_eq!(sql.value("test", &format!("SELECT {n}")).unwrap(), Some(n.to_string()));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (0..50).for_each(|n| ask(100 * thread + n)));
            }
        });
        let rows = sql.query("test", "SELECT NULL, '', REPEAT('x', 70000), 'a\tb' UNION SELECT 1, 2, 3, 'é'").unwrap();
        assert_eq!(rows, [["NULL", "", &"x".repeat(70_000), "a\tb"], ["1", "2", "3", "é"]]);
        let error = sql.query("test", "SELECT 1; SELECT 2").unwrap_err().to_string();
        assert!(error.contains("ERROR 1064 (42000)"), "{error}");
    }

    #[test]
    fn no_connection_is_logged_as_aborted() {
        let Some(server) = Server::start() else {
            return;
        };
        let start = Instant::now();
        (0..100).for_each(|_| drop(server.sql()));
        let connects = start.elapsed() / 100;
        let sql = server.sql();
        let start = Instant::now();
        (0..1000).for_each(|_| assert!(!sql.database_exists(&name("nova")).unwrap()));
        eprintln!("a session takes {connects:?}, a statement {:?}", start.elapsed() / 1000);
        let status = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Aborted_clients', 'Aborted_connects')";
        let aborted = sql.query("test", status).unwrap();
        assert_eq!(aborted, [["Aborted_clients", "0"], ["Aborted_connects", "0"]]);
    }

    #[test]
    fn full_server_says_so() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        sql.run("test", "SET GLOBAL max_connections=10").unwrap();
        let all: Vec<_> = (0..20).map(|_| Sql::connect(&server.socket())).collect();
        let refused = all.into_iter().find_map(Result::err).unwrap().to_string();
        assert!(refused.contains("ERROR 1040 ("), "{refused}");
        sql.version().unwrap();
    }

    #[test]
    fn grants_are_seen_once_given() {
        let Some(server) = Server::start() else {
            return;
        };
        let sql = server.sql();
        let (user, host) = (name("nova"), AccountHost::Anywhere);
        let (database, other) = (name("nova_api"), name("nova_cell0"));
        assert!(!sql.has_all_grant(&user, host, &database).unwrap());
        let refused = sql.grant_all(&database, &user, host).unwrap_err().to_string();
        assert!(refused.contains("grant nova_api to nova@%: ERROR 1133"), "{refused}");
        sql.set_user(&user, host, "x").unwrap();
        assert!(!sql.has_all_grant(&user, host, &database).unwrap());
        sql.grant_all(&database, &user, host).unwrap();
        assert!(sql.has_all_grant(&user, host, &database).unwrap());
        assert!(!sql.has_all_grant(&user, host, &other).unwrap());
        sql.set_user(&user, host, "y").unwrap();
        assert!(sql.has_all_grant(&user, host, &database).unwrap());
        sql.run("test", "GRANT ALL ON nova_cell0.* TO nova@'%'").unwrap();
        assert!(sql.has_all_grant(&user, host, &other).unwrap());
    }
}
