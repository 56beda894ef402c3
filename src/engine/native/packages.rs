//! Packages of the distribution. dpkg is one lock, so the groups come one after the other, first what most steps wait
//! for: while the next group is unpacked, databases are made and schemas written.

use super::Recipe;
use crate::action::file::File;
use crate::action::packages::{ARCHIVES, Archives, Packages, forget_archives};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::content::Content;
use crate::engine::packages::{COMPUTE, DATABASE, Group, NETWORK, PYTHON, VOLUMES};
use crate::host::{Host, files};
use crate::plan::{Hold, Step};
use std::path::PathBuf;

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let mut groups = vec![&DATABASE, &NETWORK, &COMPUTE];
    groups.extend(recipe.config.volumes.are_wanted().then_some(&VOLUMES));
    let mut steps = vec![quiet(), install(&PYTHON, &["quiet"]), download(&groups)];
    steps.extend(groups.into_iter().map(|group| install(group, &["quiet", "download"])));
    steps
}

/// For the time of the run: packages start no daemon before it is configured, and needrestart asks nothing.
fn quiet() -> Step {
    let policy = Content::plain(include_str!("../../../templates/usr/sbin/policy-rc.d"));
    Step::new("quiet", "Keep packages from starting daemons")
        .after(&["prepare"])
        .with(File::new("/usr/sbin/policy-rc.d", policy).access(0o755, "root", "root").for_the_run())
}

fn download(groups: &[&Group]) -> Step {
    let names = groups.iter().flat_map(|group| group.names);
    Step::new("download", "Download packages")
        .after(&["install-python"])
        .holding(Hold::Packages)
        .with(Archives { names: names.map(|name| (*name).to_owned()).collect() })
}

/// A killed or failed run finds the archives again; a complete one needs them no more.
pub(super) fn tidy() -> Task {
    let probe = |host: &Host| Ok(Checked::done_if(!files::exists(host, ARCHIVES), "remove the downloaded packages"));
    let id = ActionId::new("tidy", "archives");
    Task::new(id, "Remove the downloaded packages", probe, forget_archives).at_runtime()
}

fn install(group: &Group, after: &[&str]) -> Step {
    Step::new(&format!("install-{}", group.purpose), group.title).after(after).holding(Hold::Packages).with(Packages {
        purpose: group.purpose.into(),
        names: group.names.iter().map(|name| (*name).to_owned()).collect(),
        leaves: group.leaves(),
        made_once: group.made_once.iter().map(|(package, path)| ((*package).to_owned(), PathBuf::from(path))).collect(),
        changed_permissions: group.changed_permissions.iter().map(PathBuf::from).collect(),
    })
}
