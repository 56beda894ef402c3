//! uv, which installs Python's packages by locks: OpenStack's (`native/python.rs`), and those of notebooks
//! (`classroom/image.rs`).

use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::facts::reach;
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::path::Path;

/// Its version, pinned by hash.
const LOCK: &str = include_str!("../../profiles/native/uv.lock");
const LOCK_FILE: &str = "/opt/gpucloud/uv.lock";
/// Its own environment.
const HOME: &str = "/opt/gpucloud/tools";
/// The program.
pub const PROGRAM: &str = "/opt/gpucloud/tools/bin/uv";
/// The step behind which it is there.
pub const STEP: &str = "uv";
/// The machine's certificates: an organisation's proxy may sign with its own key.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Installs it; `python3 -m venv` must work, and the directory of its environment be there.
pub fn installed() -> Task {
    let probe = |host: &Host| Ok(Checked::done_if(files::leads_somewhere(host, PROGRAM), "install"));
    let id = ActionId::new("python", "uv");
    Task::once(id, "Install uv", &files::hash(LOCK.as_bytes()), probe, |host| {
        files::write(host, Path::new(LOCK_FILE), LOCK.as_bytes(), 0o644, None)?;
        Command::new("python3").args(["-m", "venv", "--clear", HOME]).run(host)?;
        let pip = Command::new(format!("{HOME}/bin/pip")).args(["install", "--quiet", "--require-hashes", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--requirement", LOCK_FILE]).env("PIP_CERT", CERTIFICATES).run(host)
    })
}

/// Tells `command`, which runs uv, to download no Python, to keep its cache in `cache` (nothing is left in root's home),
/// to trust `certificates`, and to use pip's index, where one is set on this machine.
///
/// # Errors
/// pip's settings cannot be read.
pub fn told(host: &Host, command: Command, cache: &str, certificates: &str) -> Result<Command> {
    let command =
        command.env("UV_NO_PYTHON_DOWNLOADS", "1").env("UV_CACHE_DIR", cache).env("SSL_CERT_FILE", certificates);
    Ok(match reach::pip_index(host)? {
        Some(index) => command.env("UV_DEFAULT_INDEX", index),
        None => command,
    })
}
