//! The systems that are supported, all of Debian's family. A new release is one row of [`SYSTEMS`]; for labs also a
//! variant of [`LabSystem`]. What differs between releases beyond that (names of packages) stands in
//! `engine/packages.rs`; a row says which engines it suits, and DevStack's branch for it.

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
    /// Whether the native engine suits it: its Python is one of [`PYTHONS`].
    pub native: bool,
    /// The newest branch whose DevStack knows it (`SUPPORTED_DISTROS` in stack.sh).
    pub branch: &'static str,
}

/// The newest release that was tried.
pub const NEWEST_BRANCH: &str = "stable/2026.1";

/// All of them.
pub const SYSTEMS: &[Supported] = &[
    Supported { id: "ubuntu", version: "22.04", name: "Ubuntu 22.04", native: false, branch: "stable/2025.2" },
    Supported { id: "ubuntu", version: "24.04", name: "Ubuntu 24.04", native: true, branch: NEWEST_BRANCH },
    Supported { id: "debian", version: "12", name: "Debian 12", native: true, branch: NEWEST_BRANCH },
    Supported { id: "debian", version: "13", name: "Debian 13", native: true, branch: NEWEST_BRANCH },
];

/// The oldest and newest Python that OpenStack's lock was made for.
pub const PYTHONS: std::ops::RangeInclusive<(u32, u32)> = (3, 11)..=(3, 13);

/// The row of this system.
pub fn find(id: &str, version: &str) -> Option<&'static Supported> {
    SYSTEMS.iter().find(|system| system.id == id && system.version == version)
}

/// Whether this is a later release of a system that has rows: DevStack's master may know it.
pub fn is_newer(id: &str, version: &str) -> bool {
    let number = |version: &str| version.parse::<f64>().unwrap_or(0.0);
    let mut rows = SYSTEMS.iter().filter(|system| system.id == id).peekable();
    rows.peek().is_some() && rows.all(|system| number(system.version) < number(version))
}

/// Those of them, in a sentence.
pub fn names(which: impl Fn(&Supported) -> bool) -> String {
    SYSTEMS.iter().filter(|system| which(system)).map(|system| system.name).collect::<Vec<_>>().join(", ")
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
