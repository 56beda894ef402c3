//! Taking packages back: purging those that we brought, and removing what they leave.

use super::Undone;
use crate::host::users::Owner;
use crate::host::{Host, Result, files, links, packages, systemd, users};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What packages make while they run, and leave when they are purged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leaves {
    /// Units that must stop before: those that a socket would start again, or that outlive their package.
    #[serde(default)]
    pub units: Vec<String>,
    /// Files, and directories with all in them.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// Directories that go when nothing but empty directories is in them: the administrator may have put files there.
    #[serde(default)]
    pub shells: Vec<PathBuf>,
    /// Users and groups.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Network links.
    #[serde(default)]
    pub links: Vec<String>,
    /// Directories that were there, with the permissions that a package changes and leaves changed.
    #[serde(default)]
    pub permissions: Vec<Permissions>,
}

/// Permissions of a directory before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The directory.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub owner: Owner,
}

/// The first few, and how many more.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.get(SHOWN..).map(<[String]>::len) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// Purges packages that we brought, unless others need them, and removes what they leave.
pub fn remove_packages(host: &Host, added: &[String], leaves: &Leaves) -> Result<Undone> {
    let needed = packages::needed_by_the_system(host)?;
    let goes = |name: &String| added.contains(name) && !needed.contains(name);
    let there: Vec<String> = packages::known(host)?.into_iter().filter(goes).collect();
    if !there.is_empty() {
        let others: Vec<String> =
            packages::would_remove(host, &there)?.into_iter().filter(|name| !added.contains(name)).collect();
        if !others.is_empty() {
            return Ok(Undone::Kept(format!("packages stay, because {} needs them", some_of(&others))));
        }
        for unit in &leaves.units {
            systemd::stop(host, unit)?;
        }
        packages::purge(host, &there)?;
    }
    for path in &leaves.paths {
        files::remove_tree(host, path)?;
    }
    for shell in &leaves.shells {
        files::remove_empty_tree(host, shell)?;
    }
    for Permissions { path, mode, owner } in leaves.permissions.iter().filter(|p| files::exists(host, &p.path)) {
        files::set_permissions(host, path, *mode, Some(*owner))?;
    }
    for link in &leaves.links {
        links::delete_link(link)?;
    }
    for account in &leaves.accounts {
        users::end_processes(host, account)?;
        users::remove_user(host, account)?;
        users::remove_group(host, account)?;
    }
    Ok(Undone::Restored)
}
