//! Packages of the distribution. Only what a run added is ever removed.

use super::undo::{Leaves, Permissions};
use super::{Action, ActionId, Applied, Checked, History, Originals, Undo, WhenOrphaned};
use crate::host::{Host, Result, accounts, files, links, packages, systemd};
use std::path::{Path, PathBuf};

/// Where archives lie until the installation is complete; apt's own cache stays as it was.
pub const ARCHIVES: &str = "/var/cache/gpucloud/archives";

/// Install a group of packages.
#[derive(Debug, Clone)]
pub struct Packages {
    /// What they are for: "database"; names the action.
    pub purpose: String,
    /// Their names.
    pub names: Vec<String>,
    /// What they make while they run, and leave when they are purged.
    pub leaves: Leaves,
    /// What a package's own script makes and cannot go on with when it was killed inside: package and directory.
    pub made_once: Vec<(String, PathBuf)>,
    /// Directories of others whose permissions they change, and leave changed.
    pub changed_permissions: Vec<PathBuf>,
}

/// Removes what was downloaded: nobody needs it once it is installed.
pub fn forget_archives(host: &Host) -> Result<()> {
    files::remove_tree(host, Path::new(ARCHIVES))?;
    Path::new(ARCHIVES).parent().map_or(Ok(()), |dir| files::remove_empty_dir(host, dir).map(drop))
}

impl Action for Packages {
    fn id(&self) -> ActionId {
        ActionId::new("packages", &self.purpose)
    }

    fn describe(&self) -> String {
        format!("Install {}", self.names.join(", "))
    }

    /// Databases and images lie in what they leave: a group that a release calls otherwise stays until `uninstall`.
    fn when_orphaned(&self) -> WhenOrphaned {
        WhenOrphaned::Keep
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let missing = packages::missing(host, &self.names)?;
        Ok(Checked::done_if(missing.is_empty(), format!("install {} with what they need", missing.join(", "))))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let leaves =
            Leaves { permissions: permissions(host, &self.changed_permissions)?, ..not_there_yet(host, &self.leaves)? };
        Ok(Undo::Packages { added: packages::would_add(host, &self.names)?, leaves })
    }

    /// What the list wants today is added to what we already answer for.
    fn prepare_again(&self, host: &Host, earlier: &Undo) -> Result<Undo> {
        let Undo::Packages { added, leaves } = earlier else { return Ok(earlier.clone()) };
        // Before anything lets dpkg finish what was killed.
        self.clear_half_made(host, leaves)?;
        let mut added = added.clone();
        let new = packages::would_add(host, &self.names)?;
        added.extend(new.into_iter().filter(|name| !earlier_has(earlier, name)));
        Ok(Undo::Packages { added, leaves: leaves.clone() })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        packages::install(host, &self.names, Path::new(ARCHIVES))?;
        Ok(Applied::Done)
    }
}

impl Packages {
    /// Removes what was not there before us and was never finished: it holds nothing of anybody's.
    fn clear_half_made(&self, host: &Host, leaves: &Leaves) -> Result<()> {
        for (package, path) in self.made_once.iter().filter(|(_, path)| leaves.paths.contains(path)) {
            if files::exists(host, path) && packages::never_configured(host, package)? {
                host.warn(&format!("{package} was cut off while it made {}: beginning anew", path.display()));
                files::remove_tree(host, path)?;
            }
        }
        Ok(())
    }
}

/// Only what is not there before is ours to remove.
pub fn not_there_yet(host: &Host, leaves: &Leaves) -> Result<Leaves> {
    let names: Vec<String> = links::links()?.into_iter().map(|link| link.name).collect();
    let known = |name: &String| {
        accounts::find_user(name).is_ok_and(|u| u.is_some()) || accounts::find_group(name).is_ok_and(|g| g.is_some())
    };
    let units: Vec<&str> = leaves.units.iter().map(String::as_str).collect();
    let unknown = systemd::status(host, &units)?.into_iter().map(|status| status.load == "not-found");
    Ok(Leaves {
        units: leaves.units.iter().zip(unknown).filter(|(_, unknown)| *unknown).map(|(unit, _)| unit.clone()).collect(),
        paths: leaves.paths.iter().filter(|path| !files::exists(host, path)).cloned().collect(),
        shells: leaves.shells.iter().filter(|path| !files::exists(host, path)).cloned().collect(),
        accounts: leaves.accounts.iter().filter(|name| !known(name)).cloned().collect(),
        links: leaves.links.iter().filter(|name| !names.contains(name)).cloned().collect(),
        permissions: Vec::new(),
    })
}

/// How directories are now whose permissions will change.
pub fn permissions(host: &Host, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Vec<Permissions>> {
    let mut found = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let status = files::directory_status(host, path)?;
        found.extend(status.map(|s| Permissions { path: path.to_owned(), mode: s.mode, owner: s.owner }));
    }
    Ok(found)
}

fn earlier_has(earlier: &Undo, name: &str) -> bool {
    matches!(earlier, Undo::Packages { added, .. } if added.iter().any(|n| n == name))
}

/// Download the archives of several groups at once, so that dpkg never waits for the network.
#[derive(Debug, Clone)]
pub struct Archives {
    /// All packages that the run will install.
    pub names: Vec<String>,
}

impl Action for Archives {
    fn id(&self) -> ActionId {
        ActionId::new("archives", "packages")
    }

    fn describe(&self) -> String {
        "Download packages".into()
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let missing = packages::missing(host, &self.names)?;
        let there = packages::is_downloaded(host, Path::new(ARCHIVES));
        Ok(Checked::done_if(
            missing.is_empty() || there,
            format!("download {} packages with what they need", missing.len()),
        ))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        let path = PathBuf::from(ARCHIVES);
        let made = files::missing_parents(host, &path);
        Ok(Undo::Directory { path, original: super::originals::Original::Absent, made, shared: false })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        let archives = Path::new(ARCHIVES);
        files::make_parents(host, archives)?;
        files::make_dir(host, archives, 0o755, None)?;
        packages::download(host, &self.names, archives)?;
        Ok(Applied::Done)
    }
}
