//! Taking packages back: purging those that we brought, and removing what they leave.

use super::Undone;
use super::undo::{Leaves, Permissions};
use crate::host::{Host, Result, files, links, packages, systemd, users};

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
