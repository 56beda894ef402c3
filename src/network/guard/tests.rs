use super::*;
use crate::host::{KillPoint, files, sysctl};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const KEY: &str = "net.ipv4.ip_forward";
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct ByHand(AtomicBool);

impl RollbackTimer for ByHand {
    fn start(&self, _limit: Duration) -> Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        self.0.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn is_armed(&self) -> Result<bool> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

struct Machine {
    dir: tempfile::TempDir,
    timer: Arc<ByHand>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap(), timer: Arc::default() };
        files::write(&machine.host(), Path::new("/proc/sys/net/ipv4/ip_forward"), b"0\n", 0o644, None).unwrap();
        machine
    }

    fn host(&self) -> Host {
        Host::at(self.dir.path())
    }

    fn guard(&self) -> Guard {
        self.guard_on(&self.host())
    }

    fn guard_on(&self, host: &Host) -> Guard {
        Guard::with(host, DIRECTORY, self.timer.clone())
    }

    fn forwards(&self) -> bool {
        sysctl::read(&self.host(), KEY).unwrap().as_deref() == Some("1")
    }

    /// Makes the change that [`pending`] takes back.
    fn change(&self, guard: &Guard, pending: &Pending) -> Result<()> {
        let lock = guard.records.lock()?;
        guard.arm(&lock, pending, LIMIT)?;
        sysctl::write(&guard.host, KEY, "1")
    }
}

fn pending(awaited: bool) -> Pending {
    let back = Change::Sysctl { key: KEY.into(), from: Some("1".into()), to: Some("0".into()) };
    let owned = Ownership {
        range: "172.24.4.0/24".parse().unwrap(),
        uplinks: Default::default(),
        links: Default::default(),
        addresses: Default::default(),
    };
    let standing = Standing { state: NetworkState::default(), owned, instead_of: None };
    Pending { back: vec![back], witnesses: Vec::new(), awaited, standing }
}

/// Killed at each write of a change and its end, the next look finds it confirmed and made, or takes it back.
fn survives_kills(end: fn(&Guard) -> Result<()>) {
    let run = |machine: &Machine, host: &Host| {
        let guard = machine.guard_on(host);
        machine.change(&guard, &pending(false)).and_then(|()| end(&guard))
    };
    let counting = KillPoint::counting();
    let machine = Machine::new();
    run(&machine, &machine.host().dying(counting.clone())).unwrap();
    assert!(counting.count() > 6, "only {} writes were counted", counting.count());
    for n in 0..counting.count() {
        let machine = Machine::new();
        let _ = run(&machine, &machine.host().dying(KillPoint::at(n)));
        let guard = machine.guard();
        let waits = guard.waits(&guard.records.lock().unwrap()).unwrap();
        if waits {
            guard.take_back().unwrap();
        }
        assert_eq!(guard.records.pending().unwrap(), None, "write {n}");
        let stands = guard.records.standing().unwrap().is_some();
        assert_eq!(machine.forwards(), stands, "killed at write {n}: confirmed {stands}");
    }
}

#[test]
fn killed_at_any_write_of_a_yes_the_way_back_is_not_lost() {
    survives_kills(|guard| guard.confirm().map(drop));
}

#[test]
fn killed_at_any_write_of_a_take_back_it_is_taken_back_by_the_next() {
    survives_kills(|guard| guard.take_back().map(drop));
}

#[test]
fn a_change_waits_as_long_as_its_timer_runs() {
    let machine = Machine::new();
    let guard = machine.guard();
    machine.change(&guard, &pending(false)).unwrap();
    let lock = guard.records.lock().unwrap();
    assert!(guard.waits(&lock).unwrap() && machine.forwards());
    machine.timer.stop().unwrap();
    assert!(!guard.waits(&lock).unwrap() && !machine.forwards());
}

#[test]
fn what_a_hanging_run_did_behind_its_timer_does_not_stay() {
    let machine = Machine::new();
    let guard = machine.guard();
    machine.change(&guard, &pending(false)).unwrap();
    guard.take_back().unwrap();
    sysctl::write(&machine.host(), KEY, "1").unwrap();
    let error = guard.ask_witnesses(&pending(false)).unwrap_err();
    assert!(error.to_string().contains("it took too long"), "{error}");
    assert!(!machine.forwards() && guard.records.standing().unwrap().is_none());
}

/// What [`Guard::wait_for_person`] says where `other` happens meanwhile.
fn waited(machine: &Machine, host: &Host, other: impl FnOnce(&Guard) + Send) -> Result<()> {
    let guard = machine.guard_on(host);
    machine.change(&guard, &pending(true)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(LOOK * 2);
            other(&machine.guard());
        });
        guard.wait_for_person(&pending(true), LIMIT)
    })
}

#[test]
fn a_person_says_yes_or_nothing_stays() {
    let machine = Machine::new();
    let confirm = |guard: &Guard| assert!(guard.confirm().unwrap().unwrap().awaited);
    waited(&machine, &machine.host(), confirm).unwrap();
    assert!(machine.forwards() && machine.guard().records.standing().unwrap().is_some());
    assert_eq!(machine.guard().confirm().unwrap(), None);

    let machine = Machine::new();
    let timer = |guard: &Guard| drop(guard.take_back().unwrap());
    let error = waited(&machine, &machine.host(), timer).unwrap_err();
    assert!(error.to_string().contains("nobody said yes to the change of the network; it was taken back"), "{error}");
    assert!(!machine.forwards());
}

#[test]
fn a_stop_takes_back_what_waits() {
    let machine = Machine::new();
    let host = machine.host();
    let stopper = host.clone();
    let error = waited(&machine, &host, move |_| stopper.stop()).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert!(!machine.forwards() && machine.guard().records.pending().unwrap().is_none());
}

#[test]
fn a_state_stands_until_other_answers_are_noted() {
    let machine = Machine::new();
    let guard = machine.guard();
    let lock = guard.records.lock().unwrap();
    guard.records.note_standing(&lock, pending(false).standing).unwrap();
    assert!(guard.records.standing().unwrap().is_some());
    let applied = Path::new(crate::paths::APPLIED);
    files::write(&machine.host(), applied, b"answers", 0o600, None).unwrap();
    assert_eq!(guard.records.standing().unwrap(), None);
    guard.records.forget_ended(&lock).unwrap();
    assert!(!files::exists(&machine.host(), format!("{DIRECTORY}/standing.json")));
    let unknown = Path::new(DIRECTORY).join("standing.json");
    files::write(&machine.host(), &unknown, b"{}", 0o600, None).unwrap();
    assert_eq!(guard.records.standing().unwrap(), None, "what cannot be read counts for nothing");
}
