//! Disk images as people have them in files: what a file is, told by its content and never by its name, or what it is
//! instead, with the command that makes an image of it. Pure over what can be read and sought, but for [`ready`].
//!
//! What is taken is what Glance and Nova take (read in 2025.1 and 2025.2, and seen with newer ones):
//!
//! * Glance's `disk_formats` are qcow2, raw, vmdk, vdi, vhd, vhdx, iso, aki, ari, ami and ploop unless configured, with
//!   both engines; it compares the content with the format (`require_image_format_match`), and refuses what may reach
//!   other files of the host (oslo.utils, format_inspector.py).
//! * Nova's `fetch_to_raw` (nova/virt/images.py) asks the same inspector, and then `qemu-img info`: both must say the
//!   same. So a VHD never passes (QEMU calls it vpc), nor LUKS; a VMDK only where `vmdk_allowed_types` has it.
//! * A CD that boots as a disk too (isohybrid) counts as a CD with both. Only what has no other format is raw.
//!
//! `qemu-img` is not asked: what it tells is read here, and root does not run it over what strangers bring.
//!
//! `qcow2.rs`, `vmdk.rs` and `others.rs` read headers, `raw.rs` partition tables and file systems, `known.rs` has what is
//! no disk, `packed.rs` unpacks, `refusal.rs` has the words. A new format is a variant of [`Format`], its reader in one
//! of these and its arm in [`disk_of`].

mod known;
mod others;
mod packed;
mod qcow2;
mod raw;
mod refusal;
mod source;
#[cfg(test)]
mod tests;
mod vmdk;

pub use packed::Packing;
pub use refusal::{NoDisk, NoDiskFile};

use crate::cloud::ApiError;
use crate::host::{self, Host, files};
use crate::paths::IMAGES;
use source::Source;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What an image's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// QEMU's own.
    Qcow2,
    /// A disk, byte by byte.
    Raw,
    /// VMware's, in one file.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's.
    Vhdx,
    /// A CD.
    Iso,
    /// A kernel.
    Aki,
    /// An initial file system.
    Ari,
}

impl Format {
    /// Glance's names of the disk format and of the container format.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Format::Qcow2 => ("qcow2", "bare"),
            Format::Raw => ("raw", "bare"),
            Format::Vmdk => ("vmdk", "bare"),
            Format::Vdi => ("vdi", "bare"),
            Format::Vhdx => ("vhdx", "bare"),
            Format::Iso => ("iso", "bare"),
            Format::Aki => ("aki", "aki"),
            Format::Ari => ("ari", "ari"),
        }
    }
}

/// How it is known what a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By its content.
    ByContent,
    /// By its content; and where that has nothing known, somebody said that it is raw.
    RawUnlessKnown,
    /// We made it.
    Ours(Format),
}

/// A file that can become an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// As it is.
    Plain(Format),
    /// Once it is unpacked.
    Packed(Packing),
}

/// How much of a file is looked at before all else, in bytes.
const HEAD: u64 = 1 << 20;

/// What `file` is.
///
/// # Errors
/// No disk image, or one that Nova does not take.
pub fn judge(file: &mut (impl Read + Seek)) -> Result<Disk, NoDisk> {
    let length = file.seek(SeekFrom::End(0))?;
    let disk = disk_of(&mut Source::new(file, Some(length)))?;
    if let Disk::Packed(packing) = disk {
        file.seek(SeekFrom::Start(0))?;
        packed::judge_head(file, packing)?;
    }
    Ok(disk)
}

/// What reads a header: the file, and its beginning.
type Judge<R> = fn(&mut Source<R>, &[u8]) -> Result<Format, NoDisk>;

/// What is read from `source` is; packed ones are not looked into.
fn disk_of<R: Read + Seek>(source: &mut Source<R>) -> Result<Disk, NoDisk> {
    let head = source.head(HEAD)?;
    let bytes = |range: std::ops::Range<usize>| head.get(range).unwrap_or_default();
    if let Some(packing) = Packing::of(&head) {
        return Ok(Disk::Packed(packing));
    }
    let (what, judge): (_, Judge<R>) = match head.as_slice() {
        [] => return Err(NoDisk::Empty),
        [b'Q', b'F', b'I', 0xfb, ..] => ("a qcow2", qcow2::judge),
        [b'K', b'D', b'M', b'V', ..] => ("a VMDK", vmdk::judge),
        [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => ("a VHDX", others::vhdx),
        [b'c', b'o', b'n', b'e', b'c', b't', b'i', b'x', ..] => ("a VHD", others::vhd),
        // Its header is perhaps not whole.
        [b'<', b'<', b'<', b' ', ..] if head.len() < 512 => ("a VDI", others::vdi),
        _ if bytes(0x40..0x44) == 0xbeda_107f_u32.to_le_bytes() => ("a VDI", others::vdi),
        // ECMA-119, 8.4; ECMA-167, 3/9.1: the first descriptors are in sector 16.
        _ if [&b"CD001"[..], b"NSR02", b"NSR03"].contains(&bytes(0x8001..0x8006)) => ("a CD", others::iso),
        _ => (refusal::RAW, |source, head| known::refuse(head).and_then(|()| raw::judge(source, head))),
    };
    source.what = what;
    judge(source, &head).map(Disk::Plain)
}

/// What the file at `path` is, so far as can be said without unpacking all of it.
///
/// # Errors
/// As [`judge`], with the file.
pub fn look(host: &Host, path: &Path, told: Told) -> Result<Disk, NoDiskFile> {
    let judged = open(host, path).and_then(|mut file| as_told(judge(&mut file), told));
    judged.map_err(|problem| NoDiskFile { path: path.to_owned(), problem })
}

/// A file that can be sent to Glance.
#[derive(Debug)]
pub struct Ready {
    /// At its beginning.
    pub file: File,
    /// What it is.
    pub format: Format,
}

/// The disk in the file at `path`: unpacked, where it is packed, into a file that nobody else sees, and that goes with
/// this program.
///
/// # Errors
/// As [`look`]; there is no room to unpack it, or a stop was asked for.
pub fn ready(host: &Host, path: &Path, told: Told) -> Result<Ready, ApiError> {
    let named = |problem| NoDiskFile { path: path.to_owned(), problem };
    let mut file = open(host, path).map_err(named)?;
    let disk = match told {
        Told::Ours(format) => Disk::Plain(format),
        told => as_told(judge(&mut file), told).map_err(named)?,
    };
    rewound(&mut file).map_err(named)?;
    match disk {
        Disk::Plain(format) => Ok(Ready { file, format }),
        Disk::Packed(packing) => {
            let mut unpacked = files::unnamed(host, Path::new(IMAGES))?;
            // Glance keeps what it is sent: it takes the same room once more.
            let room = files::free_bytes(host, Path::new(IMAGES))? / 2;
            packed::unpack(host, &mut file, packing, &mut unpacked, room).map_err(|error| error.of(path))?;
            let format = inside(&mut unpacked, packing, told).map_err(named)?;
            rewound(&mut unpacked).map_err(named)?;
            Ok(Ready { file: unpacked, format })
        }
    }
}

/// What was unpacked is.
fn inside(file: &mut File, packing: Packing, told: Told) -> Result<Format, NoDisk> {
    match as_told(judge(file), told) {
        Ok(Disk::Plain(format)) => Ok(format),
        Ok(Disk::Packed(_)) => Err(NoDisk::Inside { packing, problem: Box::new(NoDisk::PackedTwice) }),
        Err(problem) => Err(NoDisk::Inside { packing, problem: Box::new(problem) }),
    }
}

/// What somebody insists on, where nothing speaks against it.
fn as_told(judged: Result<Disk, NoDisk>, told: Told) -> Result<Disk, NoDisk> {
    match (judged, told) {
        (Err(problem), Told::RawUnlessKnown) if problem.may_be_raw() => Ok(Disk::Plain(Format::Raw)),
        (Ok(Disk::Plain(format)), Told::RawUnlessKnown) if format != Format::Raw => {
            Err(NoDisk::NotRaw { is: format.names().0 })
        }
        (judged, _) => judged,
    }
}

fn rewound(file: &mut File) -> Result<(), NoDisk> {
    file.rewind().map_err(NoDisk::from)
}

fn open(host: &Host, path: &Path) -> Result<File, NoDisk> {
    use std::io::ErrorKind::IsADirectory;
    match files::open(host, path) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(NoDisk::Missing),
        Err(host::Error::Io { source, .. }) if source.kind() == IsADirectory => Err(NoDisk::Directory),
        Err(host::Error::Io { source, .. }) => Err(source.into()),
        Err(host::Error::Link { link, .. }) => Err(NoDisk::Unreadable { why: link.to_string() }),
        Err(error) => Err(NoDisk::Unreadable { why: error.to_string() }),
    }
}
