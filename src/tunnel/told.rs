//! What root tells the tunnel, in one file that is replaced whole. It holds the service's token, so only root and the tunnel's
//! account read it.

use crate::config::tunnel::TunnelKind;
use crate::host::{Error, Host, Result, files};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;

/// Where it lies; its directory is root's.
pub const FILE: &str = "/var/lib/gpucloud-tunnel/told.json";

/// All of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The service.
    pub kind: TunnelKind,
    /// How browsers call the tunnel's other end: "class.example.net", or with a port.
    pub address: String,
    /// The server that this machine connects to, "HOST:PORT"; empty: the service's own.
    pub server: String,
    /// What the service knows this machine by.
    pub token: String,
    /// Where the portal listens for it.
    pub portal: SocketAddr,
    /// Whether the service counts requests against a plan: it is asked through rarely, then.
    pub is_counted: bool,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, address, server, portal, .. } = self;
        let mut shown = f.debug_struct("Order");
        shown.field("kind", kind).field("address", address).field("server", server).field("portal", portal);
        shown.finish_non_exhaustive()
    }
}

impl Order {
    /// The host of its address.
    pub fn host(&self) -> &str {
        self.address.split(':').next().unwrap_or_default()
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It cannot be read, or is not of this form.
    pub fn read(host: &Host, path: &Path) -> Result<Self> {
        let text = files::read_text(host, path)?.unwrap_or_default();
        // The parser's own words would show the token.
        serde_json::from_str(&text).map_err(|error| Error::Io {
            doing: "read",
            path: path.to_owned(),
            source: std::io::Error::other(format!("line {} is not of the form that is read", error.line())),
        })
    }

    /// As text.
    ///
    /// # Errors
    /// Only our own mistake.
    pub fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::protocol("tell the tunnel", error.to_string()))
    }
}
