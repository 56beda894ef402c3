//! Files below the home of a user, by that user's own hands. Root does not work there: it would follow the links that
//! the user made, and write where only root may. What the user may not write stays unwritten.

use super::accounts::{self, Owner};
use super::command::Command;
use super::files;
use super::{Error, Host, Result};
use nix::unistd::{Uid, User};
use std::path::{Path, PathBuf};

/// A home, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The directory.
    pub dir: PathBuf,
    /// The user, with the group that is the user's first; `None` for the one who runs this program.
    owner: Option<Owner>,
}

impl Home {
    /// That of the one who runs this program.
    pub fn own(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), owner: None }
    }

    /// Root's.
    pub fn root() -> Self {
        Self::own("/root")
    }

    /// That of the account called `name`, if there is one.
    pub fn of_account(name: &str) -> Option<Self> {
        accounts::find_user(name).ok().flatten().map(|user| Self::of(&user))
    }

    /// A user's. The first group need not be called like the user.
    pub fn of(user: &User) -> Self {
        Self::at(user.dir.clone(), Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// The one in `dir` of the user with these numbers.
    pub fn at(dir: PathBuf, owner: Owner) -> Self {
        Self { dir, owner: (owner.uid != 0).then_some(owner) }
    }

    /// The path that a user means by `path`, and by whose hands it is read: `~` is this home, `~NAME` that of the user
    /// NAME (getpwnam(3)), as in a shell; any other path is itself.
    ///
    /// # Errors
    /// There is no such user.
    pub fn expand(&self, path: &Path) -> Result<(PathBuf, Self)> {
        let shown = text(path);
        let Some(rest) = shown.strip_prefix('~') else { return Ok((path.to_owned(), self.clone())) };
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        let home = match name {
            "" => self.clone(),
            name => Self::of(&accounts::known_user(name)?),
        };
        Ok((home.dir.join(below), home))
    }

    /// The home of whoever has the nearest directory above `path` that root can look at; `None` where that is root.
    /// Below a home on another machine root is nobody (exports(5), "root_squash").
    pub fn above(host: &Host, path: &Path) -> Option<Self> {
        let look = |dir: &Path| Some((dir.to_owned(), files::directory_status(host, dir).ok()??.owner));
        let (dir, owner) = path.ancestors().skip(1).find_map(look)?;
        let gid = User::from_uid(Uid::from_raw(owner.uid)).ok()??.gid.as_raw();
        (owner.uid != 0).then(|| Self::at(dir, Owner { gid, ..owner }))
    }

    /// Whether it is another one's than that of whoever runs this program.
    pub fn is_somebodys(&self) -> bool {
        self.owner.is_some()
    }

    /// The name of its owner.
    pub fn user(&self) -> String {
        super::accounts::name_of(self.owner.map_or_else(|| Uid::effective().as_raw(), |owner| owner.uid))
    }

    /// Whether its owner may make files in `folder` below it, or make that; as far as permissions tell: a quota does not
    /// show. Counts as so where nobody can be asked.
    pub fn may_fill(&self, host: &Host, folder: &Path) -> Result<bool> {
        if self.owner.is_none() || !host.is_live() {
            return Ok(true);
        }
        let place = if self.has(host, folder)? { folder } else { &self.dir };
        Ok(self.program("test").args(["-d", &text(place), "-a", "-w", &text(place)]).quiet().exit_code(host)? == 0)
    }

    /// Whether something is there that the home's owner can reach.
    pub fn has(&self, host: &Host, path: &Path) -> Result<bool> {
        match files::status(host, path) {
            Err(_) if self.owner.is_some() && host.is_live() => {
                Ok(self.program("test").args(["-e", &text(path)]).quiet().exit_code(host)? == 0)
            }
            found => Ok(found?.is_some()),
        }
    }

    /// The first `limit` bytes of a file that the home's owner may read, or `None` where there is none.
    ///
    /// # Errors
    /// It is a directory, or neither root nor the owner may read it.
    pub fn read(&self, host: &Host, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        match files::read_at_most(host, path, limit) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::IsADirectory => {
                Err(Error::Io { doing: "read", path: path.to_owned(), source })
            }
            Err(_) if self.owner.is_some() && host.is_live() => match self.has(host, path)? {
                true => {
                    self.program("head").args(["-c", &limit.to_string(), "--", &text(path)]).read_bytes(host).map(Some)
                }
                false => Ok(None),
            },
            found => found,
        }
    }

    /// Makes a directory (0700) where there is none.
    pub fn make_dir(&self, host: &Host, path: &Path) -> Result<()> {
        match self.owner {
            _ if self.has(host, path)? => Ok(()),
            None => files::make_dir(host, path, 0o700, None),
            Some(_) => self.program("mkdir").args(["--mode=0700", "--", &text(path)]).run(host),
        }
    }

    /// Writes a file in one piece, 0644; a user's own mask may take from that.
    pub fn write(&self, host: &Host, path: &Path, content: &str) -> Result<()> {
        if self.owner.is_none() {
            return files::write(host, path, content.as_bytes(), 0o644, None);
        }
        let temporary = files::temporary_for(path);
        self.remove(host, &temporary)?;
        let copy = self.program("dd").args([&format!("of={}", text(&temporary)), "status=none"]).stdin(content);
        copy.run(host)?;
        self.put(host, &temporary, path)
    }

    /// Gives a complete file (0600) its name, and waits until both are on the disk.
    pub fn put(&self, host: &Host, temporary: &Path, path: &Path) -> Result<()> {
        if self.owner.is_none() {
            let content = files::read(host, temporary)?.unwrap_or_default();
            files::write(host, path, &content, 0o600, None)?;
            return files::remove(host, temporary);
        }
        let parent = path.parent().unwrap_or(path);
        self.program("sync").args(["--", &text(temporary)]).run(host)?;
        self.program("mv").args(["--no-target-directory", "--force", "--", &text(temporary), &text(path)]).run(host)?;
        self.program("sync").args(["--", &text(parent)]).run(host)
    }

    /// Removes a file; nothing there is fine.
    pub fn remove(&self, host: &Host, path: &Path) -> Result<()> {
        match self.owner {
            None => files::remove(host, path),
            Some(_) => self.program("rm").args(["--force", "--", &text(path)]).run(host),
        }
    }

    /// Removes a directory that is empty; another stays.
    pub fn remove_empty_dir(&self, host: &Host, path: &Path) -> Result<()> {
        self.program("rmdir").args(["--ignore-fail-on-non-empty", "--", &text(path)]).quiet().exit_code(host).map(drop)
    }

    /// A program, run as the home's owner and with no more than that user may do: without root's environment, without a
    /// way back (setpriv(1), "--no-new-privs").
    pub fn program(&self, name: &str) -> Command {
        let Some(Owner { uid, gid }) = self.owner else { return Command::new(name) };
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        let only = ["--init-groups", "--inh-caps=-all", "--no-new-privs", "--reset-env", "--"];
        Command::new("setpriv").args([user, group]).args(only).arg(name)
    }

    /// What failed, in words that name who may not do it.
    pub fn explain(&self, doing: &str, path: &Path, error: Error) -> Error {
        let (Some(owner), Error::Failed { tail, .. }) = (self.owner, &error) else { return error };
        let (doing, path, user) = (doing.to_owned(), path.to_owned(), accounts::name_of(owner.uid));
        Error::Forbidden { doing, path, user, said: tail.clone() }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tilde_is_a_home() {
        let home = Home::own("/home/ada");
        let meant = |path: &str| home.expand(Path::new(path)).map(|(path, _)| path.to_string_lossy().into_owned());
        assert_eq!(meant("~/.ssh/k.pub").unwrap(), "/home/ada/.ssh/k.pub");
        assert_eq!(meant("~root/k.pub").unwrap(), "/root/k.pub");
        assert_eq!(meant("/srv/~x").unwrap(), "/srv/~x");
        let unknown = meant("~nobody-of-that-name/k").unwrap_err().to_string();
        assert!(unknown.contains("nobody-of-that-name"), "{unknown}");
    }

    #[test]
    fn root_is_nobody_else() {
        let root = Home::at("/root".into(), Owner { uid: 0, gid: 0 });
        assert_eq!(root.program("id").shown(), "id");
        let user = Home::at("/home/u".into(), Owner { uid: 1000, gid: 100 });
        assert!(user.program("id").shown().starts_with("setpriv --reuid=1000 --regid=100 --init-groups "));
    }
}
