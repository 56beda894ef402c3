//! Accounts, secrets, directories, configuration.

use super::{ACCOUNT, Recipe};
use crate::action::Action;
use crate::action::account::{Member, SystemGroup, SystemUser};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::symlink::Symlink;
use crate::action::task::STAMPS;
use crate::config::secrets;
use crate::content::Content;
use crate::failure::Failure;
use crate::plan::Step;
use std::path::Path;

/// Members may read the administrator's password of the cloud.
pub const ADMIN_GROUP: &str = "gpucloud-admin";

/// Data directories of the services' account.
const DATA: &[&str] = &[
    "/var/lib/keystone",
    "/var/lib/placement",
    "/var/lib/glance",
    "/var/lib/glance/images",
    "/var/lib/glance/tasks",
    "/var/lib/glance/staging",
    "/var/lib/glance/lock",
    "/var/lib/neutron",
    "/var/lib/neutron/lock",
];

/// Data directories that the hypervisor's processes must get through.
const OPEN_DATA: &[&str] = &["/var/lib/nova", "/var/lib/nova/instances", "/var/lib/nova/lock"];

/// Where the administrator's own lines go; the services are told to read them.
const DROP_INS: &[&str] = &[
    "/etc/keystone/keystone.conf.d",
    "/etc/placement/placement.conf.d",
    "/etc/glance/glance-api.conf.d",
    "/etc/nova/nova.conf.d",
    "/etc/nova/nova-cpu.conf.d",
    "/etc/neutron/neutron.conf.d",
    "/etc/neutron/neutron-ovn-agent.conf.d",
];

/// Configuration with secrets in it.
const SECRET_FILES: &[&str] = &[
    "/etc/keystone/keystone.conf",
    "/etc/placement/placement.conf",
    "/etc/glance/glance-api.conf",
    "/etc/nova/nova.conf",
    "/etc/nova/nova-cpu.conf",
    "/etc/neutron/neutron.conf",
    "/etc/neutron/ovn_agent.ini",
];

pub(super) fn steps(recipe: &Recipe) -> Result<Vec<Step>, Failure> {
    Ok(vec![prepare(recipe)?, configure(recipe)?])
}

fn prepare(recipe: &Recipe) -> Result<Step, Failure> {
    let mut step = Step::new("prepare", "Make accounts and directories")
        .with_all([own_program()?])
        .with(SystemGroup { name: ADMIN_GROUP.into() })
        .with(SystemUser { name: ACCOUNT.into(), home: "/var/lib/gpucloud".into() })
        .with(Directory::new("/etc/gpucloud").shared())
        .with(Directory::new(STAMPS))
        .with(Directory::new("/opt/gpucloud"))
        .with(File::new(secrets::PATH, recipe.secrets.render()).access(0o600, "root", "root"));
    for user in &recipe.config.host.administrators {
        step = step.with(Member { user: user.to_string(), group: ADMIN_GROUP.into() });
    }
    Ok(step)
}

/// Where units and the continuation after a boot find this program.
const OWN_PROGRAM: &str = "/usr/local/bin/gpucloud-install";
/// Where a package of the distribution's kind puts it.
const PACKAGED_PROGRAM: &str = "/usr/bin/gpucloud-install";

/// This program itself; a link where it came in a package, which then keeps it up to date.
fn own_program() -> Result<Box<dyn Action>, Failure> {
    let running = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    if running == Path::new(PACKAGED_PROGRAM) {
        return Ok(Box::new(Symlink::new(OWN_PROGRAM, PACKAGED_PROGRAM)));
    }
    // Also right when the file was replaced while we run.
    let bytes = std::fs::read("/proc/self/exe")
        .map_err(|e| Failure::new("cannot read this program", e.to_string(), "start it by its full path"))?;
    let shown = format!("(this program, version {})\n", env!("CARGO_PKG_VERSION"));
    Ok(Box::new(File::new(OWN_PROGRAM, Content::masked(bytes, shown)).access(0o755, "root", "root")))
}

fn configure(recipe: &Recipe) -> Result<Step, Failure> {
    let mut step = Step::new("configure", "Write the configuration of OpenStack").after(&["prepare"]);
    for path in OPEN_DATA {
        step = step.with(Directory::new(*path).access(0o755, ACCOUNT, ACCOUNT));
    }
    for path in DATA {
        step = step.with(Directory::new(*path).access(0o750, ACCOUNT, ACCOUNT));
    }
    for path in ["/etc/keystone/fernet-keys", "/etc/keystone/credential-keys"] {
        step = step.with(Directory::new(path).access(0o700, ACCOUNT, ACCOUNT));
    }
    for path in DROP_INS {
        step = step.with(Directory::new(*path).access(0o750, "root", ACCOUNT).shared());
    }
    for path in SECRET_FILES {
        step = step.with(recipe.secret_file(path)?);
    }
    let clouds = recipe.public_file("/etc/openstack/clouds.yaml")?.access(0o640, "root", ADMIN_GROUP);
    Ok(step.with(recipe.public_file("/etc/neutron/plugins/ml2/ml2_conf.ini")?).with(clouds))
}
