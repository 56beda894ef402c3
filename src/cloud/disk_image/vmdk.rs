//! VMDK, as VMware describes it ("Virtual Disk Format 5.0"), and what of it Glance and Nova take: one file, sparse.

use super::source::{Source, little};
use super::{Format, NoDisk};
use std::io::{Read, Seek};

/// Nova's `[compute] vmdk_allowed_types` and Glance's `[image_format] vmdk_allowed_types`, unless configured.
const ALLOWED: [&str; 2] = ["streamoptimized", "monolithicsparse"];
const SECTOR: u64 = 512;
/// The directory of grains is at the end, before a copy of the header.
const AT_END: u64 = u64::MAX;
/// QEMU refuses longer tables (block/vmdk.c).
const LONGEST_TABLE: u64 = 512;

/// A sparse extent, perhaps with its description inside.
pub(super) fn judge<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    source.reaches(SECTOR)?;
    if little(head, 28, 8) == 0 {
        return Err(NoDisk::VmdkPart);
    }
    let size = usize::try_from(little(head, 36, 8).saturating_mul(SECTOR)).unwrap_or(usize::MAX);
    let text = head.get(512..512_usize.saturating_add(size).min(head.len())).unwrap_or_default();
    judge_description(text)?;
    if source.is_whole() {
        grains_are_here(source, head)?
    }
    Ok(Format::Vmdk)
}

/// The description: `createType="..."`, `parentCID=...`, extents.
///
/// # Errors
/// Nova does not take a disk of this kind.
pub(super) fn judge_description(text: &[u8]) -> Result<(), NoDisk> {
    let text = String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let value = |name: &str| {
        let found = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
        });
        found.unwrap_or_default()
    };
    let kind = value("createType");
    let parent = value("parentCID").to_ascii_lowercase();
    if !matches!(parent.as_str(), "" | "ffffffff") {
        return Err(NoDisk::VmdkDifference);
    }
    match kind.to_ascii_lowercase().as_str() {
        "" => Err(NoDisk::VmdkPart),
        kind if ALLOWED.contains(&kind) => Ok(()),
        _ => Err(NoDisk::VmdkType { kind: kind.escape_debug().to_string() }),
    }
}

fn grains_are_here<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<(), NoDisk> {
    let damaged = || NoDisk::Damaged { what: "VMDK" };
    if little(head, 56, 8) == AT_END {
        // Marker, header and end of stream, a sector each.
        let tail = source.tail(2 * SECTOR)?;
        return if tail.starts_with(b"KDMV") { Ok(()) } else { Err(NoDisk::NoEnd { what: "VMDK" }) };
    }
    let (capacity, grain, entries) = (little(head, 12, 8), little(head, 20, 8), little(head, 44, 4));
    if grain == 0 || !(1..=LONGEST_TABLE).contains(&entries) || capacity > 1 << 40 {
        return Err(damaged());
    }
    let tables = capacity.div_ceil(grain.checked_mul(entries).ok_or_else(damaged)?);
    let sector = |number: u64| number.saturating_mul(SECTOR);
    let mut needed = 0;
    let directory = source.at(sector(little(head, 56, 8)), tables * 4)?;
    for table in directory.chunks_exact(4).map(|entry| little(entry, 0, 4)).filter(|table| *table != 0) {
        let table = source.at(sector(table), entries * 4)?;
        let last = table.chunks_exact(4).map(|entry| little(entry, 0, 4)).max().unwrap_or(0);
        needed = needed.max(last);
    }
    // 1 stands for a grain of zeros.
    if needed > 1 { source.reaches(sector(needed) + 1) } else { Ok(()) }
}
