//! Without a subcommand: wizard, plan, one yes, apply.

use super::{Session, apply};
use crate::action::kept;
use crate::cli::Apply;
use crate::config::Config;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::files;
use crate::installation::{Installation, require_root};
use crate::run;
use crate::ui::prompt::Terminal;
use crate::wizard;

pub(super) fn run(session: &Session) -> Result<Ending, Failure> {
    session.require_live()?;
    if !session.ui.is_interactive() {
        let next = "gpucloud-install init, then gpucloud-install apply --yes; --help shows more";
        return Err(Failure::usage("there is no terminal to ask questions on", next));
    }
    require_root(&session.host)?;
    if run::is_going_on(&session.host) {
        return apply::attach(session);
    }
    let path = &session.global.config;
    let earlier = if files::exists(&session.host, path) { Some(Config::load(&session.host, path)?) } else { None };
    session.ui.say("Looking at this machine ...");
    let facts = Facts::gather(&session.host)?;
    let config = wizard::ask(&session.ui, &Terminal::new(), &facts, earlier)?;
    let installation = Installation::new(&session.host, config)?;
    if !apply::prepare(session, &installation)? {
        return Ok(Ending::Done);
    }
    write_answers(session, &installation.config)?;
    apply::go(session, &Apply::default(), &installation)
}

/// A file that was there, and said something else, stays beside it: it may have comments.
fn write_answers(session: &Session, config: &Config) -> Result<(), Failure> {
    let (host, path, text) = (&session.host, &session.global.config, config.render());
    let before = files::read_text(host, path)?;
    if before.as_ref() == Some(&text) {
        return Ok(());
    }
    session.ui.say(format!("Your answers are in {}.", path.display()));
    if let Some(before) = before {
        let kept = kept::free_name_for_kept(host, path, before.as_bytes())?;
        files::write(host, &kept, before.as_bytes(), 0o644, None)?;
        session.ui.say(format!("What was there before is in {}.", kept.display()));
    }
    Ok(files::write(host, path, text.as_bytes(), 0o644, None)?)
}
