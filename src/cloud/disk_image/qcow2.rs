//! qcow2, as QEMU describes it (docs/interop/qcow2.rst): a header, tables of level 1 and 2, clusters.

use super::source::{Source, big};
use super::{Format, NoDisk};
use std::io::{Read, Seek};

/// Bits of a table's entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, wherever it points to.
const ZEROS: u64 = 1;
/// QEMU's QCOW_MAX_L1_SIZE, in bytes (block/qcow2.h).
const LONGEST_L1: u64 = 32 << 20;

pub(super) fn judge<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    source.reaches(104)?;
    match big(head, 4, 4) {
        2 | 3 => {}
        1 => return Err(NoDisk::OtherDisk { what: "a qcow image (version 1)", qemu: "qcow" }),
        _ => return Err(NoDisk::Damaged { what: "qcow2" }),
    }
    refuse_others_data(head)?;
    let bits = big(head, 20, 4);
    if !(9..=21).contains(&bits) || big(head, 36, 4) * 8 > LONGEST_L1 {
        return Err(NoDisk::Damaged { what: "qcow2" });
    }
    if source.is_whole() {
        clusters_are_here(source, head, bits)?;
    }
    Ok(Format::Qcow2)
}

/// What lies in other files, or cannot be read without a key; and what the inspector of Glance and Nova does not know.
fn refuse_others_data(head: &[u8]) -> Result<(), NoDisk> {
    let features = if big(head, 4, 4) == 3 { big(head, 72, 8) } else { 0 };
    if big(head, 8, 8) != 0 {
        return Err(NoDisk::Overlay { base: name_at(head, big(head, 8, 8), big(head, 16, 4)) });
    }
    match features {
        bits if bits & 1 << 2 != 0 => Err(NoDisk::ExternalData),
        bits if bits & 1 << 1 != 0 => Err(NoDisk::Corrupt),
        bits if bits >> 4 != 0 => Err(NoDisk::NewFeatures),
        _ if big(head, 32, 4) != 0 => Err(NoDisk::Encrypted { how: "an encrypted qcow2" }),
        _ => Ok(()),
    }
}

fn name_at(head: &[u8], offset: u64, length: u64) -> String {
    let range = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = head.get(range(offset)..range(offset.saturating_add(length.min(1023)))).unwrap_or_default();
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Each cluster begins before the end of the file. (The last one need not be filled.)
fn clusters_are_here<R: Read + Seek>(source: &mut Source<R>, head: &[u8], bits: u64) -> Result<(), NoDisk> {
    let level_1 = source.at(big(head, 40, 8), big(head, 36, 4) * 8)?;
    let mut needed = big(head, 48, 8);
    for entry in level_1.chunks_exact(8).map(|entry| big(entry, 0, 8) & OFFSET).filter(|offset| *offset != 0) {
        let level_2 = source.at(entry, 1 << bits)?;
        let last = level_2.chunks_exact(8).map(|entry| last_byte(big(entry, 0, 8), bits)).max();
        needed = needed.max(last.unwrap_or(0));
    }
    source.reaches(needed.saturating_add(1))
}

/// A byte of the cluster that must be there at least; 0 for none.
fn last_byte(entry: u64, bits: u64) -> u64 {
    if entry & COMPRESSED == 0 {
        return if entry & ZEROS != 0 { 0 } else { entry & OFFSET };
    }
    // "Compressed Clusters Descriptor": offset below, whole sectors behind the first above.
    let width = 62 - (bits - 8);
    let (offset, sectors) = (entry & ((1 << width) - 1), (entry & (COMPRESSED - 1)) >> width);
    if sectors == 0 { offset } else { (offset & !511) + sectors * 512 }
}
