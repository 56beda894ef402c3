//! Kinds of probe: one service, one question, whether it answers (as opposed to whether it runs). A new kind is a
//! variant of [`Probe`] and its arm in [`Prober::ask`]; what is asked of an API with a token is in `cloud/health.rs`.

use super::EngineInput;
use super::service::Service;
use crate::cloud::health;
use crate::cloud::{ApiError, PROBE_LIMIT, Session, SharedSession, page};
use crate::complaint::Complaint;
use crate::host::{Host, amqp, sql, systemd};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

/// How long a plain connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// RabbitMQ answers a wrong password late, on purpose.
const AMQP_LIMIT: Duration = Duration::from_secs(5);
/// How long a round of all probes may take: longer than a login that hangs and the call behind it.
pub const ROUND_LIMIT: Duration = Duration::from_secs(45);
/// How soon a round that waits sees that a stop was asked for.
const STOP_POLL: Duration = Duration::from_millis(200);

/// What a probe said: content, or a complaint.
pub type Answer = Result<(), Complaint>;

/// How to see that a service works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// systemd's word is all there is.
    Active,
    /// Something accepts connections on this port of loopback.
    Port(u16),
    /// MariaDB answers on its socket.
    Sql,
    /// RabbitMQ accepts connections, and our login where the secrets are known.
    Queue,
    /// An API answers: without a token at this port, with one as this service of the catalog.
    Api {
        /// Port of the host's address.
        port: u16,
        /// Path of its root there.
        path: &'static str,
        /// Type in the catalog; none for APIs without a catalog entry (metadata).
        service: Option<&'static str>,
    },
    /// Nova has a heartbeat of this hypervisor that is newer than its unit's start.
    Compute,
    /// Neutron sees the OVN chassis and agent of this host alive.
    NetworkAgents,
    /// A page that contains this text.
    Page {
        /// Port of the host's address.
        port: u16,
        /// Path on it.
        path: &'static str,
        /// What it must contain.
        contains: &'static str,
    },
}

/// Asks probes; logs in once for all of them.
pub struct Prober {
    address: Ipv4Addr,
    host_name: String,
    session: Option<SharedSession>,
    queue: Option<(String, crate::config::secrets::Secret)>,
}

impl Prober {
    /// For this cloud; without a session only what needs no token is asked.
    pub fn of(order: &EngineInput) -> Self {
        let host = &order.config.host;
        Self { address: host.address, host_name: host.name.to_string(), session: order.admin.cloned(), queue: None }
    }

    /// Logs in to the queue too.
    pub fn with_queue(mut self, user: &str, password: Option<crate::config::secrets::Secret>) -> Self {
        self.queue = password.map(|password| (user.to_owned(), password));
        self
    }

    /// Whether `probe` of the unit `unit` is content; each takes its time, but has a limit.
    pub fn ask(&self, host: &Host, unit: &str, probe: &Probe) -> Answer {
        match probe {
            Probe::Active => Ok(()),
            Probe::Port(port) => connect_loopback(*port),
            Probe::Sql => ask_sql(),
            Probe::Queue => self.ask_queue(),
            Probe::Api { port, path, service } => self.ask_api(*port, path, *service),
            Probe::Compute => {
                let since = started(host, unit)?;
                self.ask_with_token(|session| health::compute(session, &self.host_name, since))
            }
            Probe::NetworkAgents => self.ask_with_token(|session| health::network_agents(session, &self.host_name)),
            Probe::Page { port, path, contains } => self.ask_page(*port, path, contains),
        }
    }

    /// The same as [`Prober::ask`], but without what needs other services: enough to go on with a start.
    pub fn ask_alone(&self, host: &Host, unit: &str, probe: &Probe) -> Answer {
        match probe {
            Probe::Api { port, path, .. } => self.ask_port(*port, path),
            Probe::Compute | Probe::NetworkAgents => Ok(()),
            Probe::Queue => connect_loopback(amqp::DEFAULT_PORT),
            other => self.ask(host, unit, other),
        }
    }

    fn ask_queue(&self) -> Answer {
        let Some((user, password)) = &self.queue else { return connect_loopback(amqp::DEFAULT_PORT) };
        match amqp::login(amqp::DEFAULT_PORT, user, password.expose(), AMQP_LIMIT) {
            amqp::Login::Ok => Ok(()),
            // It says the same while it starts.
            amqp::Login::Refused(why) => Err(Complaint::passing("RabbitMQ refuses our login").seen(why)),
            amqp::Login::NoServer => Err(Complaint::passing("RabbitMQ does not answer")),
        }
    }

    fn ask_port(&self, port: u16, path: &str) -> Answer {
        match page(&format!("http://{}:{port}{path}", self.address))? {
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

    fn ask_page(&self, port: u16, path: &str, contains: &str) -> Answer {
        let (status, body) = page(&format!("http://{}:{port}{path}", self.address))?;
        match status {
            200 if body.contains(contains) => Ok(()),
            200 => Err(Complaint::passing(format!("{path} is not the expected page"))),
            status => Err(Complaint::passing(format!("{path} answers {status}"))),
        }
    }

    /// `ask` returns what is wrong, if anything.
    fn ask_with_token(&self, ask: impl Fn(&Session) -> Result<Option<String>, ApiError>) -> Answer {
        let unknown = || Complaint::lasting("the administrator's password is not known");
        let session = self.session.as_ref().ok_or_else(unknown)?;
        let complaint = session.ask(|session| ask(&session.within(PROBE_LIMIT)))?;
        complaint.map_or(Ok(()), |what| Err(Complaint::passing(what)))
    }
}

/// What each of `services` complains of, in their order, asked all at once. Who has not answered when `limit` has
/// passed, or when a stop is asked for, complains of that; its thread ends by the limit of its own.
pub fn ask_all(
    host: &Host,
    services: &[Service],
    limit: Duration,
    ask: impl Fn(&Host, &Service) -> Answer + Send + Sync + 'static,
) -> Vec<Option<Complaint>> {
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

fn ask_sql() -> Answer {
    let failed = |error: sql::SqlError| Complaint::passing("MariaDB does not let root in").seen(error);
    match sql::connect_within(PROBE_LIMIT).map_err(failed)? {
        Some(_) => Ok(()),
        None => Err(Complaint::passing("MariaDB does not answer")),
    }
}

fn connect_loopback(port: u16) -> Answer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |error| Complaint::passing(format!("{address} does not answer")).seen(error);
    TcpStream::connect_timeout(&address, CONNECT_LIMIT).map(drop).map_err(failed)
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
        Self { address, host_name: "box".into(), session: None, queue: None }
    }
}
