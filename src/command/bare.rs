//! Without a subcommand: wizard, plan, one yes, apply.

use super::{Session, apply};
use crate::cli::Apply;
use crate::config::Config;
use crate::exit::ExitStatus;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::files;
use crate::installation::{Installation, require_root};
use crate::ui::prompt::Terminal;
use crate::wizard;

pub(super) fn run(session: &Session) -> Result<ExitStatus, Failure> {
    session.require_live()?;
    if !session.ui.is_interactive() {
        let next = "gpucloud-install init, then gpucloud-install apply --yes; --help shows more";
        return Err(Failure::usage("there is no terminal to ask questions on", next));
    }
    require_root(&session.host)?;
    let path = &session.global.config;
    let earlier = if files::exists(&session.host, path) { Some(Config::load(&session.host, path)?) } else { None };
    session.ui.say("Looking at this machine ...");
    let facts = Facts::gather(&session.host)?;
    let config = wizard::ask(&session.ui, &Terminal::new(), &facts, earlier)?;
    let installation = Installation::new(&session.host, config)?;
    if !apply::prepare(session, &installation)? {
        return Ok(ExitStatus::Done);
    }
    files::write(&session.host, path, installation.config.render().as_bytes(), 0o644, None)?;
    session.ui.say(format!("Your answers are in {}.", path.display()));
    apply::go(session, &Apply { foreground: false, detach: false, worker: false }, &installation)
}
