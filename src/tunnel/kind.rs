//! What all kinds of tunnel have in common, and which there are.

use super::program;
use super::told::Order;
use crate::config::tunnel::TunnelKind;
use crate::host::Host;
use std::path::Path;

/// Why a tunnel is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The service takes us for nobody it knows: trying again does not help.
    Refused(String),
    /// Anything else.
    Lost(String),
}

/// A way to hold a tunnel.
pub trait Kind: Send {
    /// Holds it until it breaks, or until `host` is told to stop.
    fn hold(&self, host: &Host) -> Broken;
}

/// The tunnel of this order; what it needs as files is written into `directory`.
pub fn of(order: &Order, directory: &Path) -> Box<dyn Kind> {
    Box::new(match order.kind {
        TunnelKind::Cloudflared => program::cloudflared(order),
        TunnelKind::Frp => program::frp(order, directory),
        TunnelKind::Pagekite | TunnelKind::None => program::pagekite(order, directory),
    })
}
