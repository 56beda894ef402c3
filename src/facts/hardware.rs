//! Processors and memory.

use crate::host::{Host, Result, files};
use serde::Serialize;

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
    /// Bytes of memory that the kernel has.
    pub memory: u64,
    /// Bytes that could be given to programs now.
    pub available: u64,
}

/// Reads them.
pub fn read(host: &Host) -> Result<Hardware> {
    let cpu = files::read_text(host, "/proc/cpuinfo")?.unwrap_or_default();
    let memory = files::read_text(host, "/proc/meminfo")?.unwrap_or_default();
    Ok(Hardware {
        processors: cpu.lines().filter(|line| line.starts_with("processor")).count(),
        model: cpu_field(&cpu, "model name"),
        vendor: cpu_field(&cpu, "vendor_id"),
        virtualization: cpu_field(&cpu, "flags").split(' ').any(|flag| flag == "vmx" || flag == "svm"),
        memory: memory_bytes(&memory, "MemTotal"),
        available: memory_bytes(&memory, "MemAvailable"),
    })
}

fn cpu_field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

/// `/proc/meminfo` counts in KiB.
fn memory_bytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:       16384 kB\n", "MemTotal"), 16_777_216);
    }
}
