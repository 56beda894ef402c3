//! The locks of OpenStack's packages under each Python that they were made for: every version exists, has a wheel that
//! fits (or is one of the two packages without any), and is known by its hash. Nothing is installed.
//!
//! uv answers for a Python that is not at hand too. Needs python3 with venv and the package registry; elsewhere the
//! tests are counted as ignored, with the reason.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LOCK: &str = "profiles/native/2026.2.lock";
const VOLUMES_LOCK: &str = "profiles/native/2026.2-volumes.lock";
/// Of notebooks: of the server's environment, of the one that cells run in, and of the latter with a card.
const NOTEBOOK_LOCKS: [&str; 3] =
    ["profiles/notebook/server.lock", "profiles/notebook/kernel.lock", "profiles/notebook/cuda.lock"];
const UV_LOCK: &str = "profiles/native/uv.lock";

/// uv in an environment of its own, as the engine installs it.
fn install_uv(dir: &Path) -> Result<PathBuf, String> {
    let succeed = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    succeed(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    let pip = ["install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"];
    succeed(Command::new(dir.join("bin/pip")).args(pip).arg(UV_LOCK))?;
    Ok(dir.join("bin/uv"))
}

fn dry_run(uv: &Path, python: &str) -> Output {
    Command::new(uv)
        .args(["pip", "sync", "--dry-run", "--require-hashes", "--only-binary", ":all:"])
        .args(["--no-binary", "ovs", "--no-binary", "simplegeneric", "--build-constraints", LOCK])
        .args(["--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu"])
        .arg("--target")
        .arg(uv.with_file_name("nothing"))
        .args([LOCK, VOLUMES_LOCK])
        .output()
        .unwrap()
}

/// Whether uv would install both locks whole; they have about 230 packages.
fn serves(uv: &Path, python: &str) -> Result<(), Failed> {
    let said = String::from_utf8_lossy(&dry_run(uv, python).stderr).into_owned();
    let count = said.lines().find_map(|line| line.strip_prefix("Would install ")?.split(' ').next()?.parse().ok());
    if count.is_some_and(|count: usize| count > 200) { Ok(()) } else { Err(said.into()) }
}

/// Whether uv would install each of the notebooks' locks whole: nothing is resolved, so a missing one would be left out.
fn serves_notebooks(uv: &Path, python: &str) -> Result<(), Failed> {
    for lock in NOTEBOOK_LOCKS {
        let wanted = std::fs::read_to_string(lock).unwrap().lines().filter(|line| line.contains("==")).count();
        let said = Command::new(uv)
            .args(["pip", "sync", "--dry-run", "--require-hashes", "--only-binary", ":all:"])
            .args(["--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu"])
            .arg("--target")
            .arg(uv.with_file_name("nothing"))
            .arg(lock)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        if !said.contains(&format!("Would install {wanted} packages")) {
            return Err(format!("{lock}: {wanted} are wanted: {said}").into());
        }
    }
    Ok(())
}

/// Whether the second lock leaves the first as it is.
fn adds(_: &Path, _: &str) -> Result<(), Failed> {
    let names = |path: &str| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| Some(line.split_once("==")?.0.to_owned())).collect()
    };
    let (first, second) = (names(LOCK), names(VOLUMES_LOCK));
    let twice: Vec<&String> = second.iter().filter(|name| first.contains(name)).collect();
    let whole = twice.is_empty() && second.iter().any(|name| name == "cinder");
    if whole { Ok(()) } else { Err(format!("in both: {twice:?}").into()) }
}

fn refuses(uv: &Path, python: &str) -> Result<(), Failed> {
    if dry_run(uv, python).status.success() { Err(format!("{python} is served too").into()) } else { Ok(()) }
}

fn main() {
    let arguments = Arguments::from_args();
    let dir = tempfile::tempdir().unwrap();
    let uv = install_uv(dir.path());
    if let Err(reason) = &uv {
        eprintln!("ignored: uv cannot be installed: {reason}");
    }
    let trial = |name: String, test: fn(&Path, &str) -> Result<(), Failed>, python: &'static str| {
        let uv = uv.clone();
        let ignored = uv.is_err();
        Trial::test(name, move || test(&uv.map_err(Failed::from)?, python)).with_ignored_flag(ignored)
    };
    let mut trials: Vec<Trial> =
        ["3.11", "3.12", "3.13"].map(|v| trial(format!("the_lock_serves_python_{v}"), serves, v)).into();
    trials.extend(
        ["3.12", "3.13"].map(|v| trial(format!("the_locks_of_notebooks_serve_python_{v}"), serves_notebooks, v)),
    );
    trials.push(trial("the_lock_refuses_a_python_that_is_too_old".into(), refuses, "3.10"));
    trials.push(trial("the_lock_of_volumes_leaves_the_other_as_it_is".into(), adds, "3.13"));
    libtest_mimic::run(&arguments, trials).exit();
}
