//! A small guest for where no image can be downloaded: the distribution's own kernel, busybox and dropbear in an
//! initial file system. It takes an address, its name and a key, and answers SSH, also under emulation in seconds.
//! What runs in it is in `profiles/guest/`.

use super::file;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::host::command::Command;
use crate::host::{Error, Host, Result, cpio, files, packages};
use std::path::{Path, PathBuf};

/// Its kernel, its initial file system, and an empty disk, which Nova wants.
pub const PARTS: [&str; 3] = ["guest-kernel", "guest-initramfs", "guest"];
const INIT: &str = include_str!("../../profiles/guest/init");
const UDHCPC: &str = include_str!("../../profiles/guest/udhcpc.sh");
const METADATA: &str = include_str!("../../profiles/guest/metadata.sh");
/// Packages whose programs go into the guest, and what unpacks its modules. They are unpacked, not installed:
/// busybox-static would put the busybox out with which others make their initial file systems.
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
const PROGRAMS: [&str; 3] = ["busybox", "dropbear", "dropbearkey"];
const DISK_BYTES: usize = 1 << 20;

/// The package with a small kernel for guests.
fn kernel_package(distribution: &str) -> &'static str {
    if distribution == "ubuntu" { "linux-image-virtual" } else { "linux-image-cloud-amd64" }
}

/// Builds it, once.
pub fn build(distribution: &str) -> Task {
    let kernel = kernel_package(distribution);
    let version = files::hash(format!("{INIT}{UDHCPC}{METADATA}{MODULES:?}").as_bytes());
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
    let (root, tree) = (work.join("root"), work.join("tree"));
    files::make_parents(host, &root)?;
    for dir in ["", "bin", "sbin", "etc", "modules"] {
        files::make_dir(host, &root.join(dir), 0o755, None)?;
    }
    files::write(host, &root.join("init"), INIT.as_bytes(), 0o755, None)?;
    files::write(host, &root.join("etc/udhcpc.sh"), UDHCPC.as_bytes(), 0o755, None)?;
    files::write(host, &root.join("etc/metadata.sh"), METADATA.as_bytes(), 0o644, None)?;
    files::write(host, &root.join("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n", 0o644, None)?;
    files::write(host, &root.join("etc/group"), b"root:x:0:\n", 0o644, None)?;
    unpack(host, &work.join("archives"), &tree, kernel)?;
    add_programs(host, &tree, &root)?;
    let modules = add_kernel(host, &tree)?;
    add_modules(host, &tree, &modules, &root)?;
    cpio::pack(host, &root, &file(PARTS[1]))?;
    files::write(host, &file(PARTS[2]), &[0; DISK_BYTES], 0o644, None)?;
    files::remove_tree(host, &work)
}

/// Downloads the packages that are not installed here, and unpacks those of which something is needed.
fn unpack(host: &Host, archives: &Path, tree: &Path, kernel: &str) -> Result<()> {
    let wanted: Vec<String> = PACKAGES.iter().copied().chain([kernel]).map(str::to_owned).collect();
    files::make_parents(host, &archives.join("partial"))?;
    files::make_dir(host, tree, 0o755, None)?;
    packages::download(host, &wanted, archives)?;
    for archive in files::list(host, archives)?.iter().filter(|name| is_needed(name)) {
        let archive = host.real(archives.join(archive));
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(archive.to_string_lossy())
            .arg(tree.to_string_lossy())
            .run(host)?;
    }
    Ok(())
}

/// Whether an archive has a program, a library, a kernel or its modules.
fn is_needed(archive: &str) -> bool {
    let numbered =
        |prefix: &str| archive.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    archive.ends_with(".deb")
        && (PACKAGES.iter().any(|name| archive.starts_with(&format!("{name}_")))
            || archive.starts_with("lib")
            || ["linux-image-", "linux-image-unsigned-", "linux-modules-"].into_iter().any(numbered))
}

/// Where a program of these packages is: unpacked, or installed here.
fn program(host: &Host, tree: &Path, name: &str) -> Result<PathBuf> {
    let places = ["usr/bin", "bin", "usr/sbin", "sbin"];
    let below = |root: &Path| places.iter().map(|place| root.join(place).join(name)).collect::<Vec<_>>();
    let found = below(tree).into_iter().chain(below(Path::new("/"))).find(|path| files::exists(host, path));
    found.ok_or_else(|| Error::protocol(format!("look for {name}"), "no package has it"))
}

/// Programs, and with them the libraries that the loader names.
fn add_programs(host: &Host, tree: &Path, root: &Path) -> Result<()> {
    let unpacked = host.real(tree).join("usr/lib/x86_64-linux-gnu");
    for name in PROGRAMS {
        let path = program(host, tree, name)?;
        files::copy(host, &path, &root.join("bin").join(name), 0o755)?;
        // A static program has none, and ldd then ends with 1.
        let ldd = Command::new("ldd").arg(host.real(&path).to_string_lossy());
        let listed = ldd.env("LD_LIBRARY_PATH", unpacked.to_string_lossy()).quiet().output(host)?;
        for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
            let name = library.strip_prefix(host.real(tree)).or_else(|_| library.strip_prefix("/")).unwrap_or(&library);
            let target = root.join(name);
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

/// The unpacked kernel, or the newest that is installed here; where its modules are.
fn add_kernel(host: &Host, tree: &Path) -> Result<PathBuf> {
    for root in [tree, Path::new("/")] {
        let mut kernels = files::list(host, root.join("boot"))?;
        kernels.retain(|name| name.starts_with("vmlinuz-"));
        kernels.sort();
        if let Some(kernel) = kernels.pop() {
            files::copy(host, &root.join("boot").join(&kernel), &file(PARTS[0]), 0o644)?;
            let version = kernel.trim_start_matches("vmlinuz-");
            let places = [root.join("usr/lib/modules").join(version), root.join("lib/modules").join(version)];
            return Ok(places.iter().find(|place| files::exists(host, place)).unwrap_or(&places[0]).clone());
        }
    }
    Err(Error::protocol("build the guest", "neither its package nor this machine has a kernel"))
}

fn add_modules(host: &Host, tree: &Path, modules: &Path, root: &Path) -> Result<()> {
    let found = cpio::below(host, modules)?;
    for module in MODULES {
        let is_it = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.split_once('.').is_some_and(|(stem, kind)| stem == module && kind.starts_with("ko"))
        };
        let Some(path) = found.iter().find(is_it) else { continue };
        let target = root.join("modules").join(format!("{module}.ko"));
        let packed_by = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => Some("xz"),
            Some("zst") => Some("zstd"),
            _ => None,
        };
        match packed_by {
            // busybox loads them unpacked only.
            Some(name) => {
                let (unpacker, path) = (program(host, tree, name)?, path.to_string_lossy());
                let unpacker = Command::new(host.real(unpacker).to_string_lossy());
                let unpacked = unpacker.args(["--decompress", "--stdout", &path]).quiet().output(host)?;
                files::write(host, &target, &unpacked.stdout, 0o644, None)?;
            }
            None => files::copy(host, path, &target, 0o644)?,
        }
    }
    files::write(host, &root.join("modules/order"), format!("{}\n", MODULES.join("\n")).as_bytes(), 0o644, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_apt_brings_only_what_is_needed_is_unpacked() {
        for needed in ["dropbear-bin_1_amd64.deb", "libtomcrypt1_1.18_amd64.deb", "linux-image-6.12-cloud_1.deb"] {
            assert!(is_needed(needed), "{needed}");
        }
        for other in ["initramfs-tools_0.1_all.deb", "linux-image-cloud-amd64_6_amd64.deb", "lock", "busybox_1.deb"] {
            assert!(!is_needed(other), "{other}");
        }
    }

    /// What the guest writes as its keys and says on its console, where the metadata service has these answers.
    fn keys_and_words(answers: &[(&str, &str)]) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        for (path, answer) in answers {
            let file = served.join(path).join("answer-of-it");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, answer.replace('\n', "\r\n")).unwrap();
        }
        std::fs::write(dir.path().join("metadata.sh"), METADATA).unwrap();
        let script = ". ./metadata.sh; say() { echo \"$*\" >>said; }; sleep() { :; }; : >said\n\
                      nc() { read -r _ path _; cat \"served/${path#/latest/meta-data/}/answer-of-it\" 2>/dev/null; }\n\
                      write_keys keys";
        let done = std::process::Command::new("sh").args(["-euc", script]).current_dir(&dir).env("run", ".").status();
        done.unwrap();
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        (text("keys"), text("said"))
    }

    #[test]
    fn every_key_that_is_served_is_written_and_what_helps_nobody_is_said() {
        let list = ("public-keys", "HTTP/1.1 200 OK\nX: y\n\n0=tempest\n1=my key = best");
        let key = |line: &str| format!("HTTP/1.1 200 OK\nContent-Type: text/plain\n\n{line}");
        let of = |first: &str, second: &str| {
            let (first, second) = (key(first), key(second));
            keys_and_words(&[list, ("public-keys/0/openssh-key", &first), ("public-keys/1/openssh-key", &second)])
        };
        let (keys, said) = of("ecdsa-sha2-nistp256 AAAA e", "sk-ssh-ed25519@openssh.com AAAA k\nssh-rsa AAAA two");
        assert_eq!(keys.lines().filter(|line| !line.is_empty()).count(), 3, "{keys}");
        assert!(keys.starts_with("ecdsa-sha2-nistp256 AAAA e\n") && said.is_empty(), "{keys}{said}");
        let (keys, said) = of("ssh-dss AAAA", "ssh-ed25519-cert-v01@openssh.com AAAA");
        assert!(
            keys.contains("ssh-dss AAAA") && said.contains("the kind ssh-dss") && said.contains("no key"),
            "{said}"
        );
        let (keys, said) = of("from=\"192.0.2.0/24\",no-pty ssh-rsa AAAA", "ssh-ed25519 AAAA");
        assert!(keys.contains("from=\"192.0.2.0/24\"") && said.contains("with options"), "{said}");
        let (keys, said) = keys_and_words(&[("public-keys", "HTTP/1.1 404 Not Found\n\nno")]);
        assert!(keys.is_empty() && said.contains("status 404") && said.contains("no key"), "{said}");
        let (_, said) = keys_and_words(&[]);
        assert!(said.contains("it does not answer"), "{said}");
    }

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
