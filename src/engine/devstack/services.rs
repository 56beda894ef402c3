//! The rows of DevStack's service table. It brings its own units, `devstack@NAME.service`, which know no order: from the
//! rows here follow the drop-ins that give them one, start order, status layers, ports to close, order of recovery.

use crate::config::Config;
use crate::config::devstack::Extra;
use crate::engine::probe::Probe;
use crate::engine::service::{Layer, Listen, Scope, Service};
use crate::plan::Role;
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
    listens: Option<(u16, &'static str)>,
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
    row("nova-metadata", "n-api-meta", Layer::Control, CONTROL, Probe::Active),
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
        listens: Some((6080, "consoles")),
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
    let mut table = theirs();
    let extras = config.devstack.services.iter().flat_map(|extra| extra_rows(*extra));
    table.extend(ROWS.iter().chain(extras).map(service));
    if config.cloud.dashboard {
        let probe = Probe::Page { port: 80, path: "/dashboard/auth/login/", contains: "csrfmiddlewaretoken" };
        table.push(distribution("horizon", "apache2.service", Layer::Dashboard, Role::Control, probe, &[]));
    }
    table
}

fn service(row: &Row) -> Service {
    let open = |(port, purpose)| Listen { scope: Scope::Host, port, purpose };
    Service {
        id: row.id,
        role: row.role,
        unit: format!("devstack@{}.service", row.name),
        layer: row.layer,
        after: row.after,
        inputs: Vec::new(),
        listens: row.listens.map(open).into_iter().collect(),
        probe: row.probe.clone(),
        time_limit: LIMIT,
        unit_file: None,
    }
}

fn distribution(
    id: &'static str,
    unit: &str,
    layer: Layer,
    role: Role,
    probe: Probe,
    ports: &[(u16, &'static str)],
) -> Service {
    let open = |(port, purpose): &(u16, &'static str)| Listen { scope: Scope::Host, port: *port, purpose };
    Service {
        id,
        role,
        unit: unit.to_owned(),
        layer,
        after: &[],
        inputs: Vec::new(),
        listens: ports.iter().map(open).collect(),
        probe,
        time_limit: LIMIT,
        unit_file: None,
    }
}

/// What the distribution brings. DevStack lets all of it listen on every address.
fn theirs() -> Vec<Service> {
    use Layer::{Foundation, Switch};
    use Role::{Compute, Control};
    vec![
        distribution("mariadb", "mariadb.service", Foundation, Control, Probe::Sql, &[(3306, "SQL")]),
        distribution(
            "rabbitmq",
            "rabbitmq-server.service",
            Foundation,
            Control,
            Probe::Queue,
            &[(5672, "AMQP"), (25672, "Erlang distribution"), (4369, "Erlang port mapper")],
        ),
        distribution("memcached", "memcached.service", Foundation, Control, Probe::Port(11211), &[(11211, "cache")]),
        distribution("apache", "apache2.service", Foundation, Control, Probe::Port(80), &[(80, "APIs and dashboard")]),
        distribution("openvswitch", "openvswitch-switch.service", Switch, Compute, Probe::Active, &[]),
        distribution(
            "ovn-central",
            "ovn-central.service",
            Switch,
            Control,
            Probe::Port(6642),
            &[(6641, "OVN northbound"), (6642, "OVN southbound")],
        ),
        distribution("ovn-host", "ovn-host.service", Switch, Compute, Probe::Active, &[]),
        distribution("libvirt", "libvirtd.service", Layer::Compute, Compute, Probe::Active, &[]),
    ]
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
