//! How the image of notebooks is built on this machine: packages unpacked (mmdebstrap), Python's environments installed and
//! compiled, files laid over it, and all of it made one compressed disk beside a kernel and an initial file system. What it
//! consists of, its version among it: `recipe.rs`. Another one, for notebooks with cards, has NVIDIA's driver on top.
//!
//! It is one file system without partitions: it boots with BIOS and with UEFI alike, and grows to the size of its disk.
//! Nothing is mounted for it on this machine, and nobody's key is in it.

use super::recipe::{BEFORE_DRIVER, FILES, INIT, KERNEL, MASKED, MODULES, Part, Recipe, UNITS, texts};
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::engine::uv;
use crate::facts::{apt, reach};
use crate::host::command::Command;
use crate::host::{Error, Host, Result, cpio, files};
use crate::resources::file;
use std::path::{Path, PathBuf};

/// The only program that makes units at a boot which is of use here: the others look for disks, cards and consoles that a
/// notebook has not.
const GENERATOR: &str = "systemd-fstab-generator";
/// Where the environments are made, in the root; gone afterwards.
const BUILD: &str = "/tmp/build";
/// Variables by which programs find a proxy.
const PROXIES: [&str; 6] = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
/// The student's number in the image.
const STUDENT: &str = "1000:1000";
/// MiB of the file system that are free at least; it grows with its disk.
const FREE_MIB: u64 = 512;
/// MiB that its build takes at most (measured: 1.8 and 9 GiB), and what is left for the cloud's databases.
const NEEDED_MIB: u64 = 4 << 10;
const NEEDED_MIB_WITH_DRIVER: u64 = 14 << 10;

/// Builds it, once for each recipe.
pub fn build(recipe: &Recipe) -> Task {
    let (recipe, looked) = (recipe.clone(), recipe.clone());
    let there = move |host: &Host| {
        let mut files = Part::ALL.map(|part| looked.file(part)).into_iter();
        let missing = files.find(|file| !files::exists(host, file));
        Ok(missing.map_or(Checked::Done, |file| Checked::needed(format!("build {}", file.display()))))
    };
    let version = recipe.version();
    let id = ActionId::new("classroom", if recipe.driver.is_some() { "image-with-driver" } else { "image" });
    let title = format!("Build {}", recipe.what());
    Task::once(id, title, &version, there, move |host| make(host, &recipe)).undone_by(Undo::Nothing)
}

/// All of it; nothing is left of a try that failed.
pub fn make(host: &Host, recipe: &Recipe) -> Result<()> {
    let work = file(&format!("{}-build", recipe.file_name(Part::Disk)));
    files::remove_tree(host, &work)?;
    files::make_parents(host, &work.join("root"))?;
    files::set_permissions(host, &work, 0o700, None)?;
    let free = files::free_bytes(host, &work)? >> 20;
    let needed = if recipe.driver.is_some() { NEEDED_MIB_WITH_DRIVER } else { NEEDED_MIB };
    let made = if free < needed {
        let said = format!("{needed} MiB are needed for a while, and {free} MiB are free below {}", work.display());
        Err(Error::protocol("build the image of notebooks", said))
    } else {
        make_in(host, recipe, &work)
    };
    files::remove_tree(host, &work)?;
    made
}

fn make_in(host: &Host, recipe: &Recipe, work: &Path) -> Result<()> {
    let root = work.join("root");
    bootstrap(host, recipe, &root)?;
    let kernel = kernel(host, recipe, &root)?;
    environments(host, recipe, &root)?;
    furnish(host, &root)?;
    initial_file_system(host, recipe, &kernel, &root, &work.join("initramfs"))?;
    disk(host, &root, &work.join("disk.raw"), &recipe.file(Part::Disk))
}

/// The distribution's part.
fn bootstrap(host: &Host, recipe: &Recipe, root: &Path) -> Result<()> {
    let packages = recipe.packages().join(",");
    let mut command = Command::new("mmdebstrap")
        // Its kernel would make an initial file system, which is not used.
        .env("INITRD", "No")
        .args(["--variant=minbase", "--format=directory", "--skip=check/empty", &format!("--include={packages}")])
        .args(["man", "doc", "locale"].map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")))
        .args(["--dpkgopt=force-unsafe-io", "--aptopt=APT::Install-Recommends \"false\""]);
    if recipe.driver.is_some() {
        let hook = files::sibling(root, "-before-driver");
        files::write(host, &hook, BEFORE_DRIVER.as_bytes(), 0o755, None)?;
        command = command.arg(format!("--essential-hook={}", host.real(&hook).display()));
    }
    command = command.args([recipe.codename(), &host.real(root).to_string_lossy()]);
    for source in apt::sources(host, &recipe.distribution, recipe.codename())? {
        let more = recipe.driver.as_ref().map_or(String::new(), |driver| format!(" {}", driver.components().join(" ")));
        command = command.arg(source + &more);
    }
    command.run(host)
}

/// The version of its kernel; of several, one that has NVIDIA's modules. What is built while the packages are installed is
/// not missed by them.
fn kernel(host: &Host, recipe: &Recipe, root: &Path) -> Result<String> {
    let mut versions = files::list(host, root.join("usr/lib/modules"))?;
    versions.retain(|version| files::exists(host, root.join(format!("boot/vmlinuz-{version}"))));
    if recipe.driver.is_none() {
        return versions.pop().ok_or_else(|| Error::protocol("build the image of notebooks", "it has no kernel"));
    }
    // Debian calls it nvidia-current, or nvidia-current-open.
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("nvidia.ko") || name.starts_with("nvidia-current")
    };
    for version in versions {
        if cpio::below(host, &root.join("usr/lib/modules").join(&version))?.iter().any(is_it) {
            return Ok(version);
        }
    }
    let log = Command::new("sh").args(["-c", "cat \"$1\"/var/lib/dkms/nvidia*/*/build/make.log | tail -n 20", "sh"]);
    let log = log.arg(host.real(root).to_string_lossy()).quiet().read(host).unwrap_or_default();
    Err(Error::protocol("build NVIDIA's modules for the image of notebooks", log))
}

/// A program in the root, with a /proc of its own that is gone with it.
fn within(host: &Host, root: &Path, program: &[&str]) -> Command {
    Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc=/proc"])
        .args([&format!("--root={}", host.real(root).display()), "--"])
        .args(program.iter().copied())
        .env("HOME", "/root")
}

/// Both environments, installed and compiled by the image's own Python.
fn environments(host: &Host, recipe: &Recipe, root: &Path) -> Result<()> {
    let build = root.join(BUILD.trim_start_matches('/'));
    files::make_dir(host, &build, 0o700, None)?;
    files::copy(host, Path::new(uv::PROGRAM), &build.join("uv"), 0o755)?;
    files::copy(host, Path::new(uv::CERTIFICATES), &build.join("certificates"), 0o644)?;
    let resolv = root.join("etc/resolv.conf");
    let servers = files::read(host, Path::new("/etc/resolv.conf"))?.unwrap_or_default();
    files::remove(host, &resolv)?;
    files::write(host, &resolv, &servers, 0o644, None)?;
    for (name, lock) in recipe.locks() {
        files::write(host, &build.join(name), lock.as_bytes(), 0o644, None)?;
        let (place, lock) = (format!("/opt/notebook/{name}"), format!("{BUILD}/{name}"));
        uv(host, root, &["venv", "--python", "/usr/bin/python3", &place])?.run(host)?;
        let sync = ["pip", "sync", "--python", &place, "--require-hashes", "--only-binary", ":all:", &lock];
        uv(host, root, &sync)?.run(host)?;
        if name == KERNEL.0 && !recipe.packages.is_empty() {
            let pinned = format!("{BUILD}/pinned");
            let install = ["pip", "install", "--python", &place, "--only-binary", ":all:", "--constraints", &pinned];
            // Of what came with CUDA, they may want other versions: PyTorch pins its own.
            files::write(host, &build.join("pinned"), KERNEL.1.as_bytes(), 0o644, None)?;
            uv(host, root, &install)?.args(recipe.packages.iter().map(ToString::to_string)).run(host)?;
        }
        // By its own hash: nobody could write it anew for files that time stamps call younger.
        let (python, lib) = (format!("{place}/bin/python"), format!("{place}/lib"));
        let compile = ["-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash"];
        within(host, root, &[&[python.as_str()], &compile[..], &[lib.as_str()]].concat()).run(host)?;
    }
    within(host, root, &["chown", "-R", STUDENT, "/opt/notebook/kernel"]).run(host)?;
    files::remove_tree(host, &build)
}

/// uv in the root: as on this machine, and by its proxy.
fn uv(host: &Host, root: &Path, arguments: &[&str]) -> Result<Command> {
    let program = format!("{BUILD}/uv");
    let command = within(host, root, &[&[program.as_str(), "--quiet"], arguments].concat());
    let command = uv::told(host, command, &format!("{BUILD}/cache"), &format!("{BUILD}/certificates"))?;
    let proxies = PROXIES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    Ok(proxies.fold(command, |command, (name, value)| command.env(name, value)))
}

/// Accounts, files, units; and nothing that two notebooks may not share.
fn furnish(host: &Host, root: &Path) -> Result<()> {
    let student = ["useradd", "--create-home", "--user-group", "--uid", "1000", "--shell", "/bin/bash", "student"];
    within(host, root, &student).run(host)?;
    // The server's environment has a kernel of its own, which belongs to root: nobody is to run cells in it. The student's
    // takes its place, with its pictures.
    let kernels = root.join("opt/notebook/server/share/jupyter/kernels");
    files::rename(host, &kernels.join("python3"), &kernels.join("student"))?;
    for file in texts(&FILES) {
        let mode = if file.path().starts_with("usr/local/sbin") { 0o755 } else { 0o644 };
        let path = root.join(file.path());
        files::make_parents(host, &path)?;
        files::write(host, &path, file.contents(), mode, None)?;
    }
    files::write(host, &root.join("etc/machine-id"), b"", 0o444, None)?;
    for one in files::list(host, root.join("etc/ssh"))?.iter().filter(|name| name.starts_with("ssh_host_")) {
        files::remove(host, &root.join("etc/ssh").join(one))?;
    }
    for one in ["var/lib/dbus/machine-id", "etc/resolv.conf", "var/lib/systemd/random-seed"] {
        files::remove(host, &root.join(one))?;
    }
    // What the driver's modules were built in, with a key that they may be signed by.
    files::remove_tree(host, &root.join("var/lib/dkms"))?;
    files::make_link(host, &root.join("etc/resolv.conf"), Path::new("/run/systemd/resolve/stub-resolv.conf"))?;
    // What this machine trusts, and where its packages come from: an organisation's proxy may sign with its own key.
    files::copy(host, Path::new(uv::CERTIFICATES), &root.join(uv::CERTIFICATES.trim_start_matches('/')), 0o644)?;
    if let Some(index) = reach::pip_index(host)?.filter(|index| !index.contains('@')) {
        let text = format!("[global]\nindex-url = {index}\n");
        files::write(host, &root.join("etc/pip.conf"), text.as_bytes(), 0o644, None)?;
    }
    let systemctl = |verb: &str, units: &[&str]| {
        let root = format!("--root={}", host.real(root).display());
        Command::new("systemctl").args(["--quiet", &root, verb]).args(units.iter().copied()).run(host)
    };
    systemctl("enable", &UNITS)?;
    systemctl("mask", &MASKED)?;
    let masked = root.join("etc/systemd/system-generators");
    files::make_dir(host, &masked, 0o755, None)?;
    let generators = files::list(host, root.join("usr/lib/systemd/system-generators"))?;
    for one in generators.iter().filter(|name| *name != GENERATOR) {
        files::make_link(host, &masked.join(one), Path::new("/dev/null"))?;
    }
    Ok(())
}

/// The kernel beside the disk, and what finds the disk.
fn initial_file_system(host: &Host, recipe: &Recipe, kernel: &str, root: &Path, tree: &Path) -> Result<()> {
    let boot = root.join("boot");
    files::copy(host, &boot.join(format!("vmlinuz-{kernel}")), &recipe.file(Part::Kernel), 0o644)?;
    for name in files::list(host, &boot)? {
        files::remove_tree(host, &boot.join(name))?;
    }
    for directory in ["", "bin", "dev", "root", "modules"] {
        files::make_dir(host, &tree.join(directory), 0o755, None)?;
    }
    files::write(host, &tree.join("init"), INIT.as_bytes(), 0o755, None)?;
    files::copy(host, &root.join("usr/bin/busybox"), &tree.join("bin/busybox"), 0o755)?;
    let modules = root.join("usr/lib/modules").join(kernel);
    let all = cpio::below(host, &modules)?;
    for (number, name) in MODULES.iter().enumerate() {
        let is_it = |path: &&PathBuf| {
            let found = path.file_name().unwrap_or_default().to_string_lossy();
            found.split_once(".ko").is_some_and(|(stem, _)| stem == *name)
        };
        if let Some(path) = all.iter().find(is_it) {
            let content = unpacked(host, root, path)?;
            files::write(host, &tree.join(format!("modules/{number:02}-{name}.ko")), &content, 0o644, None)?;
        }
    }
    cpio::pack(host, tree, &recipe.file(Part::InitialFileSystem))
}

/// A module as busybox loads it: by the image's own programs, which are there for how its modules are packed.
fn unpacked(host: &Host, root: &Path, path: &Path) -> Result<Vec<u8>> {
    let inside = Path::new("/").join(path.strip_prefix(root).unwrap_or(path));
    let inside = inside.to_string_lossy();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => within(host, root, &["busybox", "xzcat", &inside]).quiet().read_bytes(host),
        Some("zst") => within(host, root, &["zstd", "--decompress", "--stdout", &inside]).quiet().read_bytes(host),
        _ => Ok(files::read(host, path)?.unwrap_or_default()),
    }
}

/// The root as a disk.
fn disk(host: &Host, root: &Path, raw: &Path, target: &Path) -> Result<()> {
    let (real, raw_path) = (host.real(root).display().to_string(), host.real(raw).display().to_string());
    let used = Command::new("du").args(["--summarize", "--block-size=1M", &real]).quiet().read(host)?;
    let used: u64 = used.split_whitespace().next().and_then(|mib| mib.parse().ok()).unwrap_or(1 << 10);
    let size = format!("{}M", used + used / 4 + FREE_MIB);
    Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", "notebook", "-m", "1"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-d", &real, &raw_path, &size])
        .run(host)?;
    let new = files::sibling(target, ".new");
    Command::new("qemu-img")
        .args(["convert", "-O", "qcow2", "-c", "-o", "compression_type=zstd", &raw_path])
        .arg(host.real(&new).to_string_lossy())
        .run(host)?;
    files::rename(host, &new, target)
}
