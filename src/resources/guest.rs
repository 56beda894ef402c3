//! A small guest for where no image can be downloaded: the distribution's own kernel, busybox and dropbear in an
//! initial file system. It takes an address, its name and a key, and answers SSH, also under emulation in seconds.

use super::file;
use crate::action::leaves::Leaves;
use crate::action::packages::Packages;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::host::command::Command;
use crate::host::{Error, Host, Result, files, packages};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Its kernel, its initial file system, and an empty disk, which Nova wants.
pub const PARTS: [&str; 3] = ["guest-kernel", "guest-initramfs", "guest"];
const INIT: &str = include_str!("../../profiles/guest/init");
const UDHCPC: &str = include_str!("../../profiles/guest/udhcpc.sh");
/// Packages whose programs go into the guest, and what unpacks its modules.
const PACKAGES: [&str; 3] = ["busybox-static", "dropbear-bin", "xz-utils"];
/// What virtio needs, in the order in which it can be loaded; what a kernel has built in is not there.
const MODULES: [&str; 13] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "button",
    "evdev",
    "rng-core",
    "virtio-rng",
];
/// Programs that go into the guest, with the libraries that they load.
const PROGRAMS: [&str; 3] = ["/usr/bin/busybox", "/usr/sbin/dropbear", "/usr/bin/dropbearkey"];
const DISK_BYTES: u64 = 1 << 20;

/// The package with a small kernel for guests.
fn kernel_package(distribution: &str) -> &'static str {
    if distribution == "ubuntu" { "linux-image-virtual" } else { "linux-image-cloud-amd64" }
}

/// What the guest is made of.
pub fn packages() -> Packages {
    Packages {
        purpose: "guest".into(),
        names: PACKAGES.iter().map(|name| (*name).to_owned()).collect(),
        leaves: Leaves::default(),
        made_once: Vec::new(),
        changed_permissions: Vec::new(),
    }
}

/// Builds it, once.
pub fn build(distribution: &str) -> Task {
    let kernel = kernel_package(distribution);
    let version = files::hash(format!("{INIT}{UDHCPC}{MODULES:?}").as_bytes());
    let there = |host: &Host| {
        let missing = PARTS.iter().find(|part| !files::exists(host, file(part)));
        Ok(missing.map_or(Checked::Done, |part| Checked::needed(format!("build {}", file(part).display()))))
    };
    Task::once(ActionId::new("guest", "image"), "Build a small guest", &version, there, move |host| make(host, kernel))
        .undone_by(Undo::Nothing)
}

fn make(host: &Host, kernel: &str) -> Result<()> {
    let work = file("build");
    files::remove_tree(host, &work)?;
    let root = work.join("root");
    files::make_parents(host, &root)?;
    for dir in ["", "bin", "sbin", "etc", "modules"] {
        files::make_dir(host, &root.join(dir), 0o755, None)?;
    }
    files::write(host, &root.join("init"), INIT.as_bytes(), 0o755, None)?;
    files::write(host, &root.join("etc/udhcpc.sh"), UDHCPC.as_bytes(), 0o755, None)?;
    files::write(host, &root.join("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n", 0o644, None)?;
    files::write(host, &root.join("etc/group"), b"root:x:0:\n", 0o644, None)?;
    add_programs(host, &root)?;
    add_kernel(host, &work, &root, kernel)?;
    pack(host, &root)?;
    let disk = host.real(file(PARTS[2]));
    let made = std::fs::File::create(&disk).and_then(|disk| disk.set_len(DISK_BYTES));
    made.map_err(|source| Error::Io { doing: "write", path: disk, source })?;
    files::remove_tree(host, &work)
}

/// Programs, and with them the libraries that the loader names.
fn add_programs(host: &Host, root: &Path) -> Result<()> {
    for program in PROGRAMS {
        let name = Path::new(program).file_name().unwrap_or_default();
        files::copy(host, Path::new(program), &root.join("bin").join(name), 0o755)?;
        // A static program has none, and ldd then ends with 1.
        let listed = Command::new("ldd").arg(program).quiet().output(host)?;
        for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
            let target = root.join(library.strip_prefix("/").unwrap_or(&library));
            files::make_parents(host, &target)?;
            files::copy(host, &library, &target, 0o755)?;
        }
    }
    files::make_link(host, &root.join("bin/sh"), Path::new("busybox"))
}

/// Paths in the output of ldd(1): `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)`, `/lib64/ld-linux... (0x...)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    listed.lines().filter_map(path).collect()
}

/// The newest kernel of the distribution, from its package: nothing of it is installed.
fn add_kernel(host: &Host, work: &Path, root: &Path, package: &str) -> Result<()> {
    let archives = work.join("archives");
    files::make_parents(host, &archives.join("partial"))?;
    packages::download(host, &[package.to_owned()], &archives)?;
    let tree = work.join("kernel");
    let is_wanted = |name: &String| {
        let of =
            |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        name.ends_with(".deb") && (of("linux-image-") || of("linux-image-unsigned-") || of("linux-modules-"))
    };
    for archive in files::list(host, &archives)?.into_iter().filter(is_wanted) {
        let archive = host.real(archives.join(archive));
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(archive.to_string_lossy())
            .arg(tree.to_string_lossy())
            .run(host)?;
    }
    let kernels = files::list(host, tree.join("boot"))?;
    let kernel = kernels.iter().find(|name| name.starts_with("vmlinuz-"));
    let kernel = kernel.ok_or_else(|| Error::protocol(format!("unpack {package}"), "there is no kernel in it"))?;
    files::copy(host, &tree.join("boot").join(kernel), &file(PARTS[0]), 0o644)?;
    add_modules(host, &tree, root)
}

fn add_modules(host: &Host, tree: &Path, root: &Path) -> Result<()> {
    let found = walk(&host.real(tree))?;
    for module in MODULES {
        let is_it = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.split_once('.').is_some_and(|(stem, kind)| stem == module && kind.starts_with("ko"))
        };
        let Some(path) = found.iter().find(is_it) else { continue };
        let target = root.join("modules").join(format!("{module}.ko"));
        let unpack = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => Some("xz"),
            Some("zst") => Some("zstd"),
            _ => None,
        };
        match unpack {
            // busybox loads them unpacked only.
            Some(program) => {
                let path = path.to_string_lossy();
                let unpacked = Command::new(program).args(["--decompress", "--stdout", &path]).quiet().output(host)?;
                files::write(host, &target, &unpacked.stdout, 0o644, None)?;
            }
            None => files::copy(host, path, &target, 0o644)?,
        }
    }
    files::write(host, &root.join("modules/order"), format!("{}\n", MODULES.join("\n")).as_bytes(), 0o644, None)
}

/// An archive as the kernel reads it (docs.kernel.org, "initramfs buffer format").
fn pack(host: &Host, root: &Path) -> Result<()> {
    let real = host.real(root);
    let failed = |source| Error::Io { doing: "pack", path: real.clone(), source };
    let mut archive = Vec::new();
    for (number, path) in walk(&real)?.into_iter().enumerate() {
        let name = path.strip_prefix(&real).unwrap_or(&path).to_string_lossy().into_owned();
        let status = path.symlink_metadata().map_err(failed)?;
        let content = match status.file_type() {
            kind if kind.is_dir() => Vec::new(),
            kind if kind.is_symlink() => {
                std::fs::read_link(&path).map_err(failed)?.to_string_lossy().into_owned().into_bytes()
            }
            _ => std::fs::read(&path).map_err(failed)?,
        };
        let entry = cpio::newc::Builder::new(&name).ino(number as u32 + 1).mode(status.mode());
        let size = u32::try_from(content.len()).map_err(|e| Error::protocol("pack the guest", e))?;
        let mut writer = entry.write(&mut archive, size);
        writer.write_all(&content).and_then(|()| writer.finish().map(drop)).map_err(failed)?;
    }
    cpio::newc::trailer(&mut archive).map_err(failed)?;
    files::write(host, &file(PARTS[1]), &archive, 0o644, None)
}

/// Everything below a directory, parents first.
fn walk(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { doing: "list", path: directory.to_owned(), source };
    let mut all = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(directory).map_err(failed)?.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let is_directory = path.symlink_metadata().map_err(failed)?.is_dir();
        all.push(path.clone());
        if is_directory {
            all.extend(walk(&path)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected: Vec<PathBuf> =
            vec!["/lib/x86_64-linux-gnu/libz.so.1".into(), "/lib64/ld-linux-x86-64.so.2".into()];
        assert_eq!(libraries(listed), expected);
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
