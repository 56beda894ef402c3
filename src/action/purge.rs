//! Taking packages back: purging those that we brought, and removing what they leave.

use super::Undone;
use super::packages::forget_archives;
use super::undo::{Leaves, Permissions};
use crate::host::{Host, Result, files, links, packages, systemd, users};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

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
        // One that did not stop in its time would be listed as failed until the next boot, and nobody could look into it.
        leaves.units.iter().try_for_each(|unit| systemd::reset_failed(host, unit))?;
    }
    // Where they were downloaded to: an installation that was never complete leaves it.
    forget_archives(host)?;
    for path in &leaves.paths {
        matching(host, path)?.iter().try_for_each(|found| files::remove_tree(host, found))?;
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

/// The path; or, where its name ends with `*`, all that begin so: what a service makes and numbers.
fn matching(host: &Host, path: &Path) -> Result<Vec<PathBuf>> {
    let begin = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix('*'));
    let (Some(begin), Some(dir)) = (begin, path.parent()) else { return Ok(vec![path.to_owned()]) };
    let names = files::list(host, dir)?.into_iter().filter(|name| name.starts_with(begin));
    Ok(names.map(|name| dir.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest_of_a_name_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        for name in ["instance-1.xml", "instance-2.xml", "mine.xml"] {
            files::write(&host, &Path::new("/etc/libvirt/qemu").join(name), b"", 0o600, None).unwrap();
        }
        let found = |path: &str| matching(&host, Path::new(path)).unwrap();
        let numbered = ["instance-1.xml", "instance-2.xml"].map(|name| Path::new("/etc/libvirt/qemu").join(name));
        assert_eq!(found("/etc/libvirt/qemu/instance-*"), numbered);
        assert_eq!(found("/etc/libvirt/qemu"), [Path::new("/etc/libvirt/qemu")]);
        assert!(found("/nowhere/instance-*").is_empty());
    }
}
