//! The way in from outside: a connection that this machine holds to a service in the Internet, by which browsers reach the
//! portal's own listener. A process of its own, with an account that owns the service's token and nothing else.
//!
//! ```text
//! told       what root tells it: the kind, the public address, the token
//! kind       what all kinds have in common, and which there are
//! program    those that are a foreign program: its configuration, and how it says that it is refused (pure)
//! ngrok      ngrok's, by its own crate (feature `ngrok`)
//! watch      whether the portal is reached through it
//! supervise  the process: held, watched, held anew
//! state      how it is, for `status`
//! ```
//!
//! Answers are in `config/tunnel.rs`, its unit and account in `classroom/page.rs`, the listener in `portal/serve.rs`.

pub mod kind;
#[cfg(feature = "ngrok")]
pub mod ngrok;
pub mod program;
pub mod state;
pub mod supervise;
pub mod told;
pub mod watch;
