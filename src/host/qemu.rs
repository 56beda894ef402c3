//! QEMU: a virtual machine with a kernel of its own, started (its command line is made here; how large it is, `lab/mod.rs`
//! says), saved while it runs, cut off.
//!
//! It detaches itself once its devices are made: what it cannot make it says before that. Its monitor speaks QMP
//! (QEMU documentation, interop/qmp-spec); snapshots have no command of their own there in QEMU 7.2 that waits for its
//! end, so they go through `human-monitor-command`.

use super::command::Command;
use super::{Error, Host, Result, files, systemd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// How long QEMU may take to make its devices, or to come back to a saved state (15 s were measured with a whole cloud).
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a command to the monitor may take: a snapshot writes all of the machine's memory.
const MONITOR_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);
/// The name of the state in a disk's file.
const STATE: &str = "lab";

/// A virtual machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name among all processes.
    pub name: String,
    /// Where its console, its monitor and its process number lie.
    pub dir: PathBuf,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub processors: u32,
    /// Whether it runs on this machine's KVM; else it is emulated, some twelve times slower.
    pub kvm: bool,
    /// Whether its board has an IOMMU.
    pub iommu: bool,
    /// Its disks, qcow2, the first one to boot from; the machine's state is saved in that.
    pub disks: Vec<PathBuf>,
    /// The tap that QEMU makes on this machine, and that goes with it.
    pub link: String,
    /// The address of its card.
    pub mac: String,
    /// What else is on the board, in this order (qemu(1), `-device`).
    pub devices: Vec<String>,
}

impl Machine {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What its serial line said since it was made.
    pub fn console(&self) -> PathBuf {
        self.file("console.log")
    }

    fn monitor(&self) -> PathBuf {
        self.file("monitor")
    }

    fn pid_file(&self) -> PathBuf {
        self.file("pid")
    }

    /// Held as long as it stands still because its state is saved. (Its monitor serves one at a time.)
    fn save_lock(&self) -> PathBuf {
        self.file("save.lock")
    }
}

/// Whether it runs.
pub fn is_running(host: &Host, machine: &Machine) -> bool {
    process(host, machine).is_some()
}

/// Its process: the one that its file names, if that one has this file on its command line.
fn process(host: &Host, machine: &Machine) -> Option<Pid> {
    let file = machine.pid_file();
    let pid: i32 = files::read_text(host, &file).ok()??.trim().parse().ok()?;
    let line = files::read(host, &PathBuf::from(format!("/proc/{pid}/cmdline"))).ok()??;
    let name = file.display().to_string();
    line.split(|byte| *byte == 0).any(|word| word == name.as_bytes()).then(|| Pid::from_raw(pid))
}

/// How it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// As after power-on.
    Boot,
    /// With the state that its disk holds.
    SavedState,
}

/// Whether it stands still, and nobody saves it: a kill ended who did.
pub fn is_left_paused(host: &Host, machine: &Machine) -> Result<bool> {
    if !is_running(host, machine) {
        return Ok(false);
    }
    let Some(_lock) = files::try_lock(host, &machine.save_lock(), Duration::ZERO)? else { return Ok(false) };
    let status = Monitor::connect(host, machine)?.execute("query-status", json!({}))?;
    Ok(status["running"] == false)
}

/// Starts it; it boots, or goes on, in the background.
///
/// # Errors
/// QEMU says why not.
pub fn start(host: &Host, machine: &Machine, begin: Begin) -> Result<()> {
    if is_running(host, machine) {
        return match is_left_paused(host, machine)? {
            true => Monitor::connect(host, machine)?.execute("cont", json!({})).map(drop),
            false => Ok(()),
        };
    }
    files::remove(host, &machine.pid_file())?;
    let mut command = Command::new(PROGRAM).args(arguments(machine));
    if begin == Begin::SavedState {
        command = command.args(["-loadvm", STATE]);
    }
    let scope = ["--scope", "--quiet", "--collect", "--slice=machine.slice", "--"];
    let command =
        if systemd::is_booted(host) { command.wrapped_by(Command::new("systemd-run").args(scope)) } else { command };
    command.limit(START_LIMIT).quiet().run(host)
}

fn arguments(machine: &Machine) -> Vec<String> {
    let path = |path: PathBuf| path.display().to_string().replace(',', ",,");
    let accelerator = if machine.kvm { "kvm" } else { "tcg,thread=multi" };
    let cpu = if machine.kvm { "host" } else { "max" };
    let serial = format!(
        "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
        path(machine.file("serial")),
        path(machine.console())
    );
    let net = format!("tap,id=net0,ifname={},script=no,downscript=no", machine.link);
    let mut all: Vec<String> = [
        ["-name", &machine.name],
        ["-machine", "q35,kernel-irqchip=split"],
        ["-accel", accelerator],
        ["-cpu", cpu],
        ["-smp", &machine.processors.to_string()],
        ["-m", &machine.memory_mib.to_string()],
        ["-display", "none"],
        ["-chardev", &serial],
        ["-serial", "chardev:serial"],
        ["-qmp", &format!("unix:{},server=on,wait=off", path(machine.monitor()))],
        ["-pidfile", &path(machine.pid_file())],
        ["-netdev", &net],
    ]
    .into_iter()
    .flatten()
    .map(str::to_owned)
    .collect();
    all.extend(["-nodefaults", "-no-user-config", "-daemonize"].map(str::to_owned));
    let mut device = |text: String| all.extend(["-device".to_owned(), text]);
    if machine.iommu {
        device("intel-iommu,intremap=on".into());
    }
    // Behind the slots that a board's cards have.
    device(format!("virtio-net-pci,netdev=net0,mac={},addr=0x18", machine.mac));
    device("virtio-blk-pci,drive=disk0,addr=0x19,bootindex=1".into());
    device("virtio-rng-pci,addr=0x1a".into());
    machine.devices.iter().cloned().for_each(device);
    for (n, disk) in machine.disks.iter().enumerate() {
        // Writes pass this machine's cache by: what the host inside knows to be on its disk is in the file.
        let drive = format!("if=none,id=disk{n},file={},format=qcow2,cache=none,discard=unmap", path(disk.clone()));
        all.extend(["-drive".to_owned(), drive]);
    }
    all
}

/// Ends it at once, as a power cut does. Not running is fine.
pub fn cut(host: &Host, machine: &Machine) -> Result<()> {
    if let Some(pid) = process(host, machine) {
        // It may have ended meanwhile.
        let _ = kill(pid, Signal::SIGKILL);
    }
    host.wait_until("the end of the virtual machine", Duration::from_secs(30), POLL, || {
        Ok(!is_running(host, machine))
    })?;
    for left in [machine.pid_file(), machine.monitor(), machine.file("serial")] {
        files::remove(host, &left)?;
    }
    Ok(())
}

/// Saves its state into its disks and stops it there while `copy` copies them; then it goes on without that state.
///
/// # Errors
/// A device whose state cannot be saved (QEMU names it), or what `copy` said.
pub fn save<E: From<Error>>(
    host: &Host,
    machine: &Machine,
    copy: impl FnOnce() -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let _lock = files::lock_within(host, &machine.save_lock(), "the end of another save", MONITOR_LIMIT)?;
    let mut monitor = Monitor::connect(host, machine)?;
    monitor.execute("stop", json!({}))?;
    let copied = monitor.by_hand(&format!("savevm {STATE}")).map_err(E::from).and_then(|()| copy());
    let forgotten = monitor.by_hand(&format!("delvm {STATE}"));
    monitor.execute("cont", json!({}))?;
    copied?;
    Ok(forgotten?)
}

/// Forgets the state with which it went on.
pub fn forget_state(host: &Host, machine: &Machine) -> Result<()> {
    Monitor::connect(host, machine)?.by_hand(&format!("delvm {STATE}"))
}

/// Whether this machine's KVM runs a kernel as far as its first words: one was seen that runs a guest of a few
/// instructions and boots no kernel. The kernel ends in a panic, since it has no disk.
pub fn boots_with_kvm(host: &Host, kernel: &Path) -> bool {
    let kernel = kernel.display().to_string();
    let booted = Command::new(PROGRAM)
        .args(["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512", "-display", "none", "-nodefaults"])
        .args(["-serial", "stdio", "-no-reboot", "-kernel", &kernel, "-append", "console=ttyS0 panic=-1"])
        .limit(KVM_LIMIT)
        .quiet()
        .output(host);
    booted.is_ok_and(|done| String::from_utf8_lossy(&done.stdout).contains("Kernel panic"))
}

/// How long a kernel may take until it finds no disk.
const KVM_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a machine's monitor.
struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(host: &Host, machine: &Machine) -> Result<Self> {
        host.require_live("a virtual machine's monitor")?;
        let path = machine.monitor();
        let io = |source| Error::Io { doing: "connect to", path: path.clone(), source };
        let stream = UnixStream::connect(&path).map_err(io)?;
        stream.set_read_timeout(Some(MONITOR_LIMIT)).map_err(io)?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.answer()?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let said = |error: String| Error::protocol(format!("the virtual machine's monitor, {command}"), error);
        let order = json!({"execute": command, "arguments": arguments}).to_string();
        self.stream.get_mut().write_all(order.as_bytes()).map_err(|error| said(error.to_string()))?;
        loop {
            let answer = self.answer()?;
            if let Some(error) = answer.get("error") {
                return Err(said(error["desc"].as_str().unwrap_or_default().to_owned()));
            }
            // Events come in between.
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// A command of the monitor for people, which is silent when all is well.
    fn by_hand(&mut self, line: &str) -> Result<()> {
        let said = self.execute("human-monitor-command", json!({"command-line": line}))?;
        match said.as_str().map(str::trim).unwrap_or_default() {
            "" => Ok(()),
            said => Err(Error::protocol(format!("the virtual machine's monitor, {line}"), said)),
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let broken = |error: String| Error::protocol("the virtual machine's monitor", error);
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).map_err(|error| broken(error.to_string()))?;
        if read == 0 {
            return Err(broken("it closed the connection".into()));
        }
        serde_json::from_str(&line).map_err(|error| broken(error.to_string()))
    }
}

/// A disk that can be written to. What lies below one must not change as long as it is used.
pub fn make_disk(host: &Host, disk: &Path, of: &Disk) -> Result<()> {
    let mut command = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]);
    command = match of {
        Disk::Above { raw } => {
            command.args(["-b", &raw.display().to_string(), "-F", "raw", &disk.display().to_string()])
        }
        Disk::Empty { mib } => command.args([&disk.display().to_string(), &format!("{mib}M")]),
    };
    command.run(host)
}

/// What a disk is made of.
#[derive(Debug, Clone)]
pub enum Disk {
    /// It shows another one, and keeps apart what is written.
    Above {
        /// That one, which is raw.
        raw: PathBuf,
    },
    /// Nothing, in MiB.
    Empty {
        /// Its size.
        mib: u32,
    },
}
