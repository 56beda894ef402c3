//! Base images: a minimal Debian made by mmdebstrap, kept for a week, and as long as a lab stands on it. Disks with a
//! cloud (`image.rs`) are kept as long.

use super::{DIRECTORY, Lab, System};
use crate::action::originals::Original;
use crate::action::{ActionId, Checked, Undo, task::Task};
use crate::facts::apt;
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// After this, the next lab has a new image: packages of an old one would be upgraded in every lab again.
pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What is in an image beside Debian's essential packages. nftables brings the two libraries that our binary needs.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,iputils-ping,nftables,curl,ca-certificates,python3,procps,kmod,udev,netbase,less";

/// And in that of a virtual machine: what boots it, and lets somebody in; sudo and rsync are Vagrant's needs.
const VM_PACKAGES: &str = "linux-image-amd64,initramfs-tools,grub-pc,openssh-server,fdisk,e2fsprogs,login,pciutils,\
                           apparmor,zstd,sudo,rsync";

/// What a root file system begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Its system.
    pub system: System,
    /// Whether it has a kernel of its own, and all that goes with one.
    pub has_kernel: bool,
}

impl Base {
    /// What `lab` begins as.
    pub fn of(lab: &Lab) -> Self {
        Self { system: lab.system, has_kernel: lab.has_kernel }
    }

    fn name(self) -> String {
        format!("{}{}", self.system.name(), if self.has_kernel { "-vm" } else { "" })
    }

    /// Where it lies.
    pub fn dir(self) -> PathBuf {
        Path::new(DIRECTORY).join("base").join(self.name())
    }

    // Beside the image, since the image itself is copied for each lab. It holds the packages that were asked for.
    fn mark(self) -> PathBuf {
        Path::new(DIRECTORY).join("base").join(format!("{}.made", self.name()))
    }

    fn packages(self) -> String {
        if self.has_kernel { format!("{PACKAGES},{VM_PACKAGES}") } else { PACKAGES.into() }
    }
}

/// Makes the image where there is none younger than a week.
pub fn image(base: Base) -> Task {
    let id = ActionId::new("base-image", base.name());
    let change = format!("make Debian {}", base.system.codename());
    let probe = move |host: &Host| Ok(Checked::done_if(serves(host, base), change.clone()));
    let work = move |host: &Host| make(host, base);
    let path = Path::new(DIRECTORY).join("base");
    let undo = Undo::Directory { path, original: Original::Absent, made: Vec::new(), shared: false };
    Task::new(id, format!("Make the base image {}", base.name()), probe, work).undone_by(undo)
}

/// Whether it is complete, and in use, or young enough and of these packages.
fn serves(host: &Host, base: Base) -> bool {
    let Some(made) = files::modified(host, base.mark()) else { return false };
    // What cannot be read may be a lab's note.
    let is_used = || !matches!(super::standing_on(host, &base.dir()), Ok(None));
    let is_young = SystemTime::now().duration_since(made).unwrap_or_default() < MAX_AGE;
    let packages = files::read_text(host, base.mark()).ok().flatten();
    is_young && packages.as_deref() == Some(&base.packages()) || is_used()
}

fn make(host: &Host, base: Base) -> Result<()> {
    let target = base.dir();
    files::remove(host, &base.mark())?;
    files::remove_tree(host, &target)?;
    files::make_parents(host, &target)?;
    let mut command = Command::new("mmdebstrap")
        .args([
            "--variant=minbase",
            "--format=directory",
            "--skip=check/empty",
            &format!("--include={}", base.packages()),
        ])
        // Our own installation keeps what it downloads apart, and a test host needs no manual pages.
        .args([
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=force-unsafe-io",
        ])
        .arg(base.system.codename())
        .arg(target.display().to_string());
    for source in apt::sources(host, "debian", base.system.codename())? {
        command = command.arg(source);
    }
    command.run(host)?;
    files::write(host, &base.mark(), base.packages().as_bytes(), 0o644, None)
}
