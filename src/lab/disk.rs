//! The disk of a virtual lab, made of a root file system: partitions, GRUB, ext4. No loop device, no mount, nothing of
//! the root is run but `grub-mkimage`.
//!
//! GRUB's core image lies in a partition of its own, and is told by sectors where it lies: what `grub-install` writes
//! (GRUB manual, "BIOS installation"; boot/i386/pc/diskboot.S for the list of blocks). It reads the host's own
//! `/boot/grub/grub.cfg`; `update-grub` inside makes that anew.

use crate::host::command::Command;
use crate::host::{Error, Host, Result, files};
use std::path::{Path, PathBuf};

/// Of a sector.
const SECTOR: usize = 512;
/// Where the partition for GRUB begins and how long it is, in sectors.
const GRUB: (u64, u64) = (2048, 6144);
/// Where the root's partition begins, in sectors.
const ROOT: u64 = 8192;
/// GPT partition types: BIOS boot, Linux file system (UEFI specification, 5.3; util-linux names them the same).
const TYPES: [&str; 2] = ["21686148-6449-6E6F-744E-656564454649", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"];
/// The label of the root's file system.
const LABEL: &str = "lab-root";
/// What GRUB must know before it reads its configuration, and for that.
const MODULES: [&str; 12] = [
    "biosdisk",
    "part_gpt",
    "ext2",
    "normal",
    "linux",
    "search",
    "search_label",
    "serial",
    "terminal",
    "echo",
    "configfile",
    "test",
];
/// Drivers of the disk that the host boots from, and of one that stands in for a card.
const INITRAMFS: [&str; 4] = ["virtio_pci", "virtio_blk", "ext4", "nvme"];
/// GRUB's files for this firmware, in the root.
const PLATFORM: &str = "usr/lib/grub/i386-pc";

/// The first configuration of GRUB: until `update-grub` runs in the host.
fn grub_configuration(kernel: &str) -> String {
    format!(
        "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n\
         search --no-floppy --set=root --label {LABEL}\n\
         linux /vmlinuz root=LABEL={LABEL} ro {CONSOLE} {kernel}\ninitrd /initrd.img\nboot\n"
    )
}

/// What `update-grub` reads beside the distribution's own.
fn grub_defaults(kernel: &str) -> String {
    format!(
        "GRUB_TIMEOUT=0\nGRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n\
         GRUB_CMDLINE_LINUX_DEFAULT=\"\"\nGRUB_CMDLINE_LINUX=\"{CONSOLE} {kernel}\"\n"
    )
}

/// The files of `root` by which it boots from the disk that [`make`] makes of it.
pub fn write_boot_files(host: &Host, root: &Path, kernel: &str) -> Result<()> {
    let write = |path: &str, text: String| files::write(host, &root.join(path), text.as_bytes(), 0o644, None);
    write("etc/fstab", format!("LABEL={LABEL} / ext4 errors=remount-ro 0 1\n"))?;
    write("etc/default/grub.d/50-lab.cfg", grub_defaults(kernel))?;
    // Where it is built anew inside, what this board needs is a minute's work less than all that a machine may need.
    write("etc/initramfs-tools/conf.d/lab", "MODULES=list\n".into())?;
    write("etc/initramfs-tools/modules", INITRAMFS.join("\n") + "\n")?;
    write("boot/grub/grub.cfg", grub_configuration(kernel))
}

/// All that the kernel says goes to the serial line. Under emulation it panics now and then (a double fault in cmpxchg16b,
/// QEMU 7.2): then it boots again, as after a power cut.
const CONSOLE: &str = "console=tty0 console=ttyS0,115200 panic=10";

/// Makes `image` of `root`, `gib` GiB long; it takes on the disk what is in it.
pub fn make(host: &Host, root: &Path, image: &Path, gib: u64) -> Result<()> {
    let sectors = gib * (1 << 30) / SECTOR as u64;
    // sfdisk rounds the end of a partition down to a MiB; a file system may not be longer than its partition.
    let kib = sectors / 2 - ROOT / 2 - 4096;
    let text = |path: &Path| path.display().to_string();
    files::make_parents(host, image)?;
    files::remove(host, image)?;
    Command::new("truncate").args(["--size", &format!("{gib}G"), &text(image)]).run(host)?;
    let table =
        format!("label: gpt\nstart={}, size={}, type={}\nstart={ROOT}, type={}\n", GRUB.0, GRUB.1, TYPES[0], TYPES[1]);
    Command::new("sfdisk").args(["--quiet", &text(image)]).stdin(table).run(host)?;
    prepare_grub(host, root)?;
    let offset = format!("offset={},lazy_itable_init=1,lazy_journal_init=1", ROOT as usize * SECTOR);
    Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", LABEL, "-E", &offset, "-d", &text(root), &text(image), &format!("{kib}k")])
        .run(host)?;
    write_grub(host, root, image)
}

/// GRUB's modules and its core, in the root.
fn prepare_grub(host: &Host, root: &Path) -> Result<()> {
    let target = root.join("boot/grub/i386-pc");
    files::make_parents(host, &target.join("x"))?;
    files::make_dir(host, &target, 0o755, None)?;
    let from = root.join(PLATFORM);
    for name in files::list(host, &from)?.iter().filter(|name| name.ends_with(".mod") || name.ends_with(".lst")) {
        files::copy(host, &from.join(name), &target.join(name), 0o644)?;
    }
    Command::new("chroot")
        .arg(root.display().to_string())
        .args(["/usr/bin/grub-mkimage", "-O", "i386-pc", "-o", &format!("/{CORE}"), "-p", "(hd0,gpt2)/boot/grub"])
        .args(MODULES)
        .run(host)
}

/// Where the core image lies in the root.
const CORE: &str = "boot/grub/i386-pc/core.img";

fn write_grub(host: &Host, root: &Path, image: &Path) -> Result<()> {
    let read = |path: PathBuf| {
        let missing = || Error::protocol("make a disk", format!("{} is missing", path.display()));
        files::read(host, &path)?.ok_or_else(missing)
    };
    let boot = boot_sector(&read(root.join(PLATFORM).join("boot.img"))?);
    let core = core_with_its_place(&read(root.join(CORE))?);
    if core.len() as u64 > GRUB.1 * SECTOR as u64 {
        return Err(Error::protocol("make a disk", format!("GRUB's core has {} bytes", core.len())));
    }
    for (part, content, seek) in [("boot", boot, 0), ("core", core, GRUB.0)] {
        let file = image.with_extension(part);
        files::write(host, &file, &content, 0o600, None)?;
        Command::new("dd")
            .args([format!("if={}", file.display()), format!("of={}", image.display())])
            .args([format!("bs={SECTOR}"), format!("seek={seek}")])
            .args(["conv=notrunc", "status=none"])
            .run(host)?;
        files::remove(host, &file)?;
    }
    Ok(())
}

/// The code of a boot sector, with the sector of the core in it; the table of partitions, behind byte 440, stays as it
/// is on the disk.
fn boot_sector(boot: &[u8]) -> Vec<u8> {
    let mut sector = boot[..BOOT_CODE.min(boot.len())].to_vec();
    sector[0x5c..0x64].copy_from_slice(&GRUB.0.to_le_bytes());
    // A jump over what only floppies need becomes nothing.
    sector[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    sector
}

/// How much of the first sector is code.
const BOOT_CODE: usize = 440;

/// Whole sectors; the first one ends with where the others lie, how many there are, and the segment to read them to.
fn core_with_its_place(core: &[u8]) -> Vec<u8> {
    let mut whole = core.to_vec();
    whole.resize(core.len().div_ceil(SECTOR) * SECTOR, 0);
    let others = (whole.len() / SECTOR - 1) as u16;
    whole[500..508].copy_from_slice(&(GRUB.0 + 1).to_le_bytes());
    whole[508..510].copy_from_slice(&others.to_le_bytes());
    whole[510..512].copy_from_slice(&0x820_u16.to_le_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_says_where_its_other_sectors_lie() {
        let core = core_with_its_place(&[7; 3 * SECTOR + 1]);
        assert_eq!(core.len(), 4 * SECTOR);
        assert_eq!(core[500..512], [0x01, 0x08, 0, 0, 0, 0, 0, 0, 3, 0, 0x20, 0x08]);
        let boot = boot_sector(&[1; SECTOR]);
        assert_eq!((boot.len(), &boot[0x5c..0x60], boot[0x66]), (BOOT_CODE, &[0, 8, 0, 0][..], 0x90));
    }
}
