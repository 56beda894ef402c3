//! The OpenStack API: one session, typed answers, and one "ensure" for each kind of resource.
//!
//! `session.rs` logs in and calls, `asked_once.rs` has what many want at once, `transport.rs` has requests,
//! microversions and limits of time, `error.rs` what a failed call says, `explain.rs` what that means and what to do,
//! `refusal.rs` which filter found no host, `clouds.rs` who logs in where. What is asked to see that a service works
//! is in `health.rs`; what files of images and keys hold in
//! `disk_image.rs` and `public_key.rs`; Keystone's calls in `identity.rs`; what users work with in `resource/`. As reversible changes of
//! a plan: a resource in `resource_action.rs`, service users and the catalog in `keystone_action.rs`.

mod asked_once;
pub mod clouds;
pub mod devices;
pub mod disk_image;
pub mod error;
pub mod explain;
pub mod health;
pub mod id;
pub mod identity;
pub mod keystone_action;
pub mod public_key;
pub mod refusal;
pub mod resource;
pub mod resource_action;
pub mod room;
pub mod session;
mod transport;

#[cfg(test)]
mod tests;

pub use error::ApiError;
pub use id::Id;
pub use session::{Session, SharedSession};
pub use transport::{PROBE_LIMIT, page};
