//! Key pairs that are made here: the private part stays in the administrator's own folder.

use crate::action::originals::Original;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::config::resources::{KeyPairAnswer, KeyType};
use crate::config::values::UserName;
use crate::host::command::Command;
use crate::host::users::Owner;
use crate::host::{Host, Result, files, users};
use std::path::{Path, PathBuf};

/// Where the private part of a pair lies that is made for these administrators; the public part has `.pub` behind it.
pub fn private_path(name: &str, administrators: &[UserName]) -> PathBuf {
    home(administrators).join(".ssh").join(format!("gpucloud-{name}"))
}

/// The private part that the one who is logged in has, of the pair called `name`.
pub fn own_private(host: &Host, name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let sudo = users::invoking_user().and_then(|user| Some(users::find_user(&user).ok()??.dir));
    let folders = [sudo, home, Some(PathBuf::from("/root"))].into_iter().flatten();
    let mut paths = folders.map(|home| home.join(".ssh").join(format!("gpucloud-{name}")));
    paths.find(|path| files::exists(host, path))
}

/// The file with the public part of a declared pair.
pub fn public_path(key: &KeyPairAnswer, administrators: &[UserName]) -> PathBuf {
    key.public_key.clone().unwrap_or_else(|| public_of(&private_path(key.name.as_str(), administrators)))
}

fn public_of(private: &Path) -> PathBuf {
    files::sibling(private, ".pub")
}

/// The first administrator's home; root's where there is none.
fn home(administrators: &[UserName]) -> PathBuf {
    let first = administrators.first().and_then(|user| users::find_user(user.as_str()).ok().flatten());
    first.map_or_else(|| PathBuf::from("/root"), |user| user.dir)
}

/// Makes both parts of a pair where they are not there; one that is there is taken, never written over. Nothing where
/// the public part was given.
pub fn made(host: &Host, key: &KeyPairAnswer, administrators: &[UserName]) -> Vec<Task> {
    if key.public_key.is_some() {
        return Vec::new();
    }
    let (private, kind) = (private_path(key.name.as_str(), administrators), key.kind);
    let public = public_of(&private);
    let owner = administrators.first().map(ToString::to_string);
    let (again, owner_again) = (private.clone(), owner.clone());
    let generate = move |host: &Host| generate(host, &again, kind, owner_again.as_deref());
    let (from, to) = (private.clone(), public.clone());
    let derive = move |host: &Host| derive(host, &from, &to, owner.as_deref());
    vec![task(host, private, "Make the key", generate), task(host, public, "Write the public key", derive)]
}

fn task(host: &Host, path: PathBuf, words: &str, work: impl Fn(&Host) -> Result<()> + Send + Sync + 'static) -> Task {
    let again = path.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &again), "make it"));
    let made = path.parent().filter(|folder| !files::exists(host, folder)).map(Path::to_owned).into_iter().collect();
    let undo = Undo::Path { path: path.clone(), original: Original::Absent, made };
    let id = ActionId::new("key", path.display());
    Task::new(id, format!("{words} {}", path.display()), probe, work).undone_by(undo).kept_when_orphaned()
}

fn account(owner: Option<&str>) -> Result<Option<Owner>> {
    owner.map(|user| users::owner(user, user)).transpose()
}

fn generate(host: &Host, path: &Path, kind: KeyType, owner: Option<&str>) -> Result<()> {
    let account = account(owner)?;
    if let Some(folder) = path.parent().filter(|folder| !files::exists(host, folder)) {
        files::make_dir(host, folder, 0o700, account)?;
    }
    let kind: &[&str] = match kind {
        KeyType::Ed25519 => &["-t", "ed25519"],
        KeyType::Rsa => &["-t", "rsa", "-b", "3072"],
    };
    let file = path.to_string_lossy().into_owned();
    let generate = Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "gpucloud", "-f", &file]);
    generate.args(kind.iter().copied()).run(host)?;
    // The public part is a change of its own, with its own way back.
    files::remove(host, &public_of(path))?;
    give(host, path, 0o600, account)
}

/// What root made becomes the administrator's.
fn give(host: &Host, path: &Path, mode: u32, account: Option<Owner>) -> Result<()> {
    let content = files::read(host, path)?.unwrap_or_default();
    files::write(host, path, &content, mode, account)
}

/// The public part lies in the private one.
fn derive(host: &Host, private: &Path, public: &Path, owner: Option<&str>) -> Result<()> {
    let file = private.to_string_lossy().into_owned();
    let line = Command::new("ssh-keygen").args(["-y", "-f", &file]).quiet().read(host)?;
    files::write(host, public, format!("{} gpucloud\n", line.trim()).as_bytes(), 0o644, account(owner)?)
}
