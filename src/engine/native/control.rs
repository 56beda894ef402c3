//! Starts Keystone, enters the catalog, then starts the APIs and their workers: `start-identity`, `catalog`, `start-*`.

use super::Recipe;
use super::foundation::secret;
use super::services::apis;
use super::volumes;
use crate::action::file::File;
use crate::cloud::identity::CatalogService;
use crate::cloud::keystone_action::{Catalogued, ServiceUser};
use crate::failure::Failure;
use crate::plan::Step;
use serde_json::json;

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    let mut steps = vec![
        start(recipe, "start-identity", "Start Keystone", &["identity-schema"], &["keystone"])?,
        catalog(recipe)?,
        start(recipe, "start-placement", "Start Placement", &["placement-schema", "start-identity"], &["placement"])?,
        start(recipe, "start-image", "Start Glance", &["image-schema", "start-identity"], &["glance-api"])?,
        start(
            recipe,
            "start-nova",
            "Start Nova",
            &["compute-schema", "start-queue", "catalog"],
            &["nova-conductor", "nova-scheduler", "nova-api", "nova-metadata"],
        )?,
        start(
            recipe,
            "start-network",
            "Start Neutron",
            &["network-schema", "start-queue", "switch", "catalog"],
            &["neutron-api", "neutron-ovn-maintenance", "neutron-periodic"],
        )?,
    ];
    if recipe.config.volumes.are_wanted() {
        let after = ["volume-schema", "start-queue", "catalog"];
        steps.push(start(recipe, volumes::CONTROL, "Start Cinder", &after, &["cinder-scheduler", "cinder-api"])?);
    }
    Ok(steps)
}

/// The uWSGI file of an API.
fn uwsgi_file(recipe: &Recipe, id: &str) -> std::result::Result<Option<File>, Failure> {
    let Some(api) = apis(recipe.config).find(|api| api.id == id) else { return Ok(None) };
    let values = [("service", json!(api.id)), ("module", json!(api.module)), ("port", json!(api.port))];
    let content = recipe.render_with("etc/gpucloud/uwsgi/SERVICE.ini", &values)?;
    Ok(Some(File::new(format!("/etc/gpucloud/uwsgi/{id}.ini"), content)))
}

fn start(
    recipe: &Recipe,
    id: &str,
    title: &str,
    after: &[&str],
    services: &[&str],
) -> std::result::Result<Step, Failure> {
    let mut step = Step::new(id, title).after(after);
    for service in services {
        if let Some(file) = uwsgi_file(recipe, service)? {
            step = step.with(file);
        }
        step = step.with_all(recipe.start(service)?);
    }
    Ok(step)
}

fn catalog(recipe: &Recipe) -> std::result::Result<Step, Failure> {
    let mut step = Step::new("catalog", "Make service users and the catalog").after(&["start-identity"]);
    let more = recipe.config.volumes.are_wanted().then_some("cinder");
    for name in ["glance", "nova", "placement", "neutron"].into_iter().chain(more) {
        let password = secret(recipe, &format!("{name}_service"))?;
        step = step.with(ServiceUser { name: name.into(), password, session: recipe.session.clone() });
    }
    for service in catalog_services(recipe) {
        step = step.with(Catalogued { service, session: recipe.session.clone() });
    }
    Ok(step)
}

fn catalog_services(recipe: &Recipe) -> Vec<CatalogService> {
    let entries = [
        ("image", "glance", "9292"),
        ("compute", "nova", "8774/v2.1"),
        ("placement", "placement", "8778"),
        ("network", "neutron", "9696"),
    ];
    let more = recipe.config.volumes.are_wanted().then_some(("block-storage", "cinder", "8776/v3"));
    let entry = |(kind, name, rest): &(&str, &str, &str)| CatalogService {
        kind: (*kind).into(),
        name: (*name).into(),
        url: format!("http://{}:{rest}", recipe.config.host.address),
        region: recipe.config.cloud.region.to_string(),
    };
    entries.iter().chain(&more).map(entry).collect()
}
