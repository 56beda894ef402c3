//! The machine under test, from outside: our program, programs inside a lab host, snapshots of both.

#![allow(dead_code)]

pub mod sampler;
pub mod tree;

use nix::fcntl::{Flock, FlockArg};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

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

/// Starts our program inside a lab host; what it says goes nowhere.
pub fn start(lab: &str, args: &[&str]) -> std::process::Child {
    let mut command = Command::new(program());
    command.args(["lab", "exec", lab, "--", "gpucloud-install"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether `done` came true within `limit`.
pub fn within(limit: Duration, done: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
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

/// A file of a lab host, empty where there is none: from its tree, or, where the host is a virtual machine, by asking it.
pub fn read(lab: &str, path: &str) -> String {
    match std::fs::read_to_string(root(lab).join(path.trim_start_matches('/'))) {
        Ok(text) => text,
        Err(_) if root(lab).exists() => String::new(),
        Err(_) => inside(lab, &["cat", path]).out,
    }
}

pub fn write(lab: &str, path: &str, text: &str) {
    std::fs::write(root(lab).join(path.trim_start_matches('/')), text).unwrap();
}

static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes the secrets that a lab has now: what is to be found nowhere.
pub fn note_secrets(lab: &str) {
    let text = read(lab, "/etc/gpucloud/secrets.toml");
    SECRETS.lock().unwrap().extend(text.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned));
}

/// All that were noted.
pub fn secrets() -> BTreeSet<String> {
    SECRETS.lock().unwrap().clone()
}

/// What the suite's labs could leave on this machine. What belongs to labs of other people comes and goes beside us.
pub fn outside() -> BTreeMap<String, String> {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let links = run("ip", &["-o", "link"]);
    let links = links.lines().filter_map(|line| line.split(':').nth(1)).map(|link| link.trim().to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let groups = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().flat_map(|entry| {
        std::fs::read_dir(entry.path()).into_iter().flatten().flatten().map(|e| e.path().display().to_string())
    });
    let of_labs = "systemd-nspawn|qemu-system.*gpucloud-lab|^ssh .*gpucloud-lab";
    let hosts = run("pgrep", &["--full", "--list-full", "--runstates", "RSDTt", of_labs]);
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut found: BTreeMap<String, String> = [
        ("links", links.collect()),
        ("rules", lines(run("nft", &["list", "tables"]))),
        ("mounts", lines(mounts).into_iter().filter(|line| line.contains("gpucloud")).collect()),
        ("groups", groups.filter(|path| path.contains("gpucloud-lab")).collect()),
        ("hosts", lines(hosts)),
    ]
    .map(|(what, lines)| (what.to_owned(), without_other_labs(lines)))
    .into();
    if other_labs().is_empty() {
        found.insert("forwarding".into(), std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default());
    }
    found
}

/// What the suite's labs are called: a lab of another name is somebody else's.
pub const PREFIX: &str = "suite-";

/// Waits for another suite on this machine: its labs have the same names.
pub fn alone() -> Flock<File> {
    let file = File::create("/run/gpucloud-suite.lock").unwrap();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap_or_else(|(file, _)| {
        eprintln!("another suite runs on this machine: waiting for its end");
        Flock::lock(file, FlockArg::LockExclusive).unwrap()
    })
}

/// All labs of this machine.
pub fn labs() -> Vec<String> {
    let labs = std::fs::read_dir("/var/lib/gpucloud-lab/labs").into_iter().flatten().flatten();
    labs.map(|lab| lab.file_name().to_string_lossy().into_owned()).collect()
}

/// Labs that are not the suite's: they keep forwarding on.
pub fn other_labs() -> Vec<String> {
    labs().into_iter().filter(|name| !name.starts_with(PREFIX)).collect()
}

/// Lines that do not speak of somebody else's lab, sorted.
fn without_other_labs(mut lines: Vec<String>) -> String {
    // The link, the table, the control group, the process, and the mount of a lab, by what stands before its name.
    let marks = ["ve-", "gpucloud_lab_", "gpucloud-lab-", "--machine=", "/gpucloud-lab/labs/"];
    let is_other = |line: &str| {
        marks.iter().any(|mark| line.split(mark).skip(1).any(|rest| !rest.replace('_', "-").starts_with(PREFIX)))
    };
    lines.retain(|line| !is_other(line));
    lines.sort();
    lines.join("\n")
}

/// Small, seeded, printed: a failure can be repeated with SEED=n. Each day has another one.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        // Neighbouring days must not begin alike.
        Self(seed().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit` (xorshift64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    /// `things` in another order (Fisher and Yates).
    pub fn shuffled<T>(&mut self, mut things: Vec<T>) -> Vec<T> {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last as u64 + 1) as usize);
        }
        things
    }
}

/// Today's date as a number, or what SEED says; printed once.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let today = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
        let seed = given.unwrap_or_else(|| today.parse().unwrap());
        eprintln!("SEED={seed}");
        seed
    })
}
