//! What goes wrong with notebooks, beyond what the hands and the APIs say: a new case is a variant here, with what to do in
//! `next`. Why Nova could not build one is said by `cloud/refusal.rs`; how far one that was built came, by `ready.rs`.

use crate::host::RoomError;

/// What goes wrong with notebooks.
#[derive(Debug, thiserror::Error)]
pub enum ClassroomError {
    /// Placement knows no place for another one.
    #[error("there is no room for a notebook of flavor {flavor}: {short}")]
    NoRoom {
        /// What it would have.
        flavor: String,
        /// What is short.
        short: String,
    },
    /// No flavor with a card is there.
    #[error("no card is claimed for instances, so no notebook has one")]
    NoCards,
    /// There is one of this name.
    #[error("there is a notebook {name} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// What it would be made of is not in the cloud.
    #[error("image {image}, which notebooks are made of, is not in the cloud")]
    NoImage {
        /// Its name.
        image: String,
    },
    /// It does not take the token that is noted here.
    #[error("notebook {name} does not take the token that is noted here")]
    OtherToken {
        /// The notebook.
        name: String,
    },
    /// What is in it has no room here.
    #[error("what is in notebook {name} has {mib} MiB, and {free} MiB are free below /var/lib/gpucloud")]
    TooLarge {
        /// The notebook.
        name: String,
        /// MiB that it takes.
        mib: u64,
        /// MiB that are free.
        free: u64,
    },
    /// Cinder cannot make the volume of its home.
    #[error(
        "Cinder could not make a volume of {gib} GiB for the home of notebook {name}: most likely there is no room for it"
    )]
    NoHome {
        /// The notebook.
        name: String,
        /// How large it would be.
        gib: u32,
    },
    /// The volume of its home is another instance's.
    #[error("volume {volume}, on which the home of notebook {name} is, belongs to instance {instance}")]
    HomeIsElsewhere {
        /// The notebook.
        name: String,
        /// Id of the volume.
        volume: String,
        /// Which instance has it.
        instance: String,
        /// The id of that.
        id: String,
    },
    /// Cinder has given its home up, which may be whole.
    #[error("the volume of notebook {name}'s home is in Cinder's state {state}")]
    HomeBroken {
        /// The notebook.
        name: String,
        /// Id of the volume.
        volume: String,
        /// "error", "error_extending".
        state: String,
    },
    /// What was saved cannot be laid into it.
    #[error("what was saved of notebook {name} cannot be laid into it: {why}")]
    NotLaidIn {
        /// The notebook.
        name: String,
        /// What tar says.
        why: String,
    },
    /// It runs, and its home is not on its volume.
    #[error("notebook {name} has volume {volume}, and its home is not on it")]
    HomeNotUsed {
        /// The notebook.
        name: String,
        /// The volume.
        volume: String,
    },
    /// There is no notebook of this name.
    #[error("there is no notebook {name}")]
    Missing {
        /// The name.
        name: String,
    },
    /// What is known of it here is gone, so nobody can log in.
    #[error("notebook {name} has no {what} on this machine any more")]
    Unknown {
        /// The notebook.
        name: String,
        /// "token", "host key".
        what: &'static str,
    },
    /// It runs, and its JupyterLab does not answer.
    #[error("notebook {name} does not answer: {how}")]
    Silent {
        /// The notebook.
        name: String,
        /// How far the way to it leads.
        how: String,
        /// The last line of its console that says something of it.
        console: Option<String>,
    },
    /// It can be worked in, and not with its card.
    #[error("notebook {name} can be worked in, but its card cannot: {how}")]
    NoDriver {
        /// The notebook.
        name: String,
        /// What its driver says.
        how: String,
    },
    /// It does not run, so nothing can be brought from it.
    #[error("notebook {name} does not run ({state}), so what is in it cannot be saved")]
    NotRunning {
        /// The notebook.
        name: String,
        /// "SHUTOFF".
        state: String,
    },
    /// It runs, and nobody can log in to see where its home is.
    #[error("notebook {name} does not let this machine log in, so nobody knows whether its home is on its volume")]
    Locked {
        /// The notebook.
        name: String,
    },
    /// What was brought from it cannot be read.
    #[error("what was saved of notebook {name} is not whole: {why}")]
    NotWhole {
        /// The notebook.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl RoomError for ClassroomError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::NoRoom { .. } => {
                "delete one that nobody needs (a stopped one keeps its room): gpucloud-install notebook list; or take a \
                 smaller flavor: gpucloud-install flavor list"
                    .into()
            }
            Self::NoCards => "gpucloud-install gpu list; then: gpucloud-install gpu claim CARD".into(),
            Self::Missing { .. } => "gpucloud-install notebook list".into(),
            Self::Exists { name } => format!("gpucloud-install notebook show {name}"),
            Self::NoImage { .. } => "gpucloud-install apply".into(),
            Self::OtherToken { name } | Self::Unknown { name, what: "token" } => {
                format!("gpucloud-install notebook token {name} --new")
            }
            Self::Unknown { name, .. } | Self::TooLarge { name, .. } => {
                format!("without saving what is in it: gpucloud-install notebook delete {name} --without-saving")
            }
            Self::Silent { name, .. } => {
                format!("gpucloud-install notebook logs {name}; gpucloud-install notebook restart {name}")
            }
            Self::NoDriver { name, .. } => format!(
                "gpucloud-install notebook ssh {name} -- dmesg; whether the card itself works: gpucloud-install gpu test"
            ),
            Self::NoHome { .. } => {
                "what has the room: gpucloud-install notebook list, volume list; more room: volumes.size_gib, smaller \
                 homes: classroom.home_gib; why: journalctl -u gpucloud-cinder-scheduler -u gpucloud-cinder-volume -n 50"
                    .into()
            }
            Self::HomeIsElsewhere { volume, id, .. } => {
                format!("where it is not needed there: openstack --os-cloud gpucloud server remove volume {id} {volume}")
            }
            Self::HomeBroken { volume, .. } => format!(
                "what is on it may be whole; why: journalctl -u gpucloud-cinder-volume -u devstack@c-vol -n 50; then: \
                 openstack --os-cloud gpucloud volume set --state available {volume}, and the same again"
            ),
            Self::NotLaidIn { name, .. } => format!(
                "it is still saved here, and the notebook was left as it is; where it has no room: a larger \
                 classroom.home_gib or --flavor; then: gpucloud-install notebook delete {name} --without-saving; notebook \
                 create {name}"
            ),
            Self::HomeNotUsed { name, .. } => format!(
                "gpucloud-install notebook ssh {name} -- systemctl status notebook-home; an image of your own mounts the \
                 volume, or has none: home_gib = 0 below [classroom], apply, notebook delete {name}, notebook create {name} \
                 (docs/classroom.md)"
            ),
            Self::Locked { name } => format!(
                "gpucloud-install notebook restart {name}; or without saving what is in it (a volume stays): notebook delete \
                 {name} --without-saving"
            ),
            Self::NotRunning { name, state } if state == "SHUTOFF" => format!(
                "gpucloud-install notebook start {name}; or without saving what is in it: notebook delete {name} \
                 --without-saving"
            ),
            Self::NotRunning { name, .. } => {
                format!("without saving what is in it: gpucloud-install notebook delete {name} --without-saving")
            }
            Self::NotWhole { name, .. } => {
                format!("the notebook was left as it is: gpucloud-install notebook show {name}")
            }
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::Silent { console, .. } => console.clone(),
            _ => None,
        }
    }
}
