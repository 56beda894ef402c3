//! Another release over a cloud that stands: killed and stopped where it hurts, and dpkg stopped in its work.

use super::{LAB, Verdict, main_process};
use crate::machine::{Done, inside, installer, program, read, root, write};
use std::time::{Duration, Instant};

/// How the lock of another release differs: one small package has another version. The lock lies in the program as
/// text, and these words are as long as those that they replace: the program with another lock is this one, byte for
/// byte, but for them.
const OTHER_LOCK: [(&str, &str); 3] = [
    ("six==1.17.0 ;", "six==1.16.0 ;"),
    (
        "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
        "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254",
    ),
    (
        "ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81",
        "1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926",
    ),
];
const EVENTS: &str = "/run/gpucloud/events.jsonl";
const DUMPS: &str = "var/lib/gpucloud/dumps";

fn replaced(text: &mut [u8], from: &str, to: &str) {
    let places: Vec<usize> =
        (0..=text.len() - from.len()).filter(|i| text[*i..].starts_with(from.as_bytes())).collect();
    assert_eq!((places.is_empty(), from.len()), (false, to.len()), "{from} does not stand in the program");
    // The notebooks' locks have it too.
    places.iter().for_each(|place| text[*place..][..to.len()].copy_from_slice(to.as_bytes()));
}

/// Puts this program into the host as /root/release, with its own lock or that of another release.
fn put_release(other: bool) -> Verdict {
    let mut bytes = std::fs::read(program())?;
    if other {
        OTHER_LOCK.iter().for_each(|(from, to)| replaced(&mut bytes, from, to));
    }
    std::fs::write(root(LAB).join("root/release"), bytes)?;
    inside(LAB, &["chmod", "755", "/root/release"]).expect(0);
    Ok(())
}

/// Starts the release's run, waits until a process whose command line matches `process` runs in it, and does `then`.
/// (Write `[n]ame`: the shell that looks must not find itself.)
fn meet(process: &str, then: &str) -> Done {
    inside(LAB, &["/root/release", "apply", "--yes", "--detach"]).expect(0);
    let wait = format!("until pgrep --full '{process}' >/dev/null; do sleep 0.02; done; {then}");
    inside(LAB, &["timeout", "300", "sh", "-c", &wait])
}

fn wait_for_the_end() {
    let end = Instant::now() + Duration::from_secs(300);
    while inside(LAB, &["systemctl", "show", "--property=ActiveState", "--value", "gpucloud-run.service"]).out.trim()
        != "inactive"
    {
        assert!(Instant::now() < end, "the run does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn events() -> String {
    inside(LAB, &["cat", EVENTS]).expect(0).out
}

fn sql(statement: &str) -> String {
    inside(LAB, &["mariadb", "--batch", "--skip-column-names", "--execute", statement]).expect(0).out.trim().to_owned()
}

fn openstack(args: &[&str]) -> String {
    inside(LAB, &[&["openstack", "--os-cloud", "gpucloud"], args].concat()).expect(0).out
}

/// The dumps of upgrades that are not complete.
fn dumps() -> Vec<String> {
    let entries = std::fs::read_dir(root(LAB).join(DUMPS)).unwrap();
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn is_healthy_and_complete() {
    installer(LAB, &["status"]).expect(0);
    assert_eq!(installer(LAB, &["plan", "--json"]).expect(0).json()["pending"], 0);
    assert_eq!(dumps(), Vec::<String>::new());
}

fn version_of_six() -> String {
    inside(LAB, &["/opt/gpucloud/venv/bin/python", "-c", "import six; print(six.__version__)"]).expect(0).out
}

/// Killed while Nova's tables are brought forward, and they are left half changed: the next apply puts back what was.
pub fn killed_in_the_middle() -> Verdict {
    openstack(&["project", "create", "before-upgrade"]);
    write(LAB, "/root/disk.raw", &"x".repeat(4096));
    openstack(&["image", "create", "--file", "/root/disk.raw", "--disk-format", "raw", "before-upgrade"]);
    let mappings = sql("SELECT COUNT(*) FROM nova_cell1.block_device_mapping");
    let (keystone, glance) = (main_process("gpucloud-keystone.service"), main_process("gpucloud-glance-api.service"));
    put_release(true)?;
    meet("[n]ova-manage .*db sync", "systemctl kill --signal=KILL gpucloud-run.service").expect(0);
    wait_for_the_end();
    // As a migration leaves them that changes tables in several statements.
    sql("ALTER TABLE nova_cell1.instances ADD COLUMN half INT; DELETE FROM nova_cell1.block_device_mapping");
    assert!(dumps().contains(&"nova_cell1.sql".to_owned()), "{:?}", dumps());
    let mode = inside(LAB, &["stat", "--format=%a %U", "/var/lib/gpucloud/dumps/nova_cell1.sql"]).expect(0).out;
    assert_eq!(mode.trim(), "600 root");
    // What a user did now would be lost.
    assert_ne!(inside(LAB, &["systemctl", "start", "gpucloud-nova-api.service"]).code, 0);
    installer(LAB, &["status"]).expect(1);
    let recovered = installer(LAB, &["recover"]).expect(1);
    assert!(recovered.err.contains("goes on with: gpucloud-install apply"), "{}", recovered.err);
    installer(LAB, &["apply", "--yes"]).expect(0);
    is_healthy_and_complete();
    assert_eq!(version_of_six().trim(), "1.16.0");
    let half =
        "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'nova_cell1' AND COLUMN_NAME = 'half'";
    assert_eq!((sql(half), sql("SELECT COUNT(*) FROM nova_cell1.block_device_mapping")), ("0".into(), mappings));
    openstack(&["project", "show", "before-upgrade"]);
    openstack(&["image", "show", "before-upgrade"]);
    assert!(openstack(&["server", "list", "--all-projects"]).contains("ACTIVE"));
    assert_ne!(main_process("gpucloud-keystone.service"), keystone, "Keystone still has the old packages");
    assert_ne!(main_process("gpucloud-glance-api.service"), glance, "Glance still has the old packages");
    openstack(&["project", "delete", "before-upgrade"]);
    openstack(&["image", "delete", "before-upgrade"]);
    Ok(())
}

/// A stop while Neutron's tables are brought forward (back to the lock of this release): they are to their end, the rest
/// is not begun, and the next apply goes on.
pub fn stopped_during_a_migration() -> Verdict {
    put_release(false)?;
    let asked = Instant::now();
    meet("[n]eutron-db-manage .*upgrade", "systemctl stop gpucloud-run.service").expect(0);
    assert!(asked.elapsed() < Duration::from_secs(200), "the stop took too long");
    let events = events();
    assert!(events.contains("stopping after this: the tables of neutron"), "{events}");
    assert!(events.contains(r#""event":"run-finished","ending":"midway""#), "{events}");
    let lock = inside(LAB, &["sha256sum", "/opt/gpucloud/openstack.lock"]).expect(0).out;
    let stamp = read(LAB, "/var/lib/gpucloud/stamps/schema-neutron");
    assert_eq!(stamp.lines().next(), lock.split(' ').next(), "the migration was cut off");
    assert!(!dumps().contains(&"neutron.sql".to_owned()), "{:?}", dumps());
    installer(LAB, &["apply", "--yes"]).expect(0);
    is_healthy_and_complete();
    assert_eq!(version_of_six().trim(), "1.17.0");
    Ok(())
}

/// A stop while dpkg runs a package's script, which takes seconds: it comes to its end, and nothing is left half made.
pub fn stopped_while_dpkg_works() -> Verdict {
    inside(LAB, &["dpkg", "--purge", "--force-depends", "novnc", "python3-websockify", "python3-numpy"]).expect(0);
    // Of the release that runs: another one has more to do than this.
    put_release(version_of_six().trim() == "1.16.0")?;
    meet("[p]y3compile .*python3-numpy", "systemctl stop gpucloud-run.service").expect(0);
    let events = events();
    assert!(events.contains("stopping after this: dpkg's work"), "{events}");
    assert!(events.contains(r#""event":"run-finished","ending":"midway""#), "{events}");
    assert_eq!(inside(LAB, &["dpkg", "--audit"]).expect(0).out.trim(), "");
    inside(LAB, &["dpkg", "--status", "python3-numpy"]).expect(0);
    installer(LAB, &["apply", "--yes"]).expect(0);
    is_healthy_and_complete();
    Ok(())
}
