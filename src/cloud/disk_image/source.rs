//! What a header is read from: positions and numbers, and where the file ends.

use super::NoDisk;
use std::io::{Read, Seek, SeekFrom};

/// What is read from.
pub(super) struct Source<'a, R> {
    pub file: &'a mut R,
    /// What it is, once that is known: "a qcow2".
    pub what: &'static str,
    /// Bytes; `None` where only the beginning is here.
    pub length: Option<u64>,
}

impl<'a, R: Read + Seek> Source<'a, R> {
    /// With so many bytes, where all of it is here.
    pub fn new(file: &'a mut R, length: Option<u64>) -> Self {
        Self { file, what: "a file", length }
    }

    /// The first bytes, `limit` at most.
    pub fn head(&mut self, limit: u64) -> Result<Vec<u8>, NoDisk> {
        let mut head = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.by_ref().take(limit).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Exactly `count` bytes from `offset` on.
    pub fn at(&mut self, offset: u64, count: u64) -> Result<Vec<u8>, NoDisk> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.by_ref().take(count).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == count { Ok(bytes) } else { Err(self.cut_off(offset.saturating_add(count))) }
    }

    /// The last `count` bytes; none where only the beginning is here, or the file is shorter.
    pub fn tail(&mut self, count: u64) -> Result<Vec<u8>, NoDisk> {
        match self.length.and_then(|length| length.checked_sub(count)) {
            Some(offset) => self.at(offset, count),
            None => Ok(Vec::new()),
        }
    }

    /// # Errors
    /// The file ends before byte `needed`.
    pub fn reaches(&self, needed: u64) -> Result<(), NoDisk> {
        match self.length {
            Some(length) if length < needed => Err(self.cut_off(needed)),
            _ => Ok(()),
        }
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.length.is_some()
    }

    fn cut_off(&self, needed: u64) -> NoDisk {
        NoDisk::CutOff { what: self.what, needed, has: self.length.unwrap_or_default() }
    }
}

/// The number of two, four or eight bytes at `offset`, the least byte first; 0 behind the end.
pub(super) fn little(bytes: &[u8], offset: usize, size: usize) -> u64 {
    let bytes = bytes.get(offset..offset + size).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The same, the greatest byte first.
pub(super) fn big(bytes: &[u8], offset: usize, size: usize) -> u64 {
    let bytes = bytes.get(offset..offset + size).unwrap_or_default();
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
