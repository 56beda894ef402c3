//! `mirror`: what an installation by DevStack needs of Git, in a folder.

use super::Invocation;
use crate::cli::{Mirror, MirrorCreate};
use crate::ending::Ending;
use crate::engine::devstack::mirror::{self, MirrorRequest};
use crate::failure::Failure;
use crate::host::command::on_path;
use crate::installation::require_root;
use crate::plan::Plan;
use crate::plan::journal::Journal;
use crate::ui::text;
use serde_json::json;
use std::path::Path;

/// A mirror is taken back by removing its folder: nothing of its making outlives a boot.
const JOURNAL: &str = "/run/gpucloud/mirror";

pub(super) fn run(invocation: &Invocation, options: &Mirror) -> Result<Ending, Failure> {
    invocation.require_live()?;
    if !on_path("git") {
        return Err(Failure::new("git is missing", "", "apt-get install git").with(Ending::Refused));
    }
    match options {
        Mirror::Create(options) => create(invocation, options),
        Mirror::Verify(options) => verify(invocation, &options.folder),
    }
}

fn create(invocation: &Invocation, options: &MirrorCreate) -> Result<Ending, Failure> {
    require_root(&invocation.host)?;
    let folder = std::path::absolute(&options.folder)
        .map_err(|error| Failure::usage(format!("{}: {error}", options.folder.display()), "name a folder"))?;
    let order = MirrorRequest {
        folder: folder.clone(),
        base: options.from.clone(),
        branch: options.branch.clone(),
        services: options.with.clone(),
    };
    let plan = |journal: &Journal| -> Result<Plan, Failure> {
        Ok(Plan::make(mirror::steps(&order)?, &invocation.host, journal)?)
    };
    let outcome = invocation.run_for_now(&invocation.host, "mirror", JOURNAL, plan)?;
    if let Some(failure) = outcome.and_then(|outcome| outcome.failures.into_iter().next()) {
        let next = "gpucloud-install mirror create goes on: what is there is not fetched again";
        return Err(Failure { next: next.into(), ..failure });
    }
    invocation.ui.document("mirror create", json!({"folder": folder}));
    invocation.ui.say(format!("The mirror is complete. In gpucloud.toml: git_base = \"{}\"", folder.display()));
    Ok(Ending::Done)
}

fn verify(invocation: &Invocation, folder: &Path) -> Result<Ending, Failure> {
    let all = mirror::verify(&invocation.host, folder)?;
    let ok = all.iter().all(|one| one.ok);
    invocation.ui.document("mirror verify", json!({"ok": ok, "repositories": all}));
    if !invocation.ui.is_json() {
        let rows: Vec<Vec<String>> = all
            .iter()
            .map(|one| {
                let state = if one.ok { "ok" } else { "no" };
                vec![state.to_owned(), one.repository.clone(), one.branch.clone(), one.detail.clone()]
            })
            .collect();
        invocation.ui.say(text::table(&["", "REPOSITORY", "BRANCH", "VERSION"], &rows));
    }
    Ok(if ok { Ending::Done } else { Ending::Failed })
}
