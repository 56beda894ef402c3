//! Without a subcommand: wizard, plan, one yes, apply.

use super::{Invocation, apply};
use crate::action::kept;
use crate::cli::Apply;
use crate::config::Config;
use crate::ending::Ending;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::gpu;
use crate::host::files;
use crate::installation::{Installation, require_root};
use crate::run;
use crate::ui::prompt::Terminal;
use crate::wizard;

pub(super) fn run(invocation: &Invocation) -> Result<Ending, Failure> {
    invocation.require_live()?;
    if !invocation.ui.is_interactive() {
        let next = "gpucloud-install init, then gpucloud-install apply --yes; --help shows more";
        return Err(Failure::usage("there is no terminal to ask questions on", next));
    }
    require_root(&invocation.host)?;
    if run::is_going_on(&invocation.host) {
        return apply::attach(invocation);
    }
    let path = &invocation.global.config;
    let earlier =
        if files::exists(&invocation.host, path) { Some(Config::load(&invocation.host, path)?) } else { None };
    invocation.ui.say("Looking at this machine ...");
    let facts = Facts::gather(&invocation.host)?;
    let also = earlier.as_ref().map(|config| config.gpu.also()).unwrap_or_default();
    let cards = gpu::inventory(&invocation.host, &also)?.cards;
    let config = wizard::ask(&invocation.ui, &Terminal::new(), &facts, cards, earlier)?;
    let installation = Installation::new(&invocation.host, config)?;
    if !apply::prepare(invocation, &installation)? {
        return Ok(Ending::Done);
    }
    write_answers(invocation, &installation.config)?;
    apply::go(invocation, &Apply::default(), &installation)
}

/// A file that was there, and said something else, stays beside it: it may have comments.
fn write_answers(invocation: &Invocation, config: &Config) -> Result<(), Failure> {
    let (host, path, text) = (&invocation.host, &invocation.global.config, config.render());
    let before = files::read_text(host, path)?;
    if before.as_ref() == Some(&text) {
        return Ok(());
    }
    invocation.ui.say(format!("Your answers are in {}.", path.display()));
    if let Some(before) = before {
        let kept = kept::free_name_for_kept(host, path, before.as_bytes())?;
        files::write(host, &kept, before.as_bytes(), 0o644, None)?;
        invocation.ui.say(format!("What was there before is in {}.", kept.display()));
    }
    Ok(files::write(host, path, text.as_bytes(), 0o644, None)?)
}
