//! A local account that has nothing to do with the cloud.

use super::{LAB, Verdict};
use crate::machine::{Done, inside};

/// What anybody may read, of all below our directories, by how its path begins; the rest has secrets, what was there
/// before, or who did what.
const OPEN: [&str; 6] = [
    "/etc/gpucloud/gpucloud.toml",
    "/etc/gpucloud/uwsgi/",
    "/var/lib/gpucloud/images/",
    "/var/lib/gpucloud/stamps/synced",
    "/var/lib/gpucloud/stamps/answers-",
    "/run/gpucloud/cache/",
];

fn as_nobody(args: &[&str]) -> Done {
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
    inside(LAB, &[&nobody[..], args].concat())
}

/// It can take no lock of ours, and so block no run and no upkeep of the firewall.
pub fn take_no_lock() -> Verdict {
    let dirs = ["/var/lib/gpucloud", "/run/gpucloud", "/etc/gpucloud"];
    let locks = inside(LAB, &[&["find"], &dirs[..], &["-name", "*.lock"]].concat()).out;
    assert!(locks.contains("/var/lib/gpucloud/journal.lock"), "{locks}");
    for lock in locks.lines() {
        let taken = as_nobody(&["flock", "--nonblock", lock, "true"]);
        assert!(taken.code != 0 && taken.err.contains("Permission denied"), "{lock}: {} {}", taken.code, taken.err);
    }
    Ok(())
}

/// It reads no secret, no log, no journal, and writes nowhere in our directories.
pub fn read_nothing() -> Verdict {
    let dirs = ["/etc/gpucloud", "/etc/openstack", "/var/lib/gpucloud", "/var/log/gpucloud", "/run/gpucloud"];
    let find = |what: &[&str]| as_nobody(&[&["find"], &dirs[..], what].concat()).out;
    let readable = find(&["-type", "f", "-readable"]);
    let is_open = |path: &&str| OPEN.iter().any(|open| path.starts_with(open));
    let readable: Vec<&str> = readable.lines().filter(|path| !is_open(path)).collect();
    assert!(readable.is_empty(), "anybody reads {readable:#?}");
    assert_eq!(find(&["-writable", "!", "-type", "l"]), "", "anybody writes there");
    for path in ["/etc/gpucloud/secrets.toml", "/var/lib/gpucloud/journal.jsonl", "/var/lib/gpucloud/applied.toml"] {
        inside(LAB, &["test", "-s", path]).expect(0);
        assert_ne!(as_nobody(&["cat", path]).code, 0, "{path}");
    }
    Ok(())
}
