//! Programs in a notebook, over SSH through this machine's port in its network. Its host key is known from before its
//! first boot.

use super::identity::{Identity, login_key};
use crate::host::command::{self, Command, quoted};
use crate::host::{Error, Host, Result};
use std::net::Ipv4Addr;

/// A notebook that can be reached.
#[derive(Debug, Clone)]
pub struct Remote {
    identity: Identity,
    address: Ipv4Addr,
}

impl Remote {
    /// The notebook of this identity, at this address.
    pub fn new(identity: Identity, address: Ipv4Addr) -> Self {
        Self { identity, address }
    }

    /// A program in it, run as root.
    pub fn program(&self, words: &[&str]) -> Command {
        let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        self.client().args(["-oBatchMode=yes"]).arg(format!("root@{}", self.address)).arg(line.join(" "))
    }

    /// A shell in it, or what somebody typed.
    pub fn login(&self, words: &[String]) -> Command {
        self.client().arg(format!("root@{}", self.address)).args(words.iter().cloned())
    }

    fn client(&self) -> Command {
        let (key, known) = (login_key(), self.identity.known_hosts());
        Command::new("ssh")
            .args(["-F", "none", "-i", &key.to_string_lossy(), "-oIdentitiesOnly=yes", "-oLogLevel=ERROR"])
            .args(["-oStrictHostKeyChecking=yes", "-oConnectTimeout=20", "-oServerAliveInterval=15"])
            .arg(format!("-oUserKnownHostsFile={}", known.display()))
            .arg(format!("-oHostKeyAlias={}", self.identity.alias()))
    }
}

/// What became of a program of [`Remote::program`]: where it failed, the end of what it said.
///
/// # Errors
/// It did not begin; [`Error::Failed`] is ssh's own then: nobody can log in.
pub fn outcome(host: &Host, program: Command) -> Result<std::result::Result<(), String>> {
    match program.quiet().run(host) {
        // Of ssh itself: 255.
        Err(Error::Failed { tail, status, .. }) if !status.ends_with(" 255") => Ok(Err(command::harmless(tail.trim()))),
        other => other.map(Ok),
    }
}
