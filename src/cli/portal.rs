//! The portal: verbs, their options and defaults. What they do: `command/portal.rs`.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The portal.
#[derive(Debug, Subcommand)]
pub enum Portal {
    /// Serve the page that students open; its unit runs this, as an account that may nothing else
    #[command(hide = true)]
    Serve(PortalServe),
    /// Make the page's certificate anew where it ends soon; a timer runs this each week
    #[command(hide = true)]
    Renew,
    /// Show where students find their page, and by which fingerprint browsers know it
    #[command(after_help = "Example:\n  sudo gpucloud-install portal show")]
    Show,
}

/// Options of `portal serve`.
#[derive(Debug, Args)]
pub struct PortalServe {
    /// Where browsers come in; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    pub listen: Vec<SocketAddr>,
    /// Where a tunnel's end connects, over loopback; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tunnel: Vec<SocketAddr>,
    /// What root tells
    #[arg(long, value_name = "FILE", default_value = crate::portal::told::FILE)]
    pub told: PathBuf,
    /// Who is logged in
    #[arg(long, value_name = "FILE")]
    pub sessions: PathBuf,
    /// The key and the certificate that browsers are shown; without: plain HTTP
    #[arg(long, value_name = "FILE")]
    pub tls: Option<PathBuf>,
}
