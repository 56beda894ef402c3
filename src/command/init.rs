//! `init`: an answer file from a profile and this machine's facts.

use super::{Invocation, absolute};
use crate::cli::Init;
use crate::config::profile;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::files;
use serde_json::json;

pub(super) fn run(invocation: &Invocation, options: &Init) -> Result<Ending, Failure> {
    let facts = Facts::gather(&invocation.host)?;
    let text = profile::answers(&options.profile, &facts)?.render();
    let notes = profile::notes(&options.profile, &facts);
    invocation.ui.notes(&notes);
    let path = options.output.as_ref().unwrap_or(&invocation.global.config);
    if path.as_os_str() == "-" {
        invocation.ui.raw(&text);
        return Ok(Ending::Done);
    }
    invocation.require_live()?;
    let path = absolute(path);
    if files::exists(&invocation.host, &path) {
        let what = format!("{} is there already", path.display());
        return Err(Failure::new(what, "", "edit it, or choose another file with --output").with(Ending::Refused));
    }
    files::write(&invocation.host, &path, text.as_bytes(), 0o644, None)?;
    invocation.ui.say(format!("{} written. Read it, then: gpucloud-install plan", path.display()));
    invocation.ui.document("init", json!({"profile": options.profile, "output": path, "notes": notes}));
    Ok(Ending::Done)
}
