//! Downloads of images: resumed, verified against the publisher's list, pinned.

use super::error::ResourceError;
use crate::cloud::disk_image::{self, NoDiskFile, Told};
use crate::host::{Error, Host, Result, files, http};
use crate::paths::IMAGES;
use sha2::Digest;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes between two looks at the stop flag.
const CHUNK: usize = 1 << 20;

/// A file of the network, and what is known of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is published.
    pub url: String,
    /// The publisher's list of hashes, if there is one.
    pub sums: Option<String>,
    /// Where it goes.
    pub path: PathBuf,
    /// How it is known what it is.
    pub told: Told,
}

/// A hash as a publisher lists it: its kind is told by its length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum(String);

impl Download {
    /// For the image `name` from `url`. Its file is that of this address: another address is another file.
    pub fn new(name: &str, url: &str, sums: Option<&str>) -> Self {
        let path = Path::new(IMAGES).join(format!("{name}-{}", &files::hash(url.as_bytes())[..8]));
        Self { url: url.to_owned(), sums: sums.map(str::to_owned), path, told: Told::ByContent }
    }

    fn pin(&self) -> PathBuf {
        files::sibling(&self.path, ".sum")
    }

    fn part(&self) -> PathBuf {
        files::sibling(&self.path, ".part")
    }

    /// Which version of the content the part is of.
    fn tag(&self) -> PathBuf {
        files::sibling(&self.path, ".tag")
    }

    /// Whether it is there, verified.
    pub fn is_done(&self, host: &Host) -> bool {
        files::exists(host, &self.path) && files::exists(host, self.pin())
    }

    /// The hash that was found at the first download.
    pub fn pinned(&self, host: &Host) -> Result<String> {
        Ok(files::read_text(host, self.pin())?.unwrap_or_default())
    }

    /// Downloads what is missing; what was cut off goes on.
    ///
    /// # Errors
    /// The server does not answer, the disk is full, or the content is not what its publisher lists, or no image.
    pub fn run(&self, host: &Host) -> Result<()> {
        let expected = match &self.sums {
            Some(list) => Some(self.published(host, list).map_err(not_reached)?),
            None => files::read_text(host, self.pin())?.map(|text| Sum(text.trim().to_owned())),
        };
        self.download(host).map_err(not_reached)?;
        let kind = expected.as_ref().map_or(64, |sum| sum.0.len());
        let found = sum_of(host, &self.part(), kind)?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            self.forget(host)?;
            let list = self.sums.clone().unwrap_or_default();
            let (url, found, listed) = (self.url.clone(), found.0, expected.0);
            return Err(ResourceError::OtherContent { url, found, listed, list }.into());
        }
        self.refuse_others(host)?;
        host.line(&format!("{}: hash {}", self.url, found.0));
        files::write(host, &self.pin(), found.0.as_bytes(), 0o644, None)?;
        files::remove(host, &self.tag())?;
        files::rename(host, &self.part(), &self.path)
    }

    /// What came is an image: it is not kept otherwise, so that another try asks anew.
    fn refuse_others(&self, host: &Host) -> Result<()> {
        let Err(NoDiskFile { problem, .. }) = disk_image::look(host, &self.part(), self.told) else { return Ok(()) };
        self.forget(host)?;
        Err(ResourceError::NoImage { url: self.url.clone(), problem }.into())
    }

    fn forget(&self, host: &Host) -> Result<()> {
        files::remove(host, &self.part())?;
        files::remove(host, &self.tag())
    }

    /// The hash in the publisher's list.
    fn published(&self, host: &Host, list: &str) -> Result<Sum> {
        let text = http::text(host, list)?;
        let name = self.url.rsplit('/').next().unwrap_or_default();
        let sum = sum_in(&text, name);
        sum.ok_or_else(|| Error::protocol(format!("read {list}"), format!("it does not list {name}")))
    }

    fn download(&self, host: &Host) -> Result<()> {
        let part = self.part();
        files::make_parents(host, &part)?;
        let io = |doing: &'static str| {
            let path = part.clone();
            move |source| Error::Io { doing, path, source }
        };
        let mut file = files::open_to_append(host, &part, 0o644)?;
        let have = file.metadata().map_err(io("look at"))?.len();
        let tag = files::read_text(host, self.tag())?.filter(|tag| !tag.is_empty());
        let mut answer = http::get_from(host, &self.url, have, tag.as_deref())?;
        if answer.from == 0 {
            files::write(host, &self.tag(), answer.tag.as_deref().unwrap_or_default().as_bytes(), 0o644, None)?;
        }
        if answer.from == 0 && have > 0 {
            // The server cannot go on in the middle, or has another version by now.
            file.set_len(0).map_err(io("empty"))?;
        }
        let (mut done, total) = (answer.from, answer.remaining.map_or(0, |remaining| answer.from + remaining));
        let mut buffer = vec![0; CHUNK];
        loop {
            host.go_on()?;
            let count =
                answer.body.read(&mut buffer).map_err(|e| Error::protocol(format!("download {}", self.url), e))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(io("write"))?;
            done += count as u64;
            host.progress(done >> 20, total >> 20, &format!("MiB of {}", self.url));
        }
        let end = (done >> 20).max(1);
        host.progress(end, end, &format!("MiB of {}", self.url));
        if done < total {
            return Err(ResourceError::BrokeOff { url: self.url.clone(), done, total }.into());
        }
        file.sync_all().map_err(io("sync"))
    }
}

/// A machine that cannot reach a publisher may have another image.
fn not_reached(error: Error) -> Error {
    if matches!(error, Error::Protocol { .. }) { ResourceError::Publisher(error).into() } else { error }
}

fn sum_of(host: &Host, path: &Path, hex_digits: usize) -> Result<Sum> {
    let missing = || Error::Io { doing: "read", path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() };
    let mut file = files::open(host, path)?.ok_or_else(missing)?;
    Ok(Sum(match hex_digits {
        32 => hashed::<md5::Md5>(host, &mut file),
        128 => hashed::<sha2::Sha512>(host, &mut file),
        _ => hashed::<sha2::Sha256>(host, &mut file),
    }?))
}

fn hashed<D: Digest>(host: &Host, file: &mut std::fs::File) -> Result<String> {
    let mut hash = D::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        host.go_on()?;
        match file.read(&mut buffer).map_err(|e| Error::protocol("read a download", e))? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The hash of the file `name` in a list of either form: `HASH  NAME`, `HASH *NAME`, or `SHA256 (NAME) = HASH`.
fn sum_in(list: &str, name: &str) -> Option<Sum> {
    let is_hash = |text: &str| matches!(text.len(), 32 | 64 | 128) && text.bytes().all(|b| b.is_ascii_hexdigit());
    list.lines().find_map(|line| {
        let (hash, named) = match line.split_once(") = ") {
            Some((head, hash)) => (hash.trim(), head.split_once('(')?.1),
            None => {
                let (hash, named) = line.split_once(char::is_whitespace)?;
                (hash, named.trim().trim_start_matches('*'))
            }
        };
        (named == name && is_hash(hash)).then(|| Sum(hash.to_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_all_publishers_are_read() {
        let (md5, sha256) = ("d41d8cd98f00b204e9800998ecf8427e", "a".repeat(64));
        let list = format!(
            "# image: 21692416 bytes\n{sha256} *noble.img\nSHA256 (Rocky.qcow2) = {sha256}\n{md5}  cirros.img\n{sha256}  other-noble.img\n"
        );
        assert_eq!(sum_in(&list, "noble.img"), Some(Sum(sha256.clone())));
        assert_eq!(sum_in(&list, "Rocky.qcow2"), Some(Sum(sha256)));
        assert_eq!(sum_in(&list, "cirros.img"), Some(Sum(md5.into())));
        assert_eq!(sum_in(&list, "missing.img"), None);
    }
}
