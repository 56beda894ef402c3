//! `status`: what is up, layer by layer, of the cloud that was applied last. What a layer complains of is in
//! `recovery/health.rs`; of cards, in `gpu/health.rs`; of notebooks, in `classroom/health.rs`. A complaint that is not grave
//! is told and leaves the layer healthy (`complaint.rs`).

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
    let cause = cause::of_all(&installation);
    let layers = if cause.is_some() { Vec::new() } else { health::layers(&installation) };
    let ports = installation.open_ports();
    let healthy = cause.is_none() && layers.iter().all(|layer| layer.healthy);
    let document = json!({"healthy": healthy, "cause": cause, "layers": layers, "ports": ports});
    invocation.ui.document("status", document);
    if let Some(cause) = cause {
        invocation.ui.say(text::finding(&cause));
    } else if !invocation.ui.is_json() {
        invocation.ui.say(text::layers(&layers));
        invocation.ui.say(format!("\n{}\n", text::ports(&ports)));
        invocation.ui.say(match healthy {
            true => "The cloud is healthy.".to_owned(),
            false => format!("The cloud is not healthy. Next: {}", health::next(&layers)),
        });
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}
