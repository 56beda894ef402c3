//! Accounts of the machine: users and groups that services run as, and membership in a group. (Users of the cloud:
//! `identity.rs`.)

use super::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::finding::Finding;
use crate::host::{Host, Result, accounts, users};

/// The shell of an account that nobody logs in to.
pub const NO_LOGIN: &str = "/usr/sbin/nologin";

/// Make a system user with a group of the same name.
#[derive(Debug, Clone)]
pub struct SystemUser {
    /// Name of user and group.
    pub name: String,
    /// Home directory; not made here.
    pub home: String,
    /// Its shell; [`NO_LOGIN`] for one that nobody becomes.
    pub shell: &'static str,
}

impl Action for SystemUser {
    fn id(&self) -> ActionId {
        ActionId::new("user", &self.name)
    }

    fn describe(&self) -> String {
        format!("Make system user {}", self.name)
    }

    fn check(&self, _host: &Host, _history: &History) -> Result<Checked> {
        let Some(user) = accounts::find_user(&self.name)? else {
            return Ok(Checked::needed(format!("make, shell {}", self.shell)));
        };
        if user.dir == std::path::Path::new(&self.home) {
            return Ok(Checked::Done);
        }
        let what = format!("there is an account called {} with another home, {}", self.name, user.dir.display());
        Ok(Checked::Blocked(Finding::stop("account", what, format!("rename or remove it: userdel {}", self.name))))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match accounts::find_user(&self.name)? {
            Some(_) => Undo::Nothing,
            None => Undo::User { name: self.name.clone() },
        })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        users::add_system_user(host, &self.name, &self.home, self.shell)?;
        Ok(Applied::Done)
    }
}

/// Make a system group.
#[derive(Debug, Clone)]
pub struct SystemGroup {
    /// Its name.
    pub name: String,
}

impl Action for SystemGroup {
    fn id(&self) -> ActionId {
        ActionId::new("group", &self.name)
    }

    fn describe(&self) -> String {
        format!("Make group {}", self.name)
    }

    fn check(&self, _host: &Host, _history: &History) -> Result<Checked> {
        Ok(Checked::done_if(accounts::find_group(&self.name)?.is_some(), "make"))
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match accounts::find_group(&self.name)? {
            Some(_) => Undo::Nothing,
            None => Undo::Group { name: self.name.clone() },
        })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        users::add_system_group(host, &self.name)?;
        Ok(Applied::Done)
    }
}

/// An administrator of the answers whom this machine does not know.
pub fn no_account(user: &str) -> Finding {
    let what = format!("there is no account {user} here (host.administrators)");
    let next = format!(
        "getent passwd {user} must find it: make it, wait for the directory it is in, or take it out of host.administrators"
    );
    Finding::stop("administrators", what, next)
}

/// Put a user into a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// The user.
    pub user: String,
    /// The group.
    pub group: String,
}

impl Action for Member {
    fn id(&self) -> ActionId {
        ActionId::new("member", format!("{}/{}", self.group, self.user))
    }

    fn describe(&self) -> String {
        format!("Put {} into group {}", self.user, self.group)
    }

    fn check(&self, _host: &Host, _history: &History) -> Result<Checked> {
        if users::is_member(&self.user, &self.group)? {
            return Ok(Checked::Done);
        }
        Ok(match accounts::find_user(&self.user)? {
            Some(_) => Checked::needed("add"),
            None => Checked::Blocked(no_account(&self.user)),
        })
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(match users::is_member(&self.user, &self.group)? {
            true => Undo::Nothing,
            false => Undo::Member { user: self.user.clone(), group: self.group.clone() },
        })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        users::add_member(host, &self.user, &self.group)?;
        Ok(Applied::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str) -> Checked {
        let member = Member { user: user.into(), group: "root".into() };
        member.check(&Host::live(), &History::default()).unwrap()
    }

    #[test]
    fn who_has_no_account_is_named_and_not_given_to_a_program() {
        assert!(matches!(check("nobody"), Checked::Needed(_)));
        for name in ["no.such@account", "NO\\SUCH", "-x", "4294967294"] {
            let Checked::Blocked(finding) = check(name) else { panic!("{name}") };
            assert!(finding.what.contains(name) && finding.next.contains("host.administrators"), "{finding:?}");
        }
    }
}
