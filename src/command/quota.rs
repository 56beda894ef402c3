//! `quota`: show and set. What can be counted: `cloud/resource/quota.rs`.

use super::Invocation;
use crate::cli::{Quota, QuotaSet, QuotaShow};
use crate::cloud::resource::Resource;
use crate::cloud::resource::quota::{self, Usage};
use crate::cloud::session::SharedSession;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, options: &Quota) -> Result<Ending, Failure> {
    match options {
        Quota::Show(QuotaShow { project, cloud }) => {
            show(invocation, &invocation.admin_cloud(cloud)?, "quota show", project)
        }
        Quota::Set(options) => set(invocation, options),
    }
}

fn show(invocation: &Invocation, cloud: &SharedSession, command: &str, project: &str) -> Result<Ending, Failure> {
    let usage = cloud.ask(|cloud| quota::usage(cloud, project))?;
    invocation.ui.document(command, json!({"project": project, "quota": usage}));
    if !invocation.ui.is_json() {
        let limit = |limit: i64| if limit < 0 { "none".to_owned() } else { limit.to_string() };
        let row = |counted: &Usage| vec![counted.name.to_owned(), counted.used.to_string(), limit(counted.limit)];
        let rows: Vec<Vec<String>> = usage.iter().map(row).collect();
        invocation.ui.say(text::table(&["WHAT", "IN USE", "LIMIT"], &rows));
    }
    Ok(Ending::Done)
}

fn set(invocation: &Invocation, options: &QuotaSet) -> Result<Ending, Failure> {
    let cloud = invocation.admin_cloud(&options.cloud)?;
    let offered: Vec<&str> = cloud.ask(|cloud| quota::usage(cloud, &options.project))?.iter().map(|u| u.name).collect();
    if let Some((name, _)) = options.limits.iter().find(|(name, _)| !offered.contains(&name.as_str())) {
        let what = format!("this cloud does not count `{name}`");
        return Err(Failure::usage(what, format!("one of: {}", offered.join(", "))));
    }
    let wanted = quota::Quota { project: options.project.clone(), limits: options.limits.iter().cloned().collect() };
    cloud.ask(|cloud| wanted.ensure(cloud, &invocation.host))?;
    show(invocation, &cloud, "quota set", &options.project)
}
