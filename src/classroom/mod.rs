//! Notebooks: for each student a JupyterLab in an instance of its own, which only this machine reaches; students come by the
//! page of the room `portal/`.
//!
//! ```text
//! recipe      what the image that they are made of consists of, and its version (pure)
//! image       how it is built here
//! old_images  images that nobody has any more, taken out of the cloud
//! driver      NVIDIA's driver in the one of notebooks with cards (pure)
//! steps       project, network, port of this machine, image, declared notebooks as steps of a plan
//! page        the page of students and the way to it from outside, as steps
//! reach       what a notebook may reach, and who reaches it (pure)
//! port        this machine's place in their network, as an action
//! identity    what a notebook is told at each boot: name, token, keys; and who may read it here
//! notebook    made, listed, stopped, started, taken away
//! building    which of them Nova still builds
//! ready       one that runs, waited for until it can be worked in
//! jupyter     what its JupyterLab answers
//! remote      programs in a notebook, over SSH
//! students    their tokens, and what the portal is told of them and of notebooks
//! certificate by which browsers know the portal, and this machine's own authority
//! outside     the tunnel's token, and what the tunnel is told
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
pub mod certificate;
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
pub mod outside;
pub mod page;
pub mod port;
pub mod reach;
pub mod ready;
pub mod recipe;
pub mod remote;
pub mod steps;
pub mod students;

pub use error::ClassroomError;

use crate::action::Undo;
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
    /// The page that students open; none: this machine alone reaches notebooks.
    pub page: Option<students::Page>,
    /// Which of them Nova builds.
    pub building: Arc<building::Building>,
}

/// Fewer homes than these are said to be few.
const FEW_HOMES: usize = 8;
/// The finding about notebooks that the answers no longer want.
pub const STILL_THERE: &str = "notebooks";

/// What stands in the way of what the answers ask for: notebooks are students', and nobody would reach them any more; and what
/// will once there are more of them.
///
/// # Errors
/// What is known of notebooks cannot be read.
pub fn findings(host: &Host, config: &Config) -> Result<Vec<Finding>> {
    if config.classroom.enabled {
        return Ok(few_homes(config).into_iter().collect());
    }
    let known = identity::known(host)?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let what = format!("classroom.enabled is false, and there are notebooks: {}", known.join(", "));
    let next = "enabled = true below [classroom]; what nobody needs: gpucloud-install notebook delete NAME";
    Ok(vec![Finding::stop(STILL_THERE, what, next)])
}

/// Volumes are as large as they say from the beginning (`cinder.conf`, `lvm_type`). How large a disk of their own is, is not
/// known here.
fn few_homes(config: &Config) -> Option<Finding> {
    let (size, home) = (config.volumes.size_gib, config.classroom.home_gib);
    if !config.volumes.are_wanted() || config.volumes.device.path().is_some() || home == 0 {
        return None;
    }
    // LVM's own part is less than one.
    let homes = size.saturating_sub(1) / home;
    let what = format!("volumes have {size} GiB: room for {homes} homes of {home} GiB");
    let next = "a larger volumes.size_gib, or a smaller classroom.home_gib (0: on the disks of notebooks)";
    let wanted = FEW_HOMES.max(config.classroom.notebooks.len());
    (usize::try_from(homes).unwrap_or(usize::MAX) < wanted).then(|| Finding::warn("homes", what, next))
}

/// Takes away what holds a secret and is written again by what is no step: no copy of it is kept, as of an edited file.
fn removed(path: &str) -> Undo {
    Undo::Program { argv: ["rm", "--force", "--", path].map(str::to_owned).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::volumes::VolumeAnswers;
    use crate::config::volumes::VolumeBackend::{self, Lvm};

    #[test]
    fn homes_that_volumes_have_no_room_for_are_said_before_anybody_needs_one() {
        let config = |size_gib, home_gib, backend| {
            let mut config = crate::config::tests::sample();
            config.volumes = VolumeAnswers { backend, size_gib, ..VolumeAnswers::default() };
            config.classroom.home_gib = home_gib;
            config
        };
        let said = |size, home, backend| few_homes(&config(size, home, backend)).map(|finding| finding.what);
        assert_eq!(said(30, 10, Lvm).unwrap(), "volumes have 30 GiB: room for 2 homes of 10 GiB");
        assert_eq!(said(500, 10, Lvm), None);
        assert_eq!(said(30, 0, Lvm), None);
        assert_eq!(said(30, 10, VolumeBackend::None), None);
    }
}
