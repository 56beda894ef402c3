//! `init`: an answer file from a profile and this machine's facts.

use super::Session;
use crate::cli::Init;
use crate::config::profile;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::files;
use serde_json::json;

pub(super) fn run(session: &Session, options: &Init) -> Result<Ending, Failure> {
    let facts = Facts::gather(&session.host)?;
    let text = profile::answers(&options.profile, &facts)?.render();
    let path = options.output.as_ref().unwrap_or(&session.global.config);
    if path.as_os_str() == "-" {
        session.ui.raw(&text);
        return Ok(Ending::Done);
    }
    session.require_live()?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    if files::exists(&session.host, &path) {
        let what = format!("{} is there already", path.display());
        return Err(Failure::new(what, "", "edit it, or choose another file with --output").with(Ending::Refused));
    }
    files::write(&session.host, &path, text.as_bytes(), 0o644, None)?;
    session.ui.say(format!("{} written. Read it, then: gpucloud-install plan", path.display()));
    session.ui.document("init", json!({"profile": options.profile, "output": path}));
    Ok(Ending::Done)
}
