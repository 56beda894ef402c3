//! What is no disk, by how it begins. A new kind is a row of [`OTHERS`].

use super::{NoDisk, vmdk};

/// What to do with a file of a kind.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// This program unpacks it.
    Unpack(&'static str),
    /// QEMU knows it by this name.
    Convert(&'static str),
    /// It is of no use.
    Nothing,
}

use Then::{Convert, Nothing, Unpack};

/// Where which bytes are, what that is, and what to do. First match wins.
const OTHERS: [(usize, &[u8], &str, Then); 35] = [
    (0, b"PK\x03\x04", "a zip archive", Unpack("unzip")),
    (0, b"PK\x05\x06", "an empty zip archive", Nothing),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", Unpack("7z x")),
    (0, b"Rar!\x1a\x07", "a rar archive", Unpack("unrar x")),
    (257, b"ustar", "a tar archive", Unpack("tar xf")),
    (0, b"\x04\x22\x4d\x18", "packed with lz4", Unpack("unlz4")),
    (0, b"LZIP", "packed with lzip", Unpack("lzip -d")),
    (0, b"\x89LZO", "packed with lzop", Unpack("lzop -d")),
    (0, b"\x1f\x9d", "packed with compress", Unpack("uncompress")),
    (0, b"\x5d\0\0", "packed with lzma", Unpack("xz -d --format=lzma --keep --suffix=")),
    (0, b"MSCF", "a cabinet archive", Unpack("cabextract")),
    (0, b"QED\0", "a QED image", Convert("qed")),
    (0, b"COWD", "a VMDK of ESX (COWD)", Convert("vmdk")),
    (0, b"WithoutFreeSpace", "a disk of Parallels", Convert("parallels")),
    (0, b"WithouFreSpacExt", "a disk of Parallels", Convert("parallels")),
    (0, b"Bochs Virtual HD Image", "a disk of Bochs", Convert("bochs")),
    (0, b"MSWIM\0\0\0", "a WIM archive (an installation of Windows)", Unpack("wimapply")),
    (0, b"partclone-image", "an image of partclone", Unpack("partclone.restore -O NEW.img -s")),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image", Unpack("simg2img")),
    (0, b"\x7fELF", "a program (ELF)", Nothing),
    (0x202, b"HdrS", "a Linux kernel", Nothing),
    (0, b"MZ", "a program of Windows or UEFI", Nothing),
    (0, b"070701", "an initial file system (cpio)", Nothing),
    (0, b"\xc7\x71", "a cpio archive", Nothing),
    (0, b"!<arch>\n", "a package or a library (ar)", Nothing),
    (0, b"\xed\xab\xee\xdb", "an RPM package", Nothing),
    (0, b"%PDF-", "a PDF document", Nothing),
    (0, b"\x89PNG", "a picture", Nothing),
    (0, b"\xff\xd8\xff", "a picture", Nothing),
    (0, b"GIF8", "a picture", Nothing),
    (0, b"SQLite format 3", "a database", Nothing),
    (0, b"hsqs", "a SquashFS (a snap, or the inside of a live CD)", Nothing),
    (0xff6, b"SWAPSPACE2", "swap space", Nothing),
    (0, b"d8:announce", "a torrent, not what it points to", Nothing),
    (0, b"d10:", "a torrent, not what it points to", Nothing),
];

/// # Errors
/// It is something else than a disk byte by byte.
pub(super) fn refuse(head: &[u8]) -> Result<(), NoDisk> {
    if head.starts_with(b"LUKS\xba\xbe") {
        return Err(NoDisk::Encrypted { how: "a disk that LUKS encrypted" });
    }
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if has(257, b"ustar") && name_of_first(head).ends_with(".ovf") {
        return Err(NoDisk::Appliance);
    }
    if let Some((_, _, what, then)) = OTHERS.iter().find(|(at, magic, ..)| has(*at, magic)) {
        return Err(match *then {
            Unpack(with) => NoDisk::Archive { what, with },
            Convert(qemu) => NoDisk::OtherDisk { what, qemu },
            Nothing => NoDisk::Other { what },
        });
    }
    text_of(head).map_or(Ok(()), |text| Err(of_text(&text)))
}

/// Of a tar archive (POSIX, pax): the first name.
fn name_of_first(head: &[u8]) -> String {
    let name = head.get(..100).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// How much of a text tells what it is, in bytes.
const TEXT: usize = 4096;

/// The beginning of a text, if it is one.
fn text_of(head: &[u8]) -> Option<String> {
    let head = &head[..head.len().min(TEXT)];
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Some(head.iter().filter(|byte| byte.is_ascii() && **byte != 0).map(|byte| char::from(*byte)).collect());
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A letter may be cut in two at the end.
        Err(error) if error.valid_up_to() + 4 > head.len() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let is_odd = |c: char| c.is_control() && !c.is_whitespace();
    (!text.chars().any(is_odd)).then(|| text.trim_start_matches('\u{feff}').trim_start().to_owned())
}

fn of_text(text: &str) -> NoDisk {
    let first = text.lines().next().unwrap_or_default();
    let start: String = text.chars().take(2000).collect::<String>().to_ascii_lowercase();
    let is_hash = |word: &str| word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if first.starts_with("version https://git-lfs") || first.starts_with("version http://git-media") {
        NoDisk::LfsPointer
    } else if first.contains("annex/objects/") {
        NoDisk::AnnexPointer
    } else if start.starts_with("# disk descriptorfile") {
        vmdk::judge_description(text.as_bytes())
            .err()
            .unwrap_or(NoDisk::VmdkType { kind: "a description alone".into() })
    } else if start.contains("<envelope") || start.contains("ovf:") {
        NoDisk::Description { what: "the description of a virtual machine (OVF)" }
    } else if start.starts_with("<domain") {
        NoDisk::Description { what: "the description of a virtual machine (libvirt)" }
    } else if start.starts_with('<') {
        NoDisk::WebPage
    } else if first.split_whitespace().next().is_some_and(is_hash) {
        NoDisk::Text { what: "a list of hashes" }
    } else if start.starts_with("#!") {
        NoDisk::Text { what: "a script" }
    } else if start.starts_with(['{', '[']) {
        NoDisk::Text { what: "JSON" }
    } else {
        NoDisk::Text { what: "a text" }
    }
}
