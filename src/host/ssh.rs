//! SSH to a host that is ours (a virtual lab): one connection is kept open, and every program goes through it, since a
//! login costs seconds where the host's processor is emulated.

use super::command::{Command, quoted};
use super::{Host, Result, files};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one login may take: twenty seconds were measured under emulation beside a booting cloud.
const LOGIN_LIMIT: Duration = Duration::from_secs(120);

/// How root logs in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The host's address.
    pub address: Ipv4Addr,
    /// Where the key of the login (`key`), the host's (`known_hosts`) and the kept connection (`ssh`) lie.
    pub dir: PathBuf,
}

impl Login {
    fn socket(&self) -> PathBuf {
        self.dir.join("ssh")
    }

    fn client(&self) -> Command {
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        Command::new("ssh")
            // Nothing of this machine's own settings has a say.
            .args(["-F", "none", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oLogLevel=ERROR"])
            .args(["-oIdentitiesOnly=yes", "-oServerAliveInterval=60", "-oServerAliveCountMax=10"])
            .arg(option("IdentityFile", &self.dir.join("key")))
            .arg(option("UserKnownHostsFile", &self.dir.join("known_hosts")))
            .arg(option("ControlPath", &self.socket()))
    }

    fn target(&self) -> String {
        format!("root@{}", self.address)
    }

    /// Whether the kept connection works.
    fn is_open(&self, host: &Host) -> bool {
        files::exists(host, self.socket())
            && self.client().args(["-O", "check", &self.target()]).output(host).is_ok_and(|done| done.status.success())
    }

    /// Logs in, unless that was done before; one attempt.
    ///
    /// # Errors
    /// The host refuses, or does not answer within two minutes.
    pub fn open(&self, host: &Host) -> Result<()> {
        if self.is_open(host) {
            return Ok(());
        }
        // Of two that log in at once, the second would keep a connection that nobody can use.
        let _lock = files::lock_within(host, &self.dir.join("ssh.lock"), "another login", LOGIN_LIMIT)?;
        if self.is_open(host) {
            return Ok(());
        }
        files::remove(host, &self.socket())?;
        // `-f`: it goes to the background once it is logged in (ssh(1)).
        let master = self.client().args(["-M", "-N", "-f", "-oConnectTimeout=60", &self.target()]);
        master.limit(LOGIN_LIMIT).quiet().run(host)
    }

    /// Ends the kept connection; what runs through it loses it.
    pub fn close(&self, host: &Host) -> Result<()> {
        if files::exists(host, self.socket()) {
            // The host may be gone, and the connection with it.
            let _ = self.client().args(["-O", "exit", &self.target()]).output(host)?;
        }
        files::remove(host, &self.socket())
    }

    /// `words` as it runs there, with a terminal where `terminal` says so; variables of [`Command::env`] named in `env`
    /// go along, not on its command line.
    pub fn program(&self, words: &[String], env: &[(String, String)], terminal: bool) -> Command {
        let typed: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let names = env.iter().map(|(name, _)| format!("-oSendEnv={name}"));
        let client = self.client().arg(if terminal { "-t" } else { "-T" }).args(names).arg(self.target()).arg("--");
        env.iter().fold(client.arg(typed.join(" ")), |client, (name, value)| client.env(name, value))
    }
}

/// Makes a key without a passphrase at `path`, and its public part beside it; one that is there is replaced.
pub fn make_key(host: &Host, path: &Path, comment: &str) -> Result<()> {
    files::remove(host, path)?;
    files::remove(host, &path.with_extension("pub"))?;
    let place = path.display().to_string();
    Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &place]).quiet().run(host)
}
