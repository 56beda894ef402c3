//! Why MariaDB did not do what it was asked for, in words, and what to do about it.

use super::DEFAULT_SOCKET;
use crate::host::RoomError;
use mysql::DriverError;
use std::io::ErrorKind;

/// What can go wrong in talking to MariaDB.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The server refused, or the connection broke.
    #[error("MariaDB could not {what}: {said}")]
    Failed {
        /// What was to be done.
        what: String,
        /// The server's words, or the connection's; without any hash.
        said: String,
        /// Why.
        cause: Cause,
    },
    /// Root is asked for a password, or may not come by the socket.
    #[error("root cannot log in to MariaDB by its socket ({DEFAULT_SOCKET})")]
    Denied {
        /// The server's words.
        said: String,
    },
    /// It does not run, but was needed.
    #[error("MariaDB does not run")]
    NotRunning,
    /// A name that is not `[a-z0-9_]{1,32}`.
    #[error("`{0}` cannot name a database or account: use a-z, 0-9 and _, at most 32")]
    Name(String),
}

/// Why MariaDB did not do what it was asked for, by its error numbers
/// (<https://mariadb.com/kb/en/mariadb-error-code-reference/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Every connection that it allows is taken.
    Crowded,
    /// It has no room on its disk.
    DiskFull,
    /// It takes no changes.
    ReadOnly,
    /// Root lacks a privilege.
    Unprivileged,
    /// It asks nobody for a password, and so can set none.
    WithoutGrants,
    /// It did not answer in time, or the connection broke.
    Silent,
    /// Something else.
    Other,
}

impl Cause {
    fn of(number: u16, said: &str) -> Self {
        match number {
            1040 | 1203 => Self::Crowded,
            1021 | 1114 => Self::DiskFull,
            1290 if said.contains("skip-grant-tables") => Self::WithoutGrants,
            1290 | 1792 | 1836 => Self::ReadOnly,
            1044 | 1142 | 1227 | 1370 | 1410 => Self::Unprivileged,
            _ => Self::Other,
        }
    }

    /// What to do about it.
    pub fn next(self) -> &'static str {
        match self {
            Self::Crowded => {
                "mariadb -e 'SHOW PROCESSLIST' shows whose they are; a higher max_connections in \
                 /etc/mysql/mariadb.conf.d/zz-own.cnf, then: systemctl restart mariadb"
            }
            Self::DiskFull => "free space below /var/lib/mysql (df -h /var/lib/mysql), then: systemctl restart mariadb",
            Self::ReadOnly => {
                "mariadb -e 'SET GLOBAL read_only = OFF'; where /etc/mysql says read_only or innodb_force_recovery, take \
                 it out there and: systemctl restart mariadb"
            }
            Self::Unprivileged => {
                "log in as one who may and type: GRANT ALL PRIVILEGES ON *.* TO root@localhost WITH GRANT OPTION"
            }
            Self::WithoutGrants => "take skip-grant-tables out of /etc/mysql, then: systemctl restart mariadb",
            Self::Silent => "journalctl -u mariadb -n 30 says what it does; systemctl restart mariadb",
            Self::Other => "journalctl -u mariadb -n 30 says more",
        }
    }
}

/// What to do where root has a password: it keeps that, and gets in by the socket too (<https://mariadb.com/kb/en/authentication-plugin-unix-socket/>).
pub const LET_ROOT_IN: &str = "log in with the password (mariadb -u root -p) and type: ALTER USER root@localhost IDENTIFIED \
                           VIA unix_socket OR mysql_native_password USING PASSWORD('the same password')";

impl RoomError for SqlError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Failed { cause, .. } => cause.next().into(),
            Self::Denied { .. } => LET_ROOT_IN.into(),
            Self::NotRunning => "systemctl start mariadb; journalctl -u mariadb -n 30".into(),
            Self::Name(_) => return None,
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::Denied { said } => Some(said.clone()),
            _ => None,
        }
    }

    fn may_pass(&self) -> bool {
        matches!(self, Self::Failed { cause: Cause::Crowded | Cause::Silent, .. })
    }
}

/// The server's own words; the crate's `Display` shows names of Rust types around them.
pub(super) fn failed(what: &str, error: &mysql::Error) -> SqlError {
    let (said, cause) = match error {
        mysql::Error::MySqlError(error) if matches!(error.code, 1045 | 1698) => {
            return SqlError::Denied { said: numbered(error) };
        }
        mysql::Error::MySqlError(error) => (numbered(error), Cause::of(error.code, &error.message)),
        mysql::Error::IoError(error) => (broken(error), Cause::Silent),
        mysql::Error::DriverError(DriverError::Timeout | DriverError::ConnectTimeout) => {
            ("it did not answer in time".into(), Cause::Silent)
        }
        mysql::Error::DriverError(error) => (error.to_string(), Cause::Other),
        mysql::Error::CodecError(error) => {
            let io = std::error::Error::source(error).and_then(|source| source.downcast_ref());
            (io.map_or_else(|| "the connection broke".into(), broken), Cause::Silent)
        }
        _ => ("it answered something else than expected".into(), Cause::Other),
    };
    SqlError::Failed { what: what.to_owned(), said, cause }
}

fn numbered(error: &mysql::MySqlError) -> String {
    format!("{} (error {})", error.message, error.code)
}

fn broken(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it did not answer in time".into(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the connection broke".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_types_are_never_shown() {
        let server = |code, message: &str| {
            let state = "HY000".into();
            mysql::Error::MySqlError(mysql::MySqlError { state, message: message.into(), code })
        };
        for (error, words, next) in [
            (
                server(1045, "Access denied for user 'root'@'localhost' (using password: NO)"),
                "root cannot log",
                "ALTER USER",
            ),
            (server(1698, "Access denied for user 'root'@'localhost'"), "root cannot log in", "unix_socket OR"),
            (server(1040, "Too many connections"), "Too many connections (error 1040)", "max_connections"),
            (server(1021, "Disk full (/tmp/x); waiting for someone to free some space..."), "Disk full", "df -h"),
            (server(1114, "The table 'users' is full"), "is full", "df -h"),
            (server(1290, "The MariaDB server is running with the --read-only option"), "--read-only", "SET GLOBAL"),
            (server(1290, "running with the --skip-grant-tables option"), "skip-grant", "take skip-grant-tables out"),
            (server(1227, "Access denied; you need (at least one of) the SUPER"), "SUPER", "GRANT ALL"),
            (mysql::Error::IoError(ErrorKind::WouldBlock.into()), "did not answer in time", "journalctl"),
            (mysql::Error::DriverError(DriverError::Timeout), "did not answer in time", "journalctl"),
            (mysql::Error::IoError(ErrorKind::UnexpectedEof.into()), "the connection broke", "journalctl"),
        ] {
            let error = crate::host::Error::from(failed("let root in", &error));
            let said = format!("{error} {}", error.evidence().unwrap_or_default());
            assert!(said.contains(words) && !said.contains('{') && !said.contains("Error "), "{said}");
            assert!(error.next().unwrap().contains(next), "{:?}", error.next());
        }
    }
}
