//! Key pairs that are made here: the private part stays in the administrator's own folder, and is made by that
//! administrator's hands (`host/home.rs`).

use crate::action::originals::Original;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::config::resources::{KeyPairAnswer, KeyType};
use crate::config::values::UserName;
use crate::host::home::Home;
use crate::host::{Host, Result, files, users};
use std::path::{Path, PathBuf};

/// Where the private part of a pair lies; the public part has `.pub` behind it.
fn private_path(home: &Home, name: &str) -> PathBuf {
    home.dir.join(".ssh").join(format!("gpucloud-{name}"))
}

/// The private part that the one who is logged in has, of the pair called `name`.
pub fn own_private(host: &Host, name: &str) -> Option<PathBuf> {
    let sudo = users::invoking_user().and_then(|user| users::find_user(&user).ok()?).map(|user| Home::of(&user));
    let own = std::env::var_os("HOME").map(Home::own);
    let homes = [sudo, own, Some(Home::own("/root"))].into_iter().flatten();
    let mut paths = homes.map(|home| (private_path(&home, name), home));
    paths.find(|(path, home)| home.has(host, path).unwrap_or(false)).map(|(path, _)| path)
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

fn public_of(private: &Path) -> PathBuf {
    files::sibling(private, ".pub")
}

/// The first administrator's home; root's where there is none.
pub fn home(administrators: &[UserName]) -> Home {
    let first = administrators.first().and_then(|user| users::find_user(user.as_str()).ok().flatten());
    first.map_or_else(|| Home::own("/root"), |user| Home::of(&user))
}

/// The home of the one who typed a command: by sudo, or logged in.
pub fn own_home() -> Home {
    let sudo = users::invoking_user().and_then(|user| users::find_user(&user).ok()?);
    sudo.map_or_else(|| Home::own(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())), |user| Home::of(&user))
}

/// Makes both parts of a pair where they are not there; one that is there is taken, never written over. Nothing where
/// the public part was given.
pub fn made(host: &Host, key: &KeyPairAnswer, home: &Home) -> Vec<Task> {
    if key.public_key.is_some() {
        return Vec::new();
    }
    let (private, kind) = (private_path(home, key.name.as_str()), key.kind);
    let public = public_of(&private);
    let (again, home_again) = (private.clone(), home.clone());
    let generate = move |host: &Host| {
        let made = generate(host, &home_again, &again, kind);
        made.map_err(|error| home_again.explain("make the key", &again, error))
    };
    let (from, to, home_again) = (private.clone(), public.clone(), home.clone());
    let derive = move |host: &Host| {
        let made = derive(host, &home_again, &from, &to);
        made.map_err(|error| home_again.explain("write the public key", &to, error))
    };
    vec![task(host, home, private, "Make the key", generate), task(host, home, public, "Write the public key", derive)]
}

fn task(
    host: &Host,
    home: &Home,
    path: PathBuf,
    words: &str,
    work: impl Fn(&Host) -> Result<()> + Send + Sync + 'static,
) -> Task {
    let (again, home_again) = (path.clone(), home.clone());
    let probe = move |host: &Host| Ok(Checked::done_if(home_again.has(host, &again)?, "make it"));
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
    use crate::host::users::Owner;
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
        if !users::is_root() {
            eprintln!("not tried: only root can work as another user");
            return None;
        }
        let dir = tempfile::tempdir_in("/run").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::at(dir.path().join("home"), USER);
        let private = private_path(&home, "demo");
        let trial = Trial { dir, home, private };
        trial.own_directory("home").unwrap();
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
