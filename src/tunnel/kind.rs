//! What all kinds of tunnel have in common, and which there are. A new kind: its name in `config/tunnel.rs`, its arm in [`of`], and
//! a function in `program.rs`, or a file of its own where it is no foreign program.

use super::program;
use super::told::Order;
use crate::config::tunnel::TunnelKind;
use crate::host::Host;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Why a tunnel is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The service takes us for nobody it knows: trying again does not help.
    Refused(String),
    /// Anything else.
    Lost(String),
}

/// Signs of life of a tunnel that gives them by itself.
#[derive(Debug, Default)]
pub struct Signs(Mutex<Option<Instant>>);

impl Signs {
    /// It is up at this moment.
    pub fn alive(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When it last was.
    pub fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way to hold a tunnel.
pub trait Kind: Send {
    /// Holds it until it breaks, or until `host` is told to stop.
    fn hold(&self, host: &Host, signs: &Arc<Signs>) -> Broken;

    /// Whether it gives signs of life; else the portal is asked for through it, which is a request like any other.
    fn tells(&self) -> bool {
        false
    }
}

/// The tunnel of this order; what it needs as files is written into `directory`.
///
/// # Errors
/// This program has none of that kind.
pub fn of(order: &Order, directory: &Path) -> Result<Box<dyn Kind>, Broken> {
    Ok(match order.kind {
        TunnelKind::Cloudflared => Box::new(program::cloudflared(order)),
        TunnelKind::Frp => Box::new(program::frp(order, directory)),
        TunnelKind::Pagekite => Box::new(program::pagekite(order, directory)),
        #[cfg(feature = "ngrok")]
        TunnelKind::Ngrok => Box::new(super::ngrok::Ngrok::new(order)),
        #[cfg(not(feature = "ngrok"))]
        TunnelKind::Ngrok => return Err(Broken::Refused("this program was built without ngrok (README.md)".into())),
        TunnelKind::None => return Err(Broken::Refused("no kind of tunnel is told".into())),
    })
}
