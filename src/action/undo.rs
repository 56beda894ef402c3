//! Undo records: small values from which a change can be taken back without the action, the answers or the template
//! that made it, so also by a newer release. Their format is the journal's, and is migrated with it.

use super::kept::keep_if_edited;
use super::leaves::{Leaves, remove_packages};
use super::network::NetworkOriginal;
use super::originals::{Original, Originals};
use super::unstack::{self, Stacked};
use super::{Past, Undone, iptables, network, resource};
use crate::cloud::resource::Kind;
use crate::host::{Error, Host, Result, command::Command, files, nft, nspawn, sql, sysctl, systemd, users};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How one change is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "undo")]
pub enum Undo {
    /// Nothing to take back: what it changed goes with something else.
    Nothing,
    /// Put back what was at a path, remove the directories that were made for it.
    Path {
        /// The file or link.
        path: PathBuf,
        /// What was there.
        original: Original,
        /// Directories made on the way, outermost first.
        made: Vec<PathBuf>,
    },
    /// Keep what was edited in a file since another program left it.
    Edits {
        /// The file.
        path: PathBuf,
    },
    /// Remove a directory with all in it, or give an existing one its permissions back.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was there.
        original: Original,
        /// Directories made on the way, outermost first.
        made: Vec<PathBuf>,
        /// Whether it stays when somebody else put something into it.
        #[serde(default)]
        shared: bool,
    },
    /// Remove an account that did not exist.
    User {
        /// Its name.
        name: String,
    },
    /// Remove a group that did not exist.
    Group {
        /// Its name.
        name: String,
    },
    /// Take a user out of a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// Purge packages that were not there, then remove what they leave behind.
    Packages {
        /// The packages we added, dependencies included.
        added: Vec<String>,
        /// What they leave that was not there before.
        leaves: Leaves,
    },
    /// Stop and disable a unit.
    Unit {
        /// Its name.
        name: String,
        /// Whether it was enabled before.
        enabled: bool,
        /// Whether it ran before.
        active: bool,
    },
    /// Set a kernel parameter back.
    Sysctl {
        /// Its dotted name.
        key: String,
        /// What it was.
        value: String,
    },
    /// Drop a database that did not exist.
    Database {
        /// Its name.
        name: String,
    },
    /// Drop a database account that did not exist.
    DatabaseUser {
        /// Its name.
        name: String,
        /// Where it logs in from.
        host: String,
    },
    /// Run a program.
    Program {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Stop a container and everything in its control group.
    Container {
        /// Its name.
        name: String,
    },
    /// Run unstack.sh, and remove what it leaves.
    Devstack(Stacked),
    /// Put the network back as it was.
    Network(NetworkOriginal),
    /// Put rules of iptables back.
    Iptables {
        /// "nat".
        table: String,
        /// Lines of `iptables -S`.
        rules: Vec<String>,
    },
    /// Remove a resource of the cloud, if it carries our mark.
    Resource {
        /// Who made it, as clouds.yaml calls that.
        cloud: String,
        /// What it is.
        kind: Kind,
        /// What it is called.
        name: String,
        /// By what ours is told from another, where no mark can stand: the key of a key pair.
        #[serde(default)]
        content: Option<String>,
    },
    /// Remove an nftables table of ours.
    NftTable {
        /// "inet" or "ip".
        family: String,
        /// Its name.
        table: String,
    },
}

impl Undo {
    /// What taking it back means, in words.
    pub fn describe(&self) -> String {
        match self {
            Undo::Nothing => "nothing to take back".into(),
            Undo::Path { path, original: Original::Absent, .. } => format!("Remove {}", path.display()),
            Undo::Path { path, .. } => format!("Put {} back as it was", path.display()),
            Undo::Edits { path } => format!("Keep what was edited in {}", path.display()),
            Undo::Directory { path, original: Original::Absent, shared: true, .. } => {
                format!("Remove {} if it is empty", path.display())
            }
            Undo::Directory { path, original: Original::Absent, .. } => {
                format!("Remove {} and all in it", path.display())
            }
            Undo::Directory { path, .. } => format!("Give {} its permissions back", path.display()),
            Undo::User { name } => format!("Remove user {name}"),
            Undo::Group { name } => format!("Remove group {name}"),
            Undo::Member { user, group } => format!("Take {user} out of group {group}"),
            Undo::Packages { added, .. } => format!("Remove {} packages", added.len()),
            Undo::Unit { name, .. } => format!("Stop and disable {name}"),
            Undo::Sysctl { key, value } => format!("Set {key} back to {value}"),
            Undo::Database { name } => format!("Drop database {name}"),
            Undo::DatabaseUser { name, host } => format!("Drop database user {name}@{host}"),
            Undo::Program { argv } => format!("Run {}", argv.join(" ")),
            Undo::Container { name } => format!("Stop container {name}"),
            Undo::Devstack(_) => "Run unstack.sh and remove what it leaves".into(),
            Undo::Network(_) => "Put the network back as it was".into(),
            Undo::Iptables { rules, .. } => format!("Put {} rules of iptables back", rules.len()),
            Undo::Resource { kind, name, .. } => format!("Remove {kind} {name}"),
            Undo::NftTable { family, table } => format!("Remove nftables table {family} {table}"),
        }
    }

    /// The file or link that changes when it is taken back.
    pub fn path(&self) -> Option<&Path> {
        if let Undo::Path { path, .. } = self { Some(path) } else { None }
    }

    /// The kind of the resource that it removes, through the cloud's APIs and so before the cloud stops.
    pub fn resource(&self) -> Option<Kind> {
        match self {
            Undo::Resource { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Takes it back. May be repeated after having been killed.
    pub fn run(&self, host: &Host, past: &Past, originals: &Originals) -> Result<Undone> {
        match self {
            Undo::Nothing => Ok(Undone::Restored),
            Undo::Path { path, original, made } => restore_path(host, past, originals, path, original, made),
            Undo::Edits { path } => keep_edits(host, past, path),
            Undo::Directory { path, original, made, shared } => restore_directory(host, path, original, made, *shared),
            Undo::User { name } => done(users::remove_user(host, name)),
            Undo::Group { name } => done(users::remove_group(host, name)),
            Undo::Member { user, group } => done(users::remove_member(host, user, group)),
            Undo::Packages { added, leaves } => remove_packages(host, added, leaves),
            Undo::Unit { name, enabled, active } => restore_unit(host, name, *enabled, *active),
            Undo::Sysctl { key, value } => done(sysctl::write(host, key, value)),
            Undo::Database { name } => with_sql(|sql| sql.drop_database(&sql::Identifier::new(name)?)),
            Undo::DatabaseUser { name, host } => {
                with_sql(|sql| sql.drop_user(&sql::Identifier::new(name)?, host.parse()?))
            }
            Undo::Program { argv } => run_program(host, argv),
            Undo::Container { name } => done(nspawn::stop(host, name)),
            Undo::Devstack(stacked) => unstack::run(host, stacked),
            Undo::Network(original) => done(network::restore(host, original)),
            Undo::Iptables { table, rules } => done(iptables::restore(host, table, rules)),
            Undo::Resource { cloud, kind, name, content } => {
                resource::take_back(host, cloud, *kind, name, content.as_deref())
            }
            Undo::NftTable { family, table } => done(remove_table(family, table)),
        }
    }
}

fn keep_edits(host: &Host, past: &Past, path: &Path) -> Result<Undone> {
    Ok(keep_if_edited(host, past, path)?.map_or(Undone::Restored, |kept| was_edited(path, &kept)))
}

fn was_edited(path: &Path, kept: &Path) -> Undone {
    Undone::Kept(format!("{} was edited: kept as {}", path.display(), kept.display()))
}

fn done(result: Result<()>) -> Result<Undone> {
    result.map(|()| Undone::Restored)
}

fn run_program(host: &Host, argv: &[String]) -> Result<Undone> {
    let Some((program, args)) = argv.split_first() else { return Ok(Undone::Restored) };
    match Command::new(program).args(args.iter().cloned()).run(host) {
        // A program that is gone took what it made with it.
        Err(Error::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Undone::Restored),
        result => done(result),
    }
}

/// A database server that is gone took its databases with it.
fn with_sql(work: impl FnOnce(&sql::Sql) -> std::result::Result<(), sql::SqlError>) -> Result<Undone> {
    match sql::connect()? {
        None => Ok(Undone::Restored),
        Some(sql) => done(work(&sql).map_err(Into::into)),
    }
}

fn remove_table(family: &str, table: &str) -> Result<()> {
    let family = if family == "ip" { nft::Family::Ip } else { nft::Family::Inet };
    Ok(nft::delete(family, table)?)
}

fn restore_path(
    host: &Host,
    past: &Past,
    originals: &Originals,
    path: &Path,
    original: &Original,
    made: &[PathBuf],
) -> Result<Undone> {
    let kept = keep_if_edited(host, past, path)?;
    match original {
        Original::File { hash, mode, owner } => {
            let content = originals.get(hash)?;
            let owner = host.is_live().then_some(*owner);
            files::write(host, path, &content, *mode, owner)?;
        }
        Original::Link { target } => files::make_link(host, path, target)?,
        Original::Absent | Original::Directory { .. } => files::remove(host, path)?,
    }
    remove_made(host, made)?;
    Ok(kept.map_or(Undone::Restored, |kept| was_edited(path, &kept)))
}

fn remove_made(host: &Host, made: &[PathBuf]) -> Result<()> {
    for dir in made.iter().rev() {
        if !files::remove_empty_dir(host, dir)? {
            break;
        }
    }
    Ok(())
}

fn restore_directory(host: &Host, path: &Path, original: &Original, made: &[PathBuf], shared: bool) -> Result<Undone> {
    if shared && *original == Original::Absent && !files::remove_empty_dir(host, path)? {
        return Ok(Undone::Kept(format!("{} stays: it holds files of yours", path.display())));
    }
    match original {
        Original::Directory { mode, owner } if files::exists(host, path) => {
            files::set_permissions(host, path, *mode, host.is_live().then_some(*owner))?;
        }
        Original::Absent => files::remove_tree(host, path)?,
        _ => {}
    }
    remove_made(host, made)?;
    Ok(Undone::Restored)
}

fn restore_unit(host: &Host, name: &str, enabled: bool, active: bool) -> Result<Undone> {
    let status = systemd::unit(host, name)?;
    if !active {
        systemd::stop(host, name)?;
    }
    if !enabled && status.is_enabled() && status.file != "static" {
        systemd::disable(host, name)?;
    }
    if status.active == "failed" && !active {
        systemd::reset_failed(host, name)?;
    }
    Ok(Undone::Restored)
}
