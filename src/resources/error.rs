//! What making resources fails with, beside what the API says.

use super::ssh::Reachability;
use crate::cloud::disk_image::NoDisk;
use crate::host::command::quoted;
use crate::host::{self, RoomError};
use std::path::Path;

/// What making resources fails with.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// A download is not what its publisher lists.
    #[error("{url} is not what its publisher lists: hash {found} instead of {listed}")]
    OtherContent {
        /// What was downloaded.
        url: String,
        /// Its hash.
        found: String,
        /// The hash that is listed.
        listed: String,
        /// Where it is listed.
        list: String,
    },
    /// What a server sends is no image.
    #[error("what comes from {url} {problem}")]
    NoImage {
        /// What was downloaded.
        url: String,
        /// What it is.
        problem: NoDisk,
    },
    /// A download broke off.
    #[error("the download of {url} broke off after {done} of {total} bytes")]
    BrokeOff {
        /// What was downloaded.
        url: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// A publisher of images does not answer, or not as it should.
    #[error(transparent)]
    Publisher(host::Error),
    /// An instance does not answer SSH.
    #[error("instance {name} does not answer SSH: {ends_at}")]
    Silent {
        /// Its name.
        name: String,
        /// Where the way to it ends.
        ends_at: Reachability,
    },
    /// An instance was started again because its machine had ended while it booted, and that ended too.
    #[error("instance {name} ended twice while it booted")]
    EndedTwice {
        /// Its name.
        name: String,
    },
}

impl RoomError for ResourceError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::OtherContent { .. } => "gpucloud-install apply downloads it anew".into(),
            Self::NoImage { problem: problem @ NoDisk::WebPage, url } => problem.next(Path::new(url)),
            Self::NoImage { problem, url } => {
                let name = url.rsplit('/').next().unwrap_or_default();
                format!("curl -LO {}; {}", quoted(url), problem.next(Path::new(name)))
            }
            Self::BrokeOff { .. } => "gpucloud-install apply goes on where it stopped".into(),
            Self::Publisher(_) => {
                "check network and proxy, or name another image in resources.images; then: gpucloud-install apply"
                    .into()
            }
            Self::Silent { ends_at: Reachability::Shut, .. } => {
                "resources.security_groups: a rule \"in tcp 22\"; or do not wait: --wait 0".into()
            }
            Self::Silent { name, .. } => {
                format!("gpucloud-install instance console {name}; gpucloud-install network probe")
            }
            Self::EndedTwice { name } => {
                format!("look at /var/log/libvirt/qemu; gpucloud-install instance start {name}")
            }
        })
    }

    fn evidence(&self) -> Option<String> {
        match self {
            Self::OtherContent { list, .. } => Some(list.clone()),
            Self::Publisher(error) => error.evidence(),
            _ => None,
        }
    }

    fn may_pass(&self) -> bool {
        matches!(self, Self::BrokeOff { .. } | Self::Publisher(_))
    }
}
