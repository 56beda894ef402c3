//! What `uninstall` takes and leaves.

use super::{LAB, Verdict, documents, network, terminal};
use crate::groups::saved::before;
use crate::machine::tree::{difference, tree};
use crate::machine::{Random, inside, installer, read, root, start, write};
use std::time::Duration;

/// Whatever users have.
const UNINSTALL: [&str; 3] = ["uninstall", "--yes", "--and-lose-all-instances"];

/// The client, which otherwise notes its plug-ins below /root.
const CLIENT: [&str; 3] = ["env", "XDG_CACHE_HOME=/run/client", "openstack"];

fn openstack(args: &[&str]) {
    inside(LAB, &[&CLIENT[..], &["--os-cloud", "gpucloud"], args].concat()).expect(0);
}

/// An image of a user's.
fn make_image(name: &str) {
    write(LAB, "/root/disk.raw", &"x".repeat(4096));
    openstack(&["image", "create", "--file", "/root/disk.raw", "--disk-format", "raw", name]);
    std::fs::remove_file(root(LAB).join("root/disk.raw")).unwrap();
}

pub fn holdings() -> Verdict {
    make_image("mine");
    let refused = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(refused.err.contains("users have 1 image"), "{}", refused.err);
    inside(LAB, &["systemctl", "stop", "mariadb.service"]).expect(0);
    let refused = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(refused.err.contains("cannot be told"), "{}", refused.err);
    installer(LAB, &["apply", "--yes"]).expect(0);
    openstack(&["image", "delete", "mine"]);
    Ok(())
}

/// What a user makes between the question and the deed is seen.
pub fn made_during_the_question() -> Verdict {
    let mut person = terminal::person(LAB, "", "uninstall");
    person.exp_string("lose the cloud?")?;
    make_image("late");
    person.send_line("y")?;
    let said = person.exp_eof()?;
    assert!(said.contains("users have 1 image"), "{said}");
    assert_eq!(terminal::exit_status(&mut person), 3);
    installer(LAB, &["status"]).expect(0);
    openstack(&["image", "delete", "late"]);
    Ok(())
}

/// What a user has is destroyed where that is said by name, and nothing of it is left; and that, too, can be killed.
pub fn lose_all_instances() -> Verdict {
    make_image("theirs");
    let server = ["--os-cloud", "gpucloud-demo", "server", "create", "theirs", "--wait"];
    let what = ["--image", "guest", "--flavor", "ds2G", "--network", "private"];
    inside(LAB, &[&CLIENT[..], &server, &what].concat()).expect(0);
    let refused = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(refused.err.contains("1 instance") && refused.err.contains("1 image"), "{}", refused.err);
    assert!(refused.err.contains("--and-lose-all-instances"), "{}", refused.err);
    uninstall()
}

/// Three kills, then to the end.
fn uninstall() -> Verdict {
    write(LAB, "/etc/nova/nova.conf.d/own.conf", "[DEFAULT]\n");
    let mut random = Random::seeded();
    for _ in 0..3 {
        let mut run = start(LAB, &UNINSTALL);
        std::thread::sleep(Duration::from_millis(500 + random.below(9_000)));
        inside(LAB, &["pkill", "--signal", "KILL", "gpucloud-instal"]);
        // Both, before either may end the test: what was started is waited for.
        let (killed, waited) = (run.kill(), run.wait());
        killed.and(waited)?;
    }
    documents::check("uninstall", &installer(LAB, &[&UNINSTALL[..], &["--json"]].concat()).expect(0).json());
    assert_eq!(read(LAB, "/etc/nova/nova.conf.d/own.conf"), "[DEFAULT]\n", "the administrator's own file is gone");
    std::fs::remove_dir_all(root(LAB).join("etc/nova"))?;
    let left = difference(&before(LAB).tree, &tree(LAB));
    assert!(left.is_empty(), "{left:#?}");
    network::nothing_left();
    assert_eq!(inside(LAB, &["pgrep", "--list-full", "qemu-system"]).out, "", "a guest still runs");
    assert!(root(LAB).join("etc/gpucloud/gpucloud.toml").exists(), "the answers are gone");
    assert!(!root(LAB).join("etc/gpucloud/secrets.toml").exists(), "the secrets are still there");
    installer(LAB, &["uninstall", "--yes"]).expect(0);
    Ok(())
}
