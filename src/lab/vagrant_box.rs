//! A box for Vagrant with libvirt, made of a virtual lab's base image: a host that `vagrant up` needs no internet for.
//!
//! A box is an archive of a disk, a note of what it is, and settings (vagrant-libvirt documentation, "Box format"). Who
//! logs in is Vagrant's convention ("Creating a Base Box"): everybody knows the password and has the first key's other
//! half, so a box belongs on networks of its own. Nothing of this machine goes into it but the address of its package
//! mirror.

use super::base::Base;
use super::cards::Board;
use super::{DIRECTORY, LabError, disk, image, steps};
use crate::engine::pace;
use crate::facts::hardware::EMULATED_PACE;
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::path::Path;

/// How large its disk is, in GiB; it takes what is in it.
const DISK_GIB: u64 = 24;
/// The account that Vagrant logs in to, and its password.
const USER: &str = "vagrant";
/// Above the numbers of the files that Vagrant writes for further cards: networkd takes the first that fits
/// (systemd.network(5)). A lease by hardware address stays the same after a snapshot is restored.
const NETWORK: &str = "[Match]\nName=en* eth*\n\n\
    [Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n\
    [DHCPv4]\nClientIdentifier=mac\n";
/// Each machine has host keys of its own: the box has none, and `-A` makes those that are missing.
const HOST_KEYS: &str =
    "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n";
/// What the box itself tells Vagrant: the disk is on virtio, and the driver is the user's choice.
const VAGRANTFILE: &str = "Vagrant.configure(\"2\") do |config|\n  config.vm.provider :libvirt do |libvirt|\n    \
    libvirt.disk_bus = \"virtio\"\n  end\nend\n";

/// The public key of which Vagrant has the other half, where a package of Vagrant is installed.
///
/// # Errors
/// What dpkg noted cannot be read.
pub fn known_key(host: &Host) -> Result<Option<String>> {
    let files = files::read_text(host, "/var/lib/dpkg/info/vagrant.list")?.unwrap_or_default();
    match files.lines().find(|path| path.ends_with("/keys/vagrant.pub")) {
        Some(path) => files::read_text(host, path),
        None => Ok(None),
    }
}

/// Whether `text` is lines as `authorized_keys` has them (sshd(8)), without options; private keys are none.
pub fn are_public_keys(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    let is_key = |line: &str| {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start)) && words.next().is_some()
    };
    lines.peek().is_some() && lines.all(is_key)
}

/// Packs a box of `base` into `file`, which `key` (public) logs in to. `say` is told of each part that takes its time.
///
/// # Errors
/// The base is older than Vagrant's needs, the disk is full, or a program fails; nothing is left then.
pub fn make(host: &Host, base: Base, key: &str, file: &Path, say: impl Fn(&str)) -> std::result::Result<(), LabError> {
    let dir = Path::new(DIRECTORY).join("box");
    let _lock = files::lock(host, &Path::new(DIRECTORY).join("box.lock"))?;
    files::remove_tree(host, &dir)?;
    let made = pack(host, base, key, file, &dir, say);
    let cleared = files::remove_tree(host, &dir);
    made?;
    Ok(cleared?)
}

fn pack(
    host: &Host,
    base: Base,
    key: &str,
    file: &Path,
    dir: &Path,
    say: impl Fn(&str),
) -> std::result::Result<(), LabError> {
    say("Making its root ...");
    let root = dir.join("root");
    files::make_parents(host, &root)?;
    super::copy(host, &base.dir(), &root)?;
    write_settings(host, &root)?;
    add_user(host, &root, key)?;
    say("Making its disk ...");
    make_disk(host, &root, dir)?;
    say("Packing it ...");
    Ok(archive(host, dir, file)?)
}

/// What a machine has that knows neither its name nor its address yet.
fn write_settings(host: &Host, root: &Path) -> Result<()> {
    let limits = pace::systemd_limits(EMULATED_PACE);
    for (path, text) in [
        ("etc/machine-id", ""),
        ("etc/resolv.conf", ""),
        ("etc/hostname", "debian\n"),
        ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost\n"),
        ("etc/systemd/network/80-dhcp.network", NETWORK),
        ("etc/systemd/system/ssh.service.d/10-host-keys.conf", HOST_KEYS),
        ("etc/systemd/system.conf.d/20-lab-emulated.conf", &limits),
        ("etc/ssh/sshd_config.d/vagrant.conf", "UseDNS no\nLoginGraceTime 600\n"),
    ] {
        files::write(host, &root.join(path), text.as_bytes(), 0o644, None)?;
    }
    image::remove_host_keys(host, root)?;
    disk::write_boot_files(host, root, &Board::default().kernel)?;
    steps::enable_networkd(host, &root.join("etc/systemd/system"))
}

fn add_user(host: &Host, root: &Path, key: &str) -> std::result::Result<(), LabError> {
    if !files::exists(host, root.join("usr/bin/sudo")) {
        return Err(LabError::NoSudo);
    }
    let inside = |program: &str| Command::new("chroot").args([root.display().to_string().as_str(), program]);
    inside("/usr/sbin/useradd").args(["--create-home", "--shell", "/bin/bash", USER]).run(host)?;
    inside("/usr/sbin/chpasswd").stdin(format!("{USER}:{USER}\n")).run(host)?;
    let ssh = root.join("home").join(USER).join(".ssh");
    files::make_dir(host, &ssh, 0o700, None)?;
    files::write(host, &ssh.join("authorized_keys"), key.as_bytes(), 0o600, None)?;
    let owner = format!("{USER}:{USER}");
    inside("/usr/bin/chown").args(["--recursive", &owner, &format!("/home/{USER}/.ssh")]).run(host)?;
    let rule = format!("{USER} ALL=(ALL) NOPASSWD: ALL\n");
    Ok(files::write(host, &root.join("etc/sudoers.d").join(USER), rule.as_bytes(), 0o440, None)?)
}

/// `box.img` in `dir`; the root is gone then.
fn make_disk(host: &Host, root: &Path, dir: &Path) -> Result<()> {
    let raw = dir.join("disk.raw");
    disk::make(host, root, &raw, DISK_GIB)?;
    files::remove_tree(host, root)?;
    let (from, to) = (raw.display().to_string(), dir.join(IMAGE).display().to_string());
    Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2", &from, &to]).run(host)?;
    files::remove(host, &raw)
}

/// The disk in a box.
const IMAGE: &str = "box.img";

/// Puts the parts into one file, which is there only when it is complete.
fn archive(host: &Host, dir: &Path, file: &Path) -> Result<()> {
    files::write(host, &dir.join("metadata.json"), metadata().as_bytes(), 0o644, None)?;
    files::write(host, &dir.join("Vagrantfile"), VAGRANTFILE.as_bytes(), 0o644, None)?;
    let partial = files::sibling(file, ".partial");
    let packed = Command::new("tar")
        .args(["--create", "--gzip", "--file", &partial.display().to_string()])
        .args(["--directory", &dir.display().to_string(), "metadata.json", "Vagrantfile", IMAGE])
        .run(host)
        .and_then(|()| files::rename(host, &partial, file));
    if packed.is_err() {
        files::remove(host, &partial)?;
    }
    packed
}

fn metadata() -> String {
    format!("{}\n", serde_json::json!({"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIB}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_and_empty_files_log_nobody_in() {
        assert!(are_public_keys("ssh-ed25519 AAAA one\n\necdsa-sha2-nistp256 AAAA\n"));
        for text in ["", "\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "ssh-rsa\n", "ssh-rsa AAAA\nhello you\n"]
        {
            assert!(!are_public_keys(text), "{text}");
        }
    }

    #[test]
    fn vagrants_own_key_is_found_where_its_package_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        assert_eq!(known_key(&host).unwrap(), None);
        let write =
            |path: &str, text: &str| files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
        write("/var/lib/dpkg/info/vagrant.list", "/.\n/opt/vagrant/keys/vagrant\n/opt/vagrant/keys/vagrant.pub\n");
        write("/opt/vagrant/keys/vagrant.pub", "ssh-rsa AAAA vagrant\n");
        assert_eq!(known_key(&host).unwrap().as_deref(), Some("ssh-rsa AAAA vagrant\n"));
    }

    #[test]
    fn the_settings_of_a_box_name_no_machine() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        files::write(&host, Path::new("/etc/ssh/ssh_host_rsa_key"), b"secret", 0o600, None).unwrap();
        files::write(&host, Path::new("/etc/machine-id"), b"4711", 0o444, None).unwrap();
        write_settings(&host, Path::new("/")).unwrap();
        let text = |path: &str| files::read_text(&host, path).unwrap();
        assert_eq!(text("/etc/machine-id").as_deref(), Some(""));
        assert_eq!(text("/etc/ssh/ssh_host_rsa_key"), None);
        assert!(text("/boot/grub/grub.cfg").unwrap().contains("intel_iommu=on iommu=pt"));
        assert_eq!(metadata().trim(), r#"{"format":"qcow2","provider":"libvirt","virtual_size":24}"#);
    }
}
