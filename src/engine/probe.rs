//! Kinds of probe: one service, one question, whether it works (as opposed to whether it runs, or takes connections). A
//! new kind is a variant of [`Probe`] (`service.rs`) and its arm in [`Prober::ask`]; what is asked of an API with a token is in
//! `cloud/health.rs`, what is asked of the services below the APIs in `ask.rs`. A probe takes milliseconds where all is well;
//! what costs more (`rabbitmqctl`, a journal) is asked only where something is known to be wrong.

use super::service::{Answer, Probe, Service};
use super::{EngineInput, ask, hypervisor};
use crate::cloud::health;
use crate::cloud::{ApiError, PROBE_LIMIT, Session, SharedSession, page};
use crate::complaint::Complaint;
use crate::host::{Host, amqp, files, systemd};
use crate::portal::tls;
use crate::tunnel::state::{self, State};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant, SystemTime};

/// RabbitMQ answers a wrong password late, on purpose.
const AMQP_LIMIT: Duration = Duration::from_secs(5);
/// How long a round of all probes may take: longer than a login that hangs and the call behind it.
pub const ROUND_LIMIT: Duration = Duration::from_secs(45);
/// How soon a round that waits sees that a stop was asked for.
const STOP_POLL: Duration = Duration::from_millis(200);

/// How the queue took our login, in one look.
#[derive(Default)]
struct QueueLogin(OnceLock<amqp::Login>);

/// Asks probes; logs in once for all of them.
pub struct Prober {
    address: Ipv4Addr,
    host_name: String,
    /// How long a page may take here.
    limit: Duration,
    session: Option<SharedSession>,
    queue: Option<(String, crate::config::secrets::Secret)>,
}

impl Prober {
    /// For this cloud; without a session only what needs no token is asked.
    pub fn of(order: &EngineInput) -> Self {
        let host = &order.config.host;
        let limit = order.host.limit(PROBE_LIMIT);
        let (host_name, session) = (host.name.to_string(), order.admin.cloned());
        Self { address: host.address, host_name, limit, session, queue: None }
    }

    /// Logs in to the queue too.
    pub fn with_queue(mut self, user: &str, password: Option<crate::config::secrets::Secret>) -> Self {
        self.queue = password.map(|password| (user.to_owned(), password));
        self
    }

    /// Whether `service` is content; each probe takes its time, but has a limit.
    pub fn ask(&self, host: &Host, service: &Service) -> Answer {
        ask::has_room(host, service)?;
        match &service.probe {
            Probe::Active => Ok(()),
            Probe::Port(port) => ask::connect(*port).map(drop),
            Probe::Sql => ask::sql(),
            Probe::Queue => self.ask_queue(host, false),
            Probe::Cache(port) => ask::cache(*port),
            Probe::Northd => ask::northd(host),
            Probe::OvnController => ask::ovn(host, "ovn-controller", "connection-status", "connected"),
            Probe::Emulator { kvm } => ask::emulator(host, *kvm),
            Probe::Api { port, path, service } => self.ask_api(*port, path, *service),
            Probe::Compute => self.ask_compute(host, &service.unit),
            Probe::NetworkAgents => self.ask_with_token(|session| health::network_agents(session, &self.host_name)),
            Probe::VolumeGroup => ask::volume_group(host),
            Probe::Volumes(program) => self.ask_volumes(host, &service.unit, program),
            Probe::Tunnel => tunnel(host),
            Probe::Page { port, path, contains, trust } => self.ask_page(host, (*port, path), contains, *trust),
        }
    }

    /// The same as [`Prober::ask`], but without what needs other services: enough to go on with a start.
    pub fn ask_alone(&self, host: &Host, service: &Service) -> Answer {
        match &service.probe {
            Probe::Api { port, path, .. } => ask::has_room(host, service).and_then(|()| self.ask_port(*port, path)),
            Probe::Compute | Probe::NetworkAgents | Probe::OvnController => ask::has_room(host, service),
            // The world may be away: the tunnel comes when it does.
            Probe::Tunnel => Ok(()),
            // The group is made when its disk is there.
            Probe::Volumes(_) | Probe::VolumeGroup => ask::has_room(host, service),
            Probe::Queue => ask::has_room(host, service).and_then(|()| self.ask_queue(host, true)),
            _ => self.ask(host, service),
        }
    }

    /// A login that is refused is no hindrance for a start: the account is mended behind it. One look asks once, whoever
    /// wants to know.
    fn ask_queue(&self, host: &Host, only_started: bool) -> Answer {
        let Some((user, password)) = &self.queue else { return ask::connect(amqp::DEFAULT_PORT).map(drop) };
        let log_in = || amqp::login(amqp::DEFAULT_PORT, user, password.expose(), host.limit(AMQP_LIMIT));
        let login = match host.snapshot() {
            Some(snapshot) => snapshot.memory::<QueueLogin>().0.get_or_init(log_in).clone(),
            None => log_in(),
        };
        match login {
            amqp::Login::Ok => Ok(()),
            amqp::Login::Blocked => Err(ask::blocked(host)),
            amqp::Login::Refused(_) if only_started => Ok(()),
            amqp::Login::Refused(why) => Err(ask::refused(host, user, &why)),
            amqp::Login::NoServer => Err(Complaint::passing("RabbitMQ does not answer")),
        }
    }

    fn ask_compute(&self, host: &Host, unit: &str) -> Answer {
        let since = started(host, unit)?;
        let answer = self.ask_with_token(|session| health::compute(session, &self.host_name, since));
        answer
            .map_err(|complaint| if complaint.grave { self.explained(host, unit, since, complaint) } else { complaint })
    }

    fn ask_volumes(&self, host: &Host, unit: &str, program: &str) -> Answer {
        let since = started(host, unit)?;
        let next = format!("systemctl restart {unit}; if that does not help: journalctl -u {unit} -n 50");
        let answer = self.ask_with_token(|session| health::volumes(session, program, &self.host_name, since));
        answer.map_err(|complaint| if complaint.next.is_empty() { complaint.mended_by(next) } else { complaint })
    }

    /// What the machine itself shows of why nova-compute takes no instance. It refuses to start under another host name
    /// than before, and on other errors of its start, with a last word of the level CRITICAL; its unit stays active.
    fn explained(&self, host: &Host, unit: &str, since: f64, complaint: Complaint) -> Complaint {
        let now = host_name();
        let keeps_its_name = files::exists(host, hypervisor::DROP_IN);
        if !keeps_its_name && short(&now) != short(&self.host_name) {
            let was = &self.host_name;
            return Complaint { wait: false, ..complaint }
                .seen(format!("this machine is called {now} now, the cloud knows it as {was}"))
                .mended_by(format!("hostnamectl set-hostname {was}; systemctl restart libvirtd {unit}"));
        }
        let next = format!("systemctl restart {unit}; if that does not help: journalctl -u {unit} -n 50");
        let said = systemd::lines_since(host, unit, since);
        let last = |sign: &str| said.lines().rev().find(|line| line.contains(sign)).map(|line| line.trim().to_owned());
        match (last(" CRITICAL "), last(" ERROR ")) {
            (Some(died), _) => Complaint { wait: false, ..complaint }.seen(died).mended_by(next),
            (None, Some(error)) if !complaint.wait => complaint.seen(error).mended_by(next),
            _ if !complaint.wait && complaint.next.is_empty() => complaint.mended_by(next),
            _ => complaint,
        }
    }

    fn ask_port(&self, port: u16, path: &str) -> Answer {
        match page(&format!("http://{}:{port}{path}", self.address), self.limit, None)? {
            (status @ (502 | 503), _) => {
                Err(Complaint::passing("it answers that it is not ready").seen(format!("status {status}")))
            }
            _ => Ok(()),
        }
    }

    fn ask_api(&self, port: u16, path: &str, service: Option<&'static str>) -> Answer {
        match service {
            Some(service) if self.session.is_some() => self.ask_with_token(|session| health::api(session, service)),
            _ => self.ask_port(port, path),
        }
    }

    fn ask_page(&self, host: &Host, (port, path): (u16, &str), contains: &str, trust: Option<&str>) -> Answer {
        let unreadable = |error: String| Complaint::lasting(error).mended_by("sudo gpucloud-install apply");
        let trusted = trust.map(|file| tls::read(host, Path::new(file))).transpose().map_err(unreadable)?;
        let scheme = if trusted.is_some() { "https" } else { "http" };
        let authority = trusted.map(|shown| shown.authority.certificate);
        let (status, body) = page(&format!("{scheme}://{}:{port}{path}", self.address), self.limit, authority)?;
        match status {
            200 if body.contains(contains) => Ok(()),
            200 => Err(Complaint::passing(format!("{path} is not the expected page"))),
            status => Err(Complaint::passing(format!("{path} answers {status}"))),
        }
    }

    /// `ask` returns what is wrong, if anything.
    fn ask_with_token(&self, ask: impl Fn(&Session) -> Result<Option<Complaint>, ApiError>) -> Answer {
        let unknown = || Complaint::lasting("the administrator's password is not known");
        let session = self.session.as_ref().ok_or_else(unknown)?;
        session.ask(|session| ask(&session.within(PROBE_LIMIT)))?.map_or(Ok(()), Err)
    }
}

/// A tunnel that is not reached is told: nothing on this machine mends it.
fn tunnel(host: &Host) -> Answer {
    let told = |what: String| Complaint { wait: true, ..Complaint::wanted(what) };
    Err(match state::noted(host) {
        Some(State::Up) => return Ok(()),
        Some(State::Lost(why)) => told(format!("students outside do not reach it, it is being tried again: {why}")),
        Some(State::Refused(why)) => {
            Complaint::wanted(format!("refused: {why}; sudo gpucloud-install tunnel token gives it another token"))
        }
        Some(State::Connecting) | None => told("connecting".into()),
    })
}

/// What each of `services` complains of, in their order, asked all at once. Who has not answered when `limit` has
/// passed, or when a stop is asked for, complains of that; its thread ends by the limit of its own.
pub fn ask_all(
    host: &Host,
    services: &[Service],
    limit: Duration,
    ask: impl Fn(&Host, &Service) -> Answer + Send + Sync + 'static,
) -> Vec<Option<Complaint>> {
    let limit = host.limit(limit);
    let (sender, answers) = mpsc::channel();
    let ask = Arc::new(ask);
    for (i, service) in services.iter().cloned().enumerate() {
        let (sender, ask, host) = (sender.clone(), ask.clone(), host.clone());
        // Nobody listens any more behind the limit.
        std::thread::spawn(move || drop(sender.send((i, ask(&host, &service).err()))));
    }
    drop(sender);
    let late = || Some(Complaint::passing(format!("it has not answered within {} s", limit.as_secs())));
    let mut complaints: Vec<_> = services.iter().map(|_| late()).collect();
    let end = Instant::now() + limit;
    while Instant::now() < end && host.go_on().is_ok() {
        match answers.recv_timeout(STOP_POLL.min(end.saturating_duration_since(Instant::now()))) {
            Ok((i, answer)) => complaints[i] = answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    complaints
}

impl From<ApiError> for Complaint {
    fn from(error: ApiError) -> Self {
        match &error {
            ApiError::Refused { service, status: 401, message, .. } if service == "identity" => {
                Complaint::lasting("Keystone does not take the administrator's password").seen(message)
            }
            ApiError::Unreachable { service, cause } | ApiError::Unanswered { service, cause } => {
                Complaint::passing(format!("{service} does not answer")).seen(cause)
            }
            other => Complaint::passing(other.to_string()),
        }
    }
}

/// What the kernel calls this machine.
fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// A name without its domain.
fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// When the unit was started last, in seconds since 1970.
fn started(host: &Host, unit: &str) -> Result<f64, Complaint> {
    let unknown = |error| Complaint::passing("systemd does not say when it was started").seen(error);
    let status = systemd::unit(host, unit).map_err(unknown)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    Ok(now - (systemd::monotonic_seconds() - status.started_at))
}

#[cfg(test)]
impl Prober {
    /// Without any login.
    pub(super) fn at(address: Ipv4Addr) -> Self {
        Self { address, host_name: "box".into(), limit: PROBE_LIMIT, session: None, queue: None }
    }
}
