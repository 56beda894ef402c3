//! Whether hardware virtualisation works: not by asking for a flag, but by running a guest.
//!
//! `/dev/kvm` and the `vmx`/`svm` flag are promises that break: no permission, another hypervisor
//! on the CPU, a device without one behind it. Here a guest of four instructions runs on one page
//! of memory and must say the word.
//!
//! That is a lower bound: a software KVM was seen which passes here and yet boots no stock kernel.
//! Interrupts, paging, more than one CPU and IOMMU are not tried.
//!
//! What holds here:
//! - A child process does it and is killed after [`TIME_LIMIT`]: a KVM that never returns from
//!   `KVM_RUN` cannot hang this program.
//! - Between `fork` and `_exit` the child allocates nothing and takes no lock.
//! - Nothing is changed, and nothing is left behind.
//!
//! The guest is x86 code; on another architecture the answer is [`Kvm::Broken`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};

/// The longest that the guest may run. A working KVM needs milliseconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(2);

/// How often to look whether a killed child is gone, and how long to wait before each look. A KVM
/// that ignores even SIGKILL leaves a dead process, not a hanging program.
const BURIAL_LOOKS: u32 = 50;
const BURIAL_PAUSE: Duration = Duration::from_millis(10);

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

/// Runs a guest of four instructions on `/dev/kvm`, for at most [`TIME_LIMIT`].
pub fn prove() -> Kvm {
    if cfg!(target_arch = "x86_64") {
        prove_with(Path::new("/dev/kvm"))
    } else {
        Kvm::Broken("the test guest is x86 code, this machine is not".to_owned())
    }
}

fn prove_with(device: &Path) -> Kvm {
    match File::options().read(true).write(true).open(device) {
        Ok(kvm) => supervise(|| run_guest(kvm.as_raw_fd())),
        Err(error) => not_opened(&error),
    }
}

fn not_opened(error: &io::Error) -> Kvm {
    match error.raw_os_error().map(Errno::from_raw) {
        // ENXIO and ENODEV: a device node without a driver behind it.
        Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => Kvm::NoDevice,
        Some(Errno::EACCES | Errno::EPERM) => Kvm::NoPermission,
        _ => Kvm::Broken(format!("/dev/kvm cannot be opened: {error}")),
    }
}

/// A step that failed. It travels to the parent as five bytes: the step, then the detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failure {
    step: Step,
    /// An errno, a version or an exit reason of KVM: [`Step::explain`] knows.
    detail: i32,
}

/// The steps in their order. 0 is not among them: it stands for "nothing failed".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    AskVersion = 1,
    OldVersion,
    CreateVm,
    GiveMemory,
    CreateCpu,
    MapCpu,
    Run,
    Word,
    Halt,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::AskVersion,
        Self::OldVersion,
        Self::CreateVm,
        Self::GiveMemory,
        Self::CreateCpu,
        Self::MapCpu,
        Self::Run,
        Self::Word,
        Self::Halt,
    ];

    fn explain(self, detail: i32) -> String {
        let errno = Errno::from_raw(detail);
        match self {
            Self::AskVersion => format!("/dev/kvm is no KVM: KVM_GET_API_VERSION: {errno}"),
            Self::OldVersion => format!("KVM has API version {detail}, not {API_VERSION}"),
            Self::CreateVm if errno == Errno::EBUSY => {
                "KVM_CREATE_VM: another hypervisor has the CPU's virtualisation".to_owned()
            }
            Self::CreateVm => format!("KVM_CREATE_VM: {errno}"),
            Self::GiveMemory => format!("KVM_SET_USER_MEMORY_REGION: {errno}"),
            Self::CreateCpu => format!("KVM_CREATE_VCPU: {errno}"),
            Self::MapCpu => format!("the virtual CPU's page cannot be mapped: {errno}"),
            Self::Run => format!("KVM_RUN: {errno}"),
            Self::Word => format!("the guest did not say its word: KVM exit reason {detail}"),
            Self::Halt => format!("the guest did not halt: KVM exit reason {detail}"),
        }
    }
}

/// What a child writes in which every step went well.
const ALL_WELL: [u8; 5] = [0; 5];

impl Failure {
    fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.detail.to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    fn from_bytes([number, a, b, c, d]: [u8; 5]) -> Option<Self> {
        let mut steps = Step::ALL.into_iter();
        let step = steps.find(|step| *step as u8 == number)?;
        let detail = i32::from_ne_bytes([a, b, c, d]);
        Some(Self { step, detail })
    }
}

/// Runs `work` in a child process and reads what it found, or kills it.
fn supervise(work: impl FnOnce() -> Result<(), Failure>) -> Kvm {
    let not_started = |error| Kvm::Broken(format!("the test guest cannot be started: {error}"));
    // Unlike a pipe it has a time limit for reading, and the standard library sets CLOEXEC.
    let (parent_end, child_end) = match UnixStream::pair() {
        Ok(ends) => ends,
        Err(error) => return not_started(error),
    };
    match fork() {
        Ok(ForkResult::Child) => report(work(), &child_end),
        Ok(ForkResult::Parent { child }) => {
            drop(child_end);
            let found = await_report(parent_end);
            bury(child);
            found
        }
        Err(error) => not_started(error.into()),
    }
}

#[allow(unsafe_code)]
fn fork() -> nix::Result<ForkResult> {
    // SAFETY: another thread may hold a lock at this moment, which nobody in the child will
    // release. So the child must neither allocate nor lock: `work` and `report` make system calls
    // on memory of their own, and end in `_exit`.
    unsafe { nix::unistd::fork() }
}

/// The child's end. Runs no destructor and no exit handler: they are the parent's.
#[allow(unsafe_code)]
fn report(outcome: Result<(), Failure>, mut parent: &UnixStream) -> ! {
    let bytes = outcome.map_or_else(Failure::to_bytes, |()| ALL_WELL);
    let status = i32::from(parent.write_all(&bytes).is_err());
    // SAFETY: takes any number and does not return.
    unsafe { libc::_exit(status) }
}

fn await_report(mut child: UnixStream) -> Kvm {
    let mut bytes = [0xFF; 5];
    let read = child.set_read_timeout(Some(TIME_LIMIT)).and_then(|()| child.read_exact(&mut bytes));
    match read {
        Ok(()) => verdict(bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let seconds = TIME_LIMIT.as_secs();
            Kvm::Broken(format!("the test guest did not end within {seconds} seconds"))
        }
        Err(error) => Kvm::Broken(format!("the test guest's process died: {error}")),
    }
}

fn verdict(bytes: [u8; 5]) -> Kvm {
    if bytes == ALL_WELL {
        return Kvm::Works;
    }
    match Failure::from_bytes(bytes) {
        Some(failure) => Kvm::Broken(failure.step.explain(failure.detail)),
        None => Kvm::Broken(format!("the test guest's process said {bytes:?}")),
    }
}

/// Ends the child, also one that hangs in `KVM_RUN`, which returns on a signal.
fn bury(child: Pid) {
    // Fails only where the child is gone already, and that is what we want.
    let _gone = nix::sys::signal::kill(child, Signal::SIGKILL);
    for _ in 0..BURIAL_LOOKS {
        let state = nix::sys::wait::waitpid(child, Some(WaitPidFlag::WNOHANG));
        if state != Ok(WaitStatus::StillAlive) {
            return;
        }
        std::thread::sleep(BURIAL_PAUSE);
    }
}

// From here on it is the child that runs. Numbers and layouts are those of linux/kvm.h, meanings
// those of https://docs.kernel.org/virt/kvm/api.html.

/// The only version since Linux 2.6.22; the documentation says to refuse any other.
const API_VERSION: i32 = 12;

const KVM_GET_API_VERSION: libc::Ioctl = 0xAE00;
const KVM_CREATE_VM: libc::Ioctl = 0xAE01;
const KVM_GET_VCPU_MMAP_SIZE: libc::Ioctl = 0xAE04;
const KVM_CREATE_VCPU: libc::Ioctl = 0xAE41;
const KVM_SET_TSS_ADDR: libc::Ioctl = 0xAE47;
const KVM_RUN: libc::Ioctl = 0xAE80;
const KVM_SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_AE46;

/// Three pages that KVM wants on Intel CPUs without "unrestricted guest". QEMU puts them here.
const TSS_PAGES: libc::c_ulong = 0xFFFB_D000;

/// The guest's only page of memory lies where an x86 CPU begins after a reset, so that no register
/// has to be set: at 0xFFFFFFF0, in real mode.
const GUEST_PAGE_ADDRESS: u64 = 0xFFFF_F000;
const PAGE_BYTES: usize = 4096;
const RESET_OFFSET: usize = 0xFF0;

/// What the guest must say, and where.
const WORD: u8 = 42;
const PORT: u8 = 0x10;

/// `mov al, WORD` · `out PORT, al` · `hlt` · `jmp` back to the `hlt`.
const CODE: [u8; 7] = [0xB0, WORD, 0xE6, PORT, 0xF4, 0xEB, 0xFD];

/// `exit_reason` in `struct kvm_run`, and the two that we want.
const EXIT_REASON: usize = 8;
const KVM_EXIT_IO: i32 = 2;
const KVM_EXIT_HLT: i32 = 5;

/// `io` in `struct kvm_run`: direction (1 is out), size of one datum, port, number of data.
const IO: usize = 32;
const ONE_BYTE_OUT: [u8; 8] = [1, 1, PORT, 0, 1, 0, 0, 0];

/// `io.data_offset` in `struct kvm_run`: where in the mapping the data lie.
const IO_DATA_OFFSET: usize = 40;

#[repr(C, align(4096))]
struct GuestPage([u8; PAGE_BYTES]);

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    bytes: u64,
    host_address: u64,
}

fn run_guest(kvm: RawFd) -> Result<(), Failure> {
    check_version(kvm)?;
    let vm = step(Step::CreateVm, call(kvm, KVM_CREATE_VM, 0))?;
    // Only old Intel CPUs need it; where it is needed and failed, KVM_RUN will tell.
    let _only_old_cpus = call(vm, KVM_SET_TSS_ADDR, TSS_PAGES);
    let mut page = GuestPage([0; PAGE_BYTES]);
    page.0[RESET_OFFSET..RESET_OFFSET + CODE.len()].copy_from_slice(&CODE);
    step(Step::GiveMemory, give_memory(vm, &mut page))?;
    let cpu = step(Step::CreateCpu, call(vm, KVM_CREATE_VCPU, 0))?;
    let state = CpuState::map(kvm, cpu)?;
    expect_word(cpu, &state)?;
    expect_halt(cpu, &state)
}

fn check_version(kvm: RawFd) -> Result<(), Failure> {
    match step(Step::AskVersion, call(kvm, KVM_GET_API_VERSION, 0))? {
        API_VERSION => Ok(()),
        other => Err(Failure { step: Step::OldVersion, detail: other }),
    }
}

fn expect_word(cpu: RawFd, state: &CpuState) -> Result<(), Failure> {
    step(Step::Run, run_until_exit(cpu))?;
    let offset = u64::from_ne_bytes(state.read(IO_DATA_OFFSET)) as usize;
    let said = state.exit_reason() == KVM_EXIT_IO && state.read(IO) == ONE_BYTE_OUT && state.read(offset) == [WORD];
    ensure(said, Step::Word, state)
}

fn expect_halt(cpu: RawFd, state: &CpuState) -> Result<(), Failure> {
    step(Step::Run, run_until_exit(cpu))?;
    ensure(state.exit_reason() == KVM_EXIT_HLT, Step::Halt, state)
}

/// A signal to this child, such as a debugger's, is no exit of the guest.
fn run_until_exit(cpu: RawFd) -> nix::Result<i32> {
    loop {
        match call(cpu, KVM_RUN, 0) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

fn ensure(condition: bool, step: Step, state: &CpuState) -> Result<(), Failure> {
    let detail = state.exit_reason();
    if condition { Ok(()) } else { Err(Failure { step, detail }) }
}

fn step<T>(step: Step, result: nix::Result<T>) -> Result<T, Failure> {
    result.map_err(|errno| Failure { step, detail: errno as i32 })
}

#[allow(unsafe_code)]
fn call(fd: RawFd, request: libc::Ioctl, argument: libc::c_ulong) -> nix::Result<i32> {
    // SAFETY: of our requests, those that come here take a plain number; a wrong one is an errno.
    Errno::result(unsafe { libc::ioctl(fd, request, argument) })
}

#[allow(unsafe_code)]
fn give_memory(vm: RawFd, page: &mut GuestPage) -> nix::Result<i32> {
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: GUEST_PAGE_ADDRESS,
        bytes: PAGE_BYTES as u64,
        host_address: page.0.as_mut_ptr() as u64,
    };
    // SAFETY: `region` has the layout that the request reads, and outlives the call. The page is
    // aligned, lives in `run_guest` until the last KVM_RUN, and nothing looks at it meanwhile.
    Errno::result(unsafe { libc::ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) })
}

/// The `struct kvm_run` that KVM shares for a virtual CPU, and the I/O data behind it.
struct CpuState {
    start: NonNull<u8>,
    bytes: usize,
}

impl CpuState {
    fn map(kvm: RawFd, cpu: RawFd) -> Result<Self, Failure> {
        let bytes = step(Step::MapCpu, call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))? as usize;
        step(Step::MapCpu, map_shared(cpu, bytes)).map(|start| Self { start, bytes })
    }

    fn exit_reason(&self) -> i32 {
        i32::from_ne_bytes(self.read(EXIT_REASON))
    }

    /// `N` bytes at `offset`; zeros beyond the end.
    #[allow(unsafe_code)]
    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        if offset.checked_add(N).is_none_or(|end| end > self.bytes) {
            return [0; N];
        }
        // SAFETY: within the mapping, as just checked; bytes have no alignment and no bad values.
        // KVM writes there only inside KVM_RUN, which this thread does not run now; volatile, as
        // the compiler does not know that it does.
        unsafe { self.start.add(offset).cast::<[u8; N]>().read_volatile() }
    }
}

/// A mapping that lasts until the child ends.
#[allow(unsafe_code)]
fn map_shared(cpu: RawFd, bytes: usize) -> nix::Result<NonNull<u8>> {
    let (access, sharing) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping, at a place of the kernel's choice, overlaps nothing that exists.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, sharing, cpu, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(start.cast()).ok_or(Errno::EFAULT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn broken(kvm: Kvm) -> String {
        match kvm {
            Kvm::Broken(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// True on hardware; elsewhere it shows what is missing. Either way it ends in time.
    #[test]
    fn this_machine_gets_a_verdict_in_time() {
        let start = Instant::now();
        let verdict = prove();
        eprintln!("this machine: {verdict:?} after {:?}", start.elapsed());
        assert!(start.elapsed() < TIME_LIMIT + Duration::from_secs(1));
        if !Path::new("/dev/kvm").exists() {
            assert_eq!(verdict, Kvm::NoDevice);
        }
    }

    #[test]
    fn verdict_is_the_same_every_time() {
        let first = prove();
        assert!((0..20).all(|_| prove() == first));
    }

    #[test]
    fn missing_device_is_told_from_a_closed_one() {
        assert_eq!(prove_with(Path::new("/nowhere/kvm")), Kvm::NoDevice);
        for errno in [libc::EACCES, libc::EPERM] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(not_opened(&error), Kvm::NoPermission);
        }
        let error = io::Error::from_raw_os_error(libc::ENODEV);
        assert_eq!(not_opened(&error), Kvm::NoDevice);
    }

    #[test]
    fn device_that_is_no_kvm_is_broken() {
        let why = broken(prove_with(Path::new("/dev/null")));
        assert!(why.contains("KVM_GET_API_VERSION: ENOTTY"), "{why}");
    }

    #[test]
    fn guest_that_hangs_is_killed() {
        let start = Instant::now();
        let why = broken(supervise(|| {
            loop {
                std::hint::spin_loop();
            }
        }));
        assert!(why.contains("did not end within 2 seconds"), "{why}");
        assert!(start.elapsed() < TIME_LIMIT + Duration::from_secs(1));
    }

    #[test]
    fn child_that_dies_is_broken() {
        let why = broken(supervise(|| {
            nix::sys::signal::raise(Signal::SIGKILL).unwrap();
            Ok(())
        }));
        assert!(why.contains("process died"), "{why}");
    }

    #[test]
    fn children_are_buried() {
        supervise(|| Ok(()));
        let me = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children"));
        // Other tests of this process may have a live one; a dead one must not stay.
        for child in children.unwrap_or_default().split_whitespace() {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            assert!(!stat.contains(") Z "), "{stat}");
        }
    }

    #[test]
    fn failures_travel_whole() {
        for step in Step::ALL {
            let failure = Failure { step, detail: -7 };
            assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
            assert_ne!(failure.to_bytes(), ALL_WELL);
        }
        let busy = Failure { step: Step::CreateVm, detail: libc::EBUSY };
        assert!(broken(supervise(|| Err(busy))).contains("another hypervisor"));
        assert_eq!(supervise(|| Ok(())), Kvm::Works);
        assert!(broken(verdict([99, 0, 0, 0, 0])).contains("said"));
    }
}
