//! `run-as-host`: what libvirtd's unit is started by (`engine/hypervisor.rs`).

use crate::cli::RunAsHost;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::uts;

pub(super) fn run(options: &RunAsHost) -> Result<Ending, Failure> {
    match uts::become_program(&options.name, &options.program)? {}
}
