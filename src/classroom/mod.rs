//! Notebooks: for each student a JupyterLab in an instance of its own, which only this machine reaches.
//!
//! ```text
//! recipe      what the image that they are made of consists of, and its version (pure)
//! image       how it is built here
//! old_images  images that nobody has any more, taken out of the cloud
//! driver      NVIDIA's driver in the one of notebooks with cards (pure)
//! steps       project, network, port of this machine, image, declared notebooks as steps of a plan
//! reach       what a notebook may reach, and who reaches it (pure)
//! port        this machine's place in their network, as an action
//! identity    what a notebook is told at each boot: name, token, keys; and who may read it here
//! notebook    made, listed, stopped, started, taken away
//! building    which of them Nova still builds
//! ready       one that runs, waited for until it can be worked in
//! jupyter     what its JupyterLab answers
//! remote      programs in a notebook, over SSH
//! home        what a student has in it, brought here before it goes and laid back into the next
//! home_volume a home on a volume, which outlives its notebook
//! health      the layer `notebooks` of `status`
//! error       what goes wrong
//! ```
//!
//! Answers are in `config/classroom.rs`, verbs in `command/notebook.rs`; what is in the image as text, `profiles/notebook/`.
//! The link to their network is made by `port.rs`, noted in `network/class_port.rs`, and brought back by `network/keep.rs`.
//! How JupyterLab is configured: `profiles/notebook/root/etc/notebook/server.json`.

pub mod building;
pub mod driver;
pub mod error;
pub mod health;
pub mod home;
pub mod home_volume;
pub mod identity;
pub mod image;
pub mod jupyter;
pub mod notebook;
pub mod old_images;
pub mod port;
pub mod reach;
pub mod ready;
pub mod recipe;
pub mod remote;
pub mod steps;

pub use error::ClassroomError;

use crate::cloud::SharedSession;
use crate::config::Config;
use crate::finding::Finding;
use crate::host::{Host, Result};
use std::sync::Arc;

/// The project, its user, its network and its router.
pub use crate::config::classroom::CLASSROOM;
/// The port of this machine, and its security group.
pub const PORTAL: &str = "classroom-portal";
/// The security group of notebooks.
pub const NOTEBOOKS: &str = "classroom-notebooks";

/// Who asks the cloud about notebooks.
#[derive(Clone)]
pub struct Classroom {
    /// The user of the classroom's project.
    pub user: SharedSession,
    /// The administrator.
    pub admin: SharedSession,
    /// Name of the image that new notebooks are made of.
    pub image: String,
    /// The same of those with cards.
    pub card_image: String,
    /// GiB of the volume of a new home, where the cloud has volumes; 0: homes are on the disks of notebooks.
    pub home_gib: u32,
    /// Which of them Nova builds.
    pub building: Arc<building::Building>,
}

/// The finding about notebooks that the answers no longer want.
pub const STILL_THERE: &str = "notebooks";

/// What stands in the way of what the answers ask for: notebooks are students', and nobody would reach them any more.
///
/// # Errors
/// What is known of notebooks cannot be read.
pub fn findings(host: &Host, config: &Config) -> Result<Vec<Finding>> {
    let known = if config.classroom.enabled { Vec::new() } else { identity::known(host)? };
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let what = format!("classroom.enabled is false, and there are notebooks: {}", known.join(", "));
    let next = "enabled = true below [classroom]; what nobody needs: gpucloud-install notebook delete NAME";
    Ok(vec![Finding::stop(STILL_THERE, what, next)])
}
