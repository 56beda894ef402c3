//! The tunnel as a process: held, watched by asking for the portal through it, and held anew. A program that reconnects by
//! itself pauses for hours in the end (ngrok's: 1 h 44 min): its pauses are ours here, and short. All intervals are here.

use super::kind::{self, Broken, Signs};
use super::state::{self, State};
use super::told::Order;
use super::watch::{Seen, Watch};
use crate::host::command::harmless;
use crate::host::{Host, files};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

/// How often the portal is asked for.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whether it broke, and whether root tells something else.
const POLL: Duration = Duration::from_millis(500);
/// How long nobody may be reached until the tunnel counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);
/// So many times rarer is asked where each request counts: an outage is noticed within two minutes, for 43000 requests a month.
const RARER: u32 = 12;
/// How long a new one may take.
const BEGINNING: Duration = Duration::from_secs(20);
/// The longest pause before the next one: back within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What the process works with.
pub struct Orders {
    /// What root tells.
    pub told: PathBuf,
    /// Where the state is noted, and files of programs are.
    pub directory: PathBuf,
    /// Gets a line for what an administrator may ask about later.
    pub log: Box<dyn Fn(String) + Send + Sync>,
}

/// Why a tunnel was let go.
enum Ended {
    Broken(Broken),
    /// Root tells something else, or the process is to end.
    LetGo,
}

struct Supervisor {
    host: Host,
    told: PathBuf,
    directory: PathBuf,
    state: Option<State>,
    log: Box<dyn Fn(String) + Send + Sync>,
}

/// Holds the tunnel until `host` is told to stop. What goes wrong is said, and tried again.
pub fn run(host: &Host, orders: Orders) {
    let Orders { told, directory, log } = orders;
    let mut supervisor = Supervisor { host: host.clone(), told, directory, state: None, log };
    let mut pause = Duration::from_secs(1);
    while host.go_on().is_ok() {
        let modified = supervisor.modified();
        let begin = Instant::now();
        match supervisor.once(modified) {
            Ended::LetGo => pause = Duration::from_secs(1),
            Ended::Broken(Broken::Refused(why)) => {
                supervisor.note(State::Refused(why));
                supervisor.wait_for_another(modified, None);
            }
            Ended::Broken(Broken::Lost(why)) => {
                supervisor.note(State::Lost(why));
                if begin.elapsed() > BEGINNING + PATIENCE {
                    pause = Duration::from_secs(1);
                }
                supervisor.wait_for_another(modified, Some(pause));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// What the signs of life of a tunnel say.
fn seen_by(signs: &Signs) -> Seen {
    match signs.last() {
        Some(last) if last.elapsed() < PATIENCE => Seen::Reached,
        _ => Seen::NotReached("it gives no sign of life".into()),
    }
}

impl Supervisor {
    /// Holds one tunnel until it ends.
    fn once(&mut self, modified: Option<SystemTime>) -> Ended {
        let live = Host::live();
        let begun = Order::read(&live, &self.told)
            .and_then(|order| Ok((Watch::new(&live, order.portal, &order.address)?, order)));
        let (watch, order) = match begun {
            Ok(begun) => begun,
            Err(error) => return Ended::Broken(Broken::Lost(error.to_string())),
        };
        if order.token.is_empty() {
            return Ended::Broken(Broken::Refused("it has no token yet".into()));
        }
        if !matches!(self.state, Some(State::Lost(_))) {
            self.note(State::Connecting);
        }
        let kind = match kind::of(&order, &self.directory) {
            Ok(kind) => kind,
            Err(broken) => return Ended::Broken(broken),
        };
        let held = Host::live().masking([order.token.clone()]);
        let signs = Arc::new(Signs::default());
        let tells = kind.tells();
        let look: Box<dyn Fn() -> Seen> = if tells {
            let signs = signs.clone();
            Box::new(move || seen_by(&signs))
        } else {
            Box::new(move || watch.look())
        };
        let (sender, broken) = mpsc::channel();
        let again = held.clone();
        let thread = std::thread::spawn(move || drop(sender.send(kind.hold(&again, &signs))));
        let rarer = if order.is_counted && !tells { RARER } else { 1 };
        let ended = self.watch(&look, &broken, modified, rarer);
        held.stop();
        // What it started ends with it, and the next one finds nothing of it.
        let _ = thread.join();
        // Services repeat what they do not know.
        let plain = |why: String| harmless(&held.mask(&why));
        match ended {
            Ended::Broken(Broken::Refused(why)) => Ended::Broken(Broken::Refused(plain(why))),
            Ended::Broken(Broken::Lost(why)) => Ended::Broken(Broken::Lost(plain(why))),
            Ended::LetGo => Ended::LetGo,
        }
    }

    fn watch(
        &mut self,
        look: &dyn Fn() -> Seen,
        broken: &Receiver<Broken>,
        modified: Option<SystemTime>,
        rarer: u32,
    ) -> Ended {
        let (mut until, mut next) = (Instant::now() + BEGINNING, Instant::now());
        loop {
            match broken.recv_timeout(POLL) {
                Ok(broken) => return Ended::Broken(broken),
                Err(RecvTimeoutError::Disconnected) => return Ended::Broken(Broken::Lost("it ended".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.host.go_on().is_err() || self.modified() != modified {
                return Ended::LetGo;
            }
            if Instant::now() < next {
                continue;
            }
            match look() {
                Seen::Reached => {
                    self.note(State::Up);
                    until = Instant::now() + PATIENCE * rarer;
                }
                Seen::NoPortal => until = until.max(Instant::now() + PATIENCE),
                Seen::NotReached(why) if Instant::now() > until => return Ended::Broken(Broken::Lost(why)),
                Seen::NotReached(_) => {}
            }
            let every = if self.state == Some(State::Up) { LOOK * rarer } else { LOOK / 5 };
            next = Instant::now() + every;
        }
    }

    /// Notes what changed, and says it.
    fn note(&mut self, state: State) {
        if self.state.as_ref() == Some(&state) {
            return;
        }
        (self.log)(match &state {
            State::Connecting => "connecting".into(),
            State::Up => "the portal is reached".into(),
            State::Lost(why) => format!("not reached, trying again: {why}"),
            State::Refused(why) => format!("refused: {why}; next: sudo gpucloud-install tunnel token"),
        });
        if let Err(error) = state::note(&Host::live(), &self.directory.join("state.json"), &state) {
            (self.log)(format!("cannot note how it is: {error}"));
        }
        self.state = Some(state);
    }

    fn modified(&self) -> Option<SystemTime> {
        files::modified(&Host::live(), &self.told)
    }

    /// Waits for `pause`, or for ever, or until root tells something else.
    fn wait_for_another(&self, modified: Option<SystemTime>, pause: Option<Duration>) {
        let begin = Instant::now();
        while self.host.go_on().is_ok()
            && self.modified() == modified
            && pause.is_none_or(|pause| begin.elapsed() < pause)
        {
            std::thread::sleep(POLL);
        }
    }
}
