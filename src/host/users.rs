//! Users and groups of the machine: looked up through the C library, changed by the distribution's own programs.

use super::command::Command;
use super::{Error, Host, Result};
use nix::unistd::{Group, Uid, User};
use std::time::Duration;

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(1);

/// Numeric owner and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The numbers of `user` and `group`.
///
/// # Errors
/// When either does not exist (yet).
pub fn owner(user: &str, group: &str) -> Result<Owner> {
    let uid = known_user(user)?.uid.as_raw();
    let gid = find_group(group)?.ok_or_else(|| unknown("group", group))?.gid.as_raw();
    Ok(Owner { uid, gid })
}

fn unknown(kind: &str, name: &str) -> Error {
    Error::protocol(format!("look up {kind} {name}"), "there is none of that name")
}

/// The user called `name`.
pub fn find_user(name: &str) -> Result<Option<User>> {
    User::from_name(name).map_err(|e| Error::protocol(format!("look up user {name}"), e))
}

/// The same, who must be there.
pub fn known_user(name: &str) -> Result<User> {
    find_user(name)?.ok_or_else(|| unknown("user", name))
}

/// The name of a user for a person to read: its number where it has none.
pub fn name_of(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| format!("user {uid}"), |user| user.name)
}

/// The group called `name`.
pub fn find_group(name: &str) -> Result<Option<Group>> {
    Group::from_name(name).map_err(|e| Error::protocol(format!("look up group {name}"), e))
}

/// Whether this process may change the machine.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The user who called `sudo`, if any: the one to put into the administrators' group.
pub fn invoking_user() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|name| name != "root" && find_user(name).ok().flatten().is_some())
}

/// Makes a system user with a group of its own.
pub fn add_system_user(host: &Host, name: &str, home: &str, shell: &str) -> Result<()> {
    Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--shell", shell, "--home-dir", home, name])
        .run(host)
}

/// Makes a system group.
pub fn add_system_group(host: &Host, name: &str) -> Result<()> {
    Command::new("groupadd").args(["--system", name]).run(host)
}

/// Puts a user into a group of /etc/group. The user may come from a directory (LDAP, Active Directory): gpasswd(1), other
/// than usermod(8), takes whom getpwnam(3) knows. The name is the one that the directory gives: who logs in is looked for
/// in groups by that.
///
/// # Errors
/// There is no such user, or no such group.
pub fn add_member(host: &Host, user: &str, group: &str) -> Result<()> {
    // In one word: a name may begin with `-`.
    Command::new("gpasswd").args([&format!("--add={}", canonical(user)?), group]).run(host)
}

/// Takes a user out of a group; not being in it is fine.
pub fn remove_member(host: &Host, user: &str, group: &str) -> Result<()> {
    if !is_member(user, group)? {
        return Ok(());
    }
    Command::new("gpasswd").args([&format!("--delete={}", canonical(user)?), group]).run(host)
}

/// Whether `user` is listed in `group`.
pub fn is_member(user: &str, group: &str) -> Result<bool> {
    let name = canonical(user)?;
    Ok(find_group(group)?.is_some_and(|g| g.mem.contains(&name)))
}

/// A user's name as getpwnam(3) gives it back: directories know `MGarcia` and call that `mgarcia`. One that is not known
/// (any more) stays as it is.
fn canonical(user: &str) -> Result<String> {
    Ok(find_user(user)?.map_or_else(|| user.to_owned(), |found| found.name))
}

/// Ends what still runs as a user: a daemon may outlive its package.
pub fn end_processes(host: &Host, name: &str) -> Result<()> {
    if find_user(name)?.is_none() {
        return Ok(());
    }
    for signal in ["TERM", "KILL"] {
        // pkill(1) ends with 1 where no process matches.
        if Command::new("pkill").args(["--signal", signal, "--uid", name]).quiet().exit_code(host)? == 1 {
            return Ok(());
        }
        std::thread::sleep(PATIENCE);
    }
    Ok(())
}

/// Removes a user, not its files; nobody of that name is fine.
pub fn remove_user(host: &Host, name: &str) -> Result<()> {
    match find_user(name)? {
        Some(_) => Command::new("userdel").arg(name).run(host),
        None => Ok(()),
    }
}

/// Removes a group; none of that name is fine.
pub fn remove_group(host: &Host, name: &str) -> Result<()> {
    match find_group(name)? {
        Some(_) => Command::new("groupdel").arg(name).run(host),
        None => Ok(()),
    }
}
