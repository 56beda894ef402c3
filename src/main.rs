//! `gpucloud-install`: parse, do, exit.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gpucloud::command::run(gpucloud::cli::Cli::parse()))
}
