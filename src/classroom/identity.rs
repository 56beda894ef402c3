//! Who a notebook is, and what it is told at each boot: its name, its token, SSH's host key, its home's volume. Made here
//! before its instance, so that the first login already knows whom it speaks to, and told to the instance as a tar on a
//! drive of its own: files, no code (`profiles/notebook/root/usr/local/sbin/notebook-setup` reads it). All of it is root's
//! alone, on both sides.

use super::ClassroomError;
use super::home_volume::HomeVolume;
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::resource::server::UserData;
use crate::config::secrets::Secret;
use crate::failure::Failure;
use crate::host::{Error, Host, Result, files, ssh};
use crate::paths::{CLASSROOM, RUNTIME};
use std::path::{Path, PathBuf};

const TOKEN: &str = "token";
const HOST_KEY: &str = "ssh_host_ed25519_key";

/// The key by which this machine logs in to all notebooks.
pub fn login_key() -> PathBuf {
    Path::new(CLASSROOM).join("key")
}

/// Makes that key.
pub fn made_login_key() -> Task {
    let probe = |host: &Host| {
        let there = files::exists(host, login_key()) && files::exists(host, public_of(&login_key()));
        Ok(Checked::done_if(there, "make it"))
    };
    let id = ActionId::new("key", login_key().display());
    Task::new(id, "Make the key by which this machine logs in to notebooks", probe, |host| {
        ssh::make_key(host, &login_key(), "gpucloud-classroom")
    })
}

fn public_of(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

/// What is known here of the notebook called `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
}

impl Identity {
    /// Of the notebook called `name`.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn dir(&self) -> PathBuf {
        Path::new(CLASSROOM).join("notebooks").join(&self.name)
    }

    /// Where its token is.
    pub fn token_file(&self) -> PathBuf {
        self.dir().join(TOKEN)
    }

    /// The path below which its JupyterLab answers, with a slash at both ends.
    pub fn base_url(&self) -> String {
        format!("/s/{}/", self.name)
    }

    /// Its token.
    ///
    /// # Errors
    /// [`ClassroomError::Unknown`]: it is not there.
    pub fn token(&self, host: &Host) -> Result<Secret> {
        let text = files::read_text(host, self.token_file())?.map(|text| text.trim().to_owned());
        let unknown = || ClassroomError::Unknown { name: self.name.clone(), what: TOKEN };
        Ok(Secret::of(text.filter(|text| !text.is_empty()).ok_or_else(unknown)?))
    }

    /// Notes its token.
    pub fn note_token(&self, host: &Host, token: &Secret) -> Result<()> {
        files::make_parents(host, &self.token_file())?;
        files::set_permissions(host, &self.dir(), 0o700, None)?;
        files::write(host, &self.token_file(), format!("{}\n", token.expose()).as_bytes(), 0o600, None)
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// The kernel gives no random numbers; a file cannot be written.
    pub fn make(&self, host: &Host) -> std::result::Result<(), Failure> {
        if !files::exists(host, self.token_file()) {
            self.note_token(host, &Secret::random()?)?;
        }
        let key = self.dir().join(HOST_KEY);
        if !files::exists(host, &key) || !files::exists(host, public_of(&key)) {
            ssh::make_key(host, &key, &self.name)?;
        }
        let line = format!("{} {}", self.alias(), self.read_text(host, &public_of(&key))?);
        Ok(files::write(host, &self.known_hosts(), line.as_bytes(), 0o600, None)?)
    }

    /// By what SSH knows it: its address may have been another's.
    pub fn alias(&self) -> String {
        format!("notebook-{}", self.name)
    }

    /// Its host key, as ssh(1) reads it.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir().join("known_hosts")
    }

    fn read_text(&self, host: &Host, path: &Path) -> Result<String> {
        let unknown = || ClassroomError::Unknown { name: self.name.clone(), what: "host key" };
        Ok(files::read_text(host, path)?.ok_or_else(unknown)?)
    }

    /// What it is told at each boot (`profiles/notebook/root/usr/local/sbin/notebook-setup` reads it); `home`: the volume
    /// that its student's home is on.
    ///
    /// # Errors
    /// Something of it is missing here.
    pub fn told(&self, host: &Host, home: Option<&HomeVolume>) -> Result<UserData> {
        let key = self.dir().join(HOST_KEY);
        let mut parts = vec![
            ("hostname", format!("{}\n", self.name)),
            ("authorized_keys", self.read_text(host, &public_of(&login_key()))?),
            (HOST_KEY, self.read_text(host, &key)?),
            ("ssh_host_ed25519_key.pub", self.read_text(host, &public_of(&key))?),
            (TOKEN, self.token(host)?.expose().to_owned()),
            ("environment", format!("BASE_URL={}\n", self.base_url())),
        ];
        parts.extend(home.map(|home| ("home-volume", home.id.to_string())));
        parts.extend(home.filter(|home| home.is_new).map(|_| ("home-is-new", String::new())));
        let failed = |error| Error::Io { doing: "pack", path: self.dir(), source: error };
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in &parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, name, content.as_bytes()).map_err(failed)?;
        }
        Ok(UserData(archive.into_inner().map_err(failed)?))
    }

    /// The instance that what was saved of an earlier one of its name was laid into, or saved from.
    pub fn home_note(&self) -> PathBuf {
        self.dir().join("home-of")
    }

    /// Held by whoever makes, changes or ends the notebook.
    pub fn lock_file(&self) -> PathBuf {
        Path::new(RUNTIME).join(format!("notebook-{}.lock", self.name))
    }

    /// Whether anything is known of it here.
    pub fn is_known(&self, host: &Host) -> bool {
        files::exists(host, self.dir())
    }

    /// Forgets it: nobody can log in any more.
    pub fn forget(&self, host: &Host) -> Result<()> {
        files::remove_tree(host, &self.dir())
    }
}

/// The notebooks that something is known of here.
pub fn known(host: &Host) -> Result<Vec<String>> {
    files::list(host, Path::new(CLASSROOM).join("notebooks"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn with_keys(dir: &Path) -> Host {
        let host = Host::at(dir);
        let write = |path: &Path, text: &str| {
            files::make_parents(&host, path).unwrap();
            files::write(&host, path, text.as_bytes(), 0o600, None).unwrap();
        };
        write(&login_key(), "private login\n");
        write(&public_of(&login_key()), "ssh-ed25519 AAAA login\n");
        write(&Identity::of("ada").dir().join(HOST_KEY), "private host\n");
        write(&public_of(&Identity::of("ada").dir().join(HOST_KEY)), "ssh-ed25519 BBBB ada\n");
        host
    }

    #[test]
    fn it_is_told_all_that_its_first_boot_reads_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let host = with_keys(dir.path());
        let ada = Identity::of("ada");
        ada.make(&host).unwrap();
        let id: crate::cloud::Id = serde_json::from_str("\"5f0b2c3e-1234-4000-8000-000000000001\"").unwrap();
        let volume = HomeVolume { id, is_new: true };
        let UserData(bytes) = ada.told(&host, Some(&volume)).unwrap();
        assert!(bytes.len() < 48 << 10, "Nova takes 64 KiB of base64: {}", bytes.len());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut parts = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            parts.insert(entry.path().unwrap().display().to_string(), text);
        }
        let script = include_str!("../../profiles/notebook/root/usr/local/sbin/notebook-setup");
        let home = include_str!("../../profiles/notebook/root/usr/local/sbin/notebook-home");
        let unit = include_str!("../../profiles/notebook/root/etc/systemd/system/notebook.service");
        for name in parts.keys() {
            let known = format!("/run/notebook/{name}");
            let read = script.contains(&format!("$told/{name}")) || unit.contains(&known) || home.contains(&known);
            assert!(read, "{name}");
        }
        assert_eq!(parts["home-volume"], "5f0b2c3e-1234-4000-8000-000000000001");
        assert_eq!(parts["environment"], "BASE_URL=/s/ada/\n");
        assert_eq!(parts["token"], ada.token(&host).unwrap().expose());
        assert!(!parts.values().any(|text| text.contains("private login")), "the login key stays here");
        assert_eq!(files::read_text(&host, ada.known_hosts()).unwrap().unwrap(), "notebook-ada ssh-ed25519 BBBB ada\n");
    }

    #[test]
    fn what_is_there_stays_and_a_new_token_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let host = with_keys(dir.path());
        let ada = Identity::of("ada");
        ada.make(&host).unwrap();
        let first = ada.token(&host).unwrap();
        ada.make(&host).unwrap();
        assert_eq!(ada.token(&host).unwrap().expose(), first.expose());
        ada.note_token(&host, &Secret::of("another".into())).unwrap();
        assert_eq!(ada.token(&host).unwrap().expose(), "another");
        assert_eq!(known(&host).unwrap(), ["ada"]);
        ada.forget(&host).unwrap();
        assert!(ada.token(&host).unwrap_err().to_string().contains("has no token"));
    }
}
