//! The other Debian, from nothing to nothing.

use super::{ANSWERS, Verdict, run_is_active};
use crate::machine::tree::{difference, first_tree, tree};
use crate::machine::{inside, installer, note_secrets, ours, program, read, root, within, write};
use std::time::Duration;

/// Its host.
pub const LAB: &str = "suite-d12";

pub fn from_nothing_to_nothing() -> Verdict {
    let lab = LAB;
    ours(&["lab", "up", "--name", lab, "--os", "debian12", "--no-install", "--yes"]).expect(0);
    installer(lab, &["init", "--profile", "lab"]).expect(0);
    let before = first_tree(lab);
    ours(&["lab", "up", "--name", lab, "--yes"]).expect(0);
    installer(lab, &["doctor"]).expect(0);
    assert_eq!(installer(lab, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    note_secrets(lab);
    // RabbitMQ's program for a changed password is another one here.
    std::fs::remove_file(root(lab).join("etc/gpucloud/secrets.toml"))?;
    installer(lab, &["apply", "--yes"]).expect(0);
    goes_on_after_a_reboot(lab)?;
    installer(lab, &["status"]).expect(0);
    note_secrets(lab);
    installer(lab, &["uninstall", "--yes"]).expect(0);
    let left = difference(&before, &tree(lab));
    assert!(left.is_empty(), "{left:#?}");
    ours(&["lab", "down", lab, "--yes"]).expect(0);
    Ok(())
}

/// A run of this cloud's own journal that needs a boot: what the answers want by then is done by the unit that goes on
/// after it, and the unit is gone.
fn goes_on_after_a_reboot(lab: &str) -> Verdict {
    let example = program().with_file_name("examples").join("reboot");
    std::fs::copy(&example, root(lab).join("root/reboot"))?;
    inside(lab, &["/root/reboot", "--in-a-cloud"]).expect(5);
    let good = read(lab, ANSWERS);
    write(lab, ANSWERS, &good.replace("workers = 1", "workers = 2"));
    ours(&["lab", "reboot", lab]).expect(0);
    let unit = root(lab).join("etc/systemd/system/gpucloud-continue.service");
    let is_over = || !unit.exists() && read(lab, "/var/lib/gpucloud/applied.toml").contains("workers = 2");
    assert!(within(Duration::from_secs(120), is_over), "the installation did not go on after the boot");
    assert!(within(Duration::from_secs(60), || !run_is_active(lab)));
    assert_eq!(installer(lab, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    inside(lab, &["rm", "--recursive", "/root/reboot", "/var/lib/reboot-test"]).expect(0);
    Ok(())
}
