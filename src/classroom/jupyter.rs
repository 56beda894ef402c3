//! What the JupyterLab of a notebook answers (jupyter_server, "REST API"). It is asked over plain HTTP, on a link that
//! ends in this machine.

use super::identity::Identity;
use super::reach::JUPYTER;
use crate::config::secrets::Secret;
use crate::host::{Error, Host, Result};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::handshake::client::{ClientHandshake, Response, generate_key};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::{Error as WsError, Message, WebSocket};

/// How long it may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long its first kernel may take: Python and what it imports are read from the disk for the first time.
const KERNEL_LIMIT: Duration = Duration::from_secs(120);
/// How long a look at a kernel's socket waits for the next message.
const SOCKET_POLL: Duration = Duration::from_secs(1);
/// What a kernel is asked.
const ASKED: &str = "kernel_info_request";

/// The JupyterLab of a notebook.
pub struct Jupyter {
    place: SocketAddr,
    base: String,
    token: Secret,
    agent: ureq::Agent,
    /// What [`ANSWER_LIMIT`] is on this host.
    limit: Duration,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// As it should.
    Well,
    /// With this status.
    Badly(u16),
    /// Not at all; why.
    Not(String),
}

impl Jupyter {
    /// Of the notebook of this identity, at `address`.
    pub fn new(host: &Host, identity: &Identity, address: Ipv4Addr, token: Secret) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            .proxy(None);
        let place = SocketAddr::from((address, JUPYTER));
        Self {
            place,
            base: url(identity, address),
            token,
            agent: config.build().into(),
            limit: host.limit(ANSWER_LIMIT),
        }
    }

    /// Whether it answers, and takes the token.
    pub fn status(&self) -> Answered {
        match self.ask("GET", "api/status", None, self.limit) {
            Ok((200, _)) => Answered::Well,
            Ok((status, _)) => Answered::Badly(status),
            Err(error) => Answered::Not(error.to_string()),
        }
    }

    /// Starts a kernel, waits until it answers as it answers a browser, and ends it: the first one reads all that the next
    /// ones find in memory, and what is typed before a kernel's socket is there is lost.
    ///
    /// # Errors
    /// It starts none, or that does not answer within its time.
    pub fn try_a_kernel(&self, host: &Host) -> Result<()> {
        let failed = |how: String| Error::protocol("start a first kernel", how);
        let (status, made) = self
            .ask("POST", "api/kernels", Some(json!({})), host.limit(KERNEL_LIMIT))
            .map_err(|error| failed(error.to_string()))?;
        let id = match made["id"].as_str() {
            Some(id) if status == 201 => id.to_owned(),
            _ => return Err(failed(format!("status {status}: {}", made["message"].as_str().unwrap_or_default()))),
        };
        let waited = self.begin(host, &id).map_err(|error| failed(error.to_string())).and_then(|begun| {
            let mut channels = Some(begun);
            host.wait_while("the first kernel", KERNEL_LIMIT, Duration::ZERO, || {
                let next = channels.take().map(Channels::go_on).transpose().map_err(|how| failed(how.to_string()))?;
                channels = next.filter(|channels| !matches!(channels, Channels::Answered));
                Ok(channels.is_some().then(|| "it starts".to_owned()))
            })
        });
        // One that is still starting ends with the next restart of the notebook.
        let ended = self.ask("DELETE", &format!("api/kernels/{id}"), None, self.limit);
        waited?;
        ended.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Asks for a kernel's WebSocket.
    fn begin(&self, host: &Host, id: &str) -> std::result::Result<Channels, WsError> {
        let stream = TcpStream::connect_timeout(&self.place, CONNECT_LIMIT)?;
        stream.set_read_timeout(Some(SOCKET_POLL))?;
        // Whoever sends one byte at a time never lets a message end.
        let (cut, limit) = (stream.try_clone()?, host.limit(KERNEL_LIMIT) + ANSWER_LIMIT);
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            cut.shutdown(std::net::Shutdown::Both)
        });
        let request = ureq::http::Request::builder()
            .uri(format!("{}api/kernels/{id}/channels", self.base.replacen("http", "ws", 1)))
            .header("Host", self.place.to_string())
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key())
            .header("Authorization", format!("token {}", self.token.expose()))
            .body(())?;
        Channels::opened(tungstenite::client(request, stream))
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> std::result::Result<(u16, Value), ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("token {}", self.token.expose()))
            .header("Content-Type", "application/json");
        let request = request.body(body.map(|body| body.to_string()).unwrap_or_default())?;
        let request = self.agent.configure_request(request).timeout_global(Some(limit)).build();
        let mut response = self.agent.run(request)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

/// A kernel's channels, on their way from the request to its first answer.
enum Channels {
    /// They are asked for: JupyterLab opens them when the kernel runs (jupyter_server,
    /// `services/kernels/connection/channels.py`, `prepare`).
    Opening(MidHandshake<ClientHandshake<TcpStream>>),
    /// It was asked who it is (jupyter_client, "Messaging in Jupyter", `kernel_info`).
    Asked(WebSocket<TcpStream>),
    /// It has said so.
    Answered,
}

impl Channels {
    /// One look, of [`SOCKET_POLL`] at most.
    fn go_on(self) -> std::result::Result<Self, WsError> {
        match self {
            Self::Opening(handshake) => Self::opened(handshake.handshake()),
            Self::Asked(mut socket) => match socket.read() {
                Ok(Message::Text(text)) if answers(&text) => Ok(Self::Answered),
                Ok(_) => Ok(Self::Asked(socket)),
                Err(WsError::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Ok(Self::Asked(socket))
                }
                Err(error) => Err(error),
            },
            Self::Answered => Ok(Self::Answered),
        }
    }

    fn opened(
        handshake: std::result::Result<(WebSocket<TcpStream>, Response), HandshakeError<ClientHandshake<TcpStream>>>,
    ) -> std::result::Result<Self, WsError> {
        let mut socket = match handshake {
            Ok((socket, _)) => socket,
            Err(HandshakeError::Interrupted(handshake)) => return Ok(Self::Opening(handshake)),
            Err(HandshakeError::Failure(error)) => return Err(error),
        };
        let header = json!({"msg_id": "1", "session": "1", "username": "", "msg_type": ASKED, "version": "5.3"});
        let asked = json!({"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell",
            "buffers": []});
        socket.send(Message::text(asked.to_string()))?;
        Ok(Self::Asked(socket))
    }
}

/// Whether a kernel's message is the answer that is waited for.
fn answers(message: &str) -> bool {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let kind = message["msg_type"].as_str().or(message["header"]["msg_type"].as_str());
    kind == Some("kernel_info_reply")
}

/// Where the notebook answers.
pub fn url(identity: &Identity, address: Ipv4Addr) -> String {
    format!("http://{address}:{JUPYTER}{}", identity.base_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_ends_the_wait() {
        assert!(answers("{\"msg_type\": \"kernel_info_reply\"}"));
        assert!(answers("{\"header\": {\"msg_type\": \"kernel_info_reply\"}}"));
        for other in ["{\"msg_type\": \"status\"}", "no json", ""] {
            assert!(!answers(other), "{other}");
        }
    }
}
