//! A program with a host name of its own (uts_namespaces(7)): what it calls this machine is nobody else's matter.

use super::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{execvp, sethostname};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

/// Becomes `program` in a namespace in which this machine is called `name`.
///
/// # Errors
/// The kernel does not let it (not root; a container without the right), or there is no such program.
pub fn become_program(name: &str, program: &[OsString]) -> Result<std::convert::Infallible> {
    let failed = |doing: &str, error: nix::Error| Error::protocol(format!("{doing} {name}"), error);
    unshare(CloneFlags::CLONE_NEWUTS).map_err(|error| failed("make a namespace for", error))?;
    sethostname(name).map_err(|error| failed("set the host name", error))?;
    let arguments = program.iter().map(|word| CString::new(word.clone().into_vec()));
    let arguments: Vec<CString> = arguments.collect::<std::result::Result<_, _>>().unwrap_or_default();
    let Some(path) = arguments.first() else { return Err(Error::NotLive("a program".into())) };
    execvp(path, &arguments).map_err(|error| failed("start what shall run as", error))
}
