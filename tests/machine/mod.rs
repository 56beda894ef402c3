//! The machine under test, from outside: our program, programs inside a lab host, snapshots of both.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Why the tests cannot run here.
pub fn why_not() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("lab hosts need root".into());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Some("lab hosts need Debian or Ubuntu".into());
    }
    None
}

/// Our program.
pub fn program() -> PathBuf {
    std::env::var_os("GPUCLOUD_INSTALL")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_gpucloud-install")), PathBuf::from)
}

/// What a program did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Fails the test unless it ended with `code`.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "output: {}\nerrors: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// Runs our program on this machine.
pub fn ours(args: &[&str]) -> Done {
    Done::of(Command::new(program()).args(args).stdin(Stdio::null()).output().unwrap())
}

/// Runs a program inside a lab host.
pub fn inside(lab: &str, args: &[&str]) -> Done {
    let mut all = vec!["lab", "exec", lab, "--"];
    all.extend_from_slice(args);
    ours(&all)
}

/// Runs our program inside a lab host.
pub fn installer(lab: &str, args: &[&str]) -> Done {
    let mut all = vec!["gpucloud-install"];
    all.extend_from_slice(args);
    inside(lab, &all)
}

/// A Python program inside a lab host, for as long as this value lives.
pub struct Helper {
    lab: String,
    child: std::process::Child,
}

impl Helper {
    /// Starts it, and waits until it printed its first line.
    pub fn start(lab: &str, code: &str) -> Self {
        let mut child = Command::new(program())
            .args(["lab", "exec", lab, "--", "python3", "-c", code])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        assert!(!line.is_empty(), "{code} ended at once");
        Self { lab: lab.to_owned(), child }
    }

    /// Waits for its end.
    pub fn wait(mut self) {
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        inside(&self.lab, &["pkill", "--full", "^python3 -c"]);
        let _ = self.child.wait();
    }
}

pub fn root(lab: &str) -> PathBuf {
    Path::new("/var/lib/gpucloud-lab/labs").join(lab).join("root")
}

/// The host's address in its link to this machine.
pub fn address(lab: &str) -> String {
    let addresses = inside(lab, &["hostname", "-I"]).expect(0).out;
    addresses.split_whitespace().next().unwrap_or_default().to_owned()
}

pub fn read(lab: &str, path: &str) -> String {
    std::fs::read_to_string(root(lab).join(path.trim_start_matches('/'))).unwrap_or_default()
}

pub fn write(lab: &str, path: &str, text: &str) {
    std::fs::write(root(lab).join(path.trim_start_matches('/')), text).unwrap();
}

/// The tree of a fresh host, with what is to be compared later. The distribution's own daily timers write notes when
/// their hour comes (apt's at six in the morning, say): they are switched off first, for good.
pub fn first_tree(lab: &str) -> BTreeMap<String, String> {
    let daily = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"];
    inside(lab, &[&["systemctl", "mask", "--now", "--quiet"], &daily[..]].concat()).expect(0);
    tree(lab)
}

/// Everything that a run could have changed in a lab host, but for logs, caches and the package manager's own notes.
pub fn tree(lab: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(&root(lab), &root(lab), &mut found);
    found
}

const NOT_COMPARED: [&str; 17] = [
    "proc",
    "sys",
    "run",
    "dev",
    "tmp",
    "var/tmp",
    "root",
    "var/log",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "var/lib/systemd",
    "etc/gpucloud",
];

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if NOT_COMPARED.contains(&name.as_str()) {
            continue;
        }
        let owner = format!("{:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        if meta.is_symlink() {
            found.insert(name, std::fs::read_link(&path).unwrap().display().to_string());
        } else if meta.is_dir() {
            found.insert(name, owner);
            walk(root, &path, found);
        } else if meta.is_file() {
            let small = name.starts_with("etc/") && meta.size() < 100_000;
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
    use std::os::unix::fs::MetadataExt;
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

/// What a lab could leave on this machine.
pub fn outside() -> BTreeMap<String, String> {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut links: Vec<String> =
        run("ip", &["-o", "link"]).lines().map(|l| l.split(':').nth(1).unwrap_or("").trim().to_owned()).collect();
    links.sort();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let groups = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().flat_map(|entry| {
        std::fs::read_dir(entry.path()).into_iter().flatten().flatten().map(|e| e.path().display().to_string())
    });
    let groups: BTreeSet<String> = groups.filter(|path| path.contains("gpucloud-lab")).collect();
    BTreeMap::from([
        ("links".into(), links.join(" ")),
        ("rules".into(), run("nft", &["list", "tables"])),
        ("mounts".into(), mounts.lines().filter(|l| l.contains("gpucloud")).collect()),
        ("forwarding".into(), std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default()),
        ("groups".into(), format!("{groups:?}")),
        ("hosts".into(), run("pgrep", &["--list-full", "--runstates", "RSDTt", "systemd-nspawn"])),
    ])
}

/// Every command line of every process, looked at all the time: where a secret would show.
pub struct Sampler {
    seen: Arc<Mutex<BTreeSet<String>>>,
    end: Arc<AtomicBool>,
}

impl Sampler {
    pub fn start() -> Self {
        let sampler = Self { seen: Arc::default(), end: Arc::default() };
        let (seen, end) = (sampler.seen.clone(), sampler.end.clone());
        std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
                        seen.lock().unwrap().insert(String::from_utf8_lossy(&line).replace('\0', " "));
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        sampler
    }

    pub fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().clone()
    }

    pub fn stop(&self) {
        self.end.store(true, Ordering::SeqCst);
    }
}

/// Small, seeded, printed: a failure can be repeated with SEED=n.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_795_520_560);
        eprintln!("SEED={seed}");
        Self(seed | 1)
    }

    /// A number below `limit` (xorshift64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
