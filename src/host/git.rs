//! Git, run as the account to which a clone belongs: what comes from a mirror is not root's to interpret.

use super::command::Command;
use super::{Error, Host, Result, files};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long one clone may take without an end.
const LIMIT: Duration = Duration::from_secs(3600);
/// Commits behind a branch's head that are fetched: pbr needs a tag among them to tell a version. (300 are enough for
/// every OpenStack repository of 2026.1.)
const DEPTH: u32 = 300;

/// A mirror in a folder belongs to somebody else, which git refuses unless it is told that it is safe; told by
/// environment, the process that reads the mirror does not hear of it (git-config(1), "safe.directory").
pub const SETTINGS: &str = "/etc/gpucloud/git.config";
/// What stands there.
pub const SETTINGS_TEXT: &str = "# Written by gpucloud-install: mirrors may belong to anybody, and leave out old files.\n\
                                 [safe]\n\tdirectory = *\n[uploadpack]\n\tallowFilter = true\n";
/// Files of old commits are fetched when somebody looks at them: packing and unpacking them took four fifths of the
/// time. A server that knows no filters sends everything (git-clone(1), "--filter").
const FILTER: &str = "--filter=blob:none";

/// A work tree, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkTree {
    /// The account.
    pub account: String,
    /// Its home.
    pub home: String,
    /// The directory.
    pub directory: std::path::PathBuf,
}

impl WorkTree {
    /// The commit that is checked out; `None` where there is no clone, or one that was cut off before its end.
    pub fn head(&self, host: &Host) -> Result<Option<String>> {
        if !files::exists(host, self.directory.join(".git/HEAD")) {
            return Ok(None);
        }
        let ask = self.git().args(["rev-parse", "--verify", "--quiet", "HEAD"]).quiet();
        let head = ask.output(host)?;
        match head.status.code() {
            Some(0) => Ok(Some(String::from_utf8_lossy(&head.stdout).trim().to_owned())),
            // No commit yet (git-rev-parse(1), "--verify"); anything else is no answer.
            Some(1) => Ok(None),
            _ => {
                let said = String::from_utf8_lossy(&head.stderr).trim().to_owned();
                Err(Error::protocol(format!("ask git for the commit in {}", self.directory.display()), said))
            }
        }
    }

    /// Whether there is a clone at all, whatever its state.
    pub fn is_there(&self, host: &Host) -> bool {
        files::exists(host, self.directory.join(".git"))
    }

    /// What somebody has in it that no clone would bring back: "edited files", "files of their own", "commits".
    /// Files `but` do not count, nor those that lay there untracked before `since`.
    ///
    /// # Errors
    /// Git cannot tell: that is not "nothing".
    pub fn own_work(&self, host: &Host, but: &[&str], since: SystemTime) -> Result<Vec<&'static str>> {
        let mut found = Vec::new();
        if !self.edited(host, but)?.is_empty() {
            found.push("edited files");
        }
        if self.untracked(host)?.iter().any(|path| modified(host, path).is_none_or(|time| time > since)) {
            found.push("files of their own");
        }
        if !self.commits_of_nobody_else(host)?.is_empty() {
            found.push("commits");
        }
        Ok(found)
    }

    fn edited(&self, host: &Host, but: &[&str]) -> Result<String> {
        let but = but.iter().map(|path| format!(":!{path}"));
        self.git().args(["status", "--porcelain", "--untracked-files=no", "--", "."]).args(but).quiet().read(host)
    }

    fn untracked(&self, host: &Host) -> Result<Vec<PathBuf>> {
        let names = self.git().args(["ls-files", "--others", "--exclude-standard", "-z"]).quiet().read(host)?;
        Ok(names.split_terminator('\0').map(|name| self.directory.join(name)).collect())
    }

    /// On a branch, checked out, or stashed: reachable, but not from what was fetched.
    fn commits_of_nobody_else(&self, host: &Host) -> Result<String> {
        let mut fetched = vec!["--not", "--remotes", "--tags"];
        if files::exists(host, self.directory.join(".git/FETCH_HEAD")) {
            fetched.push("FETCH_HEAD");
        }
        let listed = self.git().args(["rev-list", "--max-count=1", "--all", "HEAD"]).args(fetched);
        listed.quiet().read(host)
    }

    fn git(&self) -> Command {
        self.account().args(["git", "-C", &self.directory.display().to_string()])
    }

    fn account(&self) -> Command {
        Command::new("runuser")
            .args(["-u", &self.account, "--"])
            .env("HOME", &self.home)
            .env("GIT_CONFIG_GLOBAL", SETTINGS)
            .env("GIT_TERMINAL_PROMPT", "0")
    }
}

/// A clone as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clone {
    /// Where.
    pub tree: WorkTree,
    /// From where.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The commit; the branch's head where none is named.
    pub commit: Option<String>,
}

impl Clone {
    /// Fetches and checks out. A clone that was cut off before its end begins anew: it may hold locks and torn files.
    ///
    /// # Errors
    /// The address does not answer, or has no such branch or commit.
    pub fn make(&self, host: &Host) -> Result<()> {
        let directory = self.tree.directory.display().to_string();
        if self.tree.head(host)?.is_none() {
            files::remove_tree(host, &self.tree.directory)?;
        }
        let git = || self.tree.git();
        self.tree.account().args(["git", "init", "--quiet", "--initial-branch=gpucloud", &directory]).run(host)?;
        git().args(["config", "remote.origin.url", &self.url]).run(host)?;
        let tracked = format!("refs/remotes/origin/{}", self.branch);
        // Into a branch of ours: only so git fetches the tags that lie on the way, too.
        self.fetch(host, &format!("+refs/heads/{}:{tracked}", self.branch))?;
        let wanted = self.commit.clone().unwrap_or(tracked);
        if git().args(["cat-file", "-e", &format!("{wanted}^{{commit}}")]).quiet().run(host).is_err() {
            // Further behind the head than others: asked for by its name.
            self.fetch(host, &wanted)?;
        }
        git().args(["checkout", "--quiet", "--force", "--detach", &wanted]).run(host)
    }

    fn fetch(&self, host: &Host, what: &str) -> Result<()> {
        let fetch = self.tree.git().args(["fetch", "--quiet", FILTER]).args(depth(&self.branch));
        fetch.args(["origin", what]).limit(LIMIT).run(host)
    }
}

/// A bare repository of a mirror, as root has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bare {
    /// From where.
    pub url: String,
    /// The directory: "/srv/git/openstack/nova.git".
    pub directory: std::path::PathBuf,
    /// The branch.
    pub branch: String,
    /// The commit; the branch's head where none is named.
    pub commit: Option<String>,
}

impl Bare {
    fn git(&self) -> Command {
        Command::new("git").arg(format!("--git-dir={}", self.directory.display())).env("GIT_TERMINAL_PROMPT", "0")
    }

    fn has(&self, host: &Host, commit: &str) -> Result<bool> {
        let object = format!("{commit}^{{commit}}");
        Ok(self.git().args(["cat-file", "-e", &object]).quiet().output(host)?.status.success())
    }

    /// The commit that it is there for, where it has it.
    pub fn locked(&self, host: &Host) -> Result<Option<String>> {
        if !files::exists(host, self.directory.join("HEAD")) {
            return Ok(None);
        }
        let head = format!("refs/heads/{}", self.branch);
        let wanted = self.commit.clone().unwrap_or_else(|| head.clone());
        if !self.has(host, &wanted)? || !self.has(host, &head)? {
            return Ok(None);
        }
        let commit = self.git().args(["rev-parse", &format!("{wanted}^{{commit}}")]).quiet().read(host)?;
        Ok(Some(commit.trim().to_owned()))
    }

    /// Fetches it. One that was cut off begins anew: it may hold locks and torn files.
    ///
    /// # Errors
    /// The address does not answer, or has no such branch or commit.
    pub fn make(&self, host: &Host) -> Result<()> {
        files::remove_tree(host, &self.directory)?;
        files::make_parents(host, &self.directory)?;
        let directory = self.directory.display().to_string();
        Command::new("git").args(["init", "--quiet", "--bare", &directory]).run(host)?;
        // A pinned commit may lie behind the branch's last ones.
        self.git().args(["config", "uploadpack.allowAnySHA1InWant", "true"]).run(host)?;
        self.fetch(host, &format!("+refs/heads/{0}:refs/heads/{0}", self.branch))?;
        if let Some(commit) = &self.commit
            && !self.has(host, commit)?
        {
            self.fetch(host, &format!("{commit}:refs/gpucloud/{}", self.branch))?;
        }
        self.git().args(["symbolic-ref", "HEAD", &format!("refs/heads/{}", self.branch)]).run(host)
    }

    fn fetch(&self, host: &Host, what: &str) -> Result<()> {
        self.git().args(["fetch", "--quiet"]).args(depth(&self.branch)).args([&self.url, what]).limit(LIMIT).run(host)
    }

    /// The version that pbr will tell of its commit, or what is wrong, in words.
    pub fn verify(&self, host: &Host) -> std::result::Result<String, String> {
        let words = |error: super::Error| error.to_string();
        let Some(commit) = self.locked(host).map_err(words)? else {
            return Err("its commit is not there: gpucloud-install mirror create fetches it".into());
        };
        let whole = self.git().args(["fsck", "--connectivity-only", "--no-dangling", "--no-progress"]).quiet();
        if !whole.output(host).map_err(words)?.status.success() {
            return Err("objects are missing or torn: remove it, then gpucloud-install mirror create".into());
        }
        let version = self.git().args(["describe", "--tags", &commit]).quiet().output(host).map_err(words)?;
        match version.status.success() {
            true => Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned()),
            // DevStack and requirements have no versions.
            false if self.directory.ends_with("devstack.git") || self.directory.ends_with("requirements.git") => {
                Ok("no version, and none is needed".into())
            }
            false => Err("no tag is near enough for pbr to tell a version".into()),
        }
    }
}

fn modified(host: &Host, path: &Path) -> Option<SystemTime> {
    files::status(host, path).ok()??.modified
}

/// Of stable branches the last part is enough; master's last tag may be a thousand commits away.
fn depth(branch: &str) -> Option<String> {
    branch.starts_with("stable/").then(|| format!("--depth={DEPTH}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clone whose origin has one commit; `None` where this user may not become another account.
    fn clone() -> Option<(tempfile::TempDir, WorkTree)> {
        if !crate::host::accounts::is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let git =
                Command::new("git").args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(args.iter().copied());
            git.env("GIT_CONFIG_GLOBAL", "/dev/null").quiet().run(&Host::live()).unwrap();
        };
        let path = |name: &str| dir.path().join(name).display().to_string();
        run(&["init", "--quiet", "--initial-branch=main", &path("origin")]);
        std::fs::write(dir.path().join("origin/file"), "theirs").unwrap();
        run(&["-C", &path("origin"), "add", "."]);
        run(&["-C", &path("origin"), "commit", "--quiet", "--message=one"]);
        run(&["clone", "--quiet", &path("origin"), &path("tree")]);
        run(&["-C", &path("tree"), "config", "user.email", "a@b"]);
        run(&["-C", &path("tree"), "config", "user.name", "a"]);
        let tree = WorkTree { account: "root".into(), home: path(""), directory: dir.path().join("tree") };
        Some((dir, tree))
    }

    fn work(tree: &WorkTree, since: SystemTime) -> Vec<&'static str> {
        tree.own_work(&Host::live(), &[], since).unwrap()
    }

    #[test]
    fn edits_new_files_commits_and_stashes_are_somebodys_work() {
        let Some((_dir, tree)) = clone() else { return };
        let git = |args: &[&str]| tree.git().args(args.iter().copied()).quiet().run(&Host::live()).unwrap();
        let early = SystemTime::UNIX_EPOCH;
        assert!(work(&tree, early).is_empty());
        std::fs::write(tree.directory.join("file"), "mine").unwrap();
        assert_eq!(work(&tree, early), ["edited files"]);
        git(&["stash", "--quiet"]);
        assert_eq!(work(&tree, early), ["commits"]);
        git(&["stash", "drop", "--quiet"]);
        std::fs::write(tree.directory.join("new"), "mine").unwrap();
        assert_eq!(work(&tree, early), ["files of their own"]);
        assert!(work(&tree, SystemTime::now() + Duration::from_secs(60)).is_empty(), "stack.sh's own files count");
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message=two"]);
        assert_eq!(work(&tree, early), ["commits"]);
    }

    #[test]
    fn a_clone_whose_head_cannot_be_read_is_there_all_the_same() {
        let Some((_dir, tree)) = clone() else { return };
        tree.git().args(["checkout", "--quiet", "--orphan", "mine"]).run(&Host::live()).unwrap();
        assert_eq!((tree.head(&Host::live()).unwrap(), tree.is_there(&Host::live())), (None, true));
        std::fs::write(tree.directory.join(".git/config"), "torn [").unwrap();
        assert!(tree.head(&Host::live()).is_err(), "no answer counts as no clone");
    }

    #[test]
    fn what_git_cannot_tell_is_not_nothing() {
        let Some((_dir, tree)) = clone() else { return };
        std::fs::write(tree.directory.join(".git/index"), "torn").unwrap();
        assert!(tree.own_work(&Host::live(), &[], SystemTime::UNIX_EPOCH).is_err());
    }
}
