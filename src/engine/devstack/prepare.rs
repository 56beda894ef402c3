//! What stack.sh needs before it starts: tools, its account, its answers, and order for the units that it will make.
//! local.conf's shell variables are given their values here; its sections for the services come from `settings.rs`.

use super::services::{children_die, is_devstacks};
use super::{CLOSED_LOGS, LOCAL_CONF, LOG, LOGS, Recipe, leaves, local_conf, repositories};
use crate::action::account::SystemUser;
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::packages::Packages;
use crate::action::task::Task;
use crate::action::undo::Leaves;
use crate::action::unit::{Enabled, Started};
use crate::action::{ActionId, Checked};
use crate::engine::base::ADMIN_GROUP;
use crate::engine::devstack::saved::{LeftBehind, Saved};
use crate::engine::devstack::unstack::{ACCOUNT, HOME, SWITCH_UNIT};
use crate::engine::hypervisor;
use crate::engine::openvswitch;
use crate::engine::packages::NETWORK;
use crate::engine::service::unit_of;
use crate::failure::Failure;
use crate::host::ovs::Datapath;
use crate::host::{Host, files, packages};
use crate::paths::BRIDGE;
use crate::plan::{Hold, Step};
use serde_json::json;
use std::path::Path;

/// The step behind which stack.sh may start.
pub(super) const LAST: &str = "local-conf";

/// For clients, with the administrator's password in it.
const CLOUDS: &str = "/etc/openstack/clouds.yaml";

/// stack.sh changes the whole system through sudo.
const SUDOERS: &str = "/etc/sudoers.d/gpucloud-stack";

/// Files that stack.sh edits in place, or makes beside what goes with a package or with its own directories (measured
/// on Debian 13).
const EDITED: &[&str] = &[
    "/etc/sudoers",
    "/etc/sudoers.d/50_stack_sh",
    "/etc/hosts",
    "/etc/gitconfig",
    "/etc/devstack-version",
    "/etc/apt/apt.conf.d/80retry",
    "/etc/systemd/journald.conf",
    "/etc/systemd/system.conf",
    "/etc/tmpfiles.d/uwsgi.conf",
    CLOUDS,
    "/etc/iscsi/iscsid.conf",
    "/etc/iscsi/initiatorname.iscsi",
];

pub(super) fn steps(recipe: &Recipe) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![tools(recipe), account(recipe)?, remember(), order(recipe)?, names(recipe)?];
    if recipe.datapath() == Datapath::Netdev {
        steps.push(userspace_switch());
    }
    steps.push(local_conf(recipe)?);
    Ok(steps)
}

fn tools(recipe: &Recipe) -> Step {
    // gawk: DevStack merges [[post-config]] by it, and installs it only later.
    let mut names = vec!["git", "gawk", "sudo", "ca-certificates", "python3", "lsb-release", "iptables", "nftables"];
    let early_switch = recipe.datapath() == Datapath::Netdev;
    names.extend(early_switch.then_some("openvswitch-switch"));
    let packages = Packages {
        purpose: "devstack-tools".into(),
        names: names.into_iter().map(str::to_owned).collect(),
        leaves: if early_switch { NETWORK.leaves() } else { Leaves::default() },
        made_once: Vec::new(),
        changed_permissions: Vec::new(),
    };
    let mut step = Step::new("tools", "Install what DevStack needs first")
        .after(&[crate::engine::base::STEP])
        .holding(Hold::Packages);
    if recipe.config.devstack.upgrade {
        step = step.with(upgrade());
    }
    step.with(packages)
}

/// Asked for, and once: an upgrade of a cloud that stands is the administrator's.
fn upgrade() -> Task {
    let probe = |_: &Host| Ok(Checked::Done);
    Task::once(ActionId::new("upgrade", "system"), "Bring this system up to date", "1", probe, packages::upgrade)
}

fn account(recipe: &Recipe) -> Result<Step, Failure> {
    let sudoers =
        recipe.file(SUDOERS)?.access(0o440, "root", "root").accepted_by(&["visudo", "--check", "--quiet", "--file"]);
    Ok(Step::new("account", "Make the account of stack.sh")
        .after(&["tools"])
        .with(SystemUser { name: ACCOUNT.into(), home: HOME.into(), shell: "/bin/bash" })
        // Apache serves the dashboard from there.
        .with(Directory::new(HOME).access(0o755, ACCOUNT, ACCOUNT))
        .with(Directory::new(CLOSED_LOGS).access(0o750, ACCOUNT, ACCOUNT))
        .with(sudoers))
}

fn remember() -> Step {
    let saved = EDITED.iter().map(|path| Saved { path: path.into(), by: "stack.sh" });
    let step = Step::new("originals", "Remember what stack.sh changes").after(&["tools"]);
    saved.fold(step, Step::with)
}

/// The step behind which no service takes the host's name.
pub(super) const NAMES: &str = "names";

/// The step in which what stack.sh left open is closed.
pub(super) const CLOSED: &str = "closed";

/// What stack.sh has left: closed to others, and noted.
pub(super) fn close() -> Step {
    let mut step = Step::new(CLOSED, "Close what stack.sh left open").after(&[super::STEP]).with(closed());
    for path in EDITED {
        step = step.with(LeftBehind::new(*path));
    }
    step
}

/// Directories whose files have passwords in them and, beside others' files, clouds.yaml; stack.sh lets everybody read
/// them.
fn closed() -> Task {
    let directories = || leaves::CONFIGURATION.into_iter().chain(["/opt/stack/devstack"]);
    let probe = move |host: &Host| {
        let open = open_to_others(host, directories().chain([CLOUDS]))?;
        Ok(Checked::done_if(open.is_empty(), format!("close {}", open.join(", "))))
    };
    let work = move |host: &Host| {
        for path in open_to_others(host, directories())? {
            files::set_permissions(host, Path::new(path), 0o750, files::owner(host, ACCOUNT, ACCOUNT)?)?;
        }
        for path in open_to_others(host, [CLOUDS])? {
            let content = files::read(host, Path::new(path))?.unwrap_or_default();
            files::write(host, Path::new(path), &content, 0o640, files::owner(host, ACCOUNT, ADMIN_GROUP)?)?;
        }
        Ok(())
    };
    Task::new(ActionId::new("closed", "devstack"), "Close files with passwords to others", probe, work)
}

fn open_to_others(
    host: &Host,
    paths: impl IntoIterator<Item = &'static str>,
) -> crate::host::Result<Vec<&'static str>> {
    let mut open = Vec::new();
    for path in paths {
        let status = files::status(host, Path::new(path))?;
        open.extend(status.filter(|status| status.mode & 0o007 != 0).map(|_| path));
    }
    Ok(open)
}

/// Drop-ins for units that are not there yet: stack.sh starts them with their order.
fn order(recipe: &Recipe) -> Result<Step, Failure> {
    let mut step = Step::new("order", "Give DevStack's units an order").after(&[crate::engine::base::STEP]);
    for service in recipe.services.iter().filter(|service| is_devstacks(service)) {
        let after: Vec<&str> = service.after.iter().filter_map(|id| unit_of(&recipe.services, id)).collect();
        let values = [("after", json!(after)), ("children_die", json!(children_die(service)))];
        let text = recipe.render_with("etc/systemd/system/devstack@SERVICE.service.d/gpucloud.conf", &values)?;
        step = step.with(File::new(super::drop_in(service), text));
    }
    Ok(step)
}

/// Where RabbitMQ's node has its name from.
const QUEUE_NODE: &str = "/etc/rabbitmq/rabbitmq-env.conf";

/// What else would follow the host's name: libvirt's, and that of RabbitMQ's node, without which its accounts are gone.
/// A node that has another name already keeps it.
fn names(recipe: &Recipe) -> Result<Step, Failure> {
    let mut step = Step::new(NAMES, "Let the services keep their names whatever the host is called")
        .after(&[crate::engine::base::STEP])
        .with(recipe.file(hypervisor::DROP_IN)?);
    let node = recipe.file(QUEUE_NODE)?;
    let is_new = !super::stack::has_completed(recipe.host);
    if is_new || files::read_text(recipe.host, QUEUE_NODE)?.is_some_and(|text| text.contains("rabbit@localhost")) {
        step = step.with(node);
    }
    Ok(step)
}

/// A kernel without Open vSwitch: DevStack would make a bridge that no kernel moves packets for.
fn userspace_switch() -> Step {
    Step::new("switch", "Start Open vSwitch without the kernel's module")
        .after(&["tools"])
        .holding(Hold::OpenVSwitch)
        .with(Enabled { unit: SWITCH_UNIT.into() })
        .with(Started::new(SWITCH_UNIT))
        .with(openvswitch::settings(openvswitch::datapath_settings(Datapath::Netdev)))
        .with(openvswitch::external_bridge(Datapath::Netdev))
        .with(protocols())
}

/// The versions that OVN speaks, where DevStack would set them at making the bridge.
fn protocols() -> Task {
    const WANTED: &str = "OpenFlow13,OpenFlow15";
    let probe = |host: &Host| {
        let now = crate::host::ovs::ask(host, &["--if-exists", "get", "Bridge", BRIDGE, "protocols"])?;
        Ok(Checked::done_if(now.is_some_and(|now| now.contains("OpenFlow15")), format!("speak {WANTED}")))
    };
    let work =
        |host: &Host| crate::host::ovs::change(&["set", "Bridge", BRIDGE, &format!("protocols={WANTED}")]).run(host);
    Task::new(ActionId::new("bridge-protocols", BRIDGE), format!("Let {BRIDGE} speak {WANTED}"), probe, work)
}

fn local_conf(recipe: &Recipe) -> Result<Step, Failure> {
    let values = [
        ("interface", json!(recipe.config.host.interface)),
        ("git_base", json!(recipe.config.cloud.git_base.url())),
        ("branch", json!(recipe.config.devstack.branch)),
        ("log", json!(LOG)),
        ("log_directory", json!(LOGS)),
        ("range", json!(recipe.config.network.range)),
        ("gateway", json!(recipe.config.network.gateway)),
        ("pool_first", json!(recipe.config.network.pool.first)),
        ("pool_last", json!(recipe.config.network.pool.last)),
        ("tenant_range", json!(recipe.config.network.tenant_range)),
        ("userspace", json!(recipe.datapath() == Datapath::Netdev)),
        ("services", json!(recipe.config.devstack.services)),
        ("dashboard", json!(recipe.config.cloud.dashboard)),
        ("settings", json!(local_conf::sections(&recipe.settings))),
        ("own", json!(recipe.facts.own_devstack_lines)),
    ];
    let text = recipe.render_with(LOCAL_CONF.trim_start_matches('/'), &values)?;
    Ok(Step::new(LAST, "Write local.conf")
        .after(&[repositories::DEVSTACK])
        .with(Directory::new("/etc/gpucloud/local.conf.d").access(0o750, "root", "root").shared())
        .with(File::new(LOCAL_CONF, text).access(0o600, ACCOUNT, ACCOUNT)))
}
