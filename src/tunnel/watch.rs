//! One question: is the portal reached through the tunnel? What it says here is what it says there. How often that is asked,
//! and what follows: `supervise.rs`.

use crate::host::{Host, files, http};
use crate::portal::door::ALIVE;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use ureq::tls::TlsConfig;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Names another file with authorities that are trusted (OpenSSL, SSL_CTX_set_default_verify_paths(3)).
const TRUSTED: &str = "SSL_CERT_FILE";

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The portal, through the tunnel.
    Reached,
    /// Not the portal, and why.
    NotReached(String),
    /// The portal itself does not answer here: nothing is to be said of the tunnel.
    NoPortal,
}

/// Asks here and there.
pub struct Watch {
    here: String,
    there: String,
    agent: ureq::Agent,
}

impl Watch {
    /// Of the portal at `portal`, by its public `address`.
    ///
    /// # Errors
    /// What is trusted cannot be read.
    pub fn new(host: &Host, portal: SocketAddr, address: &str) -> crate::host::Result<Self> {
        let trusted = http::authorities(&trusted_bundle(host)?);
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            .max_redirects(0)
            // What an old connection says is of an old tunnel.
            .max_idle_connections(0)
            .tls_config(TlsConfig::builder().root_certs(trusted).build());
        let (here, there) = (format!("http://{portal}{ALIVE}"), format!("https://{address}{ALIVE}"));
        Ok(Self { here, there, agent: config.build().into() })
    }

    /// One look.
    pub fn look(&self) -> Seen {
        let Ok(here) = self.ask(&self.here) else { return Seen::NoPortal };
        match self.ask(&self.there) {
            Ok(there) if there == here => Seen::Reached,
            Ok(_) => Seen::NotReached("another portal, or a page of the service, answers there".into()),
            Err(error) => Seen::NotReached(error.to_string()),
        }
    }

    fn ask(&self, url: &str) -> Result<String, ureq::Error> {
        self.agent.get(url).call()?.body_mut().with_config().limit(1 << 10).read_to_string()
    }
}

/// The authorities that this machine trusts (PEM), or those of a file that the environment names.
///
/// # Errors
/// They cannot be read.
pub fn trusted_bundle(host: &Host) -> crate::host::Result<Vec<u8>> {
    let file = std::env::var_os(TRUSTED).map_or_else(|| PathBuf::from(http::TRUSTED), PathBuf::from);
    Ok(files::read(host, &file)?.unwrap_or_default())
}
