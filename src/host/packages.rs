//! Packages of Debian and Ubuntu: dpkg's status file is read, apt-get changes. Waits for dpkg's lock, and repairs what
//! a killed run left of dpkg's work. A stop request ends a download, but never dpkg: it waits for that.

use super::command::Command;
use super::{Error, Host, Result, files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

const UPDATES: &str = "/var/lib/dpkg/updates";
const STATUS: &str = "/var/lib/dpkg/status";
/// Locks that apt and dpkg hold while they work, the frontend lock first (apt 1.9.11 and newer). For the last one,
/// which `apt-get update` takes, apt itself never waits.
const LOCKS: [&str; 3] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", LISTS_LOCK];
const LISTS_LOCK: &str = "/var/lib/apt/lists/lock";
/// How long to wait for another program's lock: an unattended upgrade of a kernel takes minutes.
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long dpkg may work at one piece: where all is emulated, the largest group takes minutes.
const WORK_LIMIT: Duration = Duration::from_secs(2 * 3600);
/// In a directory of archives: everything that was wanted is there.
const COMPLETE: &str = "complete";
/// A package index older than this is fetched again before packages are installed.
const INDEX_AGE: Duration = Duration::from_secs(3600);

/// Name and version of every package that is completely installed.
pub fn installed(host: &Host) -> Result<BTreeMap<String, String>> {
    Ok(parse_status(&status_text(host)?))
}

fn parse_status(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let complete = field("Status:").is_some_and(|s| s.ends_with(" ok installed"));
        if let (true, Some(name), Some(version)) = (complete, field("Package:"), field("Version:")) {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// Names of all packages that dpkg knows something of, half installed ones and left configuration included.
pub fn known(host: &Host) -> Result<BTreeSet<String>> {
    let status = status_text(host)?;
    let gone =
        |paragraph: &&str| !paragraph.lines().any(|l| l.starts_with("Status: ") && l.ends_with(" not-installed"));
    let names = status.split("\n\n").filter(gone).filter_map(|p| p.lines().find_map(|l| l.strip_prefix("Package: ")));
    Ok(names.map(str::to_owned).collect())
}

/// Those of `wanted` that are not completely installed.
pub fn missing(host: &Host, wanted: &[String]) -> Result<Vec<String>> {
    let installed = installed(host)?;
    Ok(wanted.iter().filter(|name| !installed.contains_key(*name)).cloned().collect())
}

/// Which packages an installation of `wanted` would add, dependencies included. Refreshes the index, and repairs what a
/// killed run left: apt cannot answer before.
pub fn would_add(host: &Host, wanted: &[String]) -> Result<Vec<String>> {
    refresh_index(host)?;
    let text = simulate(host, "install", wanted)?;
    let installed = installed(host)?;
    Ok(simulated(&text, "Inst").into_iter().filter(|name| !installed.contains_key(name)).collect())
}

/// Which packages a purge of `names` would remove. Repairs what a killed run left first, as [`would_add`].
pub fn would_remove(host: &Host, names: &[String]) -> Result<BTreeSet<String>> {
    let text = simulate(host, "purge", names)?;
    Ok(simulated(&text, "Purg").into_iter().chain(simulated(&text, "Remv")).collect())
}

fn simulate(host: &Host, verb: &str, names: &[String]) -> Result<String> {
    on_sound_packages(host, || apt_get().args([verb, "--simulate"]).args(names.iter().cloned()).quiet().read(host))
}

/// `ask`, once more after a repair where it fails: a package that was removed by force keeps apt from answering as long
/// as others miss it.
fn on_sound_packages<T>(host: &Host, ask: impl Fn() -> Result<T>) -> Result<T> {
    repair_interrupted(host)?;
    match ask() {
        Err(Error::Failed { .. }) => fix_broken(host).and_then(|()| ask()),
        answer => answer,
    }
}

/// Installs what installed packages miss.
fn fix_broken(host: &Host) -> Result<()> {
    change(host, &apt_get().args(["install", "--fix-broken", "--no-remove"]))
}

/// A download, which a stop request ends, and then dpkg's work.
fn change(host: &Host, command: &Command) -> Result<()> {
    command.clone().arg("--download-only").run(host)?;
    to_its_end(host, command)
}

/// Lets dpkg work: cut in its middle, it leaves packages half made.
fn to_its_end(host: &Host, command: &Command) -> Result<()> {
    command.clone().limit(WORK_LIMIT).run(&host.to_its_end("dpkg's work")?)
}

/// apt-get's own machine-readable simulation: lines `Inst NAME (VERSION ...)`.
fn simulated(text: &str, verb: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix(verb)?.split_whitespace().next());
    names.map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect()
}

/// Fetches the package index where it is older than an hour.
pub fn refresh_index(host: &Host) -> Result<()> {
    if index_age(host).is_some_and(|age| age < INDEX_AGE) {
        return Ok(());
    }
    loop {
        wait_for_lock(host)?;
        match apt_get().arg("update").args(["-o", "APT::Update::Error-Mode=any"]).run(host) {
            // Somebody was quicker.
            Err(Error::Failed { tail, .. }) if tail.contains(LISTS_LOCK) => {}
            result => return result,
        }
    }
}

fn index_age(host: &Host) -> Option<Duration> {
    let lists = Path::new("/var/lib/apt/lists");
    let names = files::list(host, lists).ok()?.into_iter().filter(|name| name.contains("_dists_"));
    let newest = names.filter_map(|name| files::modified(host, lists.join(name))).max()?;
    SystemTime::now().duration_since(newest).ok()
}

/// Downloads what an installation of `wanted` needs into apt's archive below `archives`.
pub fn download(host: &Host, wanted: &[String], archives: &Path) -> Result<()> {
    refresh_index(host)?;
    files::make_dir(host, &archives.join("partial"), 0o755, None)?;
    let download = apt_get().args(["install", "--download-only", "-o", &archive_option(archives)]);
    let download = download.args(wanted.iter().cloned());
    on_sound_packages(host, || download.run(host))?;
    files::write(host, &archives.join(COMPLETE), b"", 0o644, None)
}

/// Whether [`download`] came to its end.
pub fn is_downloaded(host: &Host, archives: &Path) -> bool {
    files::exists(host, archives.join(COMPLETE))
}

fn archive_option(archives: &Path) -> String {
    format!("Dir::Cache::archives={}", archives.display())
}

/// Packages that apt does not let go once they are installed (dpkg's fields Essential, Protected and Important), and
/// what they depend on.
pub fn needed_by_the_system(host: &Host) -> Result<BTreeSet<String>> {
    let format = "--showformat=${Essential}${Protected}${Important} ${Package}\\n";
    let list = Command::new("dpkg-query").args(["--show", format]).quiet().read(host)?;
    let flagged = list.lines().filter_map(|line| line.split_once(' ')).filter(|(flags, _)| flags.contains("yes"));
    let essential: Vec<String> = flagged.map(|(_, name)| name.to_owned()).collect();
    let without =
        ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(|w| format!("--no-{w}"));
    let closure = Command::new("apt-cache").args(["depends", "--recurse", "--installed"]).args(without).args(essential);
    let text = closure.quiet().read(host)?;
    // A package stands at the beginning of its line, what it depends on is indented.
    let names = text.lines().filter(|line| !line.starts_with([' ', '|', '<']));
    Ok(names.map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect())
}

/// Brings all packages up to date, as far as nothing has to be removed.
pub fn upgrade(host: &Host) -> Result<()> {
    refresh_index(host)?;
    on_sound_packages(host, || change(host, &apt_get().args(["upgrade", "--with-new-pkgs"])))
}

/// Installs `wanted`; what was downloaded before is taken from `archives`. Files that the administrator changed are
/// kept.
pub fn install(host: &Host, wanted: &[String], archives: &Path) -> Result<()> {
    refresh_index(host)?;
    repair_interrupted(host)?;
    let install = apt_get()
        .args(["install", "--no-remove"])
        .args(["-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-unsafe-io"])
        .args(["-o", &archive_option(archives)])
        .args(wanted.iter().cloned());
    if is_downloaded(host, archives) { to_its_end(host, &install) } else { change(host, &install) }
}

/// Waits for dpkg's lock, and finishes what a killed run left of dpkg's work (files in `updates/`, or packages that are
/// half configured in its status file).
fn repair_interrupted(host: &Host) -> Result<()> {
    wait_for_lock(host)?;
    if !is_interrupted(host)? {
        return Ok(());
    }
    host.warn("dpkg was interrupted earlier: finishing what it left");
    // A first try takes up dpkg's own notes, without which apt refuses to work; it fails on packages that were torn, or
    // that miss others which were not unpacked any more.
    match to_its_end(host, &configure_all()) {
        Ok(()) | Err(Error::Failed { .. }) => {}
        Err(error) => return Err(error),
    }
    let fixed = fix_broken(host);
    let torn = torn_packages(&status_text(host)?);
    if torn.is_empty() {
        fixed?;
    } else {
        // Killed while it unpacked: dpkg refuses to configure these (dpkg(1), "reinst-required"), and may have refused
        // to mend others because of them.
        change(host, &apt_get().args(["install", "--reinstall"]).args(torn))?;
        fix_broken(host)?;
    }
    to_its_end(host, &configure_all())
}

fn is_interrupted(host: &Host) -> Result<bool> {
    let half = |line: &str| {
        let ends = [" half-configured", " unpacked", " half-installed"];
        line.starts_with("Status: ") && (ends.iter().any(|end| line.ends_with(end)) || line.contains(" triggers-"))
    };
    Ok(status_text(host)?.lines().any(half) || !files::list(host, UPDATES)?.is_empty())
}

fn status_text(host: &Host) -> Result<String> {
    Ok(files::read_text(host, STATUS)?.unwrap_or_default())
}

fn configure_all() -> Command {
    Command::new("dpkg").args(["--configure", "-a", "--force-confold"]).env("DEBIAN_FRONTEND", "noninteractive")
}

fn torn_packages(status: &str) -> Vec<String> {
    let torn = |paragraph: &&str| paragraph.lines().any(|l| l.starts_with("Status: ") && l.contains(" reinstreq "));
    let names = status.split("\n\n").filter(torn).filter_map(|p| p.lines().find_map(|l| l.strip_prefix("Package: ")));
    names.map(str::to_owned).collect()
}

/// Whether a package's own scripts never came to their end on this machine: dpkg notes the version for which they did
/// (`Config-Version`), in its status file or in what it has not merged into it yet.
pub fn never_configured(host: &Host, name: &str) -> Result<bool> {
    let mut texts = vec![status_text(host)?];
    for update in files::list(host, UPDATES)? {
        texts.extend(files::read_text(host, Path::new(UPDATES).join(update))?);
    }
    Ok(!texts.iter().any(|text| was_configured(text, name)))
}

fn was_configured(status: &str, name: &str) -> bool {
    let has = |paragraph: &str, line: &str| paragraph.lines().any(|l| l == line);
    let configured = |paragraph: &str| {
        paragraph.lines().any(|l| l.starts_with("Config-Version: ")) || has(paragraph, "Status: install ok installed")
    };
    status.split("\n\n").any(|paragraph| has(paragraph, &format!("Package: {name}")) && configured(paragraph))
}

/// Removes packages with their configuration.
pub fn purge(host: &Host, names: &[String]) -> Result<()> {
    repair_interrupted(host)?;
    // A machine that had no sudo before us does without it again; its package asks whether that is meant.
    to_its_end(host, &apt_get().arg("purge").args(names.iter().cloned()).env("SUDO_FORCE_REMOVE", "yes"))
}

fn apt_get() -> Command {
    Command::new("apt-get")
        .args(["--yes", "--quiet", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=600"])
        // Ubuntu holds an update back on some machines, and with it what needs its new version.
        .args(["-o", "APT::Get::Always-Include-Phased-Updates=true"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .env("NEEDRESTART_SUSPEND", "1")
        .env("UCF_FORCE_CONFFOLD", "1")
}

/// Waits until nobody else holds dpkg's locks, showing a clock and the holder's name.
pub fn wait_for_lock(host: &Host) -> Result<()> {
    let started = std::time::Instant::now();
    while let Some(holder) = lock_holder(host) {
        host.go_on()?;
        let waited = started.elapsed();
        if waited > LOCK_LIMIT {
            let what = format!("the release of the package lock, held by {holder},");
            return Err(Error::TimedOut { what, seconds: LOCK_LIMIT.as_secs() });
        }
        host.progress(
            waited.as_secs(),
            LOCK_LIMIT.as_secs(),
            &format!("s waiting for the package lock, held by {holder}"),
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Who holds one of dpkg's locks: "unattended-upgr (process 812)".
pub fn lock_holder(host: &Host) -> Option<String> {
    LOCKS.iter().find_map(|lock| holder_of(host, Path::new(lock)))
}

fn holder_of(host: &Host, lock: &Path) -> Option<String> {
    use nix::fcntl::{FcntlArg, fcntl};
    let file = files::open(host, lock).ok()??;
    let mut query = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut query)).ok()?;
    if i32::from(query.l_type) == nix::libc::F_UNLCK {
        return None;
    }
    let name = files::read_text(host, format!("/proc/{}/comm", query.l_pid)).ok().flatten().unwrap_or_default();
    Some(format!("{} (process {})", name.trim(), query.l_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_packages_count_as_installed() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 2\n";
        assert_eq!(parse_status(text), BTreeMap::from([("a".into(), "1".into())]));
    }

    #[test]
    fn who_holds_the_lock_is_named_and_waited_for() {
        use std::io::{BufRead, BufReader};
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        files::write(&host, Path::new(LOCKS[0]), b"", 0o640, None).unwrap();
        let hold = "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()";
        let mut holder = std::process::Command::new("python3")
            .args(["-c", hold, &host.real(LOCKS[0]).display().to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(lock_holder(&host).unwrap().contains(&format!("process {}", holder.id())));
        let waiting = std::thread::spawn({
            let host = host.clone();
            move || wait_for_lock(&host)
        });
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        drop(holder.stdin.take());
        holder.wait().unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(lock_holder(&host), None);
    }

    #[test]
    fn a_package_whose_scripts_never_ended_is_told_from_one_that_is_upgraded() {
        let text = "Package: a\nStatus: install ok half-configured\n\nPackage: b\nStatus: install ok unpacked\nConfig-Version: 1\n\nPackage: c\nStatus: install ok installed\n";
        assert_eq!(["a", "b", "c", "d"].map(|name| was_configured(text, name)), [false, true, true, false]);
    }

    #[test]
    fn packages_torn_by_a_kill_are_found() {
        let text = "Package: a\nStatus: install reinstreq unpacked\n\nPackage: b\nStatus: install ok unpacked\n";
        assert_eq!(torn_packages(text), ["a"]);
    }

    #[test]
    fn simulation_lines_name_packages_without_architecture() {
        let text = "NOTE\nInst libx:amd64 (1 Debian) []\nConf libx (1)\nInst y (2)\n";
        assert_eq!(simulated(text, "Inst"), ["libx", "y"]);
    }
}
