//! Key pairs: the public part, of the user who is logged in.

use super::{Comparison, Kind, Removed, Resource, encode, list};
use crate::cloud::public_key::{self, NoKeyFile, PublicKey};
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
    /// The file with the key, in any form that `public_key.rs` takes.
    pub file: PathBuf,
    /// The home in which pairs are made: its owner reads the file where root may not.
    pub home: Home,
    /// Root's file, which counts where the home has none.
    pub instead: Option<PathBuf>,
}

impl KeyPair {
    /// The keys of the file; where the home has none, of root's.
    fn own(&self) -> Result<Vec<PublicKey>, NoKeyFile> {
        let own = public_key::read(&Host::live(), &self.home, &self.file);
        match (own, &self.instead) {
            (Err(missing), Some(instead)) => {
                public_key::read(&Host::live(), &Home::root(), instead).map_err(|_| missing)
            }
            (own, _) => own,
        }
    }
}

/// Whether Nova has these keys. It may hold what was sent before lines were made uniform.
fn is_of(found: &ListedKeyPair, own: &[PublicKey]) -> bool {
    let essences = |keys: &[PublicKey]| -> Vec<String> { keys.iter().map(PublicKey::essence).collect() };
    public_key::keys_in(found.public_key.as_bytes()).is_ok_and(|found| essences(&found) == essences(own))
}

/// Nova takes what stands between the first two blanks for the key (nova/crypto.py, `generate_fingerprint`): without a
/// comment that reaches into the next line.
fn commented(key: &PublicKey, name: &str) -> String {
    let line = key.line();
    if line == key.essence() { format!("{line} {name}") } else { line }
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
        self.own().ok()?.first().map(PublicKey::essence)
    }

    fn compare(&self, session: &Session) -> Result<Comparison, ApiError> {
        let Some(found) = find(session, &self.name)? else { return Ok(Comparison::Missing) };
        // Nova's copy is all that is needed from then on.
        let Ok(own) = self.own() else { return Ok(Comparison::Same) };
        Ok(if is_of(&found, &own) {
            Comparison::Same
        } else {
            Comparison::Differs(format!("it is not the key in {}", self.file.display()))
        })
    }

    fn ensure(&self, session: &Session, _host: &Host) -> Result<(), ApiError> {
        let found = find(session, &self.name)?;
        let own = match self.own() {
            Err(_) if found.is_some() => return Ok(()),
            own => own?,
        };
        match found {
            Some(found) if is_of(&found, &own) => return Ok(()),
            Some(_) => return Err(ApiError::OtherKey { name: self.name.clone(), file: self.file.clone() }),
            None => {}
        }
        let lines: Vec<String> = own.iter().map(|key| commented(key, &self.name)).collect();
        let body = json!({"keypair": {"name": self.name, "type": "ssh", "public_key": lines.join("\n")}});
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
