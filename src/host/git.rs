//! Git, run as the account to which a clone belongs: what comes from a mirror is not root's to interpret.

use super::command::Command;
use super::{Host, Result, files};
use std::time::Duration;

/// How long one clone may take without an end.
const LIMIT: Duration = Duration::from_secs(3600);
/// Commits behind a branch's head that are fetched: pbr needs a tag among them to tell a version. (300 are enough for
/// every OpenStack repository of 2026.1.)
const DEPTH: u32 = 300;

/// A mirror in a folder belongs to somebody else, which git refuses unless it is told that it is safe; told by
/// environment, the process that reads the mirror does not hear of it (git-config(1), "safe.directory").
pub const SETTINGS: &str = "/etc/gpucloud/git.config";
/// What stands there.
pub const SETTINGS_TEXT: &str =
    "# Written by gpucloud-install: mirrors may belong to anybody.\n[safe]\n\tdirectory = *\n";

/// A clone as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clone {
    /// Whose it is.
    pub account: String,
    /// The home of that account.
    pub home: String,
    /// From where.
    pub url: String,
    /// The directory.
    pub directory: std::path::PathBuf,
    /// Branch or tag.
    pub branch: String,
    /// The commit; the branch's head where none is named.
    pub commit: Option<String>,
}

impl Clone {
    /// The commit that is checked out; `None` where there is no clone, or one that was cut off before its end.
    pub fn head(&self, host: &Host) -> Result<Option<String>> {
        if !files::exists(host, self.directory.join(".git/HEAD")) {
            return Ok(None);
        }
        let head = self.git().args(["rev-parse", "--verify", "--quiet", "HEAD"]).quiet().output(host)?;
        Ok(head.status.success().then(|| String::from_utf8_lossy(&head.stdout).trim().to_owned()))
    }

    /// Fetches and checks out. A try that was cut off goes on: what arrived whole is not fetched again.
    ///
    /// # Errors
    /// The address does not answer, or has no such branch or commit.
    pub fn make(&self, host: &Host) -> Result<()> {
        if !files::exists(host, self.directory.join(".git/HEAD")) {
            let directory = self.directory.display().to_string();
            self.account().args(["git", "init", "--quiet", "--initial-branch=gpucloud", &directory]).run(host)?;
        }
        let depth = format!("--depth={DEPTH}");
        let fetch = |what: &str| {
            self.git().args(["fetch", "--quiet", "--tags", &depth, &self.url, what]).limit(LIMIT).run(host)
        };
        fetch(&self.branch)?;
        let wanted = self.commit.clone().unwrap_or_else(|| "FETCH_HEAD".into());
        if self.git().args(["cat-file", "-e", &format!("{wanted}^{{commit}}")]).quiet().run(host).is_err() {
            // Further behind the head than others: asked for by its name.
            fetch(&wanted)?;
        }
        self.git().args(["checkout", "--quiet", "--force", "--detach", &wanted]).run(host)?;
        self.git().args(["remote", "remove", "origin"]).quiet().run(host).ok();
        self.git().args(["remote", "add", "origin", &self.url]).run(host)
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
