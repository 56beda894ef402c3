//! Users and groups of the machine, changed by the distribution's own programs. They are looked up in `accounts.rs`.

use super::accounts::{find_group, find_user};
use super::command::Command;
use super::{Host, Result};
use std::time::Duration;

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(1);

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
