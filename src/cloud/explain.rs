//! What the APIs' errors and the faults of instances mean, where the cause is known. A new one is a row of [`CAUSES`].
//! (Other tables: of programs and files `failure.rs`, of stack.sh `engine/devstack/failures.rs`.)

use super::ApiError;
use super::resource::flavor::ListedFlavor as Flavor;
use super::resource::image::ListedImage as Image;

const CONVERT: &str = "qemu-img convert -O qcow2 FILE NEW.qcow2; gpucloud-install image add NEW --from NEW.qcow2";

/// Text in Nova's fault or in an API's message, what it means, and what to do.
const CAUSES: &[(&str, &str, &str)] = &[
    (
        "No valid host was found",
        "no hypervisor has room for it",
        "a smaller flavor (gpucloud-install flavor list); or end instances (gpucloud-install instance list)",
    ),
    (
        "PCI alias",
        "its flavor asks for a device that the cloud does not know",
        "compare pci_passthrough:alias in: gpucloud-install flavor list --json",
    ),
    (
        "Flavor's disk is too small",
        "the image needs a larger disk than the flavor has",
        "choose a flavor with more disk: gpucloud-install flavor list",
    ),
    (
        "Flavor's memory is too small",
        "the image needs more memory than the flavor has",
        "choose a flavor with more memory: gpucloud-install flavor list",
    ),
    ("Quota exceeded", "the project's quota is full", "gpucloud-install quota show; gpucloud-install quota set"),
    (
        "No more IP addresses available on network",
        "the external network's pool has no free address",
        "give one back: gpucloud-install instance delete NAME; or widen network.pool",
    ),
    (
        "Image content does not match disk_format",
        "its image is registered as another format than it is",
        "gpucloud-install image add NEW --from FILE registers it as what it is",
    ),
    ("Image not in a supported format", "Nova does not take the format of its image", CONVERT),
    ("Invalid VMDK create-type", "Nova does not take this kind of VMDK", CONVERT),
    ("Image does not pass safety check", "its image needs other files, or has an odd partition table", CONVERT),
    ("Image failed safety checks", "the image needs other files, or has an odd partition table", CONVERT),
    ("Invalid key_name", "there is no such key pair", "openstack keypair list; or leave --key out"),
];

/// The cause of an error, where it is known: what it means and what to do.
pub fn cause(message: &str) -> Option<(&'static str, &'static str)> {
    let (_, meaning, next) = CAUSES.iter().find(|(sign, ..)| message.contains(sign))?;
    Some((meaning, next))
}

/// What an API's message means, in front of it.
pub fn meaning(message: &str) -> String {
    cause(message).map_or_else(|| "OpenStack API: ".into(), |(meaning, _)| format!("{meaning}: "))
}

/// What Nova's words of an instance that it could not build mean.
pub fn meaning_of_fault(message: &str) -> &'static str {
    cause(message).map_or("Nova could not build it", |(meaning, _)| meaning)
}

/// What to do about it.
pub fn next_of_fault(message: &str) -> &'static str {
    cause(message).map_or("journalctl -u '*nova-compute*' -u devstack@n-cpu", |(_, next)| next)
}

/// Nova takes an instance whose image does not fit into its flavor's disk, and fails minutes later.
pub fn too_small(image: &Image, flavor: &Flavor) -> Result<(), ApiError> {
    let name = image.name.as_deref().unwrap_or("?");
    let size_gib = image.size.unwrap_or(0).div_ceil(1 << 30);
    let needed = u64::from(image.min_disk).max(if image.disk_format.as_deref() == Some("raw") { size_gib } else { 0 });
    if flavor.disk_gib > 0 && needed > u64::from(flavor.disk_gib) {
        let (image, flavor, has) = (name.to_owned(), flavor.name.clone(), flavor.disk_gib);
        return Err(ApiError::TooSmall { image, needed, flavor, has });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RoomError;

    #[test]
    fn a_known_cause_says_what_to_do_and_keeps_novas_words() {
        let message = "No valid host was found. There are not enough hosts available.".to_owned();
        let error = ApiError::Fault { instance: "demo".into(), message, scheduler: None };
        let text = error.to_string();
        assert!(text.contains("no hypervisor has room") && text.contains("not enough hosts"), "{text}");
        assert!(error.next().unwrap().contains("flavor list"));
    }
}
