//! Dumps of databases in the local MariaDB, made and loaded by its own programs as root over its unix socket.
//!
//! What holds here:
//! - A dump is whole or not there: written beside its name, synced, then renamed.
//! - It is root's alone from its first byte on (0600): password hashes and users' data are in it.
//! - It never passes through this process: databases may be larger than memory.

use super::command::Command;
use super::sql::{self, DEFAULT_SOCKET, Identifier};
use super::{Error, Host, Result, files};
use std::path::Path;
use std::time::Duration;

/// How long one may take to be made or loaded.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// Names a dump that is not whole.
const PART_SUFFIX: &str = ".part";

/// Fails where a dump of `databases` would not find the room that they take below `directory`.
pub fn refuse_without_room(host: &Host, databases: &[Identifier], directory: &Path) -> Result<()> {
    let (needed, free) = (sql::server()?.size(databases)?, files::free_bytes(host, directory)?);
    if needed <= free { Ok(()) } else { Err(no_room(databases, needed, free, directory)) }
}

fn no_room(databases: &[Identifier], needed: u64, free: u64, directory: &Path) -> Error {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let (needed, free) = (mebibytes(needed), mebibytes(free));
    Error::NoRoom { databases: names(databases).join(", "), needed, free, below: directory.to_owned() }
}

fn names(databases: &[Identifier]) -> Vec<String> {
    databases.iter().map(ToString::to_string).collect()
}

/// Writes `databases`, as they are at one instant, to `path`.
pub fn save(host: &Host, databases: &[Identifier], path: &Path) -> Result<()> {
    let part = files::sibling(path, PART_SUFFIX);
    files::write(host, &part, b"", 0o600, None)?;
    client("mariadb-dump")
        .args(["--single-transaction", "--routines", "--hex-blob", "--add-drop-database"])
        .arg(format!("--result-file={}", part.display()))
        .arg("--databases")
        .args(names(databases))
        .run(host)?;
    files::put_in_place(host, &part, path)
}

/// Makes the databases in the dump at `path` what they were; what was in them since is gone.
pub fn load(host: &Host, path: &Path) -> Result<()> {
    client("mariadb").stdin_file(host.real(path)).run(host)
}

/// Removes the dump at `path`, whole or not.
pub fn remove(host: &Host, path: &Path) -> Result<()> {
    files::remove(host, &files::sibling(path, PART_SUFFIX))?;
    files::remove(host, path)
}

fn client(program: &str) -> Command {
    // Without root's own settings: a password or another server may stand in them.
    Command::new(program)
        .args(["--no-defaults", "--user=root", "--protocol=socket", "--default-character-set=utf8mb4"])
        .args([&format!("--socket={DEFAULT_SOCKET}"), "--max-allowed-packet=1G"])
        .limit(LIMIT)
}
