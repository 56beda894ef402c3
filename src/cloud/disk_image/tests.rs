//! Each format by a header made by hand, what is said of all else, and QEMU's own files where its tools are here.

use super::*;
use std::io::{Cursor, Write};
use std::path::Path;

const MIB: usize = 1 << 20;

/// `length` zeros with these bytes in them.
fn file(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

fn be(number: u64, size: usize) -> Vec<u8> {
    number.to_be_bytes()[8 - size..].to_vec()
}

fn le(number: u64, size: usize) -> Vec<u8> {
    number.to_le_bytes()[..size].to_vec()
}

fn judged(bytes: &[u8]) -> Result<Disk, NoDisk> {
    judge(&mut Cursor::new(bytes))
}

/// A qcow2 with one data cluster, the last of its six.
fn qcow2(changes: &[(usize, Vec<u8>)]) -> Vec<u8> {
    const CLUSTER: u64 = 64 << 10;
    let numbers = [
        (4, be(3, 4)),
        (20, be(16, 4)),
        (24, be(10 << 20, 8)),
        (36, be(1, 4)),
        (40, be(3 * CLUSTER, 8)),
        (48, be(CLUSTER, 8)),
        (56, be(1, 4)),
        (100, be(104, 4)),
        (3 * CLUSTER as usize, be((4 * CLUSTER) | (1 << 63), 8)),
        (4 * CLUSTER as usize, be((5 * CLUSTER) | (1 << 63), 8)),
    ];
    let parts: Vec<(usize, &[u8])> = numbers.iter().chain(changes).map(|(at, bytes)| (*at, bytes.as_slice())).collect();
    let mut all = file(6 * CLUSTER as usize, &parts);
    all[..4].copy_from_slice(b"QFI\xfb");
    all
}

fn partition(boot: u8, kind: u8, start: u64, count: u64) -> Vec<u8> {
    [vec![boot, 0, 2, 0, kind, 0, 0, 0], le(start, 4), le(count, 4)].concat()
}

/// A disk with a partition table.
fn disk(length: usize, entries: &[Vec<u8>]) -> Vec<u8> {
    file(length, &[(446, &entries.concat()), (510, &[0x55, 0xaa])])
}

fn gpt(length: usize, last: u64) -> Vec<u8> {
    let mut bytes = disk(length, &[partition(0, 0xee, 1, 0xffff_ffff)]);
    bytes[512..520].copy_from_slice(b"EFI PART");
    bytes[544..552].copy_from_slice(&le(last, 8));
    bytes
}

fn cd(blocks: u64) -> Vec<u8> {
    file(MIB, &[(0x8000, b"\x01CD001"), (0x8050, &le(blocks, 4)), (0x8080, &le(2048, 2))])
}

fn ext4(blocks: u64) -> Vec<u8> {
    file(MIB, &[(0x438, &[0x53, 0xef]), (0x404, &le(blocks, 4)), (0x418, &le(2, 4))])
}

fn vdi(kind: u64, blocks: u64) -> Vec<u8> {
    let numbers = [(0x40, 0xbeda_107f), (0x4c, kind), (0x158, 0x2000), (0x178, 0x1000), (0x184, blocks)];
    let numbers = numbers.map(|(at, number)| (at, le(number, 4)));
    let mut parts: Vec<(usize, &[u8])> = vec![(0, b"<<< QEMU VM Virtual Disk Image >>>\n")];
    parts.extend(numbers.iter().map(|(at, bytes)| (*at, bytes.as_slice())));
    file(0x4000, &parts)
}

fn vmdk(kind: &str, parent: &str, grain: u64) -> Vec<u8> {
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={parent}\ncreateType=\"{kind}\"\nRW 8 SPARSE \"x\"\n"
    );
    let numbers = [
        (4, le(1, 4)),
        (12, le(2048, 8)),
        (20, le(128, 8)),
        (28, le(1, 8)),
        (36, le(20, 8)),
        (44, le(512, 4)),
        (56, le(21, 8)),
        (21 * 512, le(22, 4)),
        (22 * 512, le(grain, 4)),
    ];
    let mut parts: Vec<(usize, &[u8])> = vec![(0, b"KDMV"), (512, text.as_bytes())];
    parts.extend(numbers.iter().map(|(at, bytes)| (*at, bytes.as_slice())));
    file(0x10000, &parts)
}

fn vhd(kind: u64) -> Vec<u8> {
    let footer = file(512, &[(0, b"conectix"), (60, &be(kind, 4))]);
    [footer.clone(), vec![0; 4096], footer].concat()
}

fn vhdx(has_parent: bool, block: u64) -> Vec<u8> {
    let blocks = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 8];
    let metadata = [6, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 5, 0xf, 0x88, 0x6e];
    let parameters = [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
    let entry = |name: [u8; 16], offset: u64, length: u64| [name.to_vec(), le(offset, 8), le(length, 4)].concat();
    let (at, item) = (2 * MIB, [parameters.to_vec(), le(0x1_0000, 4), le(8, 4)].concat());
    let (first, second) = (entry(blocks, 3 << 20, 8), entry(metadata, at as u64, 1 << 20));
    file(
        4 * MIB,
        &[
            (0, b"vhdxfile"),
            (0x3_0000, b"regi"),
            (0x3_0008, &[2]),
            (0x3_0010, &first),
            (0x3_0030, &second),
            (at, b"metadata"),
            (at + 10, &[1]),
            (at + 32, &item),
            (at + 0x1_0000, &le(1 << 20, 4)),
            (at + 0x1_0004, &[u8::from(has_parent) << 1]),
            (3 * MIB, &le(block << 20 | 6, 8)),
        ],
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// What xz makes of [`small_disk`]; the crate is here without its encoder.
const XZ_OF_A_DISK: &str = include_str!("disk.xz.hex");

fn xz() -> Vec<u8> {
    hex::decode(XZ_OF_A_DISK.split_whitespace().collect::<String>()).unwrap()
}

fn small_disk() -> Vec<u8> {
    disk(MIB, &[partition(0x80, 0x83, 1, 100)])
}

#[test]
fn what_nova_takes_is_what_it_is() {
    let isohybrid = {
        let mut cd = cd(100);
        cd[510..512].copy_from_slice(&[0x55, 0xaa]);
        cd
    };
    for (bytes, format) in [
        (qcow2(&[]), Format::Qcow2),
        (qcow2(&[(4, be(2, 4))]), Format::Qcow2),
        (vdi(1, 2), Format::Vdi),
        (vdi(2, 2), Format::Vdi),
        (vmdk("monolithicSparse", "ffffffff", 100), Format::Vmdk),
        (vhdx(false, 3), Format::Vhdx),
        (cd(100), Format::Iso),
        (isohybrid, Format::Iso),
        (file(MIB, &[(0x8001, b"NSR02")]), Format::Iso),
        (small_disk(), Format::Raw),
        ([small_disk(), cut(vhd(2), 512)].concat(), Format::Raw),
        (gpt(MIB, 2047), Format::Raw),
        (file(MIB, &[(512, b"EFI PART")]), Format::Raw),
        (ext4(256), Format::Raw),
        (file(MIB, &[(0, b"XFSB"), (4, &be(4096, 4)), (8, &be(256, 8))]), Format::Raw),
        (file(MIB, &[(0x1_0040, b"_BHRfS_M")]), Format::Raw),
        (file(MIB, &[(0x10, &[2]), (0x15, &[0xf8]), (510, &[0x55, 0xaa])]), Format::Raw),
    ] {
        assert_eq!(judged(&bytes), Ok(Disk::Plain(format)));
    }
}

#[test]
fn packed_disks_are_looked_into() {
    let disk = small_disk();
    for (bytes, packing) in [
        (gzip(&disk), Packing::Gzip),
        ([gzip(&disk[..700]), gzip(&disk[700..])].concat(), Packing::Gzip),
        ([gzip(&disk), b"FWx0 signed".to_vec()].concat(), Packing::Gzip),
        (bzip2(&disk), Packing::Bzip2),
        (zstd(&disk), Packing::Zstd),
        ([b"\x50\x2a\x4d\x18\x02\0\0\0no".to_vec(), zstd(&disk[..700]), zstd(&disk[700..])].concat(), Packing::Zstd),
        (xz(), Packing::Xz),
        (gzip(&qcow2(&[])), Packing::Gzip),
        // What lies behind its first MiB is not asked for yet.
        (gzip(&[gpt(2 * MIB, 1 << 30)].concat()), Packing::Gzip),
    ] {
        assert_eq!(judged(&bytes), Ok(Disk::Packed(packing)), "{packing:?}");
    }
}

/// Content, a part of what is said, a part of what comes next.
type Case = (Vec<u8>, &'static str, &'static str);

fn cut(bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[..at].to_vec()
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn tar(name: &[u8]) -> Vec<u8> {
    file(2048, &[(0, name), (257, b"ustar")])
}

fn qemus_and_nothing() -> Vec<Case> {
    let convert = "qemu-img convert -O qcow2 /i/x.img /i/x-converted.qcow2";
    vec![
        (vec![], "is empty", "get it again"),
        (vec![0; 2 * MIB], "nothing but zeros", "--format raw"),
        (vec![0; 64], "nothing but zeros", "--format raw"),
        (file(MIB, &[(0x3000, b"\xfe\xed")]), "no partition table", "--format raw"),
        (
            qcow2(&[(8, be(0x200, 8)), (16, be(8, 4)), (0x200, b"base.img".to_vec())]),
            "is an overlay: what it does not have itself is in base.img",
            convert,
        ),
        (qcow2(&[(72, be(4, 8))]), "data_file", convert),
        (qcow2(&[(72, be(2, 8))]), "marked as corrupt", "qemu-img check -r all /i/x.img"),
        (qcow2(&[(72, be(16, 8))]), "features that Nova", convert),
        (qcow2(&[(32, be(2, 4))]), "an encrypted qcow2", "not encrypted"),
        (qcow2(&[(20, be(60, 4))]), "damaged header", "qemu-img info"),
        (qcow2(&[(4, be(1, 4))]), "version 1", "qemu-img convert -f qcow -O qcow2"),
        (
            cut(qcow2(&[]), 5 * 65536),
            "is a qcow2 that was cut off: it has 327680 bytes and needs 327681 at least",
            "get it again",
        ),
        (cut(qcow2(&[]), 3 * 65536 + 4), "cut off", "get it again"),
        (cut(qcow2(&[]), 60), "cut off", "get it again"),
        (qcow2(&[(4 * 65536, be(1 << 62 | 3 << 54 | 393_000, 8))]), "cut off", "get it again"),
    ]
}

fn of_other_hypervisors() -> Vec<Case> {
    let convert = "qemu-img convert -O qcow2 /i/x.img /i/x-converted.qcow2";
    vec![
        (vdi(1, 3), "cut off", "get it again"),
        (vdi(4, 1), "difference to another disk", "VBoxManage"),
        (cut(vdi(1, 1), 60), "cut off", "get it again"),
        (vmdk("monolithicSparse", "12345678", 100), "snapshot", convert),
        (vmdk("vmfsSparse", "ffffffff", 100), "type vmfsSparse", "qemu-img convert -f vmdk -O qcow2"),
        (vmdk("monolithicSparse", "ffffffff", 128), "cut off", "get it again"),
        (file(4096, &[(0, b"KDMV"), (28, &[0])]), "part of a VMDK", "small .vmdk"),
        (file(4096, &[(0, b"COWD")]), "ESX", "qemu-img convert -f vmdk"),
        (
            text("# Disk DescriptorFile\nversion=1\ncreateType=\"twoGbMaxExtentFlat\"\n"),
            "type twoGbMaxExtentFlat",
            "qemu-img convert -f vmdk",
        ),
        (vhd(3), "VHD", "qemu-img convert -f vpc -O qcow2 /i/x.img /i/x-converted.qcow2"),
        (vhd(4), "difference", "Convert-VHD"),
        (cut(vhd(3), 4000), "its end is missing", "get it again"),
        ([vec![0; MIB], cut(vhd(2), 512)].concat(), "VHD of fixed size", "qemu-img convert -f vpc"),
        ([small_disk(), file(512, &[(0, b"koly")])].concat(), "DMG", "qemu-img convert -f dmg"),
        (vhdx(true, 3), "difference", "Convert-VHD"),
        (vhdx(false, 4), "cut off", "get it again"),
        (cut(vhdx(false, 3), 2 * MIB), "cut off", "get it again"),
    ]
}

fn without_a_table_and_foreign() -> Vec<Case> {
    vec![
        (file(4096, &[(0, b"QED\0")]), "QED", "qemu-img convert -f qed"),
        (file(4096, &[(0, b"LUKS\xba\xbe")]), "LUKS", "not encrypted"),
        (cd(4000), "cut off", "get it again"),
        (ext4(257), "cut off", "get it again"),
        (gpt(MIB, 2048), "cut off", "get it again"),
        (disk(MIB, &[partition(0x80, 0x83, 2048, 100)]), "cut off", "get it again"),
        (disk(MIB, &[]), "partition table is empty", "qemu-img convert -f raw -O qcow2"),
        (disk(MIB, &[partition(0x12, 0x83, 1, 1)]), "no partition table", "qemu-img convert -f raw"),
        (
            disk(MIB, &[partition(0, 0xee, 1, 9), partition(0, 0x83, 1, 1)]),
            "other partitions",
            "qemu-img convert -f raw",
        ),
        (disk(MIB, &[partition(0, 0xee, 2, 9)]), "is odd", "qemu-img convert -f raw"),
        (file(MIB, &[(3, b"NTFS    "), (510, &[0x55, 0xaa])]), "NTFS", "qemu-img convert -f raw"),
    ]
}

fn texts_and_archives() -> Vec<Case> {
    vec![
        (text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"), "Git LFS", "cd /i; git lfs pull"),
        (text("/annex/objects/SHA256E-s1--ab.img\n"), "git-annex", "git annex get"),
        (text("<!DOCTYPE html><title>Log in</title>"), "web page", "browser"),
        (text("\u{feff}\n<html>"), "web page", "browser"),
        (text("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"), "web page", "browser"),
        (text("<?xml version=\"1.0\"?>\n<Envelope ovf:version=\"1\">"), "OVF", "the disk itself"),
        (text("<domain type='kvm'>"), "libvirt", "the disk itself"),
        (text("#!/bin/sh\nexit\n"), "a script", "head -c 300"),
        (text("{\"error\": \"Not Found\"}"), "JSON", "head -c 300"),
        (text(&format!("{} *noble.img\n", "ab".repeat(32))), "list of hashes", "head -c 300"),
        (text("Größe: nichts\n"), "a text", "head -c 300"),
        (vec![0xff, 0xfe, b'<', 0, b'h', 0, b't', 0], "web page", "browser"),
        (text("PK\u{3}\u{4}xxxx"), "zip archive", "unzip /i/x.img"),
        (b"7z\xbc\xaf\x27\x1c\0".to_vec(), "7z archive", "7z x /i/x.img"),
        (tar(b"box.img"), "tar archive", "tar xf /i/x.img"),
        (tar(b"Machine.ovf"), "OVA", "tar xf /i/x.img; qemu-img convert -O qcow2 DISK.vmdk"),
        (file(4096, &[(0, b"\x7fELF")]), "a program", "head -c 300"),
        (file(4096, &[(0, b"MZ"), (0x202, b"HdrS"), (510, &[0x55, 0xaa])]), "Linux kernel", "head -c 300"),
        (
            gzip(&tar(b"box.img")),
            "is a gzip file, and what is in it is a tar archive",
            "gunzip -c /i/x.img > /i/x-unpacked.img; tar xf /i/x-unpacked.img",
        ),
        (gzip(b"<html>"), "what is in it is a web page", "browser"),
        (gzip(&gzip(&small_disk())), "packed once more", "gunzip -c"),
        (gzip(b""), "what is in it is empty", "get it again"),
        (cut(gzip(&small_disk()), 60), "gzip file that is damaged or cut off", "get it again"),
        (cut(xz(), 40), "xz file that is damaged or cut off", "get it again"),
        (b"\x1f\x8b\x08junk".to_vec(), "damaged", "get it again"),
    ]
}

#[test]
fn what_is_no_image_is_named_with_what_to_do() {
    let all =
        [qemus_and_nothing(), of_other_hypervisors(), without_a_table_and_foreign(), texts_and_archives()].concat();
    for (bytes, what, next) in all {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let problem = judged(&bytes).expect_err(&format!("{what}: {shown}"));
        assert!(problem.to_string().contains(what), "{what}: {problem}");
        let said = problem.next(Path::new("/i/x.img"));
        assert!(said.contains(next), "{problem}: {said}");
    }
}

#[test]
fn only_what_is_not_known_may_be_called_raw() {
    let insisted = |bytes: &[u8]| as_told(judged(bytes), Told::RawUnlessKnown);
    let raw = Ok(Disk::Plain(Format::Raw));
    for bytes in [vec![0; MIB], file(MIB, &[(0x3000, b"\xfe\xed")]), small_disk(), gpt(MIB, 4096)] {
        assert_eq!(insisted(&bytes), raw);
    }
    for (bytes, what) in [
        (qcow2(&[]), "it is qcow2"),
        (cut(qcow2(&[]), 5 * 65536), "cut off"),
        (vdi(1, 1), "it is vdi"),
        (vhd(3), "VHD"),
        (vec![], "empty"),
    ] {
        let problem = insisted(&bytes).unwrap_err().to_string();
        assert!(problem.contains(what), "{problem}");
    }
}

/// A machine with room for images.
fn machine() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("var/lib/gpucloud/images")).unwrap();
    let host = Host::at(dir.path());
    (dir, host)
}

#[test]
fn a_packed_disk_is_unpacked_and_leaves_nothing() {
    let (dir, host) = machine();
    let disk = small_disk();
    let two = [gzip(&disk[..700]), gzip(&disk[700..]), vec![0; 9]].concat();
    for (name, bytes) in [("gz", gzip(&disk)), ("two", two), ("bz2", bzip2(&disk)), ("zst", zstd(&disk)), ("xz", xz())]
    {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let Ready { mut file, format } = ready(&host, &Path::new("/").join(name), Told::ByContent).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert!(content == disk && format == Format::Raw, "{name}");
        assert_eq!(std::fs::read_dir(dir.path().join("var/lib/gpucloud/images")).unwrap().count(), 0);
    }
}

#[test]
fn what_is_seen_only_when_it_is_unpacked_is_refused_all_the_same() {
    let (dir, host) = machine();
    std::fs::write(dir.path().join("x.gz"), gzip(&gpt(2 * MIB, 1 << 30))).unwrap();
    look(&host, Path::new("/x.gz"), Told::ByContent).unwrap();
    let error = ready(&host, Path::new("/x.gz"), Told::ByContent).unwrap_err();
    assert!(
        error.to_string().contains("/x.gz is a gzip file, and what is in it is a raw disk that was cut off"),
        "{error}"
    );
}

#[test]
fn unpacking_stops_where_the_room_ends_and_where_it_is_told_to() {
    let (dir, host) = machine();
    let path = dir.path().join("x.gz");
    std::fs::write(&path, gzip(&vec![0; 8 * MIB])).unwrap();
    let unpack = |room| {
        let mut packed = File::open(&path).unwrap();
        packed::unpack(&host, &mut packed, Packing::Gzip, &mut std::io::sink(), room)
            .map_err(|e| e.of(Path::new("/x.gz")))
    };
    unpack(8 << 20).unwrap();
    let full = unpack(7 << 20).unwrap_err().to_string();
    assert!(full.contains("more than the 7 MiB"), "{full}");
    host.stop();
    assert!(unpack(8 << 20).unwrap_err().to_string().contains("stopped on request"));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (dir, host) = machine();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    for (path, what, next) in [("/none.img", "is not there", "ls -l /"), ("/d", "is a directory", "ls -l /d")] {
        let error = look(&host, Path::new(path), Told::ByContent).unwrap_err();
        let said = crate::host::RoomError::next(&error).unwrap();
        assert!(error.to_string().contains(what) && said.contains(next), "{error}: {said}");
    }
}

/// QEMU's own files: those that it makes, whole and without their end.
#[test]
fn qemus_own_files_are_what_qemu_says() {
    if !crate::host::command::on_path("qemu-img") {
        eprintln!("not tried: there is no qemu-img");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let done = std::process::Command::new("qemu-img").current_dir(dir.path()).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    let look = |name: &str| look(&Host::at(dir.path()), &Path::new("/").join(name), Told::ByContent);
    // Numbers that no packing makes small.
    let noise = (0_u64..3 << 17).flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n >> 7).to_le_bytes());
    let mut content: Vec<u8> = noise.collect();
    content[..512].copy_from_slice(&disk(512, &[partition(0x80, 0x83, 1, 6143)]));
    std::fs::write(dir.path().join("raw"), &content).unwrap();
    for (name, options, format) in [
        ("qcow2", &["-O", "qcow2"][..], Format::Qcow2),
        ("packed", &["-c", "-O", "qcow2"], Format::Qcow2),
        ("old", &["-O", "qcow2", "-o", "compat=0.10"], Format::Qcow2),
        ("vdi", &["-O", "vdi"], Format::Vdi),
        ("vmdk", &["-O", "vmdk"], Format::Vmdk),
        ("stream", &["-O", "vmdk", "-o", "subformat=streamOptimized"], Format::Vmdk),
        ("vhdx", &["-O", "vhdx"], Format::Vhdx),
        ("fixed", &["-O", "vpc", "-o", "subformat=fixed"], Format::Raw),
    ] {
        run(&[&["convert", "-f", "raw"], options, &["raw", name]].concat());
        assert_eq!(look(name), Ok(Disk::Plain(format)), "{name}");
        let file = File::options().write(true).open(dir.path().join(name)).unwrap();
        file.set_len(file.metadata().unwrap().len() * 3 / 5).unwrap();
        let error = look(name).expect_err(name).to_string();
        assert!(error.contains("cut off"), "{name}: {error}");
    }
    run(&["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "over"]);
    run(&["create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "split.vmdk", "8M"]);
    run(&["convert", "-O", "vpc", "raw", "vhd"]);
    for (name, what) in [
        ("over", "/over is an overlay: what it does not have itself is in raw"),
        ("split.vmdk", "of the type twoGbMaxExtentSparse"),
        ("split-s001.vmdk", "a part of a VMDK"),
        ("vhd", "a VHD"),
    ] {
        let error = look(name).expect_err(name).to_string();
        assert!(error.contains(what), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_an_image_or_a_refusal(start in 0_usize..9, bytes in proptest::collection::vec(0_u8.., 0..1200)) {
        let magic: [&[u8]; 9] =
            [b"", b"QFI\xfb\0\0\0\x03", b"KDMV", b"vhdxfile", b"conectix", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh91AY&SY"];
        let _ = judged(&[magic[start], &bytes].concat());
    }
}
