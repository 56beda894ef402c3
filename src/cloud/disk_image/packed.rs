//! Packed disks: what packs them, a look inside, and all of it unpacked. A new packing is a variant of [`Packing`]; what
//! is inside has a format like any other disk.

use super::source::Source;
use super::{Disk, HEAD, NoDisk, NoDiskFile, disk_of};
use crate::cloud::ApiError;
use crate::host::{self, Host};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::path::Path;

/// What packed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip (RFC 1952).
    Gzip,
    /// xz ("The .xz File Format").
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Packing {
    /// By its first bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// "gzip".
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }

    /// What unpacks it onto standard output.
    pub fn program(self) -> &'static str {
        match self {
            Self::Gzip => "gunzip -c",
            Self::Xz => "xz -dc",
            Self::Zstd => "zstd -dc",
            Self::Bzip2 => "bunzip2 -c",
        }
    }

    /// What is inside: all members or frames, one behind the other.
    fn reader<'a>(self, packed: impl BufRead + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::Gzip => Box::new(Members { member: Some(GzDecoder::new(packed)) }),
            Self::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
            Self::Zstd => Box::new(Frames { packed: Some(packed), frame: None }),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        }
    }
}

/// Members of a gzip file. What lies behind the last one and is none, is passed over, as gzip(1) does: OpenWrt signs its
/// images there.
struct Members<R: BufRead> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else { break };
            if matches!(packed.fill_buf()?, [0x1f, ..]) {
                self.member = Some(GzDecoder::new(packed));
            }
        }
        Ok(0)
    }
}

/// Frames of Zstandard. What may be skipped (RFC 8878, 3.1.2), is.
struct Frames<R: Read> {
    packed: Option<R>,
    frame: Option<Frame<R>>,
}

type Frame<R> = ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>;

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
                self.packed = self.frame.take().map(Frame::into_inner);
            }
            let Some(mut packed) = self.packed.take() else { return Ok(0) };
            if packed.fill_buf()?.is_empty() {
                return Ok(0);
            }
            if matches!(packed.fill_buf()?, [0x50..=0x5f, ..]) {
                skip(&mut packed)?;
                self.packed = Some(packed);
                continue;
            }
            self.frame = Some(Frame::new(packed).map_err(std::io::Error::other)?);
        }
    }
}

/// Passes over a frame that has its length behind its magic number.
fn skip(packed: &mut impl BufRead) -> std::io::Result<()> {
    let mut header = [0; 8];
    packed.read_exact(&mut header)?;
    let length = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    std::io::copy(&mut packed.take(length), &mut std::io::sink()).map(drop)
}

/// # Errors
/// What is inside is no disk, by its beginning.
pub(super) fn judge_head(packed: &mut impl Read, packing: Packing) -> Result<(), NoDisk> {
    let mut head = Vec::new();
    let bad = |error: std::io::Error| NoDisk::BadPacking { packing, why: error.to_string() };
    packing.reader(BufReader::new(packed)).take(HEAD).read_to_end(&mut head).map_err(bad)?;
    let length = Some(head.len() as u64).filter(|length| *length < HEAD);
    let inside = |problem| Err(NoDisk::Inside { packing, problem: Box::new(problem) });
    match disk_of(&mut Source::new(&mut Cursor::new(head), length)) {
        Ok(Disk::Plain(_)) => Ok(()),
        Ok(Disk::Packed(_)) => inside(NoDisk::PackedTwice),
        Err(problem) => inside(problem),
    }
}

/// Why something is not unpacked.
#[derive(Debug)]
pub(super) enum NotUnpacked {
    /// The file.
    File(NoDisk),
    /// This machine, or somebody asked to stop.
    Machine(host::Error),
}

impl NotUnpacked {
    pub fn of(self, path: &Path) -> ApiError {
        match self {
            Self::File(problem) => NoDiskFile { path: path.to_owned(), problem }.into(),
            Self::Machine(error) => error.into(),
        }
    }
}

/// Bytes between two looks at the stop flag.
const CHUNK: usize = 1 << 20;

/// Unpacks all of `packed` into `to`, `room` bytes at most.
pub(super) fn unpack(
    host: &Host,
    packed: &mut File,
    packing: Packing,
    to: &mut impl Write,
    room: u64,
) -> Result<(), NotUnpacked> {
    let bad = |error: std::io::Error| NotUnpacked::File(NoDisk::BadPacking { packing, why: error.to_string() });
    let mut content = packing.reader(BufReader::with_capacity(CHUNK, packed));
    let (mut buffer, mut done) = (vec![0; CHUNK], 0_u64);
    loop {
        host.go_on().map_err(NotUnpacked::Machine)?;
        let count = content.read(&mut buffer).map_err(bad)?;
        if count == 0 {
            let end = (done >> 20).max(1);
            host.progress(end, end, "MiB unpacked");
            return Ok(());
        }
        done += count as u64;
        if done > room {
            return Err(NotUnpacked::File(NoDisk::NoRoom { packing, room }));
        }
        let doing = |error| NotUnpacked::Machine(host::Error::protocol("unpack an image", error));
        to.write_all(&buffer[..count]).map_err(|error: std::io::Error| doing(error))?;
        host.progress(done >> 20, 0, "MiB unpacked");
    }
}
