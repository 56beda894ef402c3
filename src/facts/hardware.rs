//! Processors, memory and clocks.

use crate::host::{Error, Host, Result, files};
use procfs::{CpuInfo, FromBufRead, Meminfo};
use serde::Serialize;
use std::path::Path;

/// Processors and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hardware {
    /// Logical processors.
    pub processors: usize,
    /// "AMD EPYC 7003".
    pub model: String,
    /// "AuthenticAMD", "GenuineIntel".
    pub vendor: String,
    /// Whether the processor offers virtualisation (vmx or svm); KVM may still be switched off in the firmware.
    pub virtualization: bool,
    /// Whether it is a hypervisor's: this machine is virtual itself.
    pub hypervisor: bool,
    /// Bytes of memory that the kernel has.
    pub memory: u64,
}

/// How many times longer everything may take where the processor is emulated: pure interpreter loops were measured at
/// 12.5 times, SHA-256 at 12.8.
pub const EMULATED_PACE: u32 = 12;

impl Hardware {
    /// How many times longer everything may take here. QEMU's emulation says what it is in the processor's name
    /// (target/i386/cpu.c, `QEMU TCG CPU version`).
    pub fn pace(&self) -> u32 {
        if self.model.starts_with("QEMU TCG CPU") { EMULATED_PACE } else { 1 }
    }
}

/// Reads them; unknown is empty or 0.
pub fn read(host: &Host) -> Result<Hardware> {
    let cpu: Option<CpuInfo> = parse(host, "/proc/cpuinfo")?;
    let memory: Option<Meminfo> = parse(host, "/proc/meminfo")?;
    let text = |name: &str| cpu.as_ref().and_then(|cpu| cpu.get_field(0, name)).unwrap_or_default().to_owned();
    let flags = text("flags");
    let has = |wanted: &str| flags.split(' ').any(|flag| flag == wanted);
    Ok(Hardware {
        processors: cpu.as_ref().map_or(0, CpuInfo::num_cores),
        model: text("model name"),
        vendor: text("vendor_id"),
        virtualization: has("vmx") || has("svm"),
        hypervisor: has("hypervisor"),
        memory: memory.map_or(0, |memory| memory.mem_total),
    })
}

/// Bytes of memory that a new program could have without swapping (proc(5), `MemAvailable`).
pub fn available_memory(host: &Host) -> Result<u64> {
    let memory: Option<Meminfo> = parse(host, "/proc/meminfo")?;
    Ok(memory.and_then(|memory| memory.mem_available).unwrap_or_default())
}

/// `None` where there is no such file.
fn parse<T: FromBufRead>(host: &Host, path: &str) -> Result<Option<T>> {
    let Some(bytes) = files::read(host, Path::new(path))? else { return Ok(None) };
    let parsed = T::from_buf_read(bytes.as_slice());
    parsed.map(Some).map_err(|error| Error::protocol(format!("read {path}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes_and_unknown_without_proc() {
        let fixture = Host::at(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ubuntu-24.04"));
        assert_eq!(read(&fixture).unwrap().memory, 131_072_000 * 1024);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&Host::at(dir.path())).unwrap().memory, 0);
    }
}
