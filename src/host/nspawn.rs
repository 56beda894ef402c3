//! systemd-nspawn: a container with a systemd of its own, started (with its options), entered, stopped.
//!
//! Each starts in a control group of its own. In one group, two containers would share the groups of units with the
//! same name, and each would stop the other's. Where systemd is PID 1 of this machine, a unit is that group; elsewhere
//! we make one.

use super::command::Command;
use super::{Error, Host, Result, files, systemd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long systemd-nspawn may take to start the first process.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a polite shutdown may take before the container is killed.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name; its link on this machine is `ve-NAME`.
    pub name: String,
    /// Its root file system.
    pub root: PathBuf,
    /// Where its console's output goes.
    pub console: PathBuf,
    /// Whether it is given this machine's KVM.
    pub kvm: bool,
    /// A folder of this machine that it sees at the same place, read-only.
    pub folder: Option<PathBuf>,
}

/// Whether the container runs.
pub fn is_running(host: &Host, name: &str) -> bool {
    leader(host, name).is_some()
}

/// Starts the host; it boots in the background.
pub fn start(host: &Host, container: &Container) -> Result<()> {
    if is_running(host, &container.name) {
        return Ok(());
    }
    let command = nspawn(container);
    if systemd::is_booted(host) {
        let unit = format!("--unit={}", unit_name(&container.name));
        let delegating = Command::new("systemd-run").args([
            "--quiet",
            "--collect",
            "--property=Delegate=yes",
            "--slice=machine.slice",
            &unit,
            "--",
        ]);
        command.wrapped_by(delegating).run(host)?;
        return wait_started(host, container);
    }
    let group = ControlGroup::enter(host, &group_name(&container.name))?;
    let started = command.detach(host, &container.console);
    group.leave(host)?;
    started?;
    wait_started(host, container)
}

fn wait_started(host: &Host, container: &Container) -> Result<()> {
    let name = &container.name;
    host.wait_until("the start of systemd-nspawn", START_LIMIT, POLL, || Ok(is_running(host, name))).map_err(|error| {
        match error {
            Error::TimedOut { what, .. } => Error::protocol(what, console_tail(host, container)),
            other => other,
        }
    })
}

/// What systemd-nspawn said, for an error.
fn console_tail(host: &Host, container: &Container) -> String {
    let text = files::read_text(host, &container.console).ok().flatten().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn nspawn(container: &Container) -> Command {
    Command::new("systemd-nspawn")
        .args([
            "--boot",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-users=no",
            "--capability=all",
            "--network-veth",
        ])
        .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"])
        .args(["--system-call-filter=add_key keyctl bpf perf_event_open", "--bind=/dev/net/tun"])
        .args(container.kvm.then_some("--bind=/dev/kvm"))
        .args(container.folder.iter().map(|folder| format!("--bind-ro={}", folder.display())))
        .arg(format!("--directory={}", container.root.display()))
        .arg(format!("--machine={}", container.name))
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .env("SYSTEMD_NSPAWN_LOCK", "0")
        .env("SYSTEMD_SECCOMP", "0")
}

fn unit_name(name: &str) -> String {
    format!("gpucloud-lab-{name}.service")
}

fn group_name(name: &str) -> String {
    format!("gpucloud-lab-{name}")
}

/// Shuts the host down politely; kills it when that takes too long. Not running is fine.
pub fn shut_down(host: &Host, name: &str) -> Result<()> {
    if !is_running(host, name) {
        return Ok(());
    }
    // The connection breaks while the host goes down: its exit status says nothing.
    let _ = program(host, name, &["systemctl", "poweroff"])?.output(host);
    match host.wait_until("the shutdown", SHUTDOWN_LIMIT, POLL, || Ok(!is_running(host, name))) {
        Err(Error::TimedOut { .. }) => stop(host, name),
        other => other,
    }?;
    remove_group(host, name)
}

/// Kills the host and all its processes at once, like a power cut, and removes its control group.
pub fn stop(host: &Host, name: &str) -> Result<()> {
    if let Some(pid) = leader(host, name) {
        // The end of PID 1 ends every process of its namespace.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL);
    }
    host.wait_until("the end of the lab's processes", Duration::from_secs(30), POLL, || Ok(!has_nspawn(host, name)))?;
    if systemd::is_booted(host) {
        systemd::stop(host, &unit_name(name))?;
    }
    remove_group(host, name)
}

/// `command` as it runs inside the host: in its namespaces, from /root, with a clean environment.
pub fn program<S: AsRef<str>>(host: &Host, name: &str, command: &[S]) -> Result<Command> {
    let not_running = || Error::protocol(format!("enter lab {name}"), "it does not run");
    let pid = leader(host, name).ok_or_else(not_running)?;
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    Ok(Command::new("/usr/bin/nsenter")
        .args(["--target", &pid.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--"])
        .args(["/usr/bin/env", "--chdir=/root"])
        .args(command.iter().map(|word| word.as_ref().to_owned()))
        .clean_environment()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("USER", "root")
        .env("LANG", "C.UTF-8")
        .env("TERM", terminal))
}

/// PID 1 of the host, as this machine numbers it.
fn leader(host: &Host, name: &str) -> Option<u32> {
    let parent = nspawn_pid(host, name)?;
    let children = files::read_text(host, format!("/proc/{parent}/task/{parent}/children")).ok()??;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| is_first_process(host, *pid))
}

/// Its own namespace calls it 1.
fn is_first_process(host: &Host, pid: u32) -> bool {
    let status = files::read_text(host, format!("/proc/{pid}/status")).ok().flatten().unwrap_or_default();
    status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"))
}

fn has_nspawn(host: &Host, name: &str) -> bool {
    nspawn_pid(host, name).is_some()
}

fn nspawn_pid(host: &Host, name: &str) -> Option<u32> {
    let machine = format!("--machine={name}");
    let pids = files::list(host, "/proc").ok()?.into_iter().filter_map(|name| name.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let line = files::read(host, &PathBuf::from(format!("/proc/{pid}/cmdline"))).ok().flatten().unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"systemd-nspawn"))
            && words.any(|word| word == machine.as_bytes())
    })
}

/// This process inside a control group of its own, in every hierarchy, for as long as it starts a container.
struct ControlGroup {
    before: Vec<PathBuf>,
}

impl ControlGroup {
    fn enter(host: &Host, name: &str) -> Result<Self> {
        let mut before = Vec::new();
        for (hierarchy, own) in hierarchies(host)? {
            let group = hierarchy.join(name);
            make_group(host, &hierarchy, &group)?;
            before.push(own);
            join(host, &group)?;
        }
        Ok(Self { before })
    }

    fn leave(self, host: &Host) -> Result<()> {
        self.before.iter().try_for_each(|group| join(host, group))
    }
}

fn make_group(host: &Host, hierarchy: &Path, group: &Path) -> Result<()> {
    files::make_dir(host, group, 0o755, None)?;
    // A new group of version 1's cpuset has no processors and takes no process (kernel, cgroup-v1/cpusets.rst).
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Some(value) = files::read_text(host, hierarchy.join(file))? {
            files::set(host, &group.join(file), &value)?;
        }
    }
    Ok(())
}

fn join(host: &Host, group: &Path) -> Result<()> {
    files::set(host, &group.join("cgroup.procs"), &std::process::id().to_string())
}

/// Each mounted hierarchy, and this process's group in it. `/proc/self/cgroup` has lines `N:NAME:/GROUP`.
fn hierarchies(host: &Host) -> Result<Vec<(PathBuf, PathBuf)>> {
    let text = files::read_text(host, "/proc/self/cgroup")?.unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, name, group) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or("/"));
        let root = hierarchy_root(host, name.trim_start_matches("name="));
        if files::exists(host, root.join("cgroup.procs")) {
            found.push((root.clone(), root.join(group.trim_start_matches('/'))));
        }
    }
    Ok(found)
}

fn hierarchy_root(host: &Host, name: &str) -> PathBuf {
    let all = Path::new("/sys/fs/cgroup");
    match name {
        "" if files::exists(host, all.join("cgroup.controllers")) => all.to_owned(),
        "" => all.join("unified"),
        name => all.join(name),
    }
}

/// Removes what is left of a host's groups, the innermost first.
fn remove_group(host: &Host, name: &str) -> Result<()> {
    if systemd::is_booted(host) {
        return Ok(());
    }
    for (hierarchy, _) in hierarchies(host)? {
        remove_groups_below(host, &hierarchy.join(group_name(name)))?;
    }
    Ok(())
}

fn remove_groups_below(host: &Host, group: &Path) -> Result<()> {
    for inner in files::list(host, group)?.into_iter().map(|name| group.join(name)) {
        if files::status(host, &inner)?.is_some_and(|status| status.is_dir) {
            remove_groups_below(host, &inner)?;
        }
    }
    // The kernel refuses while a dying process is still counted: it is only an empty directory then.
    let _ = files::remove_empty_dir(host, group);
    Ok(())
}
