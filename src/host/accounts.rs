//! Users and groups as the C library knows them, from files or a directory. They are changed in `users.rs`.

use super::{Error, Result};
use nix::unistd::{Group, Uid, User};

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
