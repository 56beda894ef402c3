//! Clones of DevStack and of what it installs: in parallel, before stack.sh, each at its pinned commit
//! (`profiles/devstack/commits.toml`). What a cloud that stands has checked out stays.

use super::{Recipe, stack};
use crate::action::file::File;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::config::devstack::Extra;
use crate::content::Content;
use crate::engine::devstack::unstack::{ACCOUNT, HOME};
use crate::failure::Failure;
use crate::host::git::{self, Clone, WorkTree};
use crate::host::{Host, files};
use crate::plan::Step;
use std::collections::BTreeMap;
use std::path::Path;

/// Commits that were tried together.
const PINS: &str = include_str!("../../../profiles/devstack/commits.toml");

/// The step behind which DevStack itself is there.
pub(super) const DEVSTACK: &str = "clone-devstack";

/// One step for each repository, and their names.
///
/// # Errors
/// Only our own mistake: pins that do not parse.
pub(super) fn steps(recipe: &Recipe) -> Result<Vec<Step>, Failure> {
    let pins = pins(recipe.config.devstack.branch.as_str())?;
    let settings = File::new(git::SETTINGS, Content::plain(git::SETTINGS_TEXT));
    let mut steps = vec![Step::new("git", "Let git read mirrors").after(&["tools"]).with(settings)];
    for name in names(recipe) {
        let title = format!("Clone {name}");
        steps.push(
            Step::new(&step_name(name), &title).after(&["git", "account"]).with(task(clone(recipe, name, &pins))),
        );
    }
    Ok(steps)
}

/// Commits that were tried together, by repository ("openstack/nova"); none of a branch that was not tried.
pub(super) fn pins(branch: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(PINS).map_err(|error| Failure::bug(format!("profiles/devstack/commits.toml: {error}")))?;
    Ok(all.remove(branch).unwrap_or_default())
}

/// Repositories that these answers need, as they are called below the Git base without `openstack/`.
pub(super) fn names(recipe: &Recipe) -> Vec<&'static str> {
    all(recipe.config.cloud.dashboard, &recipe.config.devstack.services)
}

/// The same for any cloud.
pub(super) fn all(dashboard: bool, services: &[Extra]) -> Vec<&'static str> {
    let mut names = vec!["devstack", "requirements", "keystone", "glance", "nova", "neutron", "placement"];
    names.extend(dashboard.then_some("horizon"));
    names.extend(services.iter().map(|extra| match extra {
        Extra::Cinder => "cinder",
        Extra::Swift => "swift",
        Extra::Heat => "heat",
    }));
    names
}

/// The step in which a repository is cloned.
pub(super) fn step_name(name: &str) -> String {
    format!("clone-{name}")
}

fn clone(recipe: &Recipe, name: &str, pins: &BTreeMap<String, String>) -> Clone {
    let repository = format!("openstack/{name}");
    Clone {
        tree: tree(name),
        url: format!("{}/{repository}.git", recipe.config.cloud.git_base),
        branch: recipe.config.devstack.branch.to_string(),
        commit: pins.get(&repository).cloned(),
    }
}

fn tree(name: &str) -> WorkTree {
    WorkTree { account: ACCOUNT.into(), home: HOME.into(), directory: Path::new(HOME).join(name) }
}

fn task(clone: Clone) -> Task {
    let (directory, again) = (clone.tree.directory.clone(), clone.clone());
    let probe = move |host: &Host| {
        // What stack.sh has installed from, or the administrator works in, is never made anew.
        if stack::has_completed(host) && clone.tree.is_there(host) {
            return Ok(Checked::Done);
        }
        Ok(match (clone.tree.head(host)?, &clone.commit) {
            (None, Some(commit)) => Checked::needed(format!("fetch {} at {}", clone.url, short(commit))),
            (None, None) => Checked::needed(format!("fetch {}, head of {}", clone.url, clone.branch)),
            (Some(head), Some(commit)) if head != *commit => Checked::needed(format!("check out {}", short(commit))),
            (Some(_), _) => Checked::Done,
        })
    };
    let work = move |host: &Host| again.make(host);
    Task::new(ActionId::new("clone", directory.display()), format!("Clone into {}", directory.display()), probe, work)
        .filling(directory)
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// What stack.sh itself writes anew in the clones: it leaves out what it installs from source.
const STACK_SH_EDITS: &[&str] = &["upper-constraints.txt"];

/// Clones in which somebody has worked, in words. Files that stack.sh itself has put there do not count.
pub(super) fn worked_in(host: &Host) -> crate::host::Result<Vec<String>> {
    let since = stack::completed_at(host);
    let mut found = Vec::new();
    for name in files::list(host, HOME)? {
        let tree = tree(&name);
        if tree.is_there(host) {
            let work = tree.own_work(host, STACK_SH_EDITS, since)?;
            found.extend(work.iter().map(|what| format!("{what} in {}", tree.directory.display())));
        }
    }
    Ok(found)
}
