//! The rows of the native engine's service table.
//!
//! A new process is one row here (with its ports, and the probe that tells whether it works), its configuration in
//! `templates/`, its package in `packages.rs` where the distribution brings it, and its start in the file of its layer
//! (`foundation.rs`, `switch.rs`, `control.rs`, `compute.rs`, `dashboard.rs`, `volumes.rs`). An API also needs a database
//! (`foundation.rs`), tables (`schemas.rs`), an account in Keystone (`control.rs`) and passwords (`SECRETS`).

use super::rows::{Api, OUR_LIMIT, Worker, api, as_root, loopback, paths, theirs, worker};
use super::{ACCOUNT, VENV, volumes};
use crate::config::Config;
use crate::engine::ask::CACHE_PORT;
use crate::engine::hypervisor;
use crate::engine::service::{Layer, Listen, Probe, Scope, Service, UnitFile};
use crate::plan::Role;

/// Port of Horizon: 80 and 443 are left to the classroom's portal.
pub const DASHBOARD_PORT: u16 = 8080;
/// The APIs of a cloud with these answers.
pub fn apis(config: &Config) -> impl Iterator<Item = &'static Api> {
    APIS.iter().chain(config.volumes.are_wanted().then_some(&volumes::API))
}

/// Those of every cloud.
const APIS: &[Api] = &[
    Api {
        id: "keystone",
        description: "Keystone, the identity API",
        service: Some("identity"),
        port: 5000,
        module: "keystone.wsgi.api:application",
        reads: &["/etc/keystone/keystone.conf", "/etc/keystone/keystone.conf.d"],
        after: &["mariadb", "memcached"],
        layer: Layer::Identity,
        stores: &[],
    },
    Api {
        id: "placement",
        description: "Placement, the inventory API",
        service: Some("placement"),
        port: 8778,
        module: "placement.wsgi.api:application",
        reads: &["/etc/placement/placement.conf", "/etc/placement/placement.conf.d"],
        after: &["mariadb", "memcached", "keystone"],
        layer: Layer::Control,
        stores: &[],
    },
    Api {
        id: "glance-api",
        description: "Glance, the image API",
        service: Some("image"),
        port: 9292,
        module: "glance.wsgi.api:application",
        reads: &["/etc/glance/glance-api.conf", "/etc/glance/glance-api.conf.d"],
        after: &["mariadb", "memcached", "keystone"],
        layer: Layer::Control,
        stores: &["/var/lib/glance"],
    },
    Api {
        id: "nova-api",
        description: "Nova, the compute API",
        service: Some("compute"),
        port: 8774,
        module: "nova.wsgi.osapi_compute:application",
        reads: &["/etc/nova/nova.conf", "/etc/nova/nova.conf.d"],
        after: &["mariadb", "memcached", "rabbitmq", "keystone"],
        layer: Layer::Control,
        stores: &[],
    },
    Api {
        id: "nova-metadata",
        description: "Nova, the metadata API of instances",
        service: None,
        port: 8775,
        module: "nova.wsgi.metadata:application",
        reads: &["/etc/nova/nova.conf", "/etc/nova/nova.conf.d"],
        after: &["mariadb", "memcached", "rabbitmq", "keystone"],
        layer: Layer::Control,
        stores: &[],
    },
    Api {
        id: "neutron-api",
        description: "Neutron, the network API",
        service: Some("network"),
        port: 9696,
        module: "neutron.wsgi.api:application",
        reads: &["/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini", "/etc/neutron/neutron.conf.d"],
        after: &["mariadb", "memcached", "rabbitmq", "keystone", "ovn-central"],
        layer: Layer::Control,
        stores: &[],
    },
];

/// The whole table.
pub fn table(config: &Config) -> Vec<Service> {
    let mut table = foundation();
    table.extend(switch());
    table.extend(apis(config).map(api));
    table.extend(workers());
    table.extend(hypervisor(config));
    if config.volumes.are_wanted() {
        table.extend(volumes::rows());
    }
    if config.cloud.dashboard {
        table.push(dashboard());
    }
    table
}

fn foundation() -> Vec<Service> {
    vec![
        Service {
            inputs: paths(&["/etc/mysql/mariadb.conf.d"]),
            listens: vec![loopback(3306, "SQL")],
            stores: &["/var/lib/mysql"],
            ..theirs("mariadb", "mariadb.service", Layer::Foundation, Role::Control, Probe::Sql)
        },
        Service {
            inputs: paths(&["/etc/rabbitmq/rabbitmq-env.conf", "/etc/rabbitmq/conf.d"]),
            listens: vec![
                loopback(5672, "AMQP"),
                loopback(25672, "Erlang distribution"),
                loopback(4369, "Erlang port mapper"),
            ],
            stores: &["/var/lib/rabbitmq"],
            ..theirs("rabbitmq", "rabbitmq-server.service", Layer::Foundation, Role::Control, Probe::Queue)
        },
        Service {
            listens: vec![loopback(11211, "cache")],
            ..theirs("memcached", "memcached.service", Layer::Foundation, Role::Control, Probe::Cache(CACHE_PORT))
        },
    ]
}

fn switch() -> Vec<Service> {
    vec![
        theirs("openvswitch", "openvswitch-switch.service", Layer::Switch, Role::Compute, Probe::Active),
        Service {
            listens: vec![loopback(6641, "OVN northbound"), loopback(6642, "OVN southbound")],
            stores: &["/var/lib/ovn"],
            ..theirs("ovn-central", "ovn-central.service", Layer::Switch, Role::Control, Probe::Northd)
        },
        theirs("ovn-host", "ovn-host.service", Layer::Switch, Role::Compute, Probe::OvnController),
    ]
}

const NOVA: &[&str] = &["/etc/nova/nova.conf", "/etc/nova/nova.conf.d"];
const NEUTRON: &[&str] =
    &["/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini", "/etc/neutron/neutron.conf.d"];

fn workers() -> Vec<Service> {
    let workers = [
        Worker {
            id: "nova-conductor",
            description: "Nova, the conductor",
            command: "nova-conductor --config-file /etc/nova/nova.conf --config-dir /etc/nova/nova.conf.d",
            notifies: true,
            reads: NOVA,
            after: &["mariadb", "rabbitmq"],
        },
        Worker {
            id: "nova-scheduler",
            description: "Nova, the scheduler",
            command: "nova-scheduler --config-file /etc/nova/nova.conf --config-dir /etc/nova/nova.conf.d",
            notifies: true,
            reads: NOVA,
            after: &["mariadb", "rabbitmq", "placement"],
        },
        Worker {
            id: "neutron-ovn-maintenance",
            description: "Neutron, upkeep of the OVN databases",
            command: "neutron-ovn-maintenance-worker --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini --config-dir /etc/neutron/neutron.conf.d",
            notifies: false,
            reads: NEUTRON,
            after: &["mariadb", "rabbitmq", "ovn-central"],
        },
        Worker {
            id: "neutron-periodic",
            description: "Neutron, periodic work",
            command: "neutron-periodic-workers --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini --config-dir /etc/neutron/neutron.conf.d",
            notifies: false,
            reads: NEUTRON,
            after: &["mariadb", "rabbitmq", "ovn-central"],
        },
    ];
    workers.iter().map(worker).collect()
}

fn hypervisor(config: &Config) -> Vec<Service> {
    let compute = Worker {
        id: "nova-compute",
        description: "Nova, the hypervisor",
        command: "nova-compute --config-file /etc/nova/nova-cpu.conf --config-dir /etc/nova/nova-cpu.conf.d",
        // nova-compute never tells systemd that it is ready.
        notifies: false,
        reads: &["/etc/nova/nova-cpu.conf", "/etc/nova/nova-cpu.conf.d"],
        after: &["rabbitmq", "libvirt", "openvswitch", "nova-conductor", "placement"],
    };
    let agent = Worker {
        id: "neutron-ovn-agent",
        description: "Neutron, metadata for instances",
        command: "neutron-ovn-agent --config-file /etc/neutron/ovn_agent.ini --config-dir /etc/neutron/neutron-ovn-agent.conf.d",
        notifies: false,
        reads: &["/etc/neutron/ovn_agent.ini", "/etc/neutron/neutron-ovn-agent.conf.d"],
        after: &["openvswitch", "ovn-host", "ovn-central"],
    };
    let proxy = Worker {
        id: "nova-novncproxy",
        description: "Nova, consoles in a browser",
        command: "nova-novncproxy --config-file /etc/nova/nova.conf --config-dir /etc/nova/nova.conf.d --web /usr/share/novnc",
        notifies: false,
        reads: NOVA,
        after: &["mariadb", "memcached"],
    };
    vec![
        Service {
            inputs: paths(&[hypervisor::DROP_IN]),
            ..theirs("libvirt", "libvirtd.socket", Layer::Compute, Role::Compute, Probe::emulator(config))
        },
        Service { stores: &["/var/lib/nova"], ..as_root(worker(&compute), Probe::Compute) },
        as_root(worker(&agent), Probe::NetworkAgents),
        Service {
            layer: Layer::Compute,
            listens: vec![Listen { scope: Scope::Host, port: 6080, purpose: "consoles" }],
            ..worker(&proxy)
        },
    ]
}

fn dashboard() -> Service {
    Service {
        id: "horizon",
        role: Role::Control,
        unit: "gpucloud-horizon.service".into(),
        layer: Layer::Dashboard,
        after: &["memcached", "keystone"],
        inputs: paths(&[
            "/etc/gpucloud/uwsgi/horizon.ini",
            "/etc/gpucloud/horizon/local_settings.py",
            "/etc/gpucloud/horizon/local_settings.d",
        ]),
        listens: vec![Listen { scope: Scope::Host, port: DASHBOARD_PORT, purpose: "dashboard" }],
        stores: &[],
        probe: Probe::Page {
            port: DASHBOARD_PORT,
            path: "/dashboard/auth/login/",
            contains: "csrfmiddlewaretoken",
            trust: None,
        },
        time_limit: OUR_LIMIT,
        unit_file: Some(UnitFile {
            description: "Horizon, the dashboard".into(),
            exec: format!("{VENV}/bin/uwsgi --ini /etc/gpucloud/uwsgi/horizon.ini"),
            user: ACCOUNT,
            kind: "notify",
            kill_mode: "mixed",
        }),
    }
}
