//! Kinds of probe: one service, one question, whether it answers (as opposed to whether it runs). A new kind is a
//! variant of [`Probe`] and its arm in [`Prober::ask`]; what is asked of an API with a token is in `cloud/health.rs`.

use super::Order;
use crate::cloud::health;
use crate::cloud::{ApiError, Session, SharedSession, page, status_of};
use crate::host::{Host, amqp, sql, systemd};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

/// How long a plain connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// RabbitMQ answers a wrong password late, on purpose.
const AMQP_LIMIT: Duration = Duration::from_secs(5);

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
    pub fn of(order: &Order) -> Self {
        let host = &order.config.host;
        Self { address: host.address, host_name: host.name.to_string(), session: order.admin.cloned(), queue: None }
    }

    /// Logs in to the queue too.
    pub fn with_queue(mut self, user: &str, password: Option<crate::config::secrets::Secret>) -> Self {
        self.queue = password.map(|password| (user.to_owned(), password));
        self
    }

    /// Whether `probe` of the unit `unit` is content; else the reason, in words.
    pub fn ask(&self, host: &Host, unit: &str, probe: &Probe) -> Result<(), String> {
        match probe {
            Probe::Active => Ok(()),
            Probe::Port(port) => connect_loopback(*port),
            Probe::Sql => match sql::connect().map_err(|e| e.to_string())? {
                Some(_) => Ok(()),
                None => Err("MariaDB does not answer".into()),
            },
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
    pub fn ask_alone(&self, host: &Host, unit: &str, probe: &Probe) -> Result<(), String> {
        match probe {
            Probe::Api { port, path, .. } => self.ask_port(*port, path),
            Probe::Compute | Probe::NetworkAgents => Ok(()),
            Probe::Queue => connect_loopback(amqp::DEFAULT_PORT),
            other => self.ask(host, unit, other),
        }
    }

    fn ask_queue(&self) -> Result<(), String> {
        let Some((user, password)) = &self.queue else { return connect_loopback(amqp::DEFAULT_PORT) };
        match amqp::login(amqp::DEFAULT_PORT, user, password.expose(), AMQP_LIMIT) {
            amqp::Login::Ok => Ok(()),
            amqp::Login::Refused(why) => Err(format!("RabbitMQ refuses our login: {why}")),
            amqp::Login::NoServer => Err("RabbitMQ does not answer".into()),
        }
    }

    fn ask_port(&self, port: u16, path: &str) -> Result<(), String> {
        match status_of(&format!("http://{}:{port}{path}", self.address))? {
            502 | 503 => Err("it answers that it is not ready".into()),
            _ => Ok(()),
        }
    }

    fn ask_api(&self, port: u16, path: &str, service: Option<&'static str>) -> Result<(), String> {
        match service {
            Some(service) if self.session.is_some() => self.ask_with_token(|session| health::api(session, service)),
            _ => self.ask_port(port, path),
        }
    }

    fn ask_page(&self, port: u16, path: &str, contains: &str) -> Result<(), String> {
        let (status, body) = page(&format!("http://{}:{port}{path}", self.address))?;
        match status {
            200 if body.contains(contains) => Ok(()),
            200 => Err(format!("{path} is not the expected page")),
            status => Err(format!("{path} answers {status}")),
        }
    }

    /// `ask` returns what is wrong, if anything.
    fn ask_with_token(&self, ask: impl Fn(&Session) -> Result<Option<String>, ApiError>) -> Result<(), String> {
        let session = self.session.as_ref().ok_or("the administrator's password is not known")?;
        session.ask(ask).map_err(|e| e.to_string())?.map_or(Ok(()), Err)
    }
}

fn connect_loopback(port: u16) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT_LIMIT).map(drop).map_err(|e| format!("{address}: {e}"))
}

/// When the unit was started last, in seconds since 1970.
fn started(host: &Host, unit: &str) -> Result<f64, String> {
    let status = systemd::unit(host, unit).map_err(|e| e.to_string())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    Ok(now - (systemd::monotonic_seconds() - status.started_at))
}
