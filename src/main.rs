//! `gpucloud-install`: parse, do, exit.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gpucloud::command::run(gpucloud::cli::Cli::parse()))
}
