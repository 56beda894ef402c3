//! The cloud that most groups begin with: installed once, its root saved, restored for each group. It is found again by
//! the next run as long as the program is the same, templates included.

use crate::machine::tree::first_tree;
use crate::machine::{PREFIX, inside, installer, note_secrets, ours, program, within};
use crate::scenario::LAB;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a host was before anything was installed in it.
#[derive(Serialize, Deserialize)]
pub struct Before {
    pub tree: BTreeMap<String, String>,
    /// Whether it forwarded: a new network namespace takes that over from the machine around.
    pub forwarding: String,
}

static BEFORE: Mutex<BTreeMap<String, Arc<Before>>> = Mutex::new(BTreeMap::new());
/// Whether the host runs as it was saved, and nobody has touched it since.
static STANDS: AtomicBool = AtomicBool::new(false);

/// What `lab` was.
pub fn before(lab: &str) -> Arc<Before> {
    BEFORE.lock().unwrap()[lab].clone()
}

/// Makes a host in which nothing is installed, and remembers what it is.
pub fn make_host(lab: &str) {
    ours(&["lab", "up", "--name", lab, "--no-install", "--yes"]).expect(0);
    let forwarding = inside(lab, &["cat", "/proc/sys/net/ipv4/ip_forward"]).expect(0).out;
    remember(lab, Before { tree: first_tree(lab), forwarding });
}

fn remember(lab: &str, before: Before) {
    BEFORE.lock().unwrap().insert(lab.to_owned(), Arc::new(before));
}

/// Whether the host runs as it was saved.
pub fn stands() -> bool {
    STANDS.load(Ordering::SeqCst)
}

/// The same; whoever asks is going to change it.
pub fn take() -> bool {
    STANDS.swap(false, Ordering::SeqCst)
}

/// The snapshot's name: of this program, and of no other.
pub fn snapshot() -> String {
    let hash = gpucloud::host::files::hash(&std::fs::read(program()).unwrap());
    format!("{PREFIX}{}", &hash[..5])
}

fn notes() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.json", snapshot()))
}

/// Saves the cloud that runs in the host, in place of all older ones; the host boots again.
pub fn save() {
    forget();
    ours(&["lab", "save", LAB, &snapshot()]).expect(0);
    assert!(within(Duration::from_secs(180), || installer(LAB, &["status"]).code == 0), "the host did not come back");
    std::fs::write(notes(), serde_json::to_vec(&*before(LAB)).unwrap()).unwrap();
    STANDS.store(true, Ordering::SeqCst);
}

/// Removes every saved cloud of the suite.
pub fn forget() {
    let _ = std::fs::remove_file(notes());
    let listed = ours(&["lab", "list", "--json"]).expect(0).json();
    let snapshots = listed["snapshots"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    for name in snapshots.filter(|name| name.starts_with(PREFIX)) {
        ours(&["lab", "down", name, "--yes"]).expect(0);
    }
}

/// What was noted of the saved cloud, if that is still there.
fn noted() -> Option<Before> {
    let there = Path::new("/var/lib/gpucloud-lab/snapshots").join(snapshot()).exists();
    serde_json::from_slice(&std::fs::read(notes()).ok().filter(|_| there)?).ok()
}

/// Makes the host of the saved cloud; where there is none of this program, of one that is installed now.
pub fn restore() {
    match noted() {
        Some(before) => {
            remember(LAB, before);
            ours(&["lab", "restore", &snapshot(), LAB]).expect(0);
        }
        None => {
            make_host(LAB);
            ours(&["lab", "up", "--name", LAB, "--yes"]).expect(0);
            save();
            take();
        }
    }
    installer(LAB, &["status"]).expect(0);
    note_secrets(LAB);
}
