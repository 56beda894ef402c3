//! The OpenStack API: one session, typed answers, and one "ensure" for each kind of resource.

pub mod health;
pub mod identity;
pub mod session;

pub use session::{ApiError, Session, SharedSession};
