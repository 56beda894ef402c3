//! Requests to the APIs and their answers, on `ureq`, blocking; microversions and limits of time in one place.

use super::error::{self, ApiError};
use serde_json::Value;
use std::time::Duration;

/// How long one call may take: creating a router on a loaded host takes seconds.
const LIMIT: Duration = Duration::from_secs(60);
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

/// Asks without a token whether something answers at `url`; the HTTP status, whatever it is.
pub fn status_of(url: &str) -> Result<u16, String> {
    match agent().get(url).call() {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(error.to_string()),
    }
}

/// The body at `url`, asked without a token.
pub fn page(url: &str) -> Result<(u16, String), String> {
    let mut response = agent().get(url).call().map_err(|e| e.to_string())?;
    let body = response.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok((response.status().as_u16(), body))
}

pub(super) fn agent() -> ureq::Agent {
    agent_within(LIMIT)
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

pub(super) fn send(
    agent: &ureq::Agent,
    service: &str,
    method: &str,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Answer, ApiError> {
    let unreachable = |cause: String| ApiError::Unreachable { service: service.to_owned(), cause };
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
    let request = request.body(bytes).map_err(|e| unreachable(e.to_string()))?;
    let response = agent.run(request).map_err(|e| unreachable(e.to_string()))?;
    answer_of(service, response)
}

fn answer_of(service: &str, mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ApiError> {
    let unreachable = |cause: String| ApiError::Unreachable { service: service.to_owned(), cause };
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (status, request, token) =
        (response.status().as_u16(), header("x-openstack-request-id"), header("x-subject-token"));
    let text = response.body_mut().read_to_string().map_err(|e| unreachable(e.to_string()))?;
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
    let response = request.send(ureq::SendBody::from_reader(&mut counted));
    let response = response.map_err(|e| ApiError::Unreachable { service: service.to_owned(), cause: e.to_string() })?;
    answer_of(service, response).map(drop)
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
        "placement" => Some(("OpenStack-API-Version", format!("placement {PLACEMENT_MICROVERSION}"))),
        _ => None,
    }
}

fn refused(service: &str, answer: Answer, text: &str) -> ApiError {
    let message = error::message(&answer.body).unwrap_or_else(|| error::plain(text));
    ApiError::Refused { service: service.to_owned(), status: answer.status, message, request: answer.request }
}
