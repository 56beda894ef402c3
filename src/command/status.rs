//! `status`: what is up, layer by layer, of the cloud that was applied last.

use super::Invocation;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::recovery::{cause, health};
use crate::run;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation) -> Result<Ending, Failure> {
    let Some(installation) = Installation::load_applied(&invocation.host)? else {
        let going = run::is_going_on(&invocation.host);
        let next = match (going, crate::host::systemd::is_booted(&invocation.host)) {
            (true, _) => "gpucloud-install apply watches the run",
            (false, true) => "gpucloud-install installs one",
            (false, false) => "gpucloud-install lab up makes one in a throw-away host",
        };
        return Err(Failure::new("there is no complete cloud here", "", next));
    };
    if let Some(cause) = cause::of_all(&installation) {
        let ports = installation.open_ports();
        invocation.ui.document("status", json!({"healthy": false, "cause": cause, "layers": [], "ports": ports}));
        invocation.ui.say(text::finding(&cause));
        return Ok(Ending::Failed);
    }
    let layers = health::layers(&installation);
    let ports = installation.open_ports();
    let healthy = layers.iter().all(|layer| layer.healthy);
    invocation.ui.document("status", json!({"healthy": healthy, "layers": layers, "ports": ports}));
    if !invocation.ui.is_json() {
        invocation.ui.say(text::layers(&layers));
        invocation.ui.say(format!("\n{}\n", text::ports(&ports)));
        invocation.ui.say(match healthy {
            true => "The cloud is healthy.".to_owned(),
            false => format!("The cloud is not healthy. Next: {}", health::next(&layers)),
        });
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}
