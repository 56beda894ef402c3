//! Accounts, secrets, directories, configuration.

use super::schemas::DUMPS;
use super::{ACCOUNT, Recipe, volumes};
use crate::action::account::{NO_LOGIN, SystemUser};
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::content::Content;
use crate::engine::EngineInput;
use crate::engine::base::{self, ADMIN_GROUP};
use crate::engine::settings::{Conf, file_of, keys_of};
use crate::failure::Failure;
use crate::plan::Step;

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

/// Where lines of the rooms go: before an administrator's file, whose name hardly begins with a digit.
fn places(conf: Conf) -> &'static [&'static str] {
    match conf {
        Conf::Nova => &["/etc/nova/nova.conf.d/50-gpucloud.conf", "/etc/nova/nova-cpu.conf.d/50-gpucloud.conf"],
        Conf::Ml2 => &["/etc/neutron/neutron.conf.d/50-gpucloud.conf"],
        Conf::OvnAgent => &["/etc/neutron/neutron-ovn-agent.conf.d/50-gpucloud.conf"],
        Conf::Cinder => &["/etc/cinder/cinder.conf.d/50-gpucloud.conf"],
        Conf::Placement => &["/etc/placement/placement.conf.d/50-gpucloud.conf"],
    }
}

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

pub(super) fn steps(order: &EngineInput, recipe: &Recipe) -> Result<Vec<Step>, Failure> {
    let step = base::prepare(order)?;
    let step = step
        .with(SystemUser { name: ACCOUNT.into(), home: "/var/lib/gpucloud".into(), shell: NO_LOGIN })
        .with(Directory::new(DUMPS).access(0o700, "root", "root"))
        .with(Directory::new("/opt/gpucloud"));
    Ok(vec![step, configure(recipe)?])
}

fn configure(recipe: &Recipe) -> Result<Step, Failure> {
    let mut step = Step::new("configure", "Write the configuration of OpenStack").after(&["prepare"]);
    for path in OPEN_DATA {
        step = step.with(Directory::new(*path).access(0o755, ACCOUNT, ACCOUNT));
    }
    let volumes = recipe.config.volumes.are_wanted();
    let more = |paths: &'static [&'static str]| paths.iter().filter(move |_| volumes);
    for path in DATA.iter().chain(more(volumes::DATA)) {
        step = step.with(Directory::new(*path).access(0o750, ACCOUNT, ACCOUNT));
    }
    for path in ["/etc/keystone/fernet-keys", "/etc/keystone/credential-keys"] {
        step = step.with(Directory::new(path).access(0o700, ACCOUNT, ACCOUNT));
    }
    for path in DROP_INS.iter().chain(more(volumes::DROP_INS)) {
        step = step.with(Directory::new(*path).access(0o750, "root", ACCOUNT).shared());
    }
    for path in SECRET_FILES.iter().chain(more(volumes::SECRET_FILES)) {
        step = step.with(recipe.secret_file(path)?);
    }
    for conf in Conf::ALL.into_iter().filter(|conf| volumes || *conf != Conf::Cinder) {
        let mut keys = keys_of(recipe.settings, conf);
        // The whole file is ours: what is not in it is gone.
        keys.retain(|key| !key.values.is_empty());
        for path in places(conf).iter().filter(|_| !keys.is_empty()) {
            let file = File::new(*path, Content::plain(file_of(&keys)));
            step = step.with(file.access(0o640, "root", ACCOUNT));
        }
    }
    let clouds = recipe.public_file("/etc/openstack/clouds.yaml")?.access(0o640, "root", ADMIN_GROUP);
    Ok(step.with(recipe.public_file("/etc/neutron/plugins/ml2/ml2_conf.ini")?).with(clouds))
}
