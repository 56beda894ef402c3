//! Key pairs: the public part, of the user who is logged in.

use super::{Comparison, Kind, Removed, Resource, encode, list};
use crate::cloud::{ApiError, Session};
use crate::host::Host;
use crate::host::home::Home;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;

/// A public key, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Its name.
    pub name: String,
    /// The file with the line "ssh-ed25519 AAAA... comment".
    pub file: PathBuf,
    /// The home in which pairs are made: its owner reads the file where root may not.
    pub home: Home,
    /// Root's file, which counts where the home has none.
    pub instead: Option<PathBuf>,
}

impl KeyPair {
    /// The line of the file, or `None` where it is not there.
    fn own(&self) -> crate::host::Result<Option<String>> {
        match (self.home.read(&Host::live(), &self.file), &self.instead) {
            (Ok(None) | Err(_), Some(instead)) => Home::own("/root").read(&Host::live(), instead),
            (found, _) => found,
        }
    }
}

/// A key pair that is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ListedKeyPair {
    /// Its name.
    pub name: String,
    /// "ssh-ed25519 AAAA...".
    pub public_key: String,
    /// Of the public key.
    pub fingerprint: String,
}

/// All key pairs of the user.
pub fn all(session: &Session) -> Result<Vec<ListedKeyPair>, ApiError> {
    #[derive(Deserialize)]
    struct Wrapped {
        keypair: ListedKeyPair,
    }
    let all: Vec<Wrapped> = list(session, "compute", "/os-keypairs", "keypairs")?;
    Ok(all.into_iter().map(|wrapped| wrapped.keypair).collect())
}

fn find(session: &Session, name: &str) -> Result<Option<ListedKeyPair>, ApiError> {
    Ok(all(session)?.into_iter().find(|key| key.name == name))
}

/// Type and key, without the comment.
fn essence(line: &str) -> Vec<&str> {
    line.split_whitespace().take(2).collect()
}

impl Resource for KeyPair {
    fn kind(&self) -> Kind {
        Kind::KeyPair
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn content(&self) -> Option<String> {
        Some(essence(&self.own().ok()??).join(" "))
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = find(session, &self.name)? else { return Ok(Comparison::Missing) };
        let Ok(Some(own)) = self.own() else {
            return Ok(Comparison::Later(format!("when {} is there", self.file.display())));
        };
        let same = essence(&own) == essence(&found.public_key);
        Ok(if same {
            Comparison::Same
        } else {
            Comparison::Differs(format!("it is not the key in {}", self.file.display()))
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let own = self.own()?.ok_or_else(|| ApiError::no_file(&self.file))?;
        if let Some(found) = find(session, &self.name)? {
            if essence(&own) == essence(&found.public_key) {
                return Ok(());
            }
            return Err(ApiError::OtherKey { name: self.name.clone(), file: self.file.clone() });
        }
        let body = json!({"keypair": {"name": self.name, "type": "ssh", "public_key": own.trim()}});
        session.post::<serde_json::Value>("compute", "/os-keypairs", &body).map(drop)
    }
}

/// Removes the user's key pair called `name`, if it has our key.
pub fn remove(session: &Session, name: &str, key: Option<&str>) -> Result<Removed, ApiError> {
    let Some(found) = find(session, name)? else { return Ok(Removed::Gone) };
    if key.is_none_or(|key| essence(key) != essence(&found.public_key)) {
        return Ok(Removed::Kept(format!("key pair {name} has another key than the one that we gave")));
    }
    session.delete("compute", &format!("/os-keypairs/{}", encode(name)))?;
    Ok(Removed::Gone)
}
