//! Whether hardware virtualisation works: not by asking for a flag, but by running a guest.
//!
//! `/dev/kvm` and the `vmx`/`svm` flag are promises that break: no permission, another hypervisor on the CPU, a device
//! without one behind it. Here a guest of four instructions runs on one page of memory and must say the word.
//!
//! That is a lower bound: a software KVM was seen which passes here and yet boots no stock kernel. Interrupts, paging,
//! more than one CPU and IOMMU are not tried.
//!
//! A KVM that never returns from its guest cannot hang this program: a thread runs it, and is left behind after
//! [`TIME_LIMIT`] until the process ends.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use nix::errno::Errno;
use std::ffi::CStr;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The longest that the guest may run. A working KVM needs milliseconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What running a guest showed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kvm {
    /// The guest ran and said the word.
    Works,
    /// There is no `/dev/kvm`: the module is not loaded, or the firmware has virtualisation off.
    NoDevice,
    /// `/dev/kvm` is there but not for this user.
    NoPermission,
    /// It is there and does not work; the text says at which step.
    Broken(String),
}

impl std::fmt::Display for Kvm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kvm::Works => f.write_str("a small machine was run on it"),
            Kvm::NoDevice => f.write_str("there is no /dev/kvm"),
            Kvm::NoPermission => f.write_str("/dev/kvm may not be opened"),
            Kvm::Broken(why) => write!(f, "/dev/kvm is there: {why}"),
        }
    }
}

/// The verdict on this machine; a guest is run when it is read first, and only then.
#[derive(Debug, Clone, Default)]
pub struct OnDemand(OnceLock<Kvm>);

impl Deref for OnDemand {
    type Target = Kvm;

    fn deref(&self) -> &Kvm {
        self.0.get_or_init(prove)
    }
}

impl From<Kvm> for OnDemand {
    /// A verdict that is known.
    fn from(verdict: Kvm) -> Self {
        Self(verdict.into())
    }
}

impl serde::Serialize for OnDemand {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

/// Runs a guest of four instructions on `/dev/kvm`, for at most [`TIME_LIMIT`].
pub fn prove() -> Kvm {
    if cfg!(target_arch = "x86_64") {
        prove_with(c"/dev/kvm")
    } else {
        Kvm::Broken("the test guest is x86 code, this machine is not".to_owned())
    }
}

fn prove_with(device: &CStr) -> Kvm {
    match kvm_ioctls::Kvm::new_with_path(device) {
        Ok(kvm) => in_time(move || run_guest(&kvm, &CODE)),
        Err(error) => not_opened(Errno::from_raw(error.errno())),
    }
}

fn not_opened(errno: Errno) -> Kvm {
    match errno {
        // ENXIO and ENODEV: a device node without a driver behind it.
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => Kvm::NoDevice,
        Errno::EACCES | Errno::EPERM => Kvm::NoPermission,
        other => Kvm::Broken(format!("/dev/kvm cannot be opened: {other}")),
    }
}

fn in_time(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Kvm {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(TIME_LIMIT) {
        Ok(Ok(())) => Kvm::Works,
        Ok(Err(why)) => Kvm::Broken(why),
        Err(RecvTimeoutError::Timeout) => {
            Kvm::Broken(format!("the test guest did not end within {} seconds", TIME_LIMIT.as_secs()))
        }
        Err(RecvTimeoutError::Disconnected) => Kvm::Broken("the test guest's thread died".to_owned()),
    }
}

/// The only version since Linux 2.6.22; the documentation says to refuse any other
/// (<https://docs.kernel.org/virt/kvm/api.html>, KVM_GET_API_VERSION).
const API_VERSION: i32 = 12;
/// Three pages that KVM wants on Intel CPUs without "unrestricted guest". QEMU puts them here.
#[cfg(target_arch = "x86_64")]
const TSS_PAGES: usize = 0xFFFB_D000;
/// The guest's only page of memory lies where an x86 CPU begins after a reset, so that no register has to be set: at
/// 0xFFFFFFF0, in real mode.
const GUEST_PAGE_ADDRESS: u64 = 0xFFFF_F000;
const PAGE_BYTES: usize = 4096;
const RESET_OFFSET: usize = 0xFF0;
/// What the guest must say, and where.
const WORD: u8 = 42;
const PORT: u8 = 0x10;
/// `mov al, WORD` · `out PORT, al` · `hlt` · `jmp` back to the `hlt`.
const CODE: [u8; 7] = [0xB0, WORD, 0xE6, PORT, 0xF4, 0xEB, 0xFD];

#[repr(C, align(4096))]
struct GuestPage([u8; PAGE_BYTES]);

fn run_guest(kvm: &kvm_ioctls::Kvm, code: &[u8]) -> Result<(), String> {
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(format!("KVM has API version {version}, not {API_VERSION}"));
    }
    // Before the machine, so that it is dropped after it.
    let mut page = Box::new(GuestPage([0; PAGE_BYTES]));
    page.0[RESET_OFFSET..RESET_OFFSET + code.len()].copy_from_slice(code);
    let machine = kvm.create_vm().map_err(not_created)?;
    // Only old Intel CPUs need it; where it is needed and failed, running the guest will tell.
    #[cfg(target_arch = "x86_64")]
    let _ = machine.set_tss_address(TSS_PAGES);
    give_memory(&machine, &mut page).map_err(|e| failed("KVM_SET_USER_MEMORY_REGION", e))?;
    let mut cpu = machine.create_vcpu(0).map_err(|e| failed("KVM_CREATE_VCPU", e))?;
    expect(&mut cpu, "say its word", |exit| matches!(exit, VcpuExit::IoOut(port, [WORD]) if *port == u16::from(PORT)))?;
    expect(&mut cpu, "halt", |exit| matches!(exit, VcpuExit::Hlt))
}

fn not_created(error: kvm_ioctls::Error) -> String {
    match Errno::from_raw(error.errno()) {
        Errno::EBUSY => "KVM_CREATE_VM: another hypervisor has the CPU's virtualisation".to_owned(),
        _ => failed("KVM_CREATE_VM", error),
    }
}

fn failed(step: &str, error: kvm_ioctls::Error) -> String {
    format!("{step}: {}", Errno::from_raw(error.errno()))
}

#[allow(unsafe_code)]
fn give_memory(machine: &VmFd, page: &mut GuestPage) -> Result<(), kvm_ioctls::Error> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: GUEST_PAGE_ADDRESS,
        memory_size: PAGE_BYTES as u64,
        userspace_addr: page.0.as_mut_ptr() as u64,
    };
    // SAFETY: the region is exactly the page, which is aligned, on the heap, and lives longer than `machine`: the
    // caller owns both, made the page first, and where its thread is left behind it drops neither.
    unsafe { machine.set_user_memory_region(region) }
}

fn expect(cpu: &mut VcpuFd, what: &str, is_right: impl Fn(&VcpuExit) -> bool) -> Result<(), String> {
    loop {
        match cpu.run() {
            Ok(exit) if is_right(&exit) => return Ok(()),
            Ok(_) => return Err(format!("the guest did not {what}")),
            // A signal, such as a debugger's, is no exit of the guest.
            Err(error) if error.errno() == Errno::EINTR as i32 => {}
            Err(error) => return Err(failed("KVM_RUN", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Whether the device can be opened is asked in another way; behind that, a guest ran or it is said why not.
    #[test]
    fn verdict_is_what_the_device_says_and_comes_in_time() {
        let start = Instant::now();
        let verdict = prove();
        assert!(start.elapsed() < TIME_LIMIT + Duration::from_secs(1));
        match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
            Err(error) => assert_eq!(verdict, not_opened(Errno::from_raw(error.raw_os_error().unwrap()))),
            Ok(_) => assert!(matches!(&verdict, Kvm::Works | Kvm::Broken(_)), "{verdict:?}"),
        }
    }

    /// Where a guest runs at all: it is the word that counts.
    #[test]
    fn guest_that_says_another_word_or_none_is_broken() {
        if prove() != Kvm::Works {
            return;
        }
        let (mut other, halt) = (CODE, [0xF4, 0xEB, 0xFD]);
        other[1] = WORD - 1;
        for code in [&other[..], &halt] {
            let (kvm, code) = (kvm_ioctls::Kvm::new().unwrap(), code.to_vec());
            let verdict = in_time(move || run_guest(&kvm, &code));
            assert!(matches!(&verdict, Kvm::Broken(why) if why.contains("did not say its word")), "{verdict:?}");
        }
    }

    #[test]
    fn no_guest_runs_before_somebody_reads() {
        let verdict = OnDemand::default();
        assert!(verdict.clone().0.get().is_none() && format!("{verdict:?}").contains("uninit"));
        assert_eq!(*verdict, prove());
        assert!(verdict.0.get().is_some() && *OnDemand::from(Kvm::Works) == Kvm::Works);
    }

    #[test]
    fn missing_device_is_told_from_a_closed_one() {
        assert_eq!(prove_with(c"/nowhere/kvm"), Kvm::NoDevice);
        assert_eq!(not_opened(Errno::EACCES), Kvm::NoPermission);
        assert_eq!(not_opened(Errno::ENODEV), Kvm::NoDevice);
    }

    #[test]
    fn device_that_is_no_kvm_is_broken() {
        assert!(matches!(prove_with(c"/dev/null"), Kvm::Broken(why) if why.contains("API version")));
    }

    #[test]
    fn guest_that_hangs_is_left_behind() {
        let hanging = in_time(|| {
            std::thread::sleep(2 * TIME_LIMIT);
            Ok(())
        });
        assert!(matches!(hanging, Kvm::Broken(why) if why.contains("did not end within 2 seconds")));
    }
}
