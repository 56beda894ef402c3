//! The page of students, and the way to it from outside, as steps of a plan.

use super::certificate::{self, Names};
use super::steps::tidy;
use super::{Classroom, outside, students};
use crate::action::account::{NO_LOGIN, SystemUser};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::packages::Packages;
use crate::action::symlink::Symlink;
use crate::action::undo::Leaves;
use crate::action::unit::{Enabled, Started};
use crate::config::Config;
use crate::config::secrets::Secrets;
use crate::engine::probe::Prober;
use crate::engine::{portal, tunnel};
use crate::failure::Failure;
use crate::host::Host;
use crate::paths;
use crate::plan::{Hold, Step};
use crate::portal::tls;
use crate::template::{Templates, Values};
use serde_json::json;
use std::sync::Arc;

/// The page of a cloud with these answers.
pub(super) fn of(config: &Config) -> students::Page {
    let tunnel = &config.tunnel;
    let outside = tunnel.url().filter(|_| tunnel.is_wanted(&config.portal, &config.classroom));
    let mut names: Vec<String> = config.portal.names.iter().map(ToString::to_string).collect();
    if outside.is_some() {
        names.push(tunnel.address.host().to_owned());
    }
    students::Page {
        url: config.portal.url(config.host.address),
        names,
        outside: outside.map(|url| students::Outside {
            url,
            requests: tunnel.requests,
            ends_tls: tunnel.server.is_none(),
        }),
    }
}

/// The page that students open.
pub(super) fn portal(config: &Config, room: &Classroom, prober: &Arc<Prober>) -> Result<Option<Step>, Failure> {
    let Some(service) = portal::row(config) else { return Ok(None) };
    let values = Values::from([
        ("port".into(), json!(config.portal.port)),
        ("directory".into(), json!(paths::PORTAL)),
        ("tls".into(), json!(config.portal.is_secure().then_some(tls::FILE))),
        ("tunnel".into(), json!(tunnel::row(config).map(|_| config.tunnel.portal().to_string()))),
    ]);
    let templates = Templates::new(&Secrets::default())?;
    let unit = |path: &str| -> Result<File, Failure> {
        Ok(File::new(path, templates.render(path.trim_start_matches('/'), &values)?))
    };
    let (account, prober, asked) = (students::ACCOUNT, prober.clone(), service.clone());
    let answers = move |host: &Host| prober.ask_alone(host, &asked);
    let mut step = Step::new("portal", "Open the page of students")
        .after(&["classroom-network"])
        .with(SystemUser { name: account.into(), home: paths::PORTAL.into(), shell: NO_LOGIN })
        .with(Directory::new(paths::PORTAL).access(0o750, "root", account))
        .with(Directory::new(format!("{}/sessions", paths::PORTAL)).access(0o700, account, account))
        .with(students::told(room.clone()));
    if config.portal.is_secure() {
        let [renew, timer] = portal::RENEWING;
        step = step
            .with(certificate::certified(Names::new(config.host.address, &config.portal.names)))
            .with(unit(&format!("/etc/systemd/system/{renew}"))?)
            .with(unit(&format!("/etc/systemd/system/{timer}"))?)
            .with(Enabled { unit: timer.into() })
            .with(Started::new(timer));
    }
    step = step
        .with(unit(portal::UNIT_FILE)?)
        .with(Enabled { unit: service.unit.clone() })
        .with(Started::new(&service.unit).reading(service.inputs.clone()).until(service.time_limit, answers));
    Ok(Some(step))
}

/// The way to it from outside.
pub(super) fn tunnel(config: &Config) -> Result<Option<Step>, Failure> {
    let Some(service) = tunnel::row(config) else { return Ok(None) };
    let values = Values::from([("state".into(), json!(paths::TUNNEL_STATE))]);
    let unit = tunnel::UNIT_FILE;
    let text = Templates::new(&Secrets::default())?.render(unit.trim_start_matches('/'), &values)?;
    let account = outside::ACCOUNT;
    let mut step = Step::new("tunnel", "Open the way for students outside").after(&["portal"]);
    if let Some(package) = config.tunnel.kind.package() {
        let packages = Packages {
            purpose: "tunnel".into(),
            names: vec![package.into()],
            leaves: Leaves::default(),
            made_once: Vec::new(),
            changed_permissions: Vec::new(),
        };
        step = step
            .holding(Hold::Packages)
            // A package of Debian's starts what it brings, and at each boot again.
            .with(Symlink::new(format!("/etc/systemd/system/{package}.service"), "/dev/null"))
            .with(packages)
            .with(tidy("tunnel"));
    }
    step = step
        .with(SystemUser { name: account.into(), home: paths::TUNNEL.into(), shell: NO_LOGIN })
        .with(Directory::new(paths::TUNNEL).access(0o750, "root", account))
        .with(outside::told(config.clone()))
        .with(File::new(unit, text))
        .with(Enabled { unit: service.unit.clone() })
        .with(Started::new(&service.unit).reading(service.inputs.clone()));
    Ok(Some(step))
}
