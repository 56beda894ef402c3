//! `cloud.git_base` and `[devstack]`: what the engine called devstack is told.

use super::values::{as_text, checked_name};
use crate::systems;
use serde::{Deserialize, Serialize};

checked_name! {
    /// A branch of OpenStack's repositories: "stable/2026.1".
    Branch, 64, "a branch (letters, digits, `-`, `_`, `.`, `/`)",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && "-_./".contains(c))
}

/// What DevStack is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevstackAnswers {
    /// The branch of DevStack and of what it installs.
    pub branch: Branch,
    /// Services beyond those that every cloud has.
    pub services: Vec<Extra>,
    /// Whether the system is brought up to date before.
    pub upgrade: bool,
    /// Whether stack.sh runs on a system that it does not know.
    pub force: bool,
}

impl Default for DevstackAnswers {
    fn default() -> Self {
        Self { branch: Branch::of(systems::NEWEST_BRANCH), services: Vec::new(), upgrade: false, force: false }
    }
}

impl Branch {
    /// One that stands in our own tables.
    pub fn of(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

/// A service that DevStack installs on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Extra {
    /// Volumes.
    Cinder,
    /// Objects.
    Swift,
    /// Stacks of resources.
    Heat,
}

/// Where repositories are cloned from: `openstack/nova.git` lies below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GitBase(String);

impl Default for GitBase {
    /// Where OpenStack is developed.
    fn default() -> Self {
        Self("https://opendev.org".into())
    }
}

impl GitBase {
    /// As an address for git.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// The folder of this machine that it is, if it is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.0.strip_prefix("file://").map(std::path::Path::new)
    }
}

impl std::fmt::Display for GitBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for GitBase {
    type Err = String;

    /// Only characters that survive a file which bash sources.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        let url = if text.starts_with('/') { format!("file://{text}") } else { text.to_owned() };
        let known = ["https://", "http://", "ssh://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@~+%".contains(c);
        if url.starts_with("http") && url.contains('@') {
            return Err("an address with a password would stand in logs and command lines: use ssh, or a folder".into());
        }
        if known && url.chars().all(plain) && !url.contains("/../") {
            return Ok(Self(url));
        }
        Err(format!("`{text}` is neither an address (https://, ssh://) nor a folder (/srv/git)"))
    }
}

as_text!(GitBase);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_addresses_are_taken_and_nothing_that_bash_would_read() {
        let base = |text: &str| text.parse::<GitBase>().map(|base| base.to_string());
        assert_eq!(base("/srv/git/").as_deref(), Ok("file:///srv/git"));
        assert_eq!(base("https://opendev.org").as_deref(), Ok("https://opendev.org"));
        assert_eq!("ssh://git@mirror.lan/srv".parse::<GitBase>().unwrap().folder(), None);
        for bad in
            ["srv/git", "https://me:secret@host", "https://a b", "https://$(id)", "ftp://x", "/srv/`id`", "/srv/\n"]
        {
            assert!(base(bad).is_err(), "{bad:?} was taken");
        }
        assert!("stable/$x".parse::<Branch>().is_err() && "-x".parse::<Branch>().is_err());
    }
}
