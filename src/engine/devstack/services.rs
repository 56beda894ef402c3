//! The rows of DevStack's service table. It brings its own units, `devstack@NAME.service`, which know no order: from
//! the rows here follow the drop-ins that give them one, start order, status layers, ports to close, order of
//! recovery.

use crate::config::Config;
use crate::config::devstack::Extra;
use crate::engine::ask::CACHE_PORT;
use crate::engine::hypervisor;
use crate::engine::service::{Layer, Listen, Probe, Scope, Service};
use crate::plan::Role;
use std::path::PathBuf;
use std::time::Duration;

/// How long one may take to start.
const LIMIT: Duration = Duration::from_secs(300);

/// A unit that DevStack makes.
struct Row {
    id: &'static str,
    /// The name behind `devstack@`.
    name: &'static str,
    layer: Layer,
    role: Role,
    after: &'static [&'static str],
    probe: Probe,
    listens: Option<Listen>,
}

const fn row(id: &'static str, name: &'static str, layer: Layer, after: &'static [&'static str], probe: Probe) -> Row {
    let role = if matches!(layer, Layer::Compute) { Role::Compute } else { Role::Control };
    Row { id, name, layer, role, after, probe, listens: None }
}

const fn api(path: &'static str, service: &'static str) -> Probe {
    Probe::Api { port: 80, path, service: Some(service) }
}

const CONTROL: &[&str] = &["mariadb", "memcached", "rabbitmq", "keystone", "apache"];
const SWITCH: &[&str] = &["mariadb", "rabbitmq", "ovn-central"];

/// Those that every cloud has.
const ROWS: &[Row] = &[
    row("keystone", "keystone", Layer::Identity, &["mariadb", "memcached", "apache"], api("/identity/v3", "identity")),
    row("placement", "placement-api", Layer::Control, CONTROL, api("/placement/", "placement")),
    row("glance-api", "g-api", Layer::Control, CONTROL, api("/image/", "image")),
    row("neutron-api", "neutron-api", Layer::Control, CONTROL, api("/networking/", "network")),
    row("neutron-rpc", "neutron-rpc-server", Layer::Control, SWITCH, Probe::Active),
    row("neutron-periodic", "neutron-periodic-workers", Layer::Control, SWITCH, Probe::Active),
    row("neutron-ovn-maintenance", "neutron-ovn-maintenance-worker", Layer::Control, SWITCH, Probe::Active),
    row("nova-api", "n-api", Layer::Control, CONTROL, api("/compute/", "compute")),
    Row {
        listens: Some(Listen { scope: Scope::Machine, port: 8775, purpose: "metadata" }),
        ..row("nova-metadata", "n-api-meta", Layer::Control, CONTROL, Probe::Active)
    },
    row("nova-super-conductor", "n-super-cond", Layer::Control, &["mariadb", "rabbitmq", "placement"], Probe::Active),
    row("nova-conductor", "n-cond-cell1", Layer::Control, &["mariadb", "rabbitmq", "placement"], Probe::Active),
    row("nova-scheduler", "n-sch", Layer::Control, &["mariadb", "rabbitmq", "placement"], Probe::Active),
    row(
        "nova-compute",
        "n-cpu",
        Layer::Compute,
        &["rabbitmq", "libvirt", "openvswitch", "nova-conductor", "placement", "neutron-api"],
        Probe::Compute,
    ),
    row(
        "neutron-ovn-agent",
        "q-ovn-agent",
        Layer::Compute,
        &["openvswitch", "ovn-host", "ovn-central"],
        Probe::NetworkAgents,
    ),
    Row {
        listens: Some(Listen { scope: Scope::Host, port: 6080, purpose: "consoles" }),
        ..row("nova-novncproxy", "n-novnc-cell1", Layer::Compute, &["mariadb", "memcached"], Probe::Active)
    },
];

/// Those on request.
fn extra_rows(extra: Extra) -> &'static [Row] {
    const CINDER: &[Row] = &[
        row("cinder-api", "c-api", Layer::Control, CONTROL, Probe::Active),
        row("cinder-scheduler", "c-sch", Layer::Control, &["mariadb", "rabbitmq"], Probe::Active),
        row("cinder-volume", "c-vol", Layer::Control, &["mariadb", "rabbitmq"], Probe::Active),
    ];
    const SWIFT: &[Row] = &[
        row("swift-proxy", "s-proxy", Layer::Control, &["memcached", "keystone"], Probe::Active),
        row("swift-object", "s-object", Layer::Control, &[], Probe::Active),
        row("swift-container", "s-container", Layer::Control, &[], Probe::Active),
        row("swift-account", "s-account", Layer::Control, &[], Probe::Active),
    ];
    const HEAT: &[Row] = &[
        row("heat-api", "h-api", Layer::Control, CONTROL, Probe::Active),
        row("heat-api-cfn", "h-api-cfn", Layer::Control, CONTROL, Probe::Active),
        row("heat-engine", "h-eng", Layer::Control, CONTROL, Probe::Active),
    ];
    match extra {
        Extra::Cinder => CINDER,
        Extra::Swift => SWIFT,
        Extra::Heat => HEAT,
    }
}

/// The whole table.
pub fn table(config: &Config) -> Vec<Service> {
    let mut table = theirs(config);
    let extras = config.devstack.services.iter().flat_map(|extra| extra_rows(*extra));
    table.extend(ROWS.iter().chain(extras).map(service));
    if config.cloud.dashboard {
        let probe =
            Probe::Page { port: 80, path: "/dashboard/auth/login/", contains: "csrfmiddlewaretoken", trust: None };
        table.push(distribution("horizon", "apache2.service", Layer::Dashboard, Role::Control, probe, Vec::new()));
    }
    table
}

fn service(row: &Row) -> Service {
    Service {
        id: row.id,
        role: row.role,
        unit: format!("devstack@{}.service", row.name),
        layer: row.layer,
        after: row.after,
        inputs: inputs(row.id),
        listens: row.listens.into_iter().collect(),
        stores: stores(row.id),
        probe: row.probe.clone(),
        time_limit: LIMIT,
        unit_file: None,
    }
}

/// One of the distribution's.
fn distribution(id: &'static str, unit: &str, layer: Layer, role: Role, probe: Probe, listens: Vec<Listen>) -> Service {
    let unit = unit.to_owned();
    Service {
        id,
        role,
        unit,
        layer,
        after: &[],
        inputs: Vec::new(),
        listens,
        stores: stores(id),
        probe,
        time_limit: LIMIT,
        unit_file: None,
    }
}

/// What the distribution brings. DevStack lets most of it listen on every address.
fn theirs(config: &Config) -> Vec<Service> {
    use Layer::{Foundation, Switch};
    use Role::{Compute, Control};
    let listen = |scope, port, purpose| Listen { scope, port, purpose };
    let own = |port, purpose| listen(Scope::Machine, port, purpose);
    let queue = vec![own(5672, "AMQP"), own(25672, "Erlang distribution"), own(4369, "Erlang port mapper")];
    let cache = vec![listen(Scope::Loopback, 11211, "cache")];
    let web = vec![listen(Scope::Host, 80, "APIs and dashboard")];
    let ovn = vec![own(6641, "OVN northbound"), own(6642, "OVN southbound")];
    vec![
        distribution("mariadb", "mariadb.service", Foundation, Control, Probe::Sql, vec![own(3306, "SQL")]),
        distribution("rabbitmq", "rabbitmq-server.service", Foundation, Control, Probe::Queue, queue),
        distribution("memcached", "memcached.service", Foundation, Control, Probe::Cache(CACHE_PORT), cache),
        distribution("apache", "apache2.service", Foundation, Control, Probe::Port(80), web),
        distribution("openvswitch", "openvswitch-switch.service", Switch, Compute, Probe::Active, Vec::new()),
        distribution("ovn-central", "ovn-central.service", Switch, Control, Probe::Northd, ovn),
        distribution("ovn-host", "ovn-host.service", Switch, Compute, Probe::OvnController, Vec::new()),
        distribution("libvirt", "libvirtd.service", Layer::Compute, Compute, Probe::emulator(config), Vec::new()),
    ]
}

/// Where a service keeps what it has; DevStack's own lies below its data directory.
fn stores(id: &str) -> &'static [&'static str] {
    match id {
        "mariadb" => &["/var/lib/mysql"],
        "rabbitmq" => &["/var/lib/rabbitmq"],
        "ovn-central" => &["/var/lib/ovn"],
        "glance-api" => &["/opt/stack/data/glance"],
        "nova-compute" => &["/opt/stack/data/nova"],
        "cinder-volume" => &["/opt/stack/data/cinder"],
        "swift-object" => &["/opt/stack/data/swift"],
        _ => &[],
    }
}

/// What a service reads at its start of what we set.
fn inputs(id: &str) -> Vec<PathBuf> {
    match id {
        "libvirt" => vec![hypervisor::DROP_IN.into()],
        "nova-compute" => vec!["/etc/nova/nova-cpu.conf".into()],
        id if id.starts_with("nova-") => vec!["/etc/nova/nova.conf".into()],
        id if id.starts_with("cinder-") => vec!["/etc/cinder/cinder.conf".into()],
        "neutron-api" | "neutron-rpc" | "neutron-periodic" | "neutron-ovn-maintenance" => {
            vec!["/etc/neutron/plugins/ml2/ml2_conf.ini".into()]
        }
        _ => Vec::new(),
    }
}

/// Whether a unit is one that DevStack makes.
pub fn is_devstacks(service: &Service) -> bool {
    service.unit.starts_with("devstack@")
}

/// Whether what a service started must go with it: without its queue it does not stop, and its workers stay. (The
/// children of n-cpu and q-ovn-agent are guests and proxies.)
pub fn children_die(service: &Service) -> bool {
    ["nova-super-conductor", "nova-conductor", "nova-scheduler"].contains(&service.id)
}
