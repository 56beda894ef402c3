//! Disks byte by byte: known by a partition table or a file system, and by nothing else.

use super::source::{Source, big, little};
use super::{Format, NoDisk};
use std::io::{Read, Seek};

const SECTOR: u64 = 512;
/// File systems (and LVM) that begin a disk, by where they have which bytes; FAT and NTFS: below.
const FILE_SYSTEMS: [(usize, &[u8]); 9] = [
    (0x438, &[0x53, 0xef]),
    (0, b"XFSB"),
    (0x1_0040, b"_BHRfS_M"),
    (0x400, &[0x10, 0x20, 0xf5, 0xf2]),
    (0x8000, b"JFS1"),
    (0x1_0034, b"ReIsEr"),
    // UFS2 of FreeBSD.
    (0x1_055c, &[0x19, 0x01, 0x54, 0x19]),
    (0x200, b"LABELONE"),
    (0x200, b"EFI PART"),
];

pub(super) fn judge<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    let end = source.tail(SECTOR)?;
    if end.starts_with(b"koly") {
        return Err(NoDisk::OtherDisk { what: "a disk image of macOS (DMG)", qemu: "dmg" });
    }
    let judged = without_end(source, head);
    // QEMU, and so Nova, sees a raw disk in a VHD of fixed size: a footer is all that it has beside.
    let is_vhd = end.starts_with(b"conectix") && judged.is_err();
    if is_vhd { Err(NoDisk::OtherDisk { what: "a VHD of fixed size", qemu: "vpc" }) } else { judged }
}

fn without_end<R: Read + Seek>(source: &Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    let has = |(at, magic): &(usize, &[u8])| head.get(*at..at + magic.len()) == Some(magic);
    if head.get(510..512) == Some(&[0x55, 0xaa]) && !is_fat(head) {
        partitions_pass(head)?;
        partitions_are_here(source, head)?;
    } else if is_fat(head) || FILE_SYSTEMS.iter().any(has) {
        file_system_is_here(source, head)?;
    } else if head.iter().all(|byte| *byte == 0) {
        return if source.is_whole() || head.len() as u64 >= super::HEAD {
            Err(NoDisk::Zeros)
        } else {
            Ok(Format::Raw)
        };
    } else {
        return Err(NoDisk::NoTable);
    }
    Ok(Format::Raw)
}

/// As Glance and Nova see it (oslo.utils, GPTInspector): any other boot sector counts as a partition table.
fn is_fat(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa]) && head.get(0x10) == Some(&2) && head.get(0x15) == Some(&0xf8)
}

/// The four entries of a partition table.
fn entries(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.get(446..510).unwrap_or_default().chunks_exact(16)
}

/// What that inspector refuses (check_mbr_partitions), with Nova always, with Glance in newer releases.
fn partitions_pass(head: &[u8]) -> Result<(), NoDisk> {
    let refuse = |why: &'static str| Err(NoDisk::PartitionTable { why });
    let used: Vec<usize> = entries(head).enumerate().filter(|(_, entry)| entry[4] != 0).map(|(at, _)| at).collect();
    let protective = entries(head).find(|entry| entry[4] == 0xee);
    match protective {
        _ if head.get(3..7) == Some(b"NTFS") => refuse("it is a file system (NTFS) without a partition table"),
        _ if entries(head).any(|entry| entry[0] & 0x7f != 0) => refuse("it has a boot sector and no partition table"),
        _ if used.is_empty() => refuse("its partition table is empty"),
        Some(_) if used != [0] => refuse("it has a GPT, and other partitions in its MBR"),
        Some(entry) if entry[1..4] != [0, 2, 0] || little(entry, 8, 4) != 1 => refuse("the MBR of its GPT is odd"),
        _ => Ok(()),
    }
}

fn partitions_are_here<R: Read + Seek>(source: &Source<R>, head: &[u8]) -> Result<(), NoDisk> {
    for entry in entries(head).filter(|entry| !matches!(entry[4], 0 | 0xee)) {
        source.reaches((little(entry, 8, 4) + little(entry, 12, 4)) * SECTOR)?;
    }
    // UEFI 2.10, 5.3.2: where the other header lies, in the last sector.
    match head.get(512..520) == Some(b"EFI PART") {
        true => source.reaches(little(head, 512 + 32, 8).saturating_add(1).saturating_mul(SECTOR)),
        false => Ok(()),
    }
}

fn file_system_is_here<R: Read + Seek>(source: &Source<R>, head: &[u8]) -> Result<(), NoDisk> {
    if head.get(0x438..0x43a) == Some(&[0x53, 0xef]) {
        // Linux, fs/ext4/ext4.h: INCOMPAT_64BIT has the upper half.
        let upper = if little(head, 0x460, 4) & 0x80 != 0 { little(head, 0x550, 4) } else { 0 };
        let block = 1024_u64 << little(head, 0x418, 4).min(6);
        return source.reaches((upper << 32 | little(head, 0x404, 4)).saturating_mul(block));
    }
    match head.starts_with(b"XFSB") {
        true => source.reaches(big(head, 4, 4).saturating_mul(big(head, 8, 8))),
        false => Ok(()),
    }
}
