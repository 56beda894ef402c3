//! OpenStack's Python packages: uv, one virtual environment, exactly the lock.

use super::{Recipe, VENV};
use crate::action::symlink::Symlink;
use crate::action::task::{self, Restartable, Standing, Task};
use crate::action::{ActionId, Checked};
use crate::config::Config;
use crate::engine::uv;
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use crate::plan::Step;
use std::path::{Path, PathBuf};

/// Every package with its version and hashes, for CPython 3.11 to 3.13.
const LOCK: &str = include_str!("../../../profiles/native/2026.2.lock");
/// What Cinder needs beyond that.
const VOLUMES_LOCK: &str = include_str!("../../../profiles/native/2026.2-volumes.lock");
/// Where locks lie, beside what is made of them.
const HOME: &str = "/opt/gpucloud";
/// uv's cache, for the time of one installation.
const CACHE: &str = "/opt/gpucloud/cache";
/// Packages without wheels; both are pure Python.
const SDISTS: [&str; 2] = ["ovs", "simplegeneric"];

/// Names the lock in stamps: what was made with another lock is made again.
pub(super) fn lock_version() -> String {
    files::hash(LOCK.as_bytes())
}

/// The same of Cinder's lock.
pub(super) fn volumes_lock_version() -> String {
    files::hash(VOLUMES_LOCK.as_bytes())
}

/// The locks of an environment: name in [`HOME`], and content.
#[derive(Clone, Copy)]
struct Locks(&'static [(&'static str, &'static str)]);

impl Locks {
    fn of(config: &Config) -> Self {
        match config.volumes.are_wanted() {
            true => Self(&[("openstack.lock", LOCK), ("volumes.lock", VOLUMES_LOCK)]),
            false => Self(&[("openstack.lock", LOCK)]),
        }
    }

    /// Of the first alone, the one that it always was.
    fn version(self) -> String {
        files::hash(self.0.iter().map(|(_, text)| *text).collect::<String>().as_bytes())
    }
}

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let locks = Locks::of(recipe.config);
    vec![
        Step::new(uv::STEP, "Install uv").after(&["install-python"]).with(uv::installed()),
        Step::new("python-packages", "Install OpenStack's packages")
            .after(&[uv::STEP])
            .with(environment())
            .with(sync(locks))
            .with(Symlink::new("/usr/local/bin/openstack", format!("{VENV}/bin/openstack"))),
        Step::new("byte-code", "Compile OpenStack's packages").after(&["python-packages"]).with(byte_code(locks)),
    ]
}

fn works(program: &'static str) -> impl Fn(&Host) -> Result<Checked> + Send + Sync {
    move |host: &Host| Ok(Checked::done_if(files::leads_somewhere(host, program), "install"))
}

fn uv_command(host: &Host) -> Result<Command> {
    uv::told(host, Command::new(uv::PROGRAM), CACHE, uv::CERTIFICATES)
}

fn environment() -> Task {
    let id = ActionId::new("python", "environment");
    // The link to the interpreter breaks when the distribution's Python changes: `exists` follows it.
    let probe = works("/opt/gpucloud/venv/bin/python");
    Task::once(id, "Make the virtual environment", "1", probe, make_environment).filling(VENV)
}

fn make_environment(host: &Host) -> Result<()> {
    uv_command(host)?.args(["venv", "--quiet", "--clear", "--python", "/usr/bin/python3", VENV]).run(host)
}

fn packages_id() -> ActionId {
    ActionId::new("python", "packages")
}

/// Changes with the packages of the environment.
pub(super) fn packages_stamp() -> PathBuf {
    task::stamp_path(&packages_id())
}

fn sync(locks: Locks) -> Task {
    let id = packages_id();
    // uv takes what it was killed in the middle of for complete, in the environment and in its cache.
    let ready = |host: &Host, standing| match standing {
        Standing::Nothing | Standing::Whole => Ok(()),
        Standing::Half | Standing::Torn | Standing::HalfChanged => {
            files::remove_tree(host, Path::new(CACHE))?;
            make_environment(host)
        }
    };
    let work = move |host: &Host| sync_environment(host, locks);
    let work = Restartable { ready, work }.noting(&id, &locks.version());
    let probe = works("/opt/gpucloud/venv/bin/nova-compute");
    Task::once(id, "Install OpenStack's packages", &locks.version(), probe, work).depending_on(vec![VENV.into()])
}

fn sync_environment(host: &Host, locks: Locks) -> Result<()> {
    let mut command = uv_command(host)?
        .args(["pip", "sync", "--python", "/opt/gpucloud/venv/bin/python", "--require-hashes"])
        .args(["--only-binary", ":all:", "--build-constraints", "/opt/gpucloud/openstack.lock"]);
    for name in SDISTS {
        command = command.args(["--no-binary", name]);
    }
    for (name, text) in locks.0 {
        let path = format!("{HOME}/{name}");
        files::write(host, Path::new(&path), text.as_bytes(), 0o644, None)?;
        command = command.arg(path);
    }
    command.run(host)?;
    files::remove_tree(host, Path::new(CACHE))
}

/// Directories of which no service and no tool of the installation imports anything: a sixth of all sources. (Seen in a
/// cloud whose services could write their byte code themselves.)
const NEVER_IMPORTED: &str = "/(tests?|networkx|redis|taskflow|setuptools|saml2/authn_context|pygments/lexers|os_ken/ofproto\
    |os_ken/services|sqlalchemy/testing|django/contrib/gis|numpy/(f2py|ma|polynomial))/";

/// The services' account cannot write beside the packages: without this, every start compiles anew. The programs that
/// make the tables come after it: each compiles for one to two seconds otherwise, and there are a dozen.
fn byte_code(locks: Locks) -> Task {
    let id = ActionId::new("python", "byte-code");
    let any = |host: &Host| {
        let compiled = site_packages(host)?.is_some_and(|dir| files::exists(host, dir.join("nova/__pycache__")));
        Ok(Checked::done_if(compiled, "compile"))
    };
    let work = |host: &Host| {
        let compile = ["-m", "compileall", "-q", "-x", NEVER_IMPORTED, "-j", "2", "/opt/gpucloud/venv/lib"];
        Command::new(format!("{VENV}/bin/python")).args(compile).run(host)
    };
    Task::once(id, "Compile OpenStack's packages", &locks.version(), any, work).depending_on(vec![packages_stamp()])
}

/// Where the environment keeps its packages; its name holds Python's version.
pub(super) fn site_packages(host: &Host) -> Result<Option<PathBuf>> {
    let lib = Path::new(VENV).join("lib");
    let version = files::list(host, &lib)?.into_iter().find(|name| name.starts_with("python3."));
    Ok(version.map(|version| lib.join(version).join("site-packages")))
}

/// A program of the virtual environment, run as the services' account: what it makes belongs to it.
pub(super) fn program(name: &str) -> Command {
    let account = super::ACCOUNT;
    Command::new("setpriv")
        .args(["--reuid", account, "--regid", account, "--init-groups", "--inh-caps=-all", "--"])
        .arg(format!("{VENV}/bin/{name}"))
}
