//! libvirt, nova-compute, the network agent, consoles.

use super::Recipe;
use super::python::{packages_stamp, program, site_packages};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::engine::hypervisor;
use crate::failure::Failure;
use crate::host::sql::{self, Identifier};
use crate::host::{Host, Result, files};
use crate::plan::Step;
use std::path::Path;
use std::time::Duration;

/// How long Nova may take to hear of a new hypervisor.
const LIMIT: Duration = Duration::from_secs(240);
/// Where Debian and Ubuntu put Python modules of packages.
const SYSTEM_MODULES: &str = "/usr/lib/python3/dist-packages";

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    Ok(vec![
        Step::new("virtualization", "Start libvirt")
            .after(&["install-compute", "python-packages"])
            .on_compute()
            .with(recipe.public_file(hypervisor::DROP_IN)?)
            .with_all(recipe.start("libvirt")?)
            .with(libvirt_module()),
        Step::new("start-compute", "Start the hypervisor")
            .after(&["virtualization", "switch", "start-nova", "start-placement", "start-network", "start-image"])
            .on_compute()
            .with_all(recipe.start("nova-compute")?)
            .with_all(recipe.start("neutron-ovn-agent")?)
            .with_all(recipe.start("nova-novncproxy")?),
        Step::new("discover-hosts", "Tell Nova of the hypervisor").after(&["start-compute"]).with(discover(recipe)),
    ])
}

/// libvirt's Python module has no wheel and must fit the library: the distribution's is linked into the environment.
fn libvirt_module() -> Task {
    let probe = |host: &Host| {
        let Some(packages) = site_packages(host)? else {
            return Ok(Checked::Later("when OpenStack's packages are installed".into()));
        };
        // A module that a new Python brought under another name is seen.
        let linked = |name: &String| files::leads_somewhere(host, packages.join(name));
        let modules = system_modules(host)?;
        let complete = modules.len() >= 2 && modules.iter().all(linked);
        Ok(Checked::done_if(complete, "link libvirt into the environment"))
    };
    let work = |host: &Host| {
        let Some(packages) = site_packages(host)? else { return Ok(()) };
        system_modules(host)?
            .iter()
            .try_for_each(|name| files::make_link(host, &packages.join(name), &Path::new(SYSTEM_MODULES).join(name)))
    };
    Task::new(ActionId::new("python", "libvirt"), "Link libvirt's Python module", probe, work)
        .depending_on(vec![packages_stamp()])
}

fn system_modules(host: &Host) -> Result<Vec<String>> {
    let mut names = files::list(host, SYSTEM_MODULES)?;
    names.retain(|name| name == "libvirt.py" || (name.starts_with("libvirtmod.cpython-") && name.ends_with(".so")));
    Ok(names)
}

/// A hypervisor gets instances only when it is mapped to a cell.
fn discover(recipe: &Recipe) -> Task {
    let name = recipe.config.host.name.to_string();
    let again = name.clone();
    let probe = move |_: &Host| is_mapped(&name, "nova_api", "host_mappings");
    let work = move |host: &Host| {
        host.wait_until("Nova hearing of the hypervisor", LIMIT, Duration::from_millis(200), || {
            Ok(is_mapped(&again, "nova_cell1", "compute_nodes")? == Checked::Done)
        })?;
        program("nova-manage").args(["--config-file", "/etc/nova/nova.conf", "cell_v2", "discover_hosts"]).run(host)
    };
    Task::new(ActionId::new("hypervisor", &recipe.config.host.name), "Map the hypervisor to its cell", probe, work)
        .asking_the_running_system()
}

fn is_mapped(name: &str, database: &str, table: &str) -> Result<Checked> {
    let Some(sql) = sql::connect()? else { return Ok(Checked::Later("when MariaDB runs".into())) };
    let (database, table) = (Identifier::new(database)?, Identifier::new(table)?);
    if !sql.table_exists(&database, &table)? {
        return Ok(Checked::Later("when Nova has its tables".into()));
    }
    // A host name holds letters, digits and `-` only.
    let condition = format!("host = '{name}'");
    Ok(Checked::done_if(sql.count(&database, &table, &condition)? > 0, "map"))
}
