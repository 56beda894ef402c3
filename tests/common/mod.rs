//! What several tests need.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

use gpucloud::action::file::File;
use gpucloud::content::Content;
use gpucloud::ending::Ending;
use gpucloud::host::Host;
use gpucloud::plan::event::{Event, Sink};
use gpucloud::plan::journal::{DIRECTORY, Journal};
use gpucloud::plan::runner::{Outcome, Runner};
use gpucloud::plan::{Plan, Step, rollback};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Nobody watches.
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _event: &Event) {}
}

/// Keeps all events.
#[derive(Default)]
pub struct Kept(pub Mutex<Vec<Event>>);

impl Sink for Kept {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Everything below a root but our own journal: path, permissions, content or target.
#[derive(Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, (u32, String)>);

impl Tree {
    pub fn of(host: &Host) -> Self {
        let mut found = BTreeMap::new();
        let root = host.real("/");
        walk(&root, &root, &mut found);
        Self(found)
    }
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, (u32, String)>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode() & 0o7777;
        let ours = ["var/lib/gpucloud/journal.jsonl", "var/lib/gpucloud/journal.lock", "var/lib/gpucloud/blobs"];
        if ours.iter().any(|own| name == Path::new(own)) {
            continue;
        }
        if meta.is_symlink() {
            found.insert(name, (0, std::fs::read_link(&path).unwrap().display().to_string()));
        } else if meta.is_dir() {
            // Directories that hold nothing but our journal are its own.
            if !["var", "var/lib", "var/lib/gpucloud"].iter().any(|own| name == Path::new(own)) {
                found.insert(name, (mode, "directory".into()));
            }
            walk(root, &path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // A stamp's last line is a time.
            let stamp = name.starts_with("var/lib/gpucloud/stamps");
            let text = if stamp { text.lines().take(2).collect::<Vec<_>>().join("\n") } else { text };
            found.insert(name, (mode, text));
        }
    }
}

/// Plans and runs `steps`.
pub fn run(host: &Host, steps: Vec<Step>, sink: Arc<dyn Sink>) -> Outcome {
    try_run(host, steps, sink).unwrap()
}

fn try_run(host: &Host, steps: Vec<Step>, sink: Arc<dyn Sink>) -> Result<Outcome, String> {
    let journal = Journal::open(host, DIRECTORY, "apply").map_err(|e| e.to_string())?;
    let plan = Plan::make(steps, host, &journal).map_err(|e| e.to_string())?;
    Ok(Runner { host, journal, take_back: gpucloud::undo::run, sink, jobs: 3, what: "apply".into() }.run(plan).0)
}

/// Plans and runs `steps`; the first failure as an error.
pub fn apply(host: &Host, steps: Vec<Step>) -> Result<(), String> {
    let outcome = try_run(host, steps, Arc::new(Silent))?;
    match outcome.failures.first() {
        Some(failure) => Err(failure.what.clone()),
        None if outcome.ending == Ending::Done => Ok(()),
        None => Err(format!("{:?}", outcome.ending)),
    }
}

/// Takes everything back.
pub fn undo_all(host: &Host) -> Result<(), String> {
    let mut journal = Journal::open(host, DIRECTORY, "uninstall").map_err(|e| e.to_string())?;
    let report = rollback::everything(host, &mut journal, gpucloud::undo::run, &|_| Ok(()), &Silent);
    match report.failed.first() {
        Some(failure) => Err(failure.what.clone()),
        None => Ok(()),
    }
}

/// Steps that write these files, as answers of a kind would.
pub fn steps_of(answers: &[(u8, String)]) -> Vec<Step> {
    let paths = ["/etc/there.conf", "/etc/x/one", "/etc/x/two", "/etc/y/z/three", "/etc/replaced", "/etc/link"];
    let mut step = Step::new("files", "files");
    let mut seen = std::collections::BTreeSet::new();
    for (which, text) in answers {
        if seen.insert(*which) {
            step = step.with(File::new(paths[usize::from(*which)], Content::plain(text.clone())));
        }
    }
    vec![step]
}
