//! Files that the answers name, looked at before anything is changed: which of them are not what they should be. What is
//! taken is in `cloud/disk_image.rs` and `cloud/public_key.rs`.

use super::keys;
use super::known_images::{self, Source};
use crate::cloud::disk_image::{self, Told};
use crate::cloud::public_key::{self, NoKey, NoKeyFile};
use crate::cloud::resource::Kind;
use crate::config::Config;
use crate::config::resources::{ImageAnswer, ImageFormat, KeyPairAnswer};
use crate::host::home::Home;
use crate::host::{Host, RoomError};

/// A file that is not what an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongFile {
    /// The answer: "resources.key_pairs: demo".
    pub answer: String,
    /// The file, and what it is.
    pub problem: String,
    /// What to do.
    pub next: String,
}

impl WrongFile {
    fn of(list: &str, name: &impl ToString, problem: &impl RoomError) -> Self {
        let answer = format!("resources.{list}: {}", name.to_string());
        Self { answer, problem: problem.to_string(), next: problem.next().unwrap_or_default() }
    }
}

/// How it is known what an image's file is.
pub fn told(format: Option<ImageFormat>) -> Told {
    match format {
        Some(ImageFormat::Raw) => Told::RawUnlessKnown,
        None => Told::ByContent,
    }
}

/// Those that are wrong, among the files that are still needed: of what is `made` the cloud has its own copy.
pub fn wrong(host: &Host, config: &Config, made: impl Fn(Kind, &str) -> bool) -> Vec<WrongFile> {
    let home = keys::home(&config.host.administrators);
    let keys = config.resources.key_pairs.iter().filter(|key| !made(Kind::KeyPair, key.name.as_str()));
    let images = config.resources.images.iter().filter(|image| !made(Kind::Image, image.name.as_str()));
    let keys = keys.filter_map(|key| wrong_key(host, key, &home));
    keys.chain(images.filter_map(|image| wrong_image(host, image, &home))).collect()
}

fn wrong_key(host: &Host, key: &KeyPairAnswer, home: &Home) -> Option<WrongFile> {
    let wrong = |problem: NoKeyFile| WrongFile::of("key_pairs", &key.name, &problem);
    let (path, home) = match keys::public_path(key, home) {
        Ok(found) => found,
        Err(error) => {
            let path = key.public_key.clone().unwrap_or_default();
            return Some(wrong(NoKeyFile { path, problem: NoKey::Unreadable { why: error.to_string() } }));
        }
    };
    match public_key::read(host, &home, &path) {
        // It will be made, or whoever makes it says why not.
        Err(NoKeyFile { problem: NoKey::Missing | NoKey::Unreadable { .. }, .. }) if key.public_key.is_none() => None,
        read => read.err().map(wrong),
    }
}

/// What is downloaded is looked at when it is here; what an unknown source means, the plan says.
fn wrong_image(host: &Host, image: &ImageAnswer, home: &Home) -> Option<WrongFile> {
    let source = known_images::source(image.name.as_str(), &image.from, home);
    let Ok(Source::File { path, download: None, .. }) = source else { return None };
    let problem = disk_image::look(host, &path, told(image.format)).err()?;
    Some(WrongFile::of("images", &image.name, &problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::host::files;
    use std::path::Path;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIPRrH5UcvwW4wePHbMSIaI4AMRQZWJXwlB7xS6+IPwI\n";

    fn answers(host: &Host, resources: &str) -> Config {
        let mut config = sample();
        config.host.administrators = vec!["root".parse().unwrap()];
        config.resources = toml::from_str(&format!("project = \"demo\"\n{resources}")).unwrap();
        config.resources.anchor(host, Path::new("/etc/gpucloud"));
        config
    }

    #[test]
    fn each_wrong_file_is_named_by_its_answer_unless_the_cloud_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let put = |path: &str, text: &str| files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
        put("/root/k", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        put("/root/.ssh/good.pub", KEY);
        put("/etc/gpucloud/beside.pub", KEY);
        put("/etc/gpucloud/disk.img", "no disk");
        let config = answers(
            &host,
            r#"key_pairs = [{ name = "private", public_key = "~/k" }, { name = "good", public_key = "~root/.ssh/good.pub" },
                 { name = "beside", public_key = "./beside.pub" }, { name = "gone", public_key = "keys/gone.pub" },
                 { name = "nobody", public_key = "~nobody-of-that-name/k" }, { name = "made" }]
               images = [{ name = "text", from = "disk.img" }, { name = "far", from = "https://192.0.2.1/x" },
                 { name = "known", from = "debian-13" }, { name = "insisted", from = "./disk.img", format = "raw" }]"#,
        );
        let said = |made: &dyn Fn(Kind, &str) -> bool| -> Vec<String> {
            wrong(&host, &config, made).into_iter().map(|file| format!("{} {}", file.answer, file.problem)).collect()
        };
        let all = said(&|_, _| false);
        let expected = [
            ("key_pairs: private", "/root/k holds a private key"),
            ("key_pairs: gone", "/etc/gpucloud/keys/gone.pub is not there"),
            ("key_pairs: nobody", "~nobody-of-that-name/k cannot be read (look up user nobody-of-that-name"),
            ("images: text", "/etc/gpucloud/disk.img is a text"),
        ];
        assert_eq!(all.len(), expected.len(), "{all:#?}");
        for (found, (answer, problem)) in all.iter().zip(expected) {
            assert!(found.contains(answer) && found.contains(problem), "{found}");
        }
        assert_eq!(said(&|kind, name| kind == Kind::Image || name != "gone").len(), 1);
    }
}
