//! What the APIs' errors and the faults of instances mean, where the cause is known. A new one is a row of [`CAUSES`].
//! (Other tables: of programs and files `failure.rs`, of stack.sh `engine/devstack/failures.rs`.)

use super::resource::flavor::ListedFlavor as Flavor;
use super::resource::image::ListedImage as Image;
use super::{ApiError, Id};

/// What to do about a user who may not.
const NOT_ADMIN: &str =
    "leave --cloud and OS_CLOUD out, or name the administrator's cloud of /etc/openstack/clouds.yaml";

const CONVERT: &str = "qemu-img convert -O qcow2 FILE NEW.qcow2; gpucloud-install image add NEW --from NEW.qcow2";

/// Text in Nova's fault or in an API's message, what it means, and what to do.
const CAUSES: &[(&str, &str, &str)] = &[
    (
        "is asked for; free:",
        "not enough cards are free for it",
        "end an instance that has one (gpucloud-install gpu list shows who); or a flavor with fewer cards",
    ),
    (
        "No valid host was found",
        "no hypervisor has room for it",
        "a smaller flavor (gpucloud-install flavor list); or end instances (gpucloud-install instance list)",
    ),
    (
        "PCI alias",
        "its flavor asks for a device that the cloud does not know",
        "gpucloud-install gpu list; compare pci_passthrough:alias in: gpucloud-install flavor list --json",
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
    // Oslo's words (Nova, Neutron, Cinder), and Keystone's.
    ("Policy doesn't allow", "the user who is logged in may not do that", NOT_ADMIN),
    ("disallowed by policy", "the user who is logged in may not do that", NOT_ADMIN),
    ("not authorized to perform the requested action", "the user who is logged in may not do that", NOT_ADMIN),
    // Nova keeps Latin-1's letters in the host name that it makes of a name (nova/utils.py, sanitize_hostname), and
    // gives that to Neutron as dns_name, since OVN's router plugin offers dns-integration and cannot be told not to
    // (neutron/common/ovn/extensions.py).
    (
        "not a valid PQDN or FQDN",
        "Nova makes a host name of its name that Neutron does not take: it has other letters than a to z",
        "delete it, and make it by `gpucloud-install instance launch NAME`, which takes any name, or by another client \
         with a host name beside the name (openstack server create --hostname), or with a name of letters a to z",
    ),
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

/// Why an instance is in error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Nova's words.
    pub message: String,
    /// The line of a log that has the cause (`refusal.rs`).
    pub log: Option<String>,
}

impl Fault {
    fn cause(&self) -> Option<(&'static str, &'static str)> {
        self.log.as_deref().and_then(cause).or_else(|| cause(&self.message))
    }

    /// What it means.
    pub fn meaning(&self) -> &'static str {
        self.cause().map_or("Nova could not build it", |(meaning, _)| meaning)
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        let looked_up = || format!("journalctl --grep {} -u '*nova-compute*' -u devstack@n-cpu", self.id);
        self.cause().map_or_else(looked_up, |(_, next)| next.to_owned())
    }
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
        let id = Id::try_from("x".to_owned()).unwrap();
        let fault = Fault { name: "demo".into(), id, created: String::new(), message, log: None };
        let error = ApiError::Fault(Box::new(fault.clone()));
        let text = error.to_string();
        assert!(text.contains("no hypervisor has room") && text.contains("not enough hosts"), "{text}");
        assert!(error.next().unwrap().contains("flavor list"));
        // The cause is in a log where Nova only says that it gave up.
        let log = Some("BadRequest: Invalid input for dns_name. Reason: 'größe' not a valid PQDN or FQDN.".to_owned());
        let fault = Fault { message: "Exceeded maximum number of retries.".into(), log, ..fault };
        assert!(fault.meaning().contains("host name") && fault.next().contains("instance launch"), "{fault:?}");
        assert!(Fault { log: None, ..fault }.next().contains("--grep x"));
    }
}
