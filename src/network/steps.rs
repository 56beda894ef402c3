//! Files, units and state of the network as steps of a plan. The text of the units, and of what keeps other programs'
//! hands off our links, is in `templates/`; rules of iptables that ours replace are chosen by `adopted.rs`.

use super::action::DeclaredNetwork;
use super::consent::Confirmation;
use super::live::Ownership;
use super::{desired, sysctls};
use crate::action::file::File;
use crate::action::task::Task;
use crate::action::unit::{Enabled, Started};
use crate::action::{ActionId, Checked};
use crate::config::network::Access;
use crate::engine::EngineInput;
use crate::engine::service::Service;
use crate::failure::Failure;
use crate::host::command::Command;
use crate::host::{Host, files, systemd};
use crate::network::adopted::AdoptedMasquerades;
use crate::paths::BRIDGE;
use crate::plan::{Step, StepId};
use crate::template::{Templates, Values};
use serde_json::json;

/// The step in which the network gets its state.
pub const STEP: &str = "network";

/// The last of them.
pub const LAST: &str = "network-kept";

const SYSCTLS: &str = "/etc/sysctl.d/60-gpucloud.conf";
const UNITS: [&str; 3] = ["gpucloud-network.service", "gpucloud-network-check.service", "gpucloud-network-check.timer"];

/// Programs that would take Open vSwitch's links for theirs: unit, our drop-in, and what makes it read that.
const MANAGERS: [(&str, &str, &str, &[&str]); 2] = [
    (
        "NetworkManager",
        "NetworkManager.service",
        "/etc/NetworkManager/conf.d/90-gpucloud.conf",
        &["systemctl", "reload", "NetworkManager.service"],
    ),
    (
        "systemd-networkd",
        "systemd-networkd.service",
        "/etc/systemd/network/10-gpucloud.network",
        &["networkctl", "reload"],
    ),
];

/// Everything, behind the steps `after`, which make the bridge.
///
/// # Errors
/// Only our own mistakes: a template that does not render.
pub fn steps(
    order: &EngineInput,
    services: &[Service],
    after: &[&str],
    owned: Ownership,
    confirmation: Confirmation,
) -> Result<Vec<Step>, Failure> {
    let templates = Templates::new(order.secrets)?;
    let values = Values::new();
    let file = |path: &str| -> Result<File, Failure> {
        Ok(File::new(path, templates.render(path.trim_start_matches('/'), &values)?))
    };
    // Behind what makes our own directories, so that these are taken for ours.
    let mut prepare = Step::new("network-files", "Write what keeps the network in its state").after(after);
    for unit in UNITS {
        prepare = prepare.with(file(&format!("/etc/systemd/system/{unit}"))?);
    }
    for (name, unit, path, reload) in MANAGERS {
        if order.facts.network.managers.contains(&name) {
            prepare = prepare.with(file(path)?).with(reread(unit, path, reload));
        }
    }
    let mut steps = of_state(order, services, owned, confirmation)?;
    for step in &mut steps {
        step.after.extend(after.iter().map(|id| StepId::new(*id)));
    }
    let [service, _, timer] = UNITS;
    let mut keep = Step::new(LAST, "Keep the network in its state").after(&[STEP, "network-files"]);
    for unit in [service, timer] {
        keep = keep.with(Enabled { unit: unit.into() }).with(Started::new(unit));
    }
    steps.insert(0, prepare);
    steps.push(keep.on_compute());
    Ok(steps)
}

/// What the answers decide: kernel parameters at boot, and the state itself.
///
/// # Errors
/// Only our own mistakes: a template that does not render.
pub fn of_state(
    order: &EngineInput,
    services: &[Service],
    owned: Ownership,
    confirmation: Confirmation,
) -> Result<Vec<Step>, Failure> {
    // A list: templates go through a map in any order.
    let lines: Vec<String> = sysctls(order.config).iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let values = Values::from([("sysctls".into(), json!(lines))]);
    let parameters = Templates::new(order.secrets)?.render(SYSCTLS.trim_start_matches('/'), &values)?;
    let state = DeclaredNetwork {
        desired: desired(order.config, services, order.facts.os.datapath()),
        owned,
        facts: order.facts.network.clone(),
        confirmation,
    };
    let mut step = Step::new(STEP, "Bring the network into its state").with(File::new(SYSCTLS, parameters)).with(state);
    if order.config.network.access != Access::Bridged {
        let (uplink, range) = (order.config.host.interface.as_str().to_owned(), order.config.network.range);
        let known = |link: &str| link == uplink || link == BRIDGE;
        let alone = order.facts.network.routes.iter().all(|route| known(&route.interface));
        step = step.with(AdoptedMasquerades { uplink, range, alone });
    }
    Ok(vec![step.on_compute()])
}

/// A manager that runs learns of our drop-in.
fn reread(unit: &'static str, path: &'static str, reload: &'static [&'static str]) -> Task {
    let probe = |_: &Host| Ok(Checked::Done);
    let work = move |host: &Host| {
        let Some((program, arguments)) = reload.split_first() else { return Ok(()) };
        if !systemd::unit(host, unit)?.is_active() {
            return Ok(());
        }
        Command::new(*program).args(arguments.iter().copied()).run(host)
    };
    let version = files::hash(path.as_bytes());
    let id = ActionId::new("reread", unit);
    Task::once(id, format!("Let {unit} read its configuration"), &version, probe, work).depending_on(vec![path.into()])
}
