//! The portal's row of the service table, the same with every engine. What it serves is in the room `portal/`; what makes its
//! unit, in `classroom/page.rs`.

use super::service::{Layer, Listen, Probe, Scope, Service};
use crate::config::Config;
use crate::paths::PROGRAM;
use crate::plan::Role;
use crate::portal::tls;
use std::time::Duration;

/// Its unit.
pub const UNIT: &str = "gpucloud-portal.service";
/// Where the unit's file lies.
pub const UNIT_FILE: &str = "/etc/systemd/system/gpucloud-portal.service";
/// What makes its certificate anew ahead of its end, and when.
pub const RENEWING: [&str; 2] = ["gpucloud-portal-renew.service", "gpucloud-portal-renew.timer"];
/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Its row, where the answers want it.
pub fn row(config: &Config) -> Option<Service> {
    let port = config.portal.port;
    let trust = config.portal.is_secure().then_some(tls::FILE);
    let mut listens = vec![Listen { scope: Scope::Everybody, port, purpose: "page of students" }];
    if config.tunnel.is_wanted(&config.portal, &config.classroom) {
        listens.push(Listen { scope: Scope::Loopback, port: config.tunnel.port, purpose: "the same for the tunnel" });
    }
    config.portal.is_wanted(&config.classroom).then(|| Service {
        id: "portal",
        role: Role::Control,
        unit: UNIT.into(),
        layer: Layer::Portal,
        after: &[],
        inputs: vec![UNIT_FILE.into(), PROGRAM.into()],
        listens,
        stores: &[crate::paths::PORTAL],
        probe: Probe::Page { port, path: "/", contains: "name=\"token\"", trust },
        time_limit: LIMIT,
        unit_file: None,
    })
}
