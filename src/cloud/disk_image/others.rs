//! VirtualBox's VDI, Microsoft's VHD and VHDX, and CDs.

use super::source::{Source, big, little};
use super::{Format, NoDisk};
use std::io::{Read, Seek};

/// VirtualBox's VDICore.h (QEMU's block/vdi.c has the same).
pub(super) fn vdi<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    source.reaches(512)?;
    match little(head, 0x4c, 4) {
        // Dynamic and fixed.
        1 | 2 => {}
        3 | 4 => return Err(NoDisk::Difference { what: "VDI", merge: "VBoxManage clonemedium disk" }),
        _ => return Err(NoDisk::Damaged { what: "VDI" }),
    }
    let (first, block, count) = (little(head, 0x158, 4), little(head, 0x178, 4), little(head, 0x184, 4));
    source.reaches(first.saturating_add(block.saturating_mul(count)))?;
    Ok(Format::Vdi)
}

/// "Virtual Hard Disk Image Format Specification": a copy of the footer comes first where the disk is not fixed.
pub(super) fn vhd<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    if source.is_whole() && !source.tail(512)?.starts_with(b"conectix") {
        return Err(NoDisk::NoEnd { what: "VHD" });
    }
    match big(head, 60, 4) {
        4 => Err(NoDisk::Difference { what: "VHD", merge: "Convert-VHD (Hyper-V)" }),
        _ => Err(NoDisk::OtherDisk { what: "a VHD", qemu: "vpc" }),
    }
}

/// Parts of a VHDX ([MS-VHDX], 2.2.3.2 and 2.6.1), as their GUIDs lie in the file.
const BLOCKS: [u8; 16] = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 8];
const METADATA: [u8; 16] = [6, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 5, 0xf, 0x88, 0x6e];
const PARAMETERS: [u8; 16] =
    [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const REGIONS: u64 = 192 << 10;
const TABLE: u64 = 64 << 10;
/// Of a block table, in bytes: that of 64 TiB, the largest disk, in blocks of 1 MiB.
const LONGEST_BLOCKS: u64 = 1 << 30;

pub(super) fn vhdx<R: Read + Seek>(source: &mut Source<R>, _head: &[u8]) -> Result<Format, NoDisk> {
    let table = source.at(REGIONS, TABLE)?;
    if !table.starts_with(b"regi") {
        return Err(NoDisk::Damaged { what: "VHDX" });
    }
    let regions = entries(&table, 16, little(&table, 8, 4), 8);
    regions.iter().try_for_each(|(_, offset, length)| source.reaches(offset.saturating_add(*length)))?;
    if source.is_whole() {
        let region = |wanted| regions.iter().find(|(name, ..)| *name == wanted);
        let (Some((_, metadata, _)), Some((_, blocks, length))) = (region(METADATA), region(BLOCKS)) else {
            return Err(NoDisk::Damaged { what: "VHDX" });
        };
        let block = vhdx_block_size(source, *metadata)?;
        blocks_are_here(source, *blocks, (*length).min(LONGEST_BLOCKS), block)?;
    }
    Ok(Format::Vhdx)
}

/// Name, offset and length of each entry of 32 bytes behind a header.
fn entries(table: &[u8], header: usize, count: u64, size: usize) -> Vec<([u8; 16], u64, u64)> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let entries = table.get(header..).unwrap_or_default().chunks_exact(32).take(count);
    let entry =
        |entry: &[u8]| Some((*entry.first_chunk::<16>()?, little(entry, 16, size), little(entry, 16 + size, 4)));
    entries.filter_map(entry).collect()
}

/// The size of a block in bytes, of a disk that has all of them itself.
fn vhdx_block_size<R: Read + Seek>(source: &mut Source<R>, metadata: u64) -> Result<u64, NoDisk> {
    let table = source.at(metadata, TABLE)?;
    let found = entries(&table, 32, little(&table, 10, 2), 4).into_iter().find(|(name, ..)| *name == PARAMETERS);
    let Some((_, offset, _)) = found else { return Err(NoDisk::Damaged { what: "VHDX" }) };
    let parameters = source.at(metadata.saturating_add(offset), 8)?;
    match little(&parameters, 4, 4) & 2 {
        0 => Ok(little(&parameters, 0, 4)),
        _ => Err(NoDisk::Difference { what: "VHDX", merge: "Convert-VHD (Hyper-V)" }),
    }
}

/// Blocks that are wholly or partly there (states 6 and 7; [MS-VHDX], 2.5.1) are here as a whole.
fn blocks_are_here<R: Read + Seek>(source: &mut Source<R>, offset: u64, length: u64, size: u64) -> Result<(), NoDisk> {
    let blocks = source.at(offset, length)?;
    let here = blocks.chunks_exact(8).map(|entry| little(entry, 0, 8)).filter(|entry| entry & 7 >= 6);
    here.map(|entry| entry >> 20 << 20).max().map_or(Ok(()), |last| source.reaches(last.saturating_add(size)))
}

/// Behind the last block of a CD there may be 150 sectors of nothing, which some leave out.
const PADDING: u64 = 150 * 2048;

pub(super) fn iso<R: Read + Seek>(source: &mut Source<R>, head: &[u8]) -> Result<Format, NoDisk> {
    let is_primary = head.get(0x8000) == Some(&1) && head.get(0x8001..0x8006) == Some(b"CD001");
    let (blocks, size) = (little(head, 0x8050, 4), little(head, 0x8080, 2));
    if is_primary {
        source.reaches((blocks * size).saturating_sub(PADDING))?;
    }
    Ok(Format::Iso)
}
