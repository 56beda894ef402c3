//! Claims in the initial file system (initramfs-tools): where it holds a driver that is made for a claimed card, that one
//! would have the card long before the boot unit runs, and a desktop's screen on it. A script there (its text is in
//! `templates/etc/initramfs-tools/`, what it compares are fields of a claim's [`Member`]) marks the card for VFIO first; the
//! boot unit then looks at all that a claim says, and takes the mark away from what is not as it was claimed.

use super::claim::{self, CLAIMS, Claims, Member};
use crate::action::file::File;
use crate::action::on_undo::RunOnUndo;
use crate::action::originals::Original;
use crate::action::task::{self, Task};
use crate::action::{ActionId, Checked, Undo};
use crate::content::Content;
use crate::facts::pci::{DEVICES, Function};
use crate::host::command::Command;
use crate::host::pci::VFIO;
use crate::host::{Host, Result, files};
use crate::plan::Step;
use std::collections::BTreeSet;
use std::path::Path;

/// initramfs-tools(7): run ahead of all devices' events.
const SCRIPT: &str = "/etc/initramfs-tools/scripts/init-top/gpucloud";
/// Of all kernels: another one than the newest may run, or be booted once this one is gone.
const UPDATE: [&str; 4] = ["/usr/sbin/update-initramfs", "-u", "-k", "all"];

/// Whether the initial file system of the running kernel holds a driver for one of these. As it was noted while these very
/// cards were claimed: a bound card does not say what driver it had. `None` where nobody looked.
///
/// # Errors
/// A file of sysfs that cannot be read.
pub fn is_wanted(host: &Host, claims: &Claims, noted: &Claims, functions: &[Function]) -> Result<Option<bool>> {
    if claims.claims.is_empty() || !host.is_live() {
        return Ok(None);
    }
    let release = files::read_text(host, "/proc/sys/kernel/osrelease")?.unwrap_or_default();
    let image = format!("/boot/initrd.img-{}", release.trim());
    // A driver that came into it later is looked for.
    let is_newer = files::modified(host, &image) > files::modified(host, CLAIMS);
    if let Some(known) = noted.early.filter(|known| *known || !is_newer)
        && claim::same_cards(&claims.claims, &noted.claims)
    {
        return Ok(Some(known));
    }
    if !files::exists(host, UPDATE[0]) || !files::exists(host, &image) {
        return Ok(Some(false));
    }
    let mut drivers = BTreeSet::new();
    for address in claims.claims.iter().map(|claim| &claim.card.address) {
        let held = functions.iter().find(|one| one.address == *address).and_then(|one| one.driver.clone());
        drivers.extend(held.filter(|driver| driver != VFIO));
        let alias = files::read_text(host, Path::new(DEVICES).join(address).join("modalias"))?;
        let made = Command::new("modprobe").args(["--resolve-alias", "--", alias.unwrap_or_default().trim()]);
        // That none is made for it is no error.
        if let Ok(modules) = made.quiet().read(host) {
            drivers.extend(modules.split_whitespace().map(str::to_owned));
        }
    }
    match Command::new("lsinitramfs").arg(&image).quiet().read(host) {
        Ok(content) => Ok(Some(holds_one(&content, &drivers))),
        Err(error) => {
            host.warn(&format!("{image} may hold a driver of a claimed card: {error}"));
            Ok(Some(true))
        }
    }
}

/// Whether a list of files has a module of one of these names; the kernel takes `-` and `_` for one.
fn holds_one(content: &str, drivers: &BTreeSet<String>) -> bool {
    let plain = |name: &str| name.replace('-', "_");
    let drivers: BTreeSet<String> = drivers.iter().map(|driver| plain(driver)).collect();
    let modules = content.lines().filter_map(|path| Some(path.rsplit('/').next()?.split_once(".ko")?.0));
    modules.map(plain).any(|module| drivers.contains(&module))
}

/// What these claims add to the step that binds them, behind the note and the unit that take the mark away again.
pub fn with_mark(step: Step, claims: &Claims) -> Step {
    let text = script(claims);
    let version = files::hash(text.as_bytes());
    let update = |host: &Host| Command::new(UPDATE[0]).args(UPDATE[1..].iter().copied()).run(host);
    let id = ActionId::new("initramfs", "update");
    // Its note goes with it: the same cards may be claimed again.
    let note = Undo::Path { path: task::stamp_path(&id), original: Original::Absent, made: Vec::new() };
    let updated = Task::once(id, "Build the initial file system anew", &version, |_| Ok(Checked::Done), update);
    step.with(RunOnUndo { name: "initramfs", what: "the initial file system", argv: &UPDATE })
        .with(File::new(SCRIPT, Content::plain(text)).access(0o755, "root", "root"))
        .with(updated.depending_on(vec![SCRIPT.into()]).undone_by(note))
        .with(task::sync("gpu"))
}

/// What of the step has to be known by name.
pub fn ids() -> [ActionId; 3] {
    [ActionId::new("file", SCRIPT), ActionId::new("initramfs", "undo"), ActionId::new("initramfs", "update")]
}

fn script(claims: &Claims) -> String {
    let mut text = include_str!("../../templates/etc/initramfs-tools/scripts/init-top/gpucloud").to_owned();
    // Not its companions: a disk may be plugged into a card's USB port that the machine then boots from.
    for Member { address, ids, subsystem, .. } in claims.claims.iter().map(|claim| &claim.card) {
        text.push_str(&format!("mark {address} {ids} {subsystem}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::claim::Claim;
    use super::*;

    fn drivers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_module_is_known_by_its_file_whatever_packs_it() {
        let content = "usr/lib/modules/6.12/kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz\n\
                       usr/lib/modules/6.12/kernel/drivers/gpu/drm/tiny/bochs-drm.ko\nusr/bin/nvidia\n";
        assert!(holds_one(content, &drivers(&["nvidia", "nouveau"])) && holds_one(content, &drivers(&["bochs_drm"])));
        assert!(!holds_one(content, &drivers(&["nvidia"])) && !holds_one(content, &drivers(&[])));
    }

    /// The script on a tree: what is as it was claimed is marked, no other card and never the console's.
    #[test]
    fn the_script_marks_what_was_claimed_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let claim = |address: &str| Claim {
            card: Member {
                address: address.into(),
                ids: "10de:2204".into(),
                subsystem: "10de:147d".into(),
                port: None,
                way: None,
            },
            companions: Vec::new(),
        };
        let all = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"];
        let claims = Claims { claims: all.iter().map(|one| claim(one)).collect(), ..Claims::default() };
        let put = |address: &str, device: &str, console: &str| {
            let dir = root.path().join("sys/bus/pci/devices").join(address);
            std::fs::create_dir_all(&dir).unwrap();
            for (name, value) in [
                ("vendor", "0x10de"),
                ("device", device),
                ("subsystem_vendor", "0x10de"),
                ("subsystem_device", "0x147d"),
                (console, "1"),
                ("driver_override", "(null)"),
            ] {
                std::fs::write(dir.join(name), format!("{value}\n")).unwrap();
            }
        };
        put("0000:01:00.0", "0x2204", "numa_node");
        put("0000:02:00.0", "0x1533", "numa_node");
        put("0000:03:00.0", "0x2204", "boot_vga");
        put("0000:04:00.0", "0x2204", "boot_display");
        let text = script(&claims).replace("/sys/", &format!("{}/sys/", root.path().display()));
        let marked = |address: &str| {
            let path = root.path().join("sys/bus/pci/devices").join(address).join("driver_override");
            std::fs::read_to_string(path).unwrap_or_default().trim() == VFIO
        };
        let file = root.path().join("script");
        std::fs::write(&file, text).unwrap();
        let run = |argument: &str| std::process::Command::new("sh").arg(&file).arg(argument).status().unwrap();
        assert!(run("prereqs").success());
        assert_eq!(all.map(marked), [false; 4]);
        assert!(run("").success());
        assert_eq!(all.map(marked), [true, false, false, false]);
    }
}
