//! The hands: one narrow file for each part of the machine that is read or changed (files, programs, packages,
//! systemd, sysctl, users and their homes, links, nftables, iptables, Open vSwitch, git, MariaDB and its dumps,
//! RabbitMQ, DNS, HTTP, SSH, overlays, containers, virtual machines). Every change goes through one of them; some facts
//! look for themselves. A new hand is a file here and its `mod` line.
//!
//! A [`Host`] carries a root directory, so that the same code works on the running system (`/`), on a temporary tree
//! in a test and on a captured tree. It also carries what a change needs while it runs: where its output lines go
//! ([`Observer`]), which values must be masked in them, and whether the administrator asked to stop.

pub mod accounts;
pub mod amqp;
#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "the one place that starts programs"))]
pub mod command;
pub mod cpio;
pub mod dns;
pub mod dump;
mod error;
#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "the one place that reaches files"))]
pub mod files;
pub mod git;
pub mod home;
pub mod http;
pub mod iptables;
pub mod links;
pub mod nft;
pub mod nspawn;
pub mod overlay;
pub mod ovs;
pub mod packages;
pub mod pci;
pub mod qemu;
pub mod rabbitmq;
pub mod snapshot;
pub mod sql;
pub mod ssh;
pub mod sysctl;
pub mod systemd;
pub mod users;
pub mod uts;

pub use error::{Error, RoomError};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long work that must not be cut ([`Host::to_its_end`]) may go on after a stop request. The longest piece that was
/// measured, dpkg with libvirt and QEMU, takes 11 s of processor time: two and a half minutes where all is emulated. A
/// migration of a large database takes minutes too.
pub const UNCUT_LIMIT: Duration = Duration::from_secs(600);

/// The result of a hand.
pub type Result<T> = std::result::Result<T, Error>;

/// Receives what a running change has to tell.
pub trait Observer: Send + Sync {
    /// One line of output of a program.
    fn line(&self, text: &str);
    /// How far the change is; both numbers in the same unit (bytes, packages, seconds). Equal ones: it is done; a
    /// total of 0: not known.
    fn progress(&self, done: u64, total: u64, what: &str);
    /// Something the administrator should know although the change goes on.
    fn warning(&self, text: &str);
}

/// Kills at a chosen write, for tests: from the `n`-th write on, no write happens any more.
#[derive(Debug, Default)]
pub struct KillPoint {
    writes: AtomicUsize,
    kill_at: Option<usize>,
}

impl KillPoint {
    /// Dies at write number `n`, counted from 0.
    pub fn at(n: usize) -> Arc<Self> {
        Arc::new(Self { writes: AtomicUsize::new(0), kill_at: Some(n) })
    }

    /// Never dies, only counts.
    pub fn counting() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// How many writes were asked for.
    pub fn count(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    fn pass(&self) -> Result<()> {
        let n = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.kill_at {
            Some(limit) if n >= limit => Err(Error::Stopped),
            _ => Ok(()),
        }
    }
}

/// Work that a stop request lets come to its end.
struct Uncut {
    what: String,
    limit: Duration,
    stop_seen: OnceLock<Instant>,
}

/// A machine, or a directory that stands for one.
#[derive(Clone)]
pub struct Host {
    root: PathBuf,
    observer: Option<Arc<dyn Observer>>,
    stop: Arc<AtomicBool>,
    uncut: Option<Arc<Uncut>>,
    masks: Arc<Vec<String>>,
    kill_point: Option<Arc<KillPoint>>,
    snapshot: Option<Arc<snapshot::Snapshot>>,
    pace: u32,
}

impl Host {
    /// The running system.
    pub fn live() -> Self {
        Self::at("/")
    }

    /// A directory that stands for a machine: files below it, no programs, no kernel.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            observer: None,
            stop: Arc::default(),
            uncut: None,
            masks: Arc::default(),
            kill_point: None,
            snapshot: None,
            pace: 1,
        }
    }

    /// The same host, whatever is waited for taking so many times longer than on a real machine: one whose processors
    /// are emulated.
    pub fn paced(&self, pace: u32) -> Self {
        Self { pace: pace.max(1), ..self.clone() }
    }

    /// How long what takes `limit` at most on a real machine may take on this one.
    pub fn limit(&self, limit: Duration) -> Duration {
        limit * self.pace
    }

    /// The same host, telling `observer` what happens.
    pub fn observed(&self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self.clone() }
    }

    /// The same host, replacing each of `secrets` by `********` in every line it passes on.
    ///
    /// Values shorter than eight characters are not masked: they would mangle ordinary text. Generated secrets are
    /// longer, and the configuration refuses shorter ones.
    pub fn masking(&self, secrets: impl IntoIterator<Item = String>) -> Self {
        let masks = secrets.into_iter().filter(|s| s.len() >= 8).collect();
        Self { masks: Arc::new(masks), ..self.clone() }
    }

    /// The same host, dying at a write (tests only use this).
    pub fn dying(&self, kill_point: Arc<KillPoint>) -> Self {
        Self { kill_point: Some(kill_point), ..self.clone() }
    }

    /// The same host with a snapshot, for one look at all of it while nothing is changed. Systemd is asked about all of
    /// `units` now and not again, since each question costs a process; where it cannot be asked, each question says so
    /// itself.
    pub fn with_snapshot(&self, units: &[&str]) -> Self {
        let statuses = systemd::status(self, units).unwrap_or_default();
        let snapshot = snapshot::Snapshot::of_units(units.iter().map(|unit| (*unit).to_owned()).zip(statuses));
        Self { snapshot: Some(Arc::new(snapshot)), ..self.clone() }
    }

    /// What is remembered, where this is one look.
    pub fn snapshot(&self) -> Option<&snapshot::Snapshot> {
        self.snapshot.as_deref()
    }

    /// Whether this is the running system.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Fails where `what` would need the running system.
    pub fn require_live(&self, what: &str) -> Result<()> {
        if self.is_live() { Ok(()) } else { Err(Error::NotLive(what.to_owned())) }
    }

    /// Where `path` (absolute on the host) really lies.
    pub fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Asks everything that runs on this host to stop soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The flag behind [`Host::stop`], for a signal handler.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// The same host, deaf to stop requests: for tidying up after one.
    pub fn unstoppable(&self) -> Self {
        Self { stop: Arc::default(), ..self.clone() }
    }

    /// The same host for `what`, which must not be cut in its middle (a migration, dpkg's work): a stop request is told
    /// to the observer at once and honoured behind it, or after [`UNCUT_LIMIT`].
    ///
    /// # Errors
    /// [`Error::Stopped`] when a stop was asked for already: it does not begin.
    pub fn to_its_end(&self, what: impl Into<String>) -> Result<Self> {
        self.to_its_end_within(what, UNCUT_LIMIT)
    }

    fn to_its_end_within(&self, what: impl Into<String>, limit: Duration) -> Result<Self> {
        self.go_on()?;
        let own = || Arc::new(Uncut { what: what.into(), limit, stop_seen: OnceLock::new() });
        Ok(Self { uncut: Some(self.uncut.clone().unwrap_or_else(own)), ..self.clone() })
    }

    /// Fails with [`Error::Stopped`] when a stop was asked for.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::SeqCst) && !self.may_end_first() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether this is work that still may come to its end, although a stop was asked for.
    fn may_end_first(&self) -> bool {
        let Some(uncut) = &self.uncut else { return false };
        let stop_seen = uncut.stop_seen.get_or_init(|| {
            self.warn(&format!("stopping after this: {}", uncut.what));
            Instant::now()
        });
        stop_seen.elapsed() < uncut.limit
    }

    /// `text` without the secrets.
    pub fn mask(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "********"))
    }

    /// Passes one line of output on.
    pub fn line(&self, text: &str) {
        if let Some(observer) = &self.observer {
            observer.line(&self.mask(text));
        }
    }

    /// Tells how far the change is.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        if let Some(observer) = &self.observer {
            observer.progress(done, total, what);
        }
    }

    /// Tells something the administrator should know.
    pub fn warn(&self, text: &str) {
        if let Some(observer) = &self.observer {
            observer.warning(&self.mask(text));
        }
    }

    /// Waits until `done` says so, asking every `every`; a stop request ends the wait.
    ///
    /// # Errors
    /// [`Error::TimedOut`] naming `what`, [`Error::Stopped`], or what `done` returned.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        every: Duration,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        // Who asks too often takes the processor from what is waited for.
        let (limit, every) = (self.limit(limit), self.limit(every));
        let end = Instant::now() + limit;
        loop {
            self.go_on()?;
            if done()? {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Error::TimedOut { what: what.to_owned(), seconds: limit.as_secs() });
            }
            std::thread::sleep(every);
        }
    }

    /// Waits like [`Host::wait_until`] as long as `missing` says what is still missing, and shows that.
    ///
    /// # Errors
    /// The same; [`Error::TimedOut`] says what was missing last.
    pub fn wait_while(
        &self,
        what: &str,
        limit: Duration,
        every: Duration,
        mut missing: impl FnMut() -> Result<Option<String>>,
    ) -> Result<()> {
        let (begin, seconds) = (Instant::now(), self.limit(limit).as_secs());
        let mut last = String::new();
        let waited = self.wait_until(what, limit, every, || {
            let missing = missing()?;
            if let Some(missing) = &missing {
                self.progress(begin.elapsed().as_secs(), seconds, &format!("s at most, {what}: {missing}"));
                last.clone_from(missing);
            }
            Ok(missing.is_none())
        });
        if !last.is_empty() {
            let end = begin.elapsed().as_secs().max(1);
            self.progress(end, end, &format!("s, {what}"));
        }
        waited.map_err(|error| match error {
            Error::TimedOut { what, seconds } => Error::TimedOut { what: format!("{what} ({last})"), seconds },
            other => other,
        })
    }

    /// Called before each write; dies here in tests of interrupted runs.
    pub(crate) fn write_point(&self) -> Result<()> {
        self.kill_point.as_ref().map_or(Ok(()), |point| point.pass())
    }
}

/// The kernel's random id of this boot.
pub fn boot_id(host: &Host) -> String {
    let text = files::read_text(host, "/proc/sys/kernel/random/boot_id").ok().flatten();
    text.map_or_else(|| "unknown".into(), |id| id.trim().to_owned())
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Observer for Warnings {
        fn line(&self, _text: &str) {}
        fn progress(&self, _done: u64, _total: u64, _what: &str) {}
        fn warning(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn a_stop_is_told_once_and_honoured_behind_work_that_must_not_be_cut() {
        let warnings = Arc::new(Warnings::default());
        let host = Host::at("/nowhere").observed(warnings.clone());
        let uncut = host.to_its_end("a migration").unwrap();
        uncut.go_on().unwrap();
        host.stop();
        uncut.go_on().unwrap();
        uncut.to_its_end("a part of it").unwrap().go_on().unwrap();
        assert_eq!(*warnings.0.lock().unwrap(), ["stopping after this: a migration"]);
        assert!(matches!(host.go_on(), Err(Error::Stopped)));
        assert!(matches!(host.to_its_end("the next"), Err(Error::Stopped)), "it begins behind a stop");
    }

    #[test]
    fn what_does_not_end_after_a_stop_is_cut_in_the_end() {
        let host = Host::at("/nowhere");
        let uncut = host.to_its_end_within("a hung migration", Duration::from_millis(50)).unwrap();
        host.stop();
        uncut.go_on().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert!(matches!(uncut.go_on(), Err(Error::Stopped)));
    }
}
