//! Images that are known by name (a new one, or a property of one: `profiles/images.toml`), and what else an image can
//! come from.

use super::fetch::Download;
use crate::config::resources::ImageAnswer;
use crate::facts::reach::ToDownload;
use crate::failure::Failure;
use crate::host::Host;
use crate::host::home::Home;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// What Nova is told of it: "hw_firmware_type" = "uefi".
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
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
    /// A file of this machine, which has to be downloaded first where that is said.
    File {
        /// The file.
        path: PathBuf,
        /// How it gets here.
        download: Option<Download>,
        /// What Nova is told of it.
        properties: BTreeMap<String, String>,
    },
}

/// What the image called `name` comes from, if `from` is said to be its source; `~` in a path is `home`.
///
/// # Errors
/// It is neither a name of the catalogue, an address nor a path.
pub fn source(name: &str, from: &str, home: &Home) -> Result<Source, Failure> {
    if from == GUEST {
        return Ok(Source::Guest);
    }
    if let Some(published) = PUBLISHED.iter().find(|image| image.name == from) {
        let download = Download::new(&published.name, &published.url, Some(&published.sums));
        return Ok(downloaded(download, published.properties.clone()));
    }
    let path = from.strip_prefix("file://").unwrap_or(from);
    match path.split_once("://") {
        // Its hash is known to nobody, and pinned at the first download.
        Some((scheme, _)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
            Ok(downloaded(Download::new(name, from, None), BTreeMap::new()))
        }
        Some((scheme, _)) => Err(Failure::usage(
            format!("image {name}: `{from}`: nothing is downloaded by {scheme} here"),
            "https or http; or download it yourself, and name the file",
        )),
        None if path.starts_with(['/', '~']) => {
            let (path, _) = home.expand(Path::new(path))?;
            Ok(Source::File { path, download: None, properties: BTreeMap::new() })
        }
        None => Err(unknown(name, from)),
    }
}

fn unknown(name: &str, from: &str) -> Failure {
    let known = PUBLISHED.iter().map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ");
    Failure::usage(
        format!("image {name}: `{from}` is neither an image of the catalogue, an address nor a file that is here"),
        format!("one of: {GUEST}, {known}; a file by its path: /srv/{from}"),
    )
}

/// What of these images has to be downloaded, and is not here yet.
pub fn downloads(host: &Host, images: &[ImageAnswer], home: &Home) -> Vec<ToDownload> {
    let source_of = |image: &ImageAnswer| source(image.name.as_str(), &image.from, home).ok();
    let sources = images.iter().filter_map(|image| Some((&image.name, source_of(image)?)));
    let missing = sources.filter_map(|(name, source)| match source {
        Source::File { download: Some(download), .. } if !download.is_done(host) => Some((name, download)),
        _ => None,
    });
    missing
        .map(|(name, download)| ToDownload { purpose: format!("image {name}"), url: download.url, is_file: true })
        .collect()
}

fn downloaded(download: Download, properties: BTreeMap<String, String>) -> Source {
    Source::File { path: download.path.clone(), download: Some(download), properties }
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
        let known = |from| source("x", from, &Home::own("/root")).is_ok();
        for from in
            ["guest", "/srv/x.qcow2", "~/x.img", "file:///srv/x", "https://192.0.2.1/x.img", "HTTP://192.0.2.1/x"]
        {
            assert!(known(from), "{from}");
        }
        for from in ["trusty", "x.qcow2", "ftp://192.0.2.1/x.img", "~nobody-of-that-name/x", ""] {
            assert!(!known(from), "{from}");
        }
    }

    #[test]
    fn the_distributions_get_firmware_and_machine_type_for_gpus() {
        for image in PUBLISHED.iter().filter(|image| image.name != "cirros") {
            let Ok(Source::File { properties, .. }) = source("x", &image.name, &Home::own("/root")) else {
                panic!("{}", image.name)
            };
            assert_eq!((&*properties["hw_machine_type"], &*properties["hw_firmware_type"]), ("q35", "uefi"));
        }
    }
}
