//! `completions` and `man`: what shells and man(1) know of this program, made from the command line's own types
//! (`cli.rs`). Which shells there are says clap_complete.

use super::{Invocation, absolute};
use crate::cli::{Cli, Completions, Man};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Error, files};
use clap::{Command, CommandFactory};
use std::path::Path;

/// Prints what a shell reads.
pub(super) fn run(invocation: &Invocation, options: &Completions) -> Ending {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "gpucloud-install", &mut text);
    invocation.ui.raw(&String::from_utf8_lossy(&text));
    Ending::Done
}

/// Prints the page of the program, or writes a page for each command into a folder.
pub(super) fn man(invocation: &Invocation, options: &Man) -> Result<Ending, Failure> {
    let mut program = Cli::command();
    program.build();
    let Some(folder) = &options.output else {
        invocation.ui.raw(&page(program)?.1);
        return Ok(Ending::Done);
    };
    invocation.require_live()?;
    let folder = absolute(folder);
    for command in all(program) {
        write(invocation, &folder, page(command)?)?;
    }
    Ok(Ending::Done)
}

fn write(invocation: &Invocation, folder: &Path, (name, text): (String, String)) -> Result<(), Error> {
    files::write(&invocation.host, &folder.join(format!("{name}.1")), text.as_bytes(), 0o644, None)
}

/// A command and all below it that a person may type.
fn all(command: Command) -> Vec<Command> {
    let shown = |inner: &&Command| !inner.is_hide_set() && inner.get_name() != "help";
    let below: Vec<Command> = command.get_subcommands().filter(shown).cloned().collect();
    std::iter::once(command).chain(below.into_iter().flat_map(all)).collect()
}

/// Its name ("gpucloud-install-lab-up") and its text, in roff.
fn page(command: Command) -> Result<(String, String), Error> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command);
    page.render(&mut text).map_err(|error| Error::protocol(format!("write the page {name}"), error))?;
    Ok((name, String::from_utf8_lossy(&text).into_owned()))
}
