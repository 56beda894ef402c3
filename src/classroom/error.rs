//! What goes wrong with notebooks, beyond what the hands and the APIs say.

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
    /// It does not run, so nothing can be brought from it.
    #[error("notebook {name} does not run ({state}), so what is in it cannot be saved")]
    NotRunning {
        /// The notebook.
        name: String,
        /// "SHUTOFF".
        state: String,
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
                "gpucloud-install notebook list: stop or delete one that nobody needs, or take a smaller flavor: \
                 gpucloud-install flavor list"
                    .into()
            }
            Self::NoCards => "gpucloud-install gpu list; then: gpucloud-install gpu claim CARD".into(),
            Self::Missing { .. } => "gpucloud-install notebook list".into(),
            Self::Unknown { name, .. } => {
                format!("gpucloud-install notebook delete {name} --and-its-data, then: notebook create {name}")
            }
            Self::Silent { name, .. } => {
                format!("gpucloud-install notebook logs {name}; gpucloud-install notebook restart {name}")
            }
            Self::NotRunning { name, .. } => {
                format!("gpucloud-install notebook start {name}; or lose it: notebook delete {name} --and-its-data")
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
