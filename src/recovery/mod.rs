//! What is down, in which order it comes back, and when it is healthy: all from the engine's service table, never from
//! the units that systemd happens to have loaded. What is no service: the network's state is kept by `network/keep.rs`,
//! which a step here calls; the bridge and its settings are `engine/openvswitch.rs`'s.
//!
//! ```text
//! cause    what is looked at first: where that is wrong, all else is a consequence
//! health   the state of each layer, by what answers
//! damage   what is wrong with a cloud that was applied: for doctor
//! steps    bringing back what is down, layer by layer
//! ```

pub mod cause;
pub mod damage;
pub mod health;
pub mod steps;
