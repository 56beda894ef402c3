//! What the cloud has for its users from the beginning: what is declared in `[resources]` becomes steps of the plan,
//! and files on this machine become images and keys. The API itself is spoken in `cloud/resource/`.
//!
//! `known_images.rs` knows images by name (`profiles/images.toml`), `named_files.rs` judges the files that answers name, `fetch.rs` downloads and verifies, `guest.rs`
//! builds a small guest where nothing can be downloaded, `keys.rs` makes key pairs, `ssh.rs` waits until an instance
//! answers, `launch.rs` makes one that was asked for by name, `steps.rs` puts them in
//! order, `error.rs` has what all that fails with.

pub mod error;
pub mod fetch;
pub mod guest;
pub mod keys;
pub mod known_images;
pub mod launch;
pub mod named_files;
pub mod ssh;
pub mod steps;

use crate::paths::IMAGES;
use std::path::PathBuf;

/// The file called `name` there.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(IMAGES).join(name)
}
