//! Base images: a minimal Debian made by mmdebstrap, kept for a week, and as long as a lab stands on it.

use super::{DIRECTORY, System};
use crate::action::originals::Original;
use crate::action::{ActionId, Checked, Undo, task::Task};
use crate::facts::apt;
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// After this, the next lab has a new image: packages of an old one would be upgraded in every lab again.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What is in an image beside Debian's essential packages. nftables brings the two libraries that our binary needs.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,iputils-ping,nftables,curl,ca-certificates,python3,procps,kmod,udev,netbase,less";

/// Where the image of `system` lies.
pub fn dir(system: System) -> PathBuf {
    Path::new(DIRECTORY).join("base").join(system.name())
}

fn mark(system: System) -> PathBuf {
    // Beside the image, since the image itself is copied for each lab.
    Path::new(DIRECTORY).join("base").join(format!("{}.made", system.name()))
}

/// Makes the image where there is none younger than a week.
pub fn image(system: System) -> Task {
    let id = ActionId::new("base-image", system.name());
    let probe =
        move |host: &Host| Ok(Checked::done_if(serves(host, system), format!("make Debian {}", system.codename())));
    let work = move |host: &Host| make(host, system);
    let path = Path::new(DIRECTORY).join("base");
    let undo = Undo::Directory { path, original: Original::Absent, made: Vec::new(), shared: false };
    Task::new(id, format!("Make the base image of {}", system.name()), probe, work).undone_by(undo)
}

/// Whether it is complete, and young enough or in use.
fn serves(host: &Host, system: System) -> bool {
    let made = files::modified(host, mark(system));
    // What cannot be read may be a lab's note.
    let is_used = || !matches!(super::standing_on(host, &dir(system)), Ok(None));
    made.is_some_and(|time| SystemTime::now().duration_since(time).unwrap_or_default() < MAX_AGE || is_used())
}

fn make(host: &Host, system: System) -> Result<()> {
    let target = dir(system);
    files::remove(host, &mark(system))?;
    files::remove_tree(host, &target)?;
    files::make_parents(host, &target)?;
    let mut command = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--format=directory", "--skip=check/empty", &format!("--include={PACKAGES}")])
        // Our own installation keeps what it downloads apart, and a test host needs no manual pages.
        .args([
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=force-unsafe-io",
        ])
        .arg(system.codename())
        .arg(target.display().to_string());
    for source in sources(host, system)? {
        command = command.arg(source);
    }
    command.run(host)?;
    files::write(host, &mark(system), b"", 0o644, None)
}

/// The machine's own mirror where it is a Debian's, else what mmdebstrap knows.
fn sources(host: &Host, system: System) -> Result<Vec<String>> {
    let code = system.codename();
    let (mut main, mut security) = (None, None);
    for url in apt::urls(host)? {
        let path = url.trim_end_matches('/');
        if path.ends_with("/debian") {
            main.get_or_insert(url);
        } else if path.ends_with("/debian-security") {
            security.get_or_insert(url);
        }
    }
    let Some(main) = main else { return Ok(Vec::new()) };
    let mut lines = vec![format!("deb {main} {code} main"), format!("deb {main} {code}-updates main")];
    lines.extend(security.map(|security| format!("deb {security} {code}-security main")));
    Ok(lines)
}
