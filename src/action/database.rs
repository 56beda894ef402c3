//! A database, and the account that owns it.

use super::{Action, ActionId, Applied, Checked, History, Originals, Undo, WhenOrphaned};
use crate::config::secrets::Secret;
use crate::host::sql::{self, AccountHost, Identifier};
use crate::host::{Host, Result};

/// Where services log in from: TCP on loopback.
pub const ACCOUNT_HOST: AccountHost = AccountHost::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn later() -> Checked {
    Checked::Later("when MariaDB runs".into())
}

/// A database with one character set and collation, the same on every system.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: Identifier,
    /// The account that may do everything in it.
    pub account: Identifier,
}

impl Action for Database {
    fn id(&self) -> ActionId {
        ActionId::new("database", &self.name)
    }

    fn describe(&self) -> String {
        format!("Make database {}", self.name)
    }

    fn when_orphaned(&self) -> WhenOrphaned {
        WhenOrphaned::Keep
    }

    fn check(&self, _host: &Host, _history: &History) -> Result<Checked> {
        let Some(sql) = sql::connect()? else { return Ok(later()) };
        if !sql.database_exists(&self.name)? {
            return Ok(Checked::needed(format!("make, for {}", self.account)));
        }
        let granted = sql.has_all_grant(&self.account, ACCOUNT_HOST, &self.name)?;
        Ok(Checked::done_if(granted, format!("grant to {}", self.account)))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match sql::server()?.database_exists(&self.name)? {
            true => Undo::Nothing,
            false => Undo::Database { name: self.name.to_string() },
        })
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        let sql = sql::server()?;
        sql.create_database(&self.name)?;
        sql.grant_all(&self.name, &self.account, ACCOUNT_HOST)?;
        Ok(Applied::Done)
    }
}

/// A database account with a password.
#[derive(Debug, Clone)]
pub struct DatabaseUser {
    /// Its name.
    pub name: Identifier,
    /// Its password.
    pub password: Secret,
}

impl Action for DatabaseUser {
    fn id(&self) -> ActionId {
        ActionId::new("database-user", &self.name)
    }

    fn describe(&self) -> String {
        format!("Make database user {}", self.name)
    }

    fn check(&self, _host: &Host, _history: &History) -> Result<Checked> {
        let Some(sql) = sql::connect()? else { return Ok(later()) };
        if !sql.user_exists(&self.name, ACCOUNT_HOST)? {
            return Ok(Checked::needed("make, with a password"));
        }
        let right = sql.password_matches(&self.name, ACCOUNT_HOST, self.password.expose())?;
        Ok(Checked::done_if(right, "set its password"))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match sql::server()?.user_exists(&self.name, ACCOUNT_HOST)? {
            true => Undo::Nothing,
            false => Undo::DatabaseUser { name: self.name.to_string(), host: ACCOUNT_HOST.to_string() },
        })
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        sql::server()?.set_user(&self.name, ACCOUNT_HOST, self.password.expose())?;
        Ok(Applied::Done)
    }
}
