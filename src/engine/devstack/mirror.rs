//! A mirror: bare repositories in a folder, with enough history for pbr to tell versions, and a lock of their commits.
//! `cloud.git_base` may name the folder.

use super::repositories;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::config::devstack::{Branch, Extra, GitBase};
use crate::failure::Failure;
use crate::host::git::Bare;
use crate::host::{Error, Host, Result, files};
use crate::plan::Step;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The lock in the folder: branch, repository, commit.
const LOCK: &str = "commits.toml";

/// What is to be mirrored.
#[derive(Debug, Clone)]
pub struct MirrorRequest {
    /// The folder.
    pub folder: PathBuf,
    /// From where.
    pub base: GitBase,
    /// Which branch.
    pub branch: Branch,
    /// Services beyond those that every cloud has.
    pub services: Vec<Extra>,
}

/// One step for each repository, and the lock behind them. What is there already is not fetched again.
///
/// # Errors
/// Only our own mistake: pins that do not parse.
pub fn steps(order: &MirrorRequest) -> std::result::Result<Vec<Step>, Failure> {
    let pins = repositories::pins(order.branch.as_str())?;
    let names = repositories::all(true, &order.services);
    let bares: Vec<(String, Bare)> = names.iter().map(|name| bare(order, name, &pins)).collect();
    let step = |(name, bare): &(String, Bare)| {
        Step::new(&step_name(name), &format!("Mirror {name}")).with(task(name, bare.clone()))
    };
    let mut steps: Vec<Step> = bares.iter().map(step).collect();
    let last =
        bares.iter().fold(Step::new("lock", "Write the lock"), |last, (name, _)| last.after(&[&step_name(name)]));
    steps.push(last.with(lock(order, bares)));
    Ok(steps)
}

fn step_name(repository: &str) -> String {
    format!("mirror-{}", repository.replace('/', "-"))
}

fn bare(order: &MirrorRequest, name: &str, pins: &BTreeMap<String, String>) -> (String, Bare) {
    let repository = format!("openstack/{name}");
    let bare = Bare {
        url: format!("{}/{repository}.git", order.base),
        directory: order.folder.join(format!("{repository}.git")),
        branch: order.branch.to_string(),
        commit: pins.get(&repository).cloned(),
    };
    (repository, bare)
}

fn task(name: &str, bare: Bare) -> Task {
    let again = bare.clone();
    let probe = move |host: &Host| {
        let there = bare.locked(host)?.is_some();
        Ok(Checked::done_if(there, format!("fetch {}, {}", bare.url, bare.branch)))
    };
    let work = move |host: &Host| again.make(host);
    Task::new(ActionId::new("mirror", name), format!("Fetch {name}"), probe, work).at_runtime()
}

/// Commits of other branches stay in it.
fn lock(order: &MirrorRequest, bares: Vec<(String, Bare)>) -> Task {
    let (path, branch) = (order.folder.join(LOCK), order.branch.to_string());
    let again = (path.clone(), branch.clone(), bares.clone());
    let text = |host: &Host, path: &Path, branch: &str, bares: &[(String, Bare)]| -> Result<Option<String>> {
        let mut all = read_lock(host, path)?;
        let mut commits = BTreeMap::new();
        for (name, bare) in bares {
            let Some(commit) = bare.locked(host)? else { return Ok(None) };
            commits.insert(name.clone(), commit);
        }
        all.insert(branch.to_owned(), commits);
        toml::to_string(&all).map(Some).map_err(|error| Error::protocol("write a lock", error))
    };
    let probe = move |host: &Host| {
        Ok(match text(host, &path, &branch, &bares)? {
            None => Checked::Later("when all repositories are there".into()),
            Some(wanted) => {
                Checked::done_if(files::read_text(host, &path)?.as_deref() == Some(&wanted), "write the commits")
            }
        })
    };
    let work = move |host: &Host| {
        let (path, branch, bares) = &again;
        let text = text(host, path, branch, bares)?.unwrap_or_default();
        files::write(host, path, text.as_bytes(), 0o644, None)
    };
    Task::new(ActionId::new("mirror-lock", LOCK), "Write the lock of commits", probe, work).at_runtime()
}

type Lock = BTreeMap<String, BTreeMap<String, String>>;

fn read_lock(host: &Host, path: &Path) -> Result<Lock> {
    let text = files::read_text(host, path)?.unwrap_or_default();
    toml::from_str(&text).map_err(|error| Error::protocol(format!("read {}", path.display()), error.message()))
}

/// One repository of a mirror, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// "openstack/nova".
    pub repository: String,
    /// Its branch.
    pub branch: String,
    /// The commit that the lock names.
    pub commit: String,
    /// Whether it can be installed from.
    pub ok: bool,
    /// The version that pbr will tell, or what is wrong.
    pub detail: String,
}

/// Looks at every repository that the lock of `folder` names.
///
/// # Errors
/// There is no lock, or it cannot be read.
pub fn verify(host: &Host, folder: &Path) -> Result<Vec<Verified>> {
    let path = folder.join(LOCK);
    let lock = read_lock(host, &path)?;
    if lock.is_empty() {
        return Err(Error::protocol(format!("verify {}", folder.display()), format!("there is no {LOCK} in it")));
    }
    let all = lock.into_iter().flat_map(|(branch, commits)| {
        commits.into_iter().map(move |(repository, commit)| (branch.clone(), repository, commit))
    });
    let look = |(branch, repository, commit): (String, String, String)| {
        let directory = folder.join(format!("{repository}.git"));
        let bare = Bare { url: String::new(), directory, branch: branch.clone(), commit: Some(commit.clone()) };
        let result = bare.verify(host);
        let ok = result.is_ok();
        Verified { repository, branch, commit, ok, detail: result.unwrap_or_else(|why| why) }
    };
    Ok(all.map(look).collect())
}
