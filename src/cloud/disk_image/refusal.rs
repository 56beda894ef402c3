//! What a file is instead of a disk image that Nova boots, and the command that makes one of it. A new kind is a
//! variant here with its words and its arm in [`NoDisk::next`], and a line in the table of `tests.rs`.

use super::Packing;
use crate::host::RoomError;
use crate::host::command::quoted;
use std::path::{Path, PathBuf};

/// What is in place of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDisk {
    /// There is no such file.
    #[error("is not there")]
    Missing,
    /// A directory.
    #[error("is a directory")]
    Directory,
    /// It may not be read, or is no file.
    #[error("cannot be read ({why})")]
    Unreadable {
        /// The error.
        why: String,
    },
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// A sparse file that nobody filled, or a download that did not begin.
    #[error("begins with nothing but zeros: no partition table, no file system")]
    Zeros,
    /// Something is missing.
    #[error("is {what} that was cut off: it has {has} bytes and needs {needed} at least")]
    CutOff {
        /// "a qcow2".
        what: &'static str,
        /// Bytes that it must have at least.
        needed: u64,
        /// Bytes that it has.
        has: u64,
    },
    /// The same, where an end is there that says so.
    #[error("is a {what} that was cut off: its end is missing")]
    NoEnd {
        /// The format.
        what: &'static str,
    },
    /// Its header makes no sense.
    #[error("is a {what} with a damaged header")]
    Damaged {
        /// The format.
        what: &'static str,
    },
    /// Marked as damaged by QEMU.
    #[error("is a qcow2 that is marked as corrupt")]
    Corrupt,
    /// A qcow2 over another file.
    #[error("is an overlay: what it does not have itself is in {base}, which the cloud would not have")]
    Overlay {
        /// As the header names it.
        base: String,
    },
    /// A qcow2 with its content elsewhere.
    #[error("is a qcow2 whose content is in another file (data_file)")]
    ExternalData,
    /// What Nova's inspector does not know.
    #[error("is a qcow2 with features that Nova does not take (extended L2 entries, or newer)")]
    NewFeatures,
    /// A differencing disk.
    #[error("is a {what} that has only the difference to another disk (a snapshot)")]
    Difference {
        /// The format.
        what: &'static str,
        /// What merges it.
        merge: &'static str,
    },
    /// The same of VMware's.
    #[error("is a VMDK that has only the difference to another disk (a snapshot)")]
    VmdkDifference,
    /// Nova refuses it.
    #[error("is a VMDK of the type {kind}: Nova takes monolithicSparse and streamOptimized")]
    VmdkType {
        /// "twoGbMaxExtentFlat".
        kind: String,
    },
    /// One of several files.
    #[error("is a part of a VMDK of several files")]
    VmdkPart,
    /// It needs a key.
    #[error("is {how}: Nova cannot read it")]
    Encrypted {
        /// What.
        how: &'static str,
    },
    /// A disk that QEMU reads and Nova does not.
    #[error("is {what}, which Nova does not take")]
    OtherDisk {
        /// What.
        what: &'static str,
        /// What QEMU calls the format.
        qemu: &'static str,
    },
    /// A raw disk that Nova refuses.
    #[error("is a raw disk that Nova refuses: {why}")]
    PartitionTable {
        /// Why.
        why: &'static str,
    },
    /// Bytes in which nothing is known.
    #[error("has no partition table, no file system and no known format")]
    NoTable,
    /// An archive, or packed with something that is not unpacked here.
    #[error("is {what}")]
    Archive {
        /// What.
        what: &'static str,
        /// What unpacks it.
        with: &'static str,
    },
    /// An archive with disks and their description.
    #[error("is an appliance (OVA): an archive with a disk in it")]
    Appliance,
    /// A text that describes a machine, whose disk is another file.
    #[error("is {what}, not its disk")]
    Description {
        /// What.
        what: &'static str,
    },
    /// Git LFS.
    #[error("is a pointer of Git LFS, not the file itself")]
    LfsPointer,
    /// git-annex.
    #[error("is a pointer of git-annex, not the file itself")]
    AnnexPointer,
    /// HTML or XML.
    #[error("is a web page (HTML or XML): a page to log in, or an error of the server")]
    WebPage,
    /// Text.
    #[error("is {what}, not a disk")]
    Text {
        /// What.
        what: &'static str,
    },
    /// Anything else that is known.
    #[error("is {what}, not a disk")]
    Other {
        /// What.
        what: &'static str,
    },
    /// Somebody insists, but it is known.
    #[error("is not raw: it is {is}")]
    NotRaw {
        /// Glance's name of the format.
        is: &'static str,
    },
    /// Damaged, or cut off, as what unpacks it sees.
    #[error("is a {} file that is damaged or cut off ({why})", packing.name())]
    BadPacking {
        /// What packed it.
        packing: Packing,
        /// The decoder's words.
        why: String,
    },
    /// Packed, and packed again.
    #[error("is packed once more")]
    PackedTwice,
    /// It is packed, and what is inside is no disk.
    #[error("is a {} file, and what is in it {problem}", packing.name())]
    Inside {
        /// What packed it.
        packing: Packing,
        /// What is inside.
        problem: Box<NoDisk>,
    },
    /// It does not fit.
    #[error("is a {} file that unpacked takes more than the {} MiB that are free for it", packing.name(), room >> 20)]
    NoRoom {
        /// What packed it.
        packing: Packing,
        /// Bytes.
        room: u64,
    },
}

/// What a disk byte by byte is called where something of it is missing.
pub(super) const RAW: &str = "a raw disk";

/// How somebody insists.
const INSIST: &str = "where it is a raw disk all the same: --format raw, or format = \"raw\" in resources.images";

impl NoDisk {
    /// Whether it may be a raw disk, if somebody says so.
    pub fn may_be_raw(&self) -> bool {
        match self {
            Self::Inside { problem, .. } => problem.may_be_raw(),
            Self::CutOff { what, .. } => *what == RAW,
            Self::Zeros | Self::NoTable => true,
            Self::Other { .. } | Self::Text { .. } => true,
            _ => false,
        }
    }

    /// The command that makes an image of `file`, or what else to do.
    pub fn next(&self, file: &Path) -> String {
        let (name, new) =
            (quoted(&file.to_string_lossy()), quoted(&beside(file, "-converted.qcow2").to_string_lossy()));
        let convert = |options: &str| format!("qemu-img convert {options}-O qcow2 {name} {new}; then name that file");
        let again = "get it again (a download may be compared with its publisher's hash)";
        match self {
            Self::Missing => format!("ls -l {}; name a file that is there", folder(file)),
            Self::Directory => format!("ls -l {name}; name a file in it"),
            Self::Unreadable { .. } => format!("ls -l {name}; a copy in /var/lib, made by root, will do"),
            Self::Empty | Self::NoEnd { .. } | Self::BadPacking { .. } => again.into(),
            Self::CutOff { what, .. } if *what != RAW => again.into(),
            Self::CutOff { .. } | Self::Zeros => format!("{again}; {INSIST}"),
            Self::Damaged { .. } => format!("qemu-img info {name} says more; {again}"),
            Self::Corrupt => format!("qemu-img check -r all {name}; or {again}"),
            Self::Overlay { .. } => format!("where that file is beside it: {}", convert("")),
            Self::ExternalData | Self::NewFeatures | Self::VmdkDifference => convert(""),
            Self::Difference { merge, .. } => format!("{merge} makes a whole disk of it; then name that"),
            Self::VmdkType { .. } => convert("-f vmdk "),
            Self::VmdkPart => {
                format!(
                    "ls {}; convert the small .vmdk file that names the parts: {}",
                    folder(file),
                    convert("-f vmdk ")
                )
            }
            Self::Encrypted { .. } => "make a copy that is not encrypted, on the machine that has the key".into(),
            Self::OtherDisk { qemu, .. } => convert(&format!("-f {qemu} ")),
            Self::PartitionTable { .. } => convert("-f raw "),
            Self::NoTable => format!("qemu-img info {name}; {INSIST}"),
            Self::Archive { with, .. } => format!("{with} {name}; then name the disk that was in it"),
            Self::Appliance => {
                format!("tar xf {name}; qemu-img convert -O qcow2 DISK.vmdk {new}; then name that file")
            }
            Self::Description { .. } => format!("ls -l {}; name the disk itself", folder(file)),
            Self::LfsPointer => format!("cd {}; git lfs pull", folder(file)),
            Self::AnnexPointer => format!("cd {0}; git annex get {name}; git annex unlock {name}", folder(file)),
            Self::WebPage => "open the address in a browser to see it; then name the image itself".into(),
            Self::Text { .. } | Self::Other { .. } => format!("head -c 300 {name}; name the image itself"),
            Self::NotRaw { .. } => "leave the format out: the content tells it".into(),
            Self::PackedTwice => format!("file {name}; unpack it until a disk is there, then name that"),
            Self::Inside { packing, problem } => {
                let unpacked = beside(file, "-unpacked.img");
                let next = problem.next(&unpacked);
                format!("{} {name} > {}; {next}", packing.program(), quoted(&unpacked.to_string_lossy()))
            }
            Self::NoRoom { .. } => "free space (df -h /var/lib/gpucloud/images), or unpack it to another disk".into(),
        }
    }
}

fn folder(file: &Path) -> String {
    quoted(&file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")).to_string_lossy())
}

/// A name beside the file that is hardly taken: what the commands make must not be written over its own base.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}{ending}"))
}

impl From<std::io::Error> for NoDisk {
    fn from(error: std::io::Error) -> Self {
        NoDisk::Unreadable { why: error.to_string() }
    }
}

/// What is wrong with a file that was named as an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct NoDiskFile {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub problem: NoDisk,
}

impl RoomError for NoDiskFile {
    fn next(&self) -> Option<String> {
        Some(self.problem.next(&self.path))
    }
}
