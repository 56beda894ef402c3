//! Images that are known by name, and what else an image can come from.

use crate::failure::Failure;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::LazyLock;

/// The image that is built here.
pub const GUEST: &str = "guest";

/// An image that is published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// "ubuntu-24.04".
    pub name: String,
    /// The image.
    pub url: String,
    /// Its publisher's list of hashes.
    pub sums: String,
    /// Who logs in by SSH.
    pub user: String,
}

/// All of them.
pub static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Catalogue {
        image: Vec<Published>,
    }
    toml::from_str::<Catalogue>(include_str!("../../profiles/images.toml")).map(|c| c.image).unwrap_or_default()
});

/// What an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built here.
    Guest,
    /// Published; its hash is known to its publisher.
    Published(Published),
    /// An address; its hash is not known to anybody, and pinned at the first download.
    Address(String),
    /// A file of this machine.
    File(PathBuf),
}

/// What `from` means.
///
/// # Errors
/// It is neither a name of the catalogue, an address nor an absolute path.
pub fn source(from: &str) -> Result<Source, Failure> {
    if from == GUEST {
        return Ok(Source::Guest);
    }
    if let Some(published) = PUBLISHED.iter().find(|image| image.name == from) {
        return Ok(Source::Published(published.clone()));
    }
    if from.starts_with("https://") || from.starts_with("http://") {
        return Ok(Source::Address(from.to_owned()));
    }
    if from.starts_with('/') {
        return Ok(Source::File(from.into()));
    }
    Err(Failure::usage(
        format!("`{from}` is neither an image of the catalogue, an address nor an absolute path"),
        format!(
            "one of: {GUEST}, {}",
            PUBLISHED.iter().map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    ))
}

/// Who logs in by SSH to an instance of this image.
pub fn user_of(from: &str) -> &'static str {
    PUBLISHED.iter().find(|image| image.name == from).map_or("root", |image| image.user.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_complete_and_over_https() {
        assert!(PUBLISHED.len() >= 6);
        assert!(PUBLISHED.iter().all(|image| image.url.starts_with("https://") && image.sums.starts_with("https://")));
        assert!(source("trusty").is_err() && source("guest").is_ok() && source("/srv/x.qcow2").is_ok());
    }
}
