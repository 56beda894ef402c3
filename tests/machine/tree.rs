//! Trees of lab hosts, and what differs between two.

use super::{inside, root};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The tree of a fresh host, with what is to be compared later. The distribution's own timers write notes when their
/// hour comes (apt's at six in the morning, say): they are switched off first, for good.
pub fn first_tree(lab: &str) -> BTreeMap<String, String> {
    let own = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer"];
    inside(lab, &[&["systemctl", "mask", "--now", "--quiet"], &own[..]].concat()).expect(0);
    tree(lab)
}

/// What is not compared, below a root, each with its reason. `*` stands for the rest of a name; with a `/` at its end it is
/// the directory itself, and what is in it is compared.
const NOT_COMPARED: [(&str, &str); 24] = [
    ("proc", "the kernel's"),
    ("sys", "the kernel's"),
    ("dev", "the kernel's"),
    ("run", "of one boot; what must not stay there is in the kernel, and network::nothing_left looks at that"),
    ("tmp", "of one boot"),
    ("var/tmp", "systemd keeps a directory there for each service with PrivateTmp"),
    ("var/log/journal", "everything that ran is in the journal"),
    ("var/log/gpucloud", "our logs: uninstall keeps them, and a test of its own looks at that"),
    ("var/log/apt", "apt notes what it removed, as it noted what it installed"),
    ("var/log/dpkg.log", "dpkg notes what it removed, as it noted what it installed"),
    ("var/log/alternatives.log", "as dpkg.log"),
    ("var/log/*tmp", "who logged in, and when the machine booted"),
    ("var/log/lastlog", "who logged in"),
    ("var/cache/apt", "apt keeps indexes and archives for the next installation"),
    ("var/cache/ldconfig", "the linker's, made anew by each package with a library"),
    ("var/cache/debconf/*-old", "debconf's data before the last change; the data itself is compared"),
    ("var/cache/debconf/tmp.ci", "where apt-utils unpacks what asks questions, empty"),
    ("var/lib/systemd/timers/stamp-*", "when a timer of the distribution ran"),
    ("var/lib/apt", "lists of what can be installed"),
    ("var/lib/dpkg", "dpkg's own notes: what is installed is compared by name"),
    ("etc/*-", "the accounts before the last change, kept by its program"),
    ("etc/gpucloud/", "where the answers are"),
    ("etc/gpucloud/gpucloud.toml", "the answers: uninstall keeps them"),
    ("var/lib/systemd/random-seed", "changes with each boot"),
];

/// Everything that a run could have changed in a lab host, and the names of installed packages.
pub fn tree(lab: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(&root(lab), &root(lab), &mut found);
    let installed = inside(lab, &["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n"]).expect(0);
    found.insert("(installed packages)".into(), installed.out);
    found
}

fn is_left_out(name: &str) -> bool {
    let matches = |pattern: &str| match pattern.split_once('*') {
        None => name == pattern,
        Some((first, last)) => {
            let middle = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
            middle.is_some_and(|middle| !middle.contains('/'))
        }
    };
    NOT_COMPARED.iter().any(|(pattern, _)| matches(pattern))
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if is_left_out(&name) {
            continue;
        }
        let owner = format!("{:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        if meta.is_symlink() {
            found.insert(name, std::fs::read_link(&path).unwrap().display().to_string());
        } else if meta.is_dir() {
            if !is_left_out(&format!("{name}/")) {
                found.insert(name, owner);
            }
            walk(root, &path, found);
        } else if meta.is_file() {
            let small = (name.starts_with("etc/") || name.starts_with("root/")) && meta.size() < 100_000;
            let content =
                if small { std::fs::read_to_string(&path).unwrap_or_default() } else { meta.size().to_string() };
            found.insert(name, format!("{owner} {content}"));
        }
    }
}

/// What differs between two trees.
pub fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    names.into_iter().filter(differs).map(|n| format!("{n}: {:?} -> {:?}", before.get(n), after.get(n))).collect()
}

/// Modification times of everything that a second apply must not touch.
pub fn times(lab: &str) -> BTreeMap<PathBuf, i64> {
    let mut found = BTreeMap::new();
    let mut dirs: Vec<PathBuf> =
        ["etc", "usr/local", "var/lib/gpucloud", "var/log/gpucloud"].iter().map(|d| root(lab).join(d)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            }
            found.insert(entry.path(), meta.mtime_nsec() + meta.mtime() * 1_000_000_000);
        }
    }
    found
}
