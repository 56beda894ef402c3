//! The proof of a card: a throw-away guest gets it, looks, and gives it back, several times. No operating system is
//! needed for that: the guest's kernel (this machine's own) tells each device on its bus by its ids before it ends for
//! want of a disk. What shows that a card does not survive being passed on: a guest that does not start or end, a card
//! that is gone or mute afterwards, a narrower link, the host kernel's own words. What was proven is noted with the kernel,
//! since a new one resets cards in another way.

use super::GpuError;
use super::bind;
use super::claim::{Claim, Claims, Member};
use crate::facts::pci::{self, DEVICES, Function};
use crate::host::command::Command;
use crate::host::pci::VFIO;
use crate::host::qemu::PROGRAM;
use crate::host::{Error, Host, Result, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a card is passed on.
pub const ROUNDS: usize = 3;
/// How long a guest may take until its kernel finds no disk.
const LIMIT: Duration = Duration::from_secs(60);
/// Where it is noted which cards are proven.
const NOTE: &str = "/var/lib/gpucloud/card-tests.json";
/// The host kernel's words for a card that does not come back (drivers/pci/pci.c, drivers/pci/pcie). One that takes a
/// second is "not ready ...; waiting" before it is ready, which harms nobody; nor do errors that were corrected.
const BAD_WORDS: [&str; 4] = ["giving up", "Unable to change power state", "reset failed", "AER: Uncorrect"];
/// The emulator's words for what is not the card's fault: somebody has it open, or memory cannot be locked.
const OTHERS_FAULT: [&str; 2] = ["busy", "Cannot allocate memory"];

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// The card.
    pub address: String,
    /// How often it was passed on and came back.
    pub rounds: usize,
    /// How the kernel resets it, its first choice first.
    pub resets: Vec<String>,
    /// Its link before and after: "16.0 GT/s x16".
    pub link: [Option<String>; 2],
    /// How long it took.
    pub seconds: f64,
    /// Why it should be given to nobody, if so.
    pub failure: Option<String>,
}

/// Proves a card that is bound and free. `kvm`: whether guests run on KVM here.
///
/// # Errors
/// There is no kernel to boot, no emulator, or a stop on request: nothing is said of the card.
pub fn prove(host: &Host, claim: &Claim, kvm: bool) -> Result<Proof> {
    let (begin, address) = (Instant::now(), claim.card.address.clone());
    let function = function(host, &address)?.ok_or_else(|| GpuError::Gone { card: address.clone() })?;
    if function.driver.as_deref() != Some(VFIO) {
        return Err(GpuError::NotBound { card: address }.into());
    }
    let (kernel, before) = (kernel(host)?, pci::details(host, &function)?);
    let mut proof = Proof {
        address,
        rounds: 0,
        resets: before.resets.clone(),
        link: [before.link.clone(), None],
        seconds: 0.0,
        failure: None,
    };
    let alone = Claims { claims: vec![claim.clone()], ..Claims::default() };
    while proof.rounds < ROUNDS && proof.failure.is_none() {
        host.go_on()?;
        if let Some(user) = bind::users_of(host, &pci::functions(host)?, &alone)?.first() {
            return Err(GpuError::InUse { card: proof.address, user: user.name.clone() }.into());
        }
        host.progress(proof.rounds as u64, ROUNDS as u64, &format!("a guest looks at {}", proof.address));
        let since = jiff::Timestamp::now().as_second();
        proof.failure = match look(host, &claim.card, &kernel, kvm)? {
            Some(failure) => Some(failure),
            None => afterwards(host, &claim.card, before.link.as_deref(), since)?,
        };
        proof.rounds += usize::from(proof.failure.is_none());
    }
    host.progress(ROUNDS as u64, ROUNDS as u64, "");
    if let Some(now) = self::function(host, &proof.address)? {
        proof.link[1] = pci::details(host, &now)?.link;
    }
    proof.seconds = begin.elapsed().as_secs_f64();
    Ok(proof)
}

fn function(host: &Host, address: &str) -> Result<Option<Function>> {
    Ok(pci::functions(host)?.into_iter().find(|function| function.address == address))
}

/// The kernel that runs here, else the newest that is installed.
fn kernel(host: &Host) -> Result<PathBuf> {
    let release = files::read_text(host, "/proc/sys/kernel/osrelease")?.unwrap_or_default();
    let own = PathBuf::from(format!("/boot/vmlinuz-{}", release.trim()));
    if files::exists(host, &own) {
        return Ok(own);
    }
    let mut all = files::list(host, "/boot")?;
    all.retain(|name| name.starts_with("vmlinuz-"));
    all.sort();
    Ok(all.pop().map(|name| Path::new("/boot").join(name)).ok_or(GpuError::NoKernel)?)
}

/// One guest with the card; what went wrong, if something did.
fn look(host: &Host, card: &Member, kernel: &Path, kvm: bool) -> Result<Option<String>> {
    let passed = format!("vfio-pci,host={},bus=behind", card.address);
    let (accelerator, processor) = if kvm { ("kvm", "host") } else { ("tcg", "max") };
    let guest = Command::new(PROGRAM)
        .args(["-machine", "q35", "-accel", accelerator, "-cpu", processor, "-m", "512", "-display", "none"])
        .args(["-nodefaults", "-no-reboot", "-serial", "stdio", "-sandbox", "on"])
        .args(["-device", "pcie-root-port,id=behind", "-device", &passed])
        .args(["-kernel", &kernel.to_string_lossy(), "-append", "console=ttyS0 panic=-1"])
        .limit(host.limit(LIMIT))
        .quiet()
        .output(host);
    let output = match guest {
        Ok(output) => output,
        Err(Error::TimedOut { seconds, .. }) => {
            return Ok(Some(format!("a guest that got it did not end within {seconds} s")));
        }
        Err(error) => return Err(error),
    };
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if lists(&said, &card.ids) {
        return Ok(None);
    }
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    if said.contains("Linux version") {
        return Ok(Some(format!("a guest that got it does not see {} on its bus", card.ids)));
    }
    // Only what the emulator says of the card is the card's fault.
    let is_of_card = last.contains(&card.address) || last.contains("vfio");
    match is_of_card && !OTHERS_FAULT.iter().any(|words| last.contains(words)) {
        true => Ok(Some(format!("no guest starts with it: {last}"))),
        false => Err(GpuError::NoGuest { said: last.to_owned() }.into()),
    }
}

/// Whether a guest's kernel told a device with these ids: "pci 0000:01:00.0: [10de:2335] type 00 class 0x030200".
fn lists(said: &str, ids: &str) -> bool {
    said.lines().any(|line| line.contains("pci ") && line.contains(&format!("[{ids}] type")))
}

/// What is wrong with the card once the guest is gone.
fn afterwards(host: &Host, card: &Member, link: Option<&str>, since: i64) -> Result<Option<String>> {
    let Some(function) = function(host, &card.address)? else {
        return Ok(Some("it is gone from the bus after a guest had it".into()));
    };
    if function.driver.as_deref() != Some(VFIO) {
        return Ok(Some("it is not on vfio-pci any more after a guest had it".into()));
    }
    let space = files::read(host, &Path::new(DEVICES).join(&card.address).join("config"))?.unwrap_or_default();
    if space.starts_with(&[0xff, 0xff]) {
        return Ok(Some("it does not answer on the bus after a guest had it: only a cold start helps".into()));
    }
    let now = pci::details(host, &function)?.link;
    if let (Some(before), Some(after)) = (link.and_then(width), now.as_deref().and_then(width))
        && after < before
    {
        return Ok(Some(format!("its link has {after} lanes after a guest had it, and had {before}")));
    }
    let log = Command::new("journalctl")
        .args(["--dmesg", "--output=cat", "--no-pager", &format!("--since=@{since}")])
        .quiet()
        .read(host)?;
    Ok(complaint_in(&log, &card.address).map(|line| format!("the kernel says of it: {line}")))
}

/// Lanes: "16.0 GT/s x16". An idle card lowers its speed, never its width.
fn width(link: &str) -> Option<u32> {
    link.rsplit_once('x')?.1.trim().parse().ok()
}

fn complaint_in(log: &str, address: &str) -> Option<String> {
    let bad = |line: &&str| line.contains(address) && BAD_WORDS.iter().any(|words| line.contains(words));
    log.lines().find(bad).map(|line| line.trim().to_owned())
}

/// A card that was proven, and under which kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Proven {
    card: Member,
    kernel: String,
}

/// Notes that a card is proven under the kernel that runs; or, with `false`, that it is not.
pub fn note(host: &Host, card: &Member, good: bool) -> Result<()> {
    let mut all = proven(host)?;
    all.retain(|one| one.card != *card);
    if good {
        all.push(Proven { card: card.clone(), kernel: running_kernel(host)? });
    }
    let text = serde_json::to_string_pretty(&all).map_err(|error| Error::protocol(format!("write {NOTE}"), error))?;
    files::write(host, Path::new(NOTE), format!("{text}\n").as_bytes(), 0o644, None)
}

/// Whether the very card is proven under the kernel that runs.
pub fn is_proven(host: &Host, card: &Member) -> Result<bool> {
    let kernel = running_kernel(host)?;
    Ok(proven(host)?.iter().any(|one| one.card == *card && one.kernel == kernel))
}

fn running_kernel(host: &Host) -> Result<String> {
    Ok(files::read_text(host, "/proc/sys/kernel/osrelease")?.unwrap_or_default().trim().to_owned())
}

/// A note that is damaged is none: cards are tested again.
fn proven(host: &Host) -> Result<Vec<Proven>> {
    let text = files::read_text(host, NOTE)?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_kernel_lists_what_it_has() {
        let said = "[    0.3] pci 0000:00:01.0: [1b36:000c] type 01 class 0x060400 PCIe Root Port\n\
                    [    0.4] pci 0000:01:00.0: [10de:2335] type 00 class 0x030200 PCIe Endpoint\n";
        assert!(lists(said, "10de:2335") && !lists(said, "10de:2204"));
    }

    #[test]
    fn a_link_is_compared_by_its_lanes_and_the_kernels_words_by_their_card() {
        assert_eq!((width("16.0 GT/s x16"), width("2.5 GT/s x8"), width("?")), (Some(16), Some(8), None));
        let log = "vfio-pci 0000:c1:00.0: not ready 65535ms after FLR; giving up\nvfio-pci 0000:41:00.0: not ready 1023ms after bus reset; waiting\n";
        assert!(complaint_in(log, "0000:c1:00.0").is_some_and(|line| line.contains("giving up")));
        assert_eq!(complaint_in(log, "0000:41:00.0"), None);
    }

    #[test]
    fn a_card_is_proven_for_one_kernel() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let runs = |release: &str| {
            std::fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
            std::fs::write(root.path().join("proc/sys/kernel/osrelease"), format!("{release}\n")).unwrap();
        };
        let card = Member {
            address: "0000:41:00.0".into(),
            ids: "10de:2335".into(),
            subsystem: String::new(),
            port: None,
            way: None,
        };
        runs("6.1.0-25-amd64");
        note(&host, &card, true).unwrap();
        assert!(is_proven(&host, &card).unwrap());
        runs("6.1.0-26-amd64");
        assert!(!is_proven(&host, &card).unwrap());
        note(&host, &card, false).unwrap();
        runs("6.1.0-25-amd64");
        assert!(!is_proven(&host, &card).unwrap());
    }
}
