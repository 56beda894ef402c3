//! The dead-man switch: a change that could cut this machine off is taken back by itself, unless somebody who can still
//! reach the machine says yes in time.
//!
//! What takes it back is written down, and a timer of systemd's is started, before the first change: both outlive this
//! program and the SSH session that it was typed in. Both live in memory only: what was not confirmed is in no answers,
//! and after a boot the network is what the last complete apply says. Only what answered before the change is asked after it: a gateway that never
//! answers pings must not forbid every change (kubernetes-nmstate issues 316 and 1063).

use super::live::{self, Ours};
use super::state::{Change, State, changes, inverse};
use crate::facts::listeners;
use crate::facts::network::Network;
use crate::host::{Error, Host, Result, dns, files, systemd};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// What takes an unconfirmed change back.
const PENDING: &str = "/run/gpucloud/network/pending.json";
/// The same while somebody confirms it, or takes it back.
const CLAIMED: &str = "/run/gpucloud/network/claimed.json";
/// The unit of the timer, and of what it starts.
const UNIT: &str = "gpucloud-network-rollback";
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long what answered before may stay silent after a change: links and ARP need a moment.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// How long an unconfirmed change lasts.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(120);
/// Where the program stands on a machine with a cloud: not on a disk that the network may take away.
const PROGRAM: &str = "/usr/local/bin/gpucloud-install";

/// Somebody who is asked whether this machine is still reachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// "the gateway".
    pub role: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it is asked by DNS; else by ping.
    pub dns: bool,
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.role, self.address)
    }
}

impl Witness {
    fn answers(&self) -> bool {
        if self.dns {
            dns::ask(self.address, ANSWER_LIMIT).is_ok()
        } else {
            ping::ping(self.address, ANSWER_LIMIT).is_ok()
        }
    }
}

/// A change that waits for a yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What takes it back, in order.
    pub back: Vec<Change>,
    /// Who answered before.
    pub witnesses: Vec<Witness>,
}

/// Who says yes to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Everybody who answered before still answers.
    Witnesses,
    /// A person types `network confirm` within this time.
    Person(Duration),
}

/// Gateway, name servers, and where people are logged in from, as far as they answer now.
pub fn witnesses(host: &Host, network: &Network) -> Vec<Witness> {
    let of = |role: &'static str, dns| move |address: IpAddr| Witness { role: role.to_owned(), address, dns };
    let gateway = network.default_route.as_ref().and_then(|route| route.gateway);
    let servers = network.name_servers.iter().copied().map(IpAddr::V4);
    let peers = listeners::people(host).unwrap_or_default();
    let mut all: Vec<Witness> = gateway.into_iter().map(of("the gateway", false)).collect();
    all.extend(servers.map(of("the name server", true)));
    all.extend(
        peers.into_iter().filter(|peer| !peer.is_loopback()).map(of("where somebody is logged in from,", false)),
    );
    answering(all)
}

/// Those that answer, asked at once.
fn answering(all: Vec<Witness>) -> Vec<Witness> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = all.iter().map(|witness| scope.spawn(|| witness.answers())).collect();
        let answers: Vec<bool> = asked.into_iter().map(|thread| thread.join().unwrap_or(false)).collect();
        all.iter().cloned().zip(answers).filter_map(|(witness, answers)| answers.then_some(witness)).collect()
    })
}

/// Those of `before` that do not answer any more, after some patience.
fn silent(before: &[Witness]) -> Vec<Witness> {
    let end = Instant::now() + SILENCE_LIMIT;
    loop {
        let now = answering(before.to_vec());
        let missing: Vec<Witness> = before.iter().filter(|witness| !now.contains(witness)).cloned().collect();
        if missing.is_empty() || Instant::now() >= end {
            return missing;
        }
    }
}

/// Brings the network from what it is to `desired`; what is not `ours` stays. Returns what was changed.
///
/// # Errors
/// A hand failed, the result is not as desired, or a witness fell silent: what was is back then, as far as the error
/// does not say otherwise.
pub fn bring_about(
    host: &Host,
    desired: &State,
    ours: &Ours,
    network: &Network,
    confirmation: Confirmation,
) -> Result<Vec<Change>> {
    take_back_leftover(host)?;
    let changes = changes(&live::current(host, desired, ours)?, desired);
    if !changes.iter().any(Change::may_cut_off) {
        live::apply(host, &changes)?;
        live::verify(host, desired, ours)?;
        return Ok(changes);
    }
    let pending = Pending { back: inverse(&changes), witnesses: witnesses(host, network) };
    if pending.witnesses.is_empty() && confirmation == Confirmation::Witnesses {
        host.warn("nobody who could be asked answered before this change: network apply --until-confirmed asks you");
    }
    // A stop request must not leave a change without its way back.
    let host = &host.unstoppable();
    arm(host, &pending, confirmation)?;
    let done = live::apply(host, &changes).and_then(|()| live::verify(host, desired, ours));
    if let Err(error) = done {
        let truth = take_back(host)?;
        return Err(Error::protocol("change the network", format!("{error}; {truth}")));
    }
    if confirmation == Confirmation::Witnesses {
        confirm_by_witnesses(host, &pending)?;
    }
    Ok(changes)
}

fn confirm_by_witnesses(host: &Host, pending: &Pending) -> Result<()> {
    let silent = silent(&pending.witnesses);
    if silent.is_empty() {
        return match confirm(host)? {
            true => Ok(()),
            false => Err(Error::protocol("change the network", "it took too long, and was taken back meanwhile")),
        };
    }
    let truth = take_back(host)?;
    let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let cause = format!("it cut off {}, which answered before; {truth}", names.join(", "));
    Err(Error::protocol("change the network", cause))
}

fn arm(host: &Host, pending: &Pending, confirmation: Confirmation) -> Result<()> {
    let text = serde_json::to_vec(pending).map_err(|error| Error::protocol("note the way back", error))?;
    files::write_volatile(host, Path::new(PENDING), &text, 0o600)?;
    let program = match files::exists(host, PROGRAM) {
        true => PROGRAM.into(),
        false => std::env::current_exe().map_err(|error| Error::protocol("find this program", error))?,
    };
    let limit = match confirmation {
        Confirmation::Witnesses => DEFAULT_LIMIT,
        Confirmation::Person(limit) => limit,
    };
    let after = format!("--on-active={}s", limit.as_secs());
    let options = ["--collect".to_owned(), "--timer-property=AccuracySec=1s".to_owned(), after];
    let words = [&program.display().to_string(), "network", "revert"];
    let armed = systemd::start_transient(host, UNIT, &options, &words.map(str::to_owned));
    if armed.is_err() {
        // Without its timer it would only keep `network keep` from its work.
        files::remove(host, Path::new(PENDING))?;
    }
    armed
}

/// The change that waits for a yes, if one does.
pub fn pending(host: &Host) -> Result<Option<Pending>> {
    let Some(text) = files::read_text(host, PENDING)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| Error::protocol(format!("read {PENDING}"), error))
}

/// The change that waits stays. Returns whether one waited: who takes it back meanwhile has claimed it.
pub fn confirm(host: &Host) -> Result<bool> {
    if !claim(host)? {
        return Ok(false);
    }
    forget(host)?;
    Ok(true)
}

/// Whether the change that waits is ours now, to confirm or to take back: only one of several that ask gets it.
fn claim(host: &Host) -> Result<bool> {
    if !files::exists(host, PENDING) {
        return Ok(false);
    }
    match files::rename(host, Path::new(PENDING), Path::new(CLAIMED)) {
        Ok(()) => Ok(true),
        Err(_) if !files::exists(host, PENDING) => Ok(false),
        Err(error) => Err(error),
    }
}

/// No change waits any more: no file, no timer.
pub fn forget(host: &Host) -> Result<()> {
    let waited = [PENDING, CLAIMED].iter().any(|path| files::exists(host, path));
    files::remove(host, Path::new(PENDING))?;
    files::remove(host, Path::new(CLAIMED))?;
    if waited { systemd::stop_transient(host, &format!("{UNIT}.timer")) } else { Ok(()) }
}

/// Whether the timer of the change that waits is still there; without it, the next look takes the change back.
pub fn is_armed(host: &Host) -> Result<bool> {
    Ok(systemd::unit(host, &format!("{UNIT}.timer"))?.is_active())
}

/// Takes back the change that waits, and says whether everybody who answered before answers again.
pub fn take_back(host: &Host) -> Result<String> {
    let host = &host.unstoppable();
    let none = || Ok("no change of the network waits for a yes".to_owned());
    let Some(pending) = pending(host)? else { return none() };
    if !claim(host)? {
        return none();
    }
    let failed = live::apply_all(host, &pending.back);
    if failed.is_empty() {
        forget(host)?;
    } else {
        // The next look of `network keep` tries again.
        files::rename(host, Path::new(CLAIMED), Path::new(PENDING))?;
    }
    let silent: Vec<String> = silent(&pending.witnesses).iter().map(ToString::to_string).collect();
    Ok(match (failed.is_empty(), silent.is_empty()) {
        (true, true) => "everything was taken back, and everybody who answered before answers again".into(),
        (true, false) => format!("everything was taken back, but {} still does not answer", silent.join(", ")),
        (false, _) => format!("not everything could be taken back: {}", failed.join("; ")),
    })
}

/// What a run that was killed has left is taken back before anything else: it was never confirmed.
fn take_back_leftover(host: &Host) -> Result<()> {
    if files::exists(host, PENDING) {
        let truth = take_back(host)?;
        host.warn(&format!("a change of the network that nobody confirmed was found: {truth}"));
    }
    Ok(())
}
