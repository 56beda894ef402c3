//! Horizon: its settings, its collected assets, its start behind uWSGI.

use super::python::{lock_version, packages_stamp, program, site_packages};
use super::{ACCOUNT, Recipe};
use crate::action::directory::Directory;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::failure::Failure;
use crate::host::{Host, Result, files};
use crate::plan::Step;
use std::path::{Path, PathBuf};

const SETTINGS: &str = "/etc/gpucloud/horizon/local_settings.py";

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    if !recipe.config.cloud.dashboard {
        return Ok(Vec::new());
    }
    Ok(vec![
        Step::new("dashboard", "Prepare Horizon")
            // Without its cache, compressing leaves out a block in silence, and the login page answers 500.
            .after(&["python-packages", "prepare", "start-database"])
            .with(Directory::new("/var/lib/horizon").access(0o755, ACCOUNT, ACCOUNT))
            .with(Directory::new("/etc/gpucloud/horizon").access(0o750, "root", ACCOUNT).shared())
            .with(Directory::new("/etc/gpucloud/horizon/local_settings.d").access(0o750, "root", ACCOUNT).shared())
            .with(recipe.secret_file(SETTINGS)?)
            .with(recipe.public_file("/etc/gpucloud/uwsgi/horizon.ini")?)
            .with(settings_link())
            .with(assets()),
        Step::new("start-dashboard", "Start Horizon")
            .after(&["dashboard", "start-identity"])
            .with_all(recipe.start("horizon")?),
    ])
}

/// Django finds its local settings beside its own package only.
fn settings_link() -> Task {
    let probe = |host: &Host| match local_dir(host)? {
        None => Ok(Checked::Later("when OpenStack's packages are installed".into())),
        Some(dir) => {
            let now = files::status(host, &dir.join("local_settings.py"))?.and_then(|status| status.link);
            Ok(Checked::done_if(now.as_deref() == Some(Path::new(SETTINGS)), "link"))
        }
    };
    let work = |host: &Host| match local_dir(host)? {
        Some(dir) => files::make_link(host, &dir.join("local_settings.py"), Path::new(SETTINGS)),
        None => Ok(()),
    };
    Task::new(ActionId::new("horizon", "settings"), "Show Horizon its settings", probe, work)
        .depending_on(vec![packages_stamp()])
}

fn local_dir(host: &Host) -> Result<Option<PathBuf>> {
    Ok(site_packages(host)?.map(|dir| dir.join("openstack_dashboard/local")))
}

/// Style sheets and scripts, collected and compressed once for each lock.
fn assets() -> Task {
    let probe = |host: &Host| {
        let manifest = "/var/lib/horizon/static/dashboard/manifest.json";
        Ok(Checked::done_if(files::exists(host, manifest), "collect and compress"))
    };
    let work = |host: &Host| {
        let django = |args: &[&str]| {
            let settings = ("DJANGO_SETTINGS_MODULE", "openstack_dashboard.settings");
            program("django-admin").args(args.iter().copied()).env(settings.0, settings.1).quiet().run(host)
        };
        django(&["collectstatic", "--noinput", "--verbosity", "0"])?;
        django(&["compress", "--force", "--verbosity", "0"])
    };
    Task::once(
        ActionId::new("horizon", "assets"),
        "Collect Horizon's style sheets and scripts",
        &lock_version(),
        probe,
        work,
    )
}
