//! The systems that are supported, all of Debian's family. A new release is one row of [`SYSTEMS`]; for labs also a
//! variant of [`LabSystem`]. What differs between releases beyond that (names of packages) stands where it is used:
//! `engine/native/packages.rs`.

use serde::{Deserialize, Serialize};

/// A system on which a cloud can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supported {
    /// `ID` of os-release.
    pub id: &'static str,
    /// `VERSION_ID` of os-release.
    pub version: &'static str,
    /// As a person calls it.
    pub name: &'static str,
}

/// All of them.
pub const SYSTEMS: &[Supported] = &[
    Supported { id: "ubuntu", version: "24.04", name: "Ubuntu 24.04" },
    Supported { id: "debian", version: "12", name: "Debian 12" },
    Supported { id: "debian", version: "13", name: "Debian 13" },
];

/// The oldest and newest Python that OpenStack's lock was made for.
pub const PYTHONS: std::ops::RangeInclusive<(u32, u32)> = (3, 11)..=(3, 13);

/// Whether a cloud can be installed on this system.
pub fn is_supported(id: &str, version: &str) -> bool {
    SYSTEMS.iter().any(|system| system.id == id && system.version == version)
}

/// The supported systems in a sentence.
pub fn names() -> String {
    SYSTEMS.iter().map(|system| system.name).collect::<Vec<_>>().join(", ")
}

/// A system that a lab host can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LabSystem {
    /// Debian 12, bookworm
    Debian12,
    /// Debian 13, trixie
    Debian13,
}

impl LabSystem {
    /// Debian's name of it.
    pub fn codename(self) -> &'static str {
        match self {
            LabSystem::Debian12 => "bookworm",
            LabSystem::Debian13 => "trixie",
        }
    }

    /// Our name of it.
    pub fn name(self) -> &'static str {
        match self {
            LabSystem::Debian12 => "debian12",
            LabSystem::Debian13 => "debian13",
        }
    }
}
