//! Requests to the APIs and their answers, on `ureq`, blocking; microversions and limits of time (call, login, look,
//! probe, upload) in one place.

use super::error::{self, ApiError};
use serde_json::Value;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long one call may take: creating a router on a loaded host takes seconds.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a login may take: a quarter of a second, some seconds on a loaded host.
pub(super) const LOGIN_LIMIT: Duration = Duration::from_secs(20);
/// How long a call may take that only looks at what is there.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// How long a service may take to answer a probe.
pub const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long the upload of an image may take.
const UPLOAD_LIMIT: Duration = Duration::from_secs(3600);
/// How long a server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The newest Nova microversion that our calls are written for; extra specs in flavors need 2.86.
const NOVA_MICROVERSION: &str = "2.96";
/// The same for Placement.
const PLACEMENT_MICROVERSION: &str = "1.39";

/// An answer: body and request id.
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
    pub request: Option<String>,
    pub token: Option<String>,
}

/// Status and body of what answers at `url` without a token, within `limit`; over TLS, by a certificate of this
/// authority's (DER).
///
/// # Errors
/// No answer; any status is one.
pub fn page(url: &str, limit: Duration, authority: Option<Vec<u8>>) -> Result<(u16, String), ApiError> {
    let failed = |error: ureq::Error| no_answer(url, "GET", limit, &error);
    let mut request = agent_within(limit).get(url);
    if let Some(authority) = authority {
        let trusted = RootCerts::from(vec![Certificate::from_der(&authority).to_owned()]);
        request = request.config().tls_config(TlsConfig::builder().root_certs(trusted).build()).build();
    }
    let mut response = request.call().map_err(failed)?;
    let body = response.body_mut().read_to_string().map_err(failed)?;
    Ok((response.status().as_u16(), body))
}

pub(super) fn agent() -> ureq::Agent {
    agent_within(CALL_LIMIT)
}

fn agent_within(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Glance answers its root with 300 and no location: an answer like any other.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(limit))
        .timeout_connect(Some(CONNECT_LIMIT))
        // The cloud's own addresses are never behind a proxy.
        .proxy(None)
        .build()
        .into()
}

/// A request to a service.
pub(super) struct Call<'a> {
    /// Type of the service in the catalog.
    pub service: &'a str,
    pub method: &'a str,
    pub url: &'a str,
    pub token: Option<&'a str>,
    pub body: Option<&'a Value>,
    /// How long all of it may take, the answer included.
    pub limit: Duration,
}

pub(super) fn send(agent: &ureq::Agent, call: &Call) -> Result<Answer, ApiError> {
    let Call { service, method, url, token, body, limit } = *call;
    let bytes = body.map(|body| body.to_string()).unwrap_or_default();
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("Accept", "application/json");
    if body.is_some() {
        request = request.header("Content-Type", "application/json");
    }
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token);
    }
    if let Some((name, version)) = microversion(service) {
        request = request.header(name, version);
    }
    let failed = |error: ureq::Error| no_answer(service, method, limit, &error);
    let request = request.body(bytes).map_err(|e| failed(e.into()))?;
    let request = agent.configure_request(request).timeout_global(Some(limit)).build();
    let response = agent.run(request).map_err(failed)?;
    answer_of(service, response, failed)
}

/// Why no answer came, and whether the request was sent at all.
fn no_answer(service: &str, method: &str, limit: Duration, error: &ureq::Error) -> ApiError {
    use ureq::{Error, Timeout};
    let (service, cause) = (service.to_owned(), error.to_string());
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            let cause = format!("no connection within {} s", CONNECT_LIMIT.as_secs());
            ApiError::Unreachable { service, cause }
        }
        Error::Timeout(_) => {
            ApiError::Unanswered { service, cause: format!("no answer to {method} within {} s", limit.as_secs()) }
        }
        Error::Io(io) if was_not_sent(io.kind()) => ApiError::Unreachable { service, cause },
        Error::HostNotFound | Error::ConnectionFailed | Error::Http(_) | Error::BadUri(_) => {
            ApiError::Unreachable { service, cause }
        }
        _ => ApiError::Unanswered { service, cause },
    }
}

/// Errors of connect(2); all others come behind it.
fn was_not_sent(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(kind, ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable)
}

fn answer_of(
    service: &str,
    mut response: ureq::http::Response<ureq::Body>,
    failed: impl Fn(ureq::Error) -> ApiError,
) -> Result<Answer, ApiError> {
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (status, request, token) =
        (response.status().as_u16(), header("x-openstack-request-id"), header("x-subject-token"));
    let text = response.body_mut().read_to_string().map_err(failed)?;
    let answer = Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), request, token };
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refused(service, answer, &text)) }
}

/// Sends `size` bytes. `sent` is told how many went, and stops it by `false`.
pub(super) fn upload(
    service: &str,
    url: &str,
    token: &str,
    content: impl std::io::Read,
    size: u64,
    sent: &dyn Fn(u64) -> bool,
) -> Result<(), ApiError> {
    let mut counted = Counted { content, sent, so_far: 0, told: 0 };
    let request = agent_within(UPLOAD_LIMIT)
        .put(url)
        .header("X-Auth-Token", token)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Length", size.to_string());
    let failed = |error: ureq::Error| no_answer(service, "PUT", UPLOAD_LIMIT, &error);
    let response = request.send(ureq::SendBody::from_reader(&mut counted)).map_err(failed)?;
    answer_of(service, response, failed).map(drop)
}

/// A reader that tells how much was read.
struct Counted<'a, R> {
    content: R,
    sent: &'a dyn Fn(u64) -> bool,
    so_far: u64,
    told: u64,
}

/// How often an upload tells how far it is, in bytes.
const TELL_EVERY: u64 = 4 << 20;

impl<R: std::io::Read> std::io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.so_far += count as u64;
        if self.so_far - self.told >= TELL_EVERY || count == 0 {
            self.told = self.so_far;
            if !(self.sent)(self.so_far) {
                return Err(std::io::Error::other("stopped on request"));
            }
        }
        Ok(count)
    }
}

fn microversion(service: &str) -> Option<(&'static str, String)> {
    match service {
        "compute" => Some(("OpenStack-API-Version", format!("compute {NOVA_MICROVERSION}"))),
        // Since 3.42 a volume that an instance has can be extended.
        "block-storage" => Some(("OpenStack-API-Version", "volume 3.60".into())),
        "placement" => Some(("OpenStack-API-Version", format!("placement {PLACEMENT_MICROVERSION}"))),
        _ => None,
    }
}

fn refused(service: &str, answer: Answer, text: &str) -> ApiError {
    let message = error::message(&answer.body).unwrap_or_else(|| error::plain(text));
    ApiError::Refused { service: service.to_owned(), status: answer.status, message, request: answer.request }
}
