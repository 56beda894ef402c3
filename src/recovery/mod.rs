//! What is down, in which order it comes back, and when it is healthy: all from the engine's service table, never from
//! the units that systemd happens to have loaded.
//!
//! ```text
//! health   the state of each layer, by what answers
//! damage   what is wrong with a cloud that was applied: for doctor
//! steps    bringing back what is down, layer by layer
//! ```

pub mod damage;
pub mod health;
pub mod steps;
