//! Whether there is room for another instance, as Placement counts it: before somebody is told that there is no valid
//! host.

use super::devices::{self, Device};
use super::resource::flavor::ListedFlavor;
use super::{ApiError, Session};
use serde::Deserialize;
use serde_json::Value;

/// What keeps an instance of this flavor from being built, in words; none where it has room. Asked as the administrator.
pub fn shortage(session: &Session, flavor: &ListedFlavor) -> Result<Option<String>, ApiError> {
    #[derive(Deserialize)]
    struct Candidates {
        allocation_requests: Vec<Value>,
    }
    let mut parts = vec![("VCPU", "processors", flavor.vcpus), ("MEMORY_MB", "MiB of memory", flavor.memory_mib)];
    parts.push(("DISK_GB", "GiB of disk", flavor.disk_gib));
    parts.retain(|(_, _, amount)| *amount > 0);
    let has_room = |parts: &[(&str, &str, u32)]| -> Result<bool, ApiError> {
        let wanted: Vec<String> = parts.iter().map(|(class, _, amount)| format!("{class}:{amount}")).collect();
        let path = format!("/allocation_candidates?limit=1&resources={}", wanted.join(","));
        Ok(!session.get::<Candidates>("placement", &path)?.allocation_requests.is_empty())
    };
    if !has_room(&parts)? {
        let mut short = Vec::new();
        for part in &parts {
            if !has_room(&[*part])? {
                short.push(format!("{} {}", part.2, part.1));
            }
        }
        let together = || parts.iter().map(|(_, what, amount)| format!("{amount} {what}")).collect::<Vec<_>>();
        return Ok(Some(match short.is_empty() {
            true => format!("no hypervisor has {} at once", together().join(", ")),
            false => format!("no hypervisor has {} left", short.join(", ")),
        }));
    }
    let alias = flavor.specs.get("pci_passthrough:alias").map(String::as_str).unwrap_or_default();
    let Some((count, class)) = devices::asked_for(alias) else { return Ok(None) };
    let free = |device: &&Device| device.class == class && device.usable && device.held_by.is_empty();
    let free = devices::all(session)?.iter().filter(free).count();
    Ok((free < count).then(|| format!("{count} cards are asked for, and {free} are free")))
}
