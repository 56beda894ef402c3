//! The dead-man switch: a change that could cut this machine off is taken back by itself, unless somebody who can still
//! reach the machine says yes in time.
//!
//! What takes it back is written down (`pending.rs`), and a timer of systemd's is started (`timer.rs`), before the
//! first change: both outlive this program and the SSH session that it was typed in. Who says yes is decided in
//! `consent.rs`: those who answered before (`witness.rs`), or a person. A gateway that never answers must not forbid
//! every change (kubernetes-nmstate issues 316 and 1063), and nobody's silence allows one.
//!
//! After a boot the network is what the last complete apply says: an unconfirmed change is in no answers, and `keep.rs`
//! takes out of the bridge what Open vSwitch has kept of it.

use super::NetworkError;
use super::consent::{self, Confirmation, Consent};
use super::live::{self, Ownership};
use super::pending::{self, DIRECTORY, Lock, Pending, Records, Standing};
use super::state::{Change, NetworkState, changes, inverse};
use super::timer::{RollbackTimer, SystemdTimer};
use super::witness;
use crate::facts::network::Network;
use crate::host::{Error, Host, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the timer may take to act, once its time has come.
const TIMER_GRACE: Duration = Duration::from_secs(5);
/// How often a run looks whether a person said yes.
const LOOK: Duration = Duration::from_millis(200);

/// What guards the network of one machine.
pub struct Guard {
    host: Host,
    records: Records,
    timer: Arc<dyn RollbackTimer>,
}

/// How a wait for a yes ended.
enum Answer {
    Yes,
    No(String),
    Stopped,
}

impl Guard {
    /// This machine's.
    pub fn of(host: &Host) -> Self {
        Self::with(host, DIRECTORY, Arc::new(SystemdTimer(host.clone())))
    }

    /// One with its records below `directory`, and another timer.
    pub fn with(host: &Host, directory: impl Into<PathBuf>, timer: Arc<dyn RollbackTimer>) -> Self {
        // A stop request must not leave a change without its way back.
        Self { host: host.clone(), records: Records::new(&host.unstoppable(), directory), timer }
    }

    /// What is written down.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Brings the network from what it is to `desired`; what is not `owned` stays. Returns what was changed.
    ///
    /// # Errors
    /// A hand failed, the result is not as desired, or nobody said yes: what was is back then, as far as the error does
    /// not say otherwise.
    pub fn bring_about(
        &self,
        desired: &NetworkState,
        owned: &Ownership,
        network: &Network,
        confirmation: Confirmation,
    ) -> Result<Vec<Change>> {
        let lock = self.records.lock()?;
        self.settle(&lock)?;
        let changes = changes(&live::current(&self.host, desired, owned)?, desired);
        let instead_of = pending::noted_answers(&self.host)?;
        let standing = Standing { state: desired.clone(), owned: owned.clone(), instead_of };
        match consent::needed(&changes, confirmation, || witness::look_around(&self.host, network)) {
            Consent::Nobody => self.change(&self.host, &changes, &standing)?,
            consent => return self.bring_about_guarded(lock, changes, standing, &consent),
        }
        self.records.note_standing(&lock, standing)?;
        Ok(changes)
    }

    fn change(&self, host: &Host, changes: &[Change], standing: &Standing) -> Result<()> {
        live::apply(host, changes)?;
        live::verify(host, &standing.state, &standing.owned)
    }

    fn bring_about_guarded(
        &self,
        lock: Lock,
        changes: Vec<Change>,
        standing: Standing,
        consent: &Consent,
    ) -> Result<Vec<Change>> {
        let witnesses = if let Consent::Witnesses(all) = consent { all.clone() } else { Vec::new() };
        let awaited = matches!(consent, Consent::Person { awaited: true, .. });
        let pending = Pending { back: inverse(&changes), witnesses, awaited, standing };
        self.arm(&lock, &pending, consent.limit())?;
        let done = self.change(&self.host.unstoppable(), &changes, &pending.standing);
        if let Err(error) = done {
            let truth = self.take_back_now(&pending)?;
            return Err(NetworkError::Broken { cause: error, truth }.into());
        }
        self.must_still_wait(&pending)?;
        // Whoever says yes needs it.
        drop(lock);
        match consent {
            Consent::Nobody | Consent::Person { awaited: false, .. } => {}
            Consent::Witnesses(_) => self.ask_witnesses(&pending)?,
            Consent::Person { limit, awaited: true } => self.wait_for_person(&pending, *limit)?,
        }
        Ok(changes)
    }

    fn arm(&self, lock: &Lock, pending: &Pending, limit: Duration) -> Result<()> {
        self.records.note(lock, pending)?;
        let armed = self.timer.start(limit);
        if armed.is_err() {
            // Without its timer it would be taken for a change that was made.
            self.records.forget_pending()?;
        }
        armed
    }

    fn ask_witnesses(&self, mine: &Pending) -> Result<()> {
        let silent = witness::silent(&mine.witnesses);
        let lock = self.records.lock()?;
        if self.records.pending()?.is_none() && self.records.standing()?.as_ref() == Some(&mine.standing) {
            // A person was faster.
            return Ok(());
        }
        self.must_still_wait(mine)?;
        if silent.is_empty() {
            return self.say_yes(&lock);
        }
        let truth = self.take_back_now(mine)?;
        Err(NetworkError::CutOff { silent, truth }.into())
    }

    /// What this run did late, behind whoever took it back, must not stay.
    fn must_still_wait(&self, mine: &Pending) -> Result<()> {
        if self.records.pending()?.as_ref() == Some(mine) {
            return Ok(());
        }
        let truth = self.take_back_now(mine)?;
        Err(NetworkError::TooLate { truth }.into())
    }

    fn wait_for_person(&self, mine: &Pending, limit: Duration) -> Result<()> {
        self.host.warn(&format!(
            "nobody who could be asked answered before this change of the network. Within {} seconds type in another \
             session: gpucloud-install network confirm",
            limit.as_secs()
        ));
        match self.answer_of_person(mine, limit)? {
            Answer::Yes => Ok(()),
            Answer::No(truth) => Err(NetworkError::Unconfirmed { truth }.into()),
            Answer::Stopped => Err(Error::Stopped),
        }
    }

    fn answer_of_person(&self, mine: &Pending, limit: Duration) -> Result<Answer> {
        let (begin, end) = (Instant::now(), Instant::now() + limit + TIMER_GRACE);
        while self.records.pending()?.as_ref() == Some(mine) {
            let seconds = begin.elapsed().min(limit).as_secs();
            self.host.progress(seconds, limit.as_secs(), "s, waiting for: gpucloud-install network confirm");
            let is_stopped = self.host.go_on().is_err();
            if is_stopped || Instant::now() >= end {
                let truth = self.take_back()?;
                return Ok(if is_stopped { Answer::Stopped } else { Answer::No(truth) });
            }
            std::thread::sleep(LOOK);
        }
        let stands = self.records.standing()?.as_ref() == Some(&mine.standing);
        Ok(if stands { Answer::Yes } else { Answer::No("it was taken back".into()) })
    }

    /// The change that waits stays. Returns it; `None` where none waits.
    pub fn confirm(&self) -> Result<Option<Pending>> {
        let lock = self.records.lock()?;
        let waited = self.records.pending()?;
        if waited.is_some() {
            self.say_yes(&lock)?;
        }
        Ok(waited)
    }

    fn say_yes(&self, lock: &Lock) -> Result<()> {
        self.records.confirm(lock)?;
        self.stop_timer();
        Ok(())
    }

    /// One that fires behind its change finds nothing to take back.
    fn stop_timer(&self) {
        if let Err(error) = self.timer.stop() {
            self.host.warn(&error.to_string());
        }
    }

    /// Nothing waits or stands any more, and no timer runs.
    pub fn forget(&self, lock: &Lock) -> Result<()> {
        let waited = self.records.pending()?.is_some();
        self.records.forget_all(lock)?;
        if waited {
            self.stop_timer();
        }
        Ok(())
    }

    /// Takes back the change that waits, and says whether everybody who answered before answers again.
    ///
    /// Where another change does not end, it does not wait for ever: the way back goes first.
    pub fn take_back(&self) -> Result<String> {
        let _lock = self.records.lock().inspect_err(|error| self.host.warn(&error.to_string())).ok();
        match self.records.pending()? {
            None => Ok("no change of the network waits for a yes".to_owned()),
            Some(pending) => self.take_back_now(&pending),
        }
    }

    /// May be repeated: what is back stays back. Killed inside, it is taken back by the next who looks.
    fn take_back_now(&self, pending: &Pending) -> Result<String> {
        let failed = live::apply_all(&self.host.unstoppable(), &pending.back);
        if failed.is_empty() {
            self.records.forget_pending()?;
            self.stop_timer();
        }
        let silent = witness::silent(&pending.witnesses);
        Ok(match (failed.is_empty(), silent.is_empty()) {
            (true, true) if pending.witnesses.is_empty() => "everything was taken back".into(),
            (true, true) => "everything was taken back, and everybody who answered before answers again".into(),
            (true, false) => format!("everything was taken back, but {} still does not answer", silent.join(", ")),
            (false, _) => format!("not everything could be taken back: {}", failed.join("; ")),
        })
    }

    /// What a run that was killed has left is taken back before anything else: it was never confirmed.
    fn settle(&self, _lock: &Lock) -> Result<()> {
        let Some(pending) = self.records.pending()? else { return Ok(()) };
        let truth = self.take_back_now(&pending)?;
        if self.records.pending()?.is_some() {
            // What is back in part must not be built upon: the way back would be lost.
            return Err(NetworkError::Unsettled { truth }.into());
        }
        self.host.warn(&format!("a change of the network that nobody confirmed was found: {truth}"));
        Ok(())
    }

    /// Whether a change waits for a yes that may still come. One that nobody can confirm any more is taken back.
    pub fn waits(&self, lock: &Lock) -> Result<bool> {
        match self.records.pending()? {
            None => Ok(false),
            Some(_) if self.timer.is_armed()? => Ok(true),
            Some(_) => self.settle(lock).map(|()| false),
        }
    }
}

#[cfg(test)]
mod tests;
