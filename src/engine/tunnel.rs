//! The tunnel's row of the service table, the same with every engine. What it does is in the room `tunnel/`; what makes its
//! unit, in `classroom/page.rs`.

use super::service::{Layer, Probe, Service};
use crate::config::Config;
use crate::paths::PROGRAM;
use crate::plan::Role;
use std::time::Duration;

/// Its unit.
pub const UNIT: &str = "gpucloud-tunnel.service";
/// Where the unit's file lies.
pub const UNIT_FILE: &str = "/etc/systemd/system/gpucloud-tunnel.service";
/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Its row, where the answers want it.
pub fn row(config: &Config) -> Option<Service> {
    config.tunnel.is_wanted(&config.portal, &config.classroom).then(|| Service {
        id: "tunnel",
        role: Role::Control,
        unit: UNIT.into(),
        layer: Layer::Portal,
        after: &["portal"],
        inputs: vec![UNIT_FILE.into(), PROGRAM.into()],
        listens: Vec::new(),
        stores: &[crate::paths::TUNNEL],
        probe: Probe::Tunnel,
        time_limit: LIMIT,
        unit_file: None,
    })
}
