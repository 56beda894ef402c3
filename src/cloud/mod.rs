//! The OpenStack API: one session, typed answers, and one "ensure" for each kind of resource.
//!
//! What is asked to see that a service works is in `health.rs`; Keystone's service users and catalog in `identity.rs`;
//! what users work with in `resource/`; what errors mean in `explain.rs`; who logs in where in `clouds.rs`.

pub mod clouds;
pub mod explain;
pub mod health;
pub mod id;
pub mod identity;
pub mod resource;
pub mod session;

pub use id::Id;
pub use session::{ApiError, Session, SharedSession};
