//! Key pairs that are made here: the private part stays in the administrator's own folder, and is made by that
//! administrator's hands (`host/home.rs`). Where they cannot make it (a home on another machine that is read-only, a
//! quota, an account without a home), root keeps it in its own, and says so.

use crate::action::originals::Original;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::config::resources::{KeyPairAnswer, KeyType};
use crate::config::values::UserName;
use crate::host::home::Home;
use crate::host::{Error, Host, Result, accounts, files};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Where the private part of a pair lies; the public part has `.pub` behind it.
fn private_path(home: &Home, name: &str) -> PathBuf {
    home.dir.join(".ssh").join(format!("gpucloud-{name}"))
}

/// The private part of a pair, and whose home it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    /// The file.
    pub path: PathBuf,
    home: Home,
}

impl Private {
    /// `ssh` with this key. As its owner where root may not read it: in a home on another machine root is nobody.
    pub fn client(&self, host: &Host) -> crate::host::command::Command {
        let own = files::read(host, &self.path).is_ok_and(|content| content.is_some());
        let client = if own { crate::host::command::Command::new("ssh") } else { self.home.program("ssh") };
        client.args(["-i", &self.path.to_string_lossy(), "-o", "IdentitiesOnly=yes"])
    }
}

/// The private part of the pair called `name`: of the one who is logged in, of root, or of an administrator, in whose
/// home pairs are made; whoever calls finds what may be read.
pub fn private(host: &Host, name: &str, administrators: &[UserName]) -> Option<Private> {
    let sudo = accounts::invoking_user().and_then(|user| Home::of_account(&user));
    let own = std::env::var_os("HOME").map(Home::own);
    let others =
        administrators.iter().filter(|_| accounts::is_root()).filter_map(|user| Home::of_account(user.as_str()));
    let homes = [sudo, own, Some(Home::root())].into_iter().flatten().chain(others);
    let mut all = homes.map(|home| Private { path: private_path(&home, name), home });
    all.find(|found| found.home.has(host, &found.path).unwrap_or(false))
}

/// The file with the public part of a declared pair, and by whose hands it is read; `~` is `home`.
///
/// # Errors
/// `~NAME` is the home of nobody.
pub fn public_path(key: &KeyPairAnswer, home: &Home) -> Result<(PathBuf, Home)> {
    match &key.public_key {
        Some(path) => home.expand(path),
        None => Ok((public_of(&private_path(home, key.name.as_str())), home.clone())),
    }
}

/// Where the public part of a pair that is made lies instead, where `home` cannot take it.
pub fn instead(key: &KeyPairAnswer, home: &Home) -> Option<PathBuf> {
    let made = key.public_key.is_none() && home.is_somebodys();
    made.then(|| public_of(&private_path(&Home::root(), key.name.as_str())))
}

fn public_of(private: &Path) -> PathBuf {
    files::sibling(private, ".pub")
}

/// The first administrator's home; root's where there is none.
pub fn home(administrators: &[UserName]) -> Home {
    administrators.first().and_then(|user| Home::of_account(user.as_str())).unwrap_or_else(Home::root)
}

/// Why keys that are made for the first administrator will lie with root, if they will.
pub fn obstacle(host: &Host, keys: &[KeyPairAnswer], home: &Home) -> Option<String> {
    let missing = |key: &KeyPairAnswer| {
        let has = |home: &Home| home.has(host, &private_path(home, key.name.as_str())).unwrap_or(false);
        key.public_key.is_none() && !has(home) && !has(&Home::root())
    };
    let folder = home.dir.join(".ssh");
    let closed = keys.iter().any(missing) && !home.may_fill(host, &folder).unwrap_or(false);
    closed.then(|| format!("{} may not write below {}", home.user(), home.dir.display()))
}

/// The home of the one who typed a command: by sudo, or logged in.
pub fn own_home() -> Home {
    let sudo = accounts::invoking_user().and_then(|user| Home::of_account(&user));
    sudo.or_else(|| std::env::var_os("HOME").map(Home::own)).unwrap_or_else(Home::root)
}

/// Makes both parts of a pair where they are not there; one that is there is taken, never written over. Nothing where
/// the public part was given.
pub fn made(host: &Host, key: &KeyPairAnswer, home: &Home) -> Vec<Task> {
    if key.public_key.is_some() {
        return Vec::new();
    }
    let refused = Arc::default();
    let pair = Pair { name: key.name.to_string(), kind: key.kind, home: home.clone(), root: Home::root(), refused };
    pair.tasks(host)
}

/// A pair that is made.
#[derive(Clone)]
struct Pair {
    name: String,
    kind: KeyType,
    /// Where it is made.
    home: Home,
    /// Root's, for want of another.
    root: Home,
    /// Why it could not be made there, once that was tried.
    refused: Arc<OnceLock<String>>,
}

impl Pair {
    /// In the user's home; what root does instead waits behind that.
    fn tasks(&self, host: &Host) -> Vec<Task> {
        let mut tasks = vec![self.private_task(host), self.public_task(host, &self.home)];
        if self.home.is_somebodys() {
            tasks.insert(1, self.kept_by_root(host));
            tasks.push(self.public_task(host, &self.root));
        }
        tasks
    }

    fn private(&self) -> PathBuf {
        private_path(&self.home, &self.name)
    }

    fn instead(&self) -> PathBuf {
        private_path(&self.root, &self.name)
    }

    /// Whether root has it, or has to.
    fn goes_to_root(&self, host: &Host) -> Result<bool> {
        if !self.home.is_somebodys() || self.home.has(host, &self.private())? {
            return Ok(false);
        }
        let folder = self.home.dir.join(".ssh");
        Ok(self.root.has(host, &self.instead())?
            || self.refused.get().is_some()
            || !self.home.may_fill(host, &folder)?)
    }

    fn private_task(&self, host: &Host) -> Task {
        let (pair, again, path) = (self.clone(), self.clone(), self.private());
        let probe = move |host: &Host| {
            Ok(Checked::done_if(pair.home.has(host, &pair.private())? || pair.goes_to_root(host)?, "make it"))
        };
        let work = move |host: &Host| again.make(host);
        task(host, &self.home, path, "Make the key", probe, work)
    }

    /// What the user may not make is root's to make, behind this.
    fn make(&self, host: &Host) -> Result<()> {
        let path = self.private();
        match generate(host, &self.home, &path, self.kind) {
            Err(error @ (Error::Failed { .. } | Error::Start { .. })) if self.home.is_somebodys() => {
                let half = files::temporary_for(&path);
                [&half, &public_of(&half)].iter().for_each(|file| drop(self.home.remove(host, file)));
                let said = error.evidence().unwrap_or_else(|| error.to_string());
                let _ = self.refused.set(said.lines().last().unwrap_or_default().trim().to_owned());
                Ok(())
            }
            made => made,
        }
    }

    fn kept_by_root(&self, host: &Host) -> Task {
        let (pair, again, path) = (self.clone(), self.clone(), self.instead());
        let probe = move |host: &Host| {
            let needed = pair.goes_to_root(host)? && !pair.root.has(host, &pair.instead())?;
            Ok(Checked::done_if(
                !needed,
                format!("make it: {} cannot in {}", pair.home.user(), pair.home.dir.display()),
            ))
        };
        let work = move |host: &Host| {
            let (user, dir, path) = (again.home.user(), again.home.dir.display(), again.instead());
            let said = again.refused.get().map(|said| format!(" ({said})")).unwrap_or_default();
            let path_shown = path.display();
            host.warn(&format!("{user} cannot write a key below {dir}{said}: root keeps it in {path_shown}"));
            generate(host, &again.root, &path, again.kind)
        };
        task(host, &self.root, path, "Make the key", probe, work)
    }

    /// The public part beside the private one in `home`, if that lies there.
    fn public_task(&self, host: &Host, home: &Home) -> Task {
        let private = private_path(home, &self.name);
        let (public, from, at, pair) = (public_of(&private), private.clone(), home.clone(), self.clone());
        let to = public.clone();
        let probe = move |host: &Host| {
            let other = pair.goes_to_root(host)? == at.is_somebodys() && pair.home.is_somebodys();
            Ok(Checked::done_if(other || at.has(host, &to)?, "make it"))
        };
        let (to, at) = (public.clone(), home.clone());
        let work = move |host: &Host| {
            derive(host, &at, &from, &to).map_err(|error| at.explain("write the public key", &to, error))
        };
        task(host, home, public, "Write the public key", probe, work)
    }
}

fn task(
    host: &Host,
    home: &Home,
    path: PathBuf,
    words: &str,
    probe: impl Fn(&Host) -> Result<Checked> + Send + Sync + 'static,
    work: impl Fn(&Host) -> Result<()> + Send + Sync + 'static,
) -> Task {
    let missing = |folder: &&Path| !home.has(host, folder).unwrap_or(false);
    let made = path.parent().filter(missing).map(Path::to_owned).into_iter().collect();
    let undo = Undo::Path { path: path.clone(), original: Original::Absent, made };
    let id = ActionId::new("key", path.display());
    Task::new(id, format!("{words} {}", path.display()), probe, work).undone_by(undo).kept_when_orphaned()
}

fn generate(host: &Host, home: &Home, path: &Path, kind: KeyType) -> Result<()> {
    home.make_dir(host, path.parent().unwrap_or(path))?;
    let kind: &[&str] = match kind {
        KeyType::Ed25519 => &["-t", "ed25519"],
        KeyType::Rsa => &["-t", "rsa", "-b", "3072"],
    };
    let temporary = files::temporary_for(path);
    home.remove(host, &temporary)?;
    let generate = home.program("ssh-keygen").args(["-q", "-N", "", "-C", "gpucloud"]).args(kind.iter().copied());
    generate.args(["-f", &temporary.to_string_lossy()]).run(host)?;
    // The public part is a change of its own, with its own way back.
    home.remove(host, &public_of(&temporary))?;
    home.put(host, &temporary, path)
}

/// The public part lies in the private one.
fn derive(host: &Host, home: &Home, private: &Path, public: &Path) -> Result<()> {
    let file = private.to_string_lossy().into_owned();
    let line = home.program("ssh-keygen").args(["-y", "-f", &file]).quiet().read(host)?;
    home.write(host, public, &format!("{} gpucloud\n", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, History};
    use crate::host::accounts::Owner;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::{fs, io};

    /// A user whose first group has another name, if any; the machine knows "nobody" by its number.
    const USER: Owner = Owner { uid: 65534, gid: 4242 };

    struct Trial {
        dir: tempfile::TempDir,
        home: Home,
        private: PathBuf,
    }

    /// A home where nobody but root can put a link above it; `None` where only root could make it.
    fn trial() -> Option<Trial> {
        if !accounts::is_root() {
            eprintln!("not tried: only root can work as another user");
            return None;
        }
        let dir = tempfile::tempdir_in("/run").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::at(dir.path().join("home"), USER);
        let private = private_path(&home, "demo");
        let trial = Trial { dir, home, private };
        trial.own_directory("home").unwrap();
        fs::create_dir(trial.at("root")).unwrap();
        Some(trial)
    }

    impl Trial {
        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn own_directory(&self, path: &str) -> io::Result<()> {
            fs::create_dir(self.at(path))?;
            chown(self.at(path), Some(USER.uid), Some(USER.gid))
        }

        fn make(&self, kind: KeyType) -> Result<()> {
            generate(&Host::live(), &self.home, &self.private, kind)?;
            derive(&Host::live(), &self.home, &self.private, &public_of(&self.private))
        }

        fn assert_is_made_in(&self, folder: &str) {
            for (name, mode) in [("gpucloud-demo", 0o600), ("gpucloud-demo.pub", 0o644)] {
                let meta = fs::symlink_metadata(self.at(folder).join(name)).unwrap();
                assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (mode, USER.uid, USER.gid), "{name}");
            }
            assert_eq!(fs::read_dir(self.at(folder)).unwrap().count(), 2, "something else was left");
            let public = self.home.read(&Host::live(), &public_of(&self.private), 4096).unwrap().unwrap();
            let public = String::from_utf8(public).unwrap();
            assert!(public.starts_with("ssh-") && public.ends_with(" gpucloud\n"), "{public}");
            assert!(self.home.has(&Host::live(), &self.private).unwrap());
        }
    }

    #[test]
    fn a_pair_is_made_as_its_user() {
        let Some(trial) = trial() else { return };
        trial.make(KeyType::Ed25519).unwrap();
        trial.assert_is_made_in("home/.ssh");
        assert_eq!(fs::metadata(trial.at("home/.ssh")).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn links_to_where_the_user_may_write_are_followed_by_the_user() {
        let Some(mut trial) = trial() else { return };
        trial.own_directory("elsewhere").unwrap();
        symlink(trial.at("elsewhere"), trial.at("home/.ssh")).unwrap();
        symlink(trial.at("home"), trial.at("link")).unwrap();
        trial.home.dir = trial.at("link");
        trial.private = private_path(&trial.home, "demo");
        trial.make(KeyType::Rsa).unwrap();
        trial.assert_is_made_in("elsewhere");
    }

    #[test]
    fn links_to_where_only_root_may_write_are_of_no_use() {
        let Some(trial) = trial() else { return };
        fs::create_dir(trial.at("apt.conf.d")).unwrap();
        symlink(trial.at("apt.conf.d"), trial.at("home/.ssh")).unwrap();
        let error = trial.make(KeyType::Ed25519).unwrap_err();
        let error = trial.home.explain("make the key", &trial.private, error);
        let (what, evidence, next) = (error.to_string(), error.evidence().unwrap(), error.next().unwrap());
        assert!(what.contains("nobody, who may not") && evidence.contains("ermission denied"), "{what}: {evidence}");
        assert!(next.contains("ls -ld") && next.contains("home/.ssh"), "{next}");
        assert_eq!(fs::read_dir(trial.at("apt.conf.d")).unwrap().count(), 0);
    }

    impl Trial {
        fn pair(&self) -> Pair {
            let root = Home::own(self.at("root"));
            Pair { name: "demo".into(), kind: KeyType::Ed25519, home: self.home.clone(), root, refused: Arc::default() }
        }

        /// Which of the pair's four tasks are needed when they are looked at one after the other, and done.
        fn run(&self) -> Vec<bool> {
            let (host, history) = (Host::live(), History::default());
            let is_done = |task: &Task| task.check(&host, &history).unwrap() == Checked::Done;
            let done = self.pair().tasks(&host).into_iter().map(|task| {
                let needed = !is_done(&task);
                if needed {
                    task.apply(&host, &history).unwrap();
                    assert!(is_done(&task), "{} had no effect", task.describe());
                    task.left(&host).unwrap();
                }
                needed
            });
            done.collect()
        }

        fn assert_root_has_it(&self) {
            let meta = fs::metadata(self.at("root/.ssh/gpucloud-demo")).unwrap();
            assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o600));
            assert!(fs::read_to_string(self.at("root/.ssh/gpucloud-demo.pub")).unwrap().starts_with("ssh-ed25519 "));
            assert_eq!(self.run(), [false; 4], "it is there, and nothing is to be done any more");
        }
    }

    #[test]
    fn a_pair_is_made_by_the_user_and_root_has_nothing_to_do() {
        let Some(trial) = trial() else { return };
        assert_eq!(trial.run(), [true, false, true, false]);
        trial.assert_is_made_in("home/.ssh");
        assert_eq!(trial.run(), [false; 4]);
        assert!(!trial.at("root/.ssh").exists());
    }

    #[test]
    fn where_the_user_may_not_write_root_keeps_the_pair() {
        for change in [
            (|trial: &Trial| chown(trial.at("home"), Some(0), Some(0)).unwrap()) as fn(&Trial),
            |trial| fs::remove_dir(trial.at("home")).unwrap(),
            |trial| {
                fs::create_dir(trial.at("apt.conf.d")).unwrap();
                symlink(trial.at("apt.conf.d"), trial.at("home/.ssh")).unwrap();
            },
        ] {
            let Some(trial) = trial() else { return };
            change(&trial);
            assert_eq!(trial.run(), [false, true, false, true]);
            trial.assert_root_has_it();
            assert!(!trial.at("apt.conf.d").exists() || fs::read_dir(trial.at("apt.conf.d")).unwrap().count() == 0);
        }
    }

    /// A quota shows only when something is written: here a directory has the name of the file that is begun.
    #[test]
    fn where_the_user_fails_root_goes_on() {
        let Some(trial) = trial() else { return };
        trial.own_directory("home/.ssh").unwrap();
        fs::create_dir_all(files::temporary_for(&trial.private).join("x")).unwrap();
        assert_eq!(trial.run(), [true, true, false, true]);
        trial.assert_root_has_it();
    }

    #[test]
    fn what_root_cannot_read_its_owner_reads_and_removes() {
        let Some(trial) = trial() else { return };
        trial.make(KeyType::Ed25519).unwrap();
        let above = Home::above(&Host::live(), &trial.private);
        assert_eq!(above.map(|home| home.dir), Some(trial.at("home/.ssh")));
        assert_eq!(Home::above(&Host::live(), Path::new("/root/.ssh/x")), None);
    }

    #[test]
    fn a_link_in_the_place_of_the_key_gives_nothing_away() {
        let Some(trial) = trial() else { return };
        fs::write(trial.at("shadow"), "secret").unwrap();
        fs::set_permissions(trial.at("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
        trial.own_directory("home/.ssh").unwrap();
        for name in ["gpucloud-demo", "gpucloud-demo.pub"] {
            symlink(trial.at("shadow"), trial.at("home/.ssh").join(name)).unwrap();
        }
        let public = public_of(&trial.private);
        assert!(trial.home.has(&Host::live(), &trial.private).unwrap(), "it counts as there, and is not written over");
        assert!(derive(&Host::live(), &trial.home, &trial.private, &public).is_err());
        let read = trial.home.read(&Host::live(), &public, 4096);
        assert!(!matches!(read, Ok(Some(_))), "{read:?}");
        let shadow = fs::metadata(trial.at("shadow")).unwrap();
        assert_eq!((shadow.uid(), shadow.len()), (0, 6));
    }
}
