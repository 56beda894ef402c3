//! `status`: what is up, layer by layer, of the cloud that was applied last.

use super::Session;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::recovery::health;
use crate::run;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(session: &Session) -> Result<Ending, Failure> {
    let Some(installation) = Installation::load_applied(&session.host)? else {
        let going = run::is_going_on(&session.host);
        let next = match (going, crate::host::systemd::is_booted(&session.host)) {
            (true, _) => "gpucloud-install apply watches the run",
            (false, true) => "gpucloud-install installs one",
            (false, false) => "gpucloud-install lab up makes one in a throw-away host",
        };
        return Err(Failure::new("there is no complete cloud here", "", next));
    };
    let layers = health::layers(&installation);
    let ports = installation.open_ports();
    let healthy = layers.iter().all(|layer| layer.healthy);
    session.ui.document("status", json!({"healthy": healthy, "layers": layers, "ports": ports}));
    if !session.ui.is_json() {
        session.ui.say(text::layers(&layers));
        session.ui.say(format!("\n{}\n", text::ports(&ports)));
        session.ui.say(if healthy {
            "The cloud is healthy."
        } else {
            "The cloud is not healthy. Next: gpucloud-install doctor"
        });
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}
