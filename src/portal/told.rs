//! What root tells the portal, in one file that is replaced whole: the names that browsers may call it by, the hashes of
//! students' tokens, and where notebooks are. It holds the tokens of notebooks, so only root and the portal's account read it.

use super::token::TokenHash;
use crate::config::secrets::Secret;
use crate::host::{Error, Host, Result, accounts, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Where it lies; its directory is root's.
pub const FILE: &str = "/var/lib/gpucloud-portal/told.json";

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Names of this machine, beside its addresses: "gpu.example.edu".
    pub names: Vec<String>,
    /// Students, by name.
    pub students: BTreeMap<String, TokenHash>,
    /// Notebooks, by name.
    pub notebooks: BTreeMap<String, Notebook>,
    /// What is to be known of the tunnel, where there is one.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
}

/// What a tunnel's service takes, and where to go beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Requests that it takes in a month; 0: any number.
    pub requests: u64,
    /// Where the portal is found in the campus network.
    pub near: String,
    /// Whether its service ends TLS itself, and says in `X-Forwarded-Proto` who came without.
    pub tells_tls: bool,
}

impl Tunnel {
    /// Whether so many requests are nearly all that the service takes: four of five.
    pub fn is_nearly_used(&self, requests: u64) -> bool {
        self.requests > 0 && requests.saturating_mul(5) >= self.requests.saturating_mul(4)
    }
}

/// A notebook that somebody may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    /// The one student who may.
    pub owner: String,
    /// Where its JupyterLab answers; none while it is built.
    pub place: Option<SocketAddr>,
    /// Whether it was switched off by whoever may do that.
    #[serde(default)]
    pub is_off: bool,
    /// What lets the portal in there.
    pub token: Key,
}

/// A notebook's own token. JupyterLab writes it into its page, so its owner may see it: it opens nothing but that one, and
/// only for this machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The value, for the one header that has it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&Secret> for Key {
    fn from(secret: &Secret) -> Self {
        Self(secret.expose().to_owned())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(crate::config::secrets::MASK)
    }
}

impl Told {
    /// The student whose token has this hash.
    pub fn student(&self, hash: &TokenHash) -> Option<&str> {
        self.students.iter().find(|(_, known)| *known == hash).map(|(name, _)| name.as_str())
    }

    /// The notebooks that `student` may open, by name.
    pub fn notebooks_of<'a>(&'a self, student: &'a str) -> impl Iterator<Item = (&'a str, &'a Notebook)> {
        let owned = move |(_, notebook): &(&String, &Notebook)| notebook.owner == student;
        self.notebooks.iter().filter(owned).map(|(name, notebook)| (name.as_str(), notebook))
    }

    /// The notebook, if this student may open it.
    pub fn opened_by(&self, student: &str, name: &str) -> Option<&Notebook> {
        self.notebooks.get(name).filter(|notebook| notebook.owner == student)
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It cannot be read, or is not of this form.
    pub fn read(host: &Host, path: &Path) -> Result<Self> {
        let text = files::read_text(host, path)?.unwrap_or_default();
        serde_json::from_str(&text).map_err(|error| Error::Io {
            doing: "read",
            path: path.to_owned(),
            source: std::io::Error::other(error),
        })
    }

    /// Puts it in place of what was told before; `group` is the portal's account.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, host: &Host, group: &str) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Error::protocol("tell the portal", error.to_string()))?;
        let owner = accounts::owner("root", group)?;
        files::write(host, Path::new(FILE), &text, 0o640, Some(owner))
    }
}
