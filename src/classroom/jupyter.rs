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
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::generate_key;
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
            .timeout_global(Some(host.limit(ANSWER_LIMIT)))
            .proxy(None);
        let place = SocketAddr::from((address, JUPYTER));
        Self { place, base: url(identity, address), token, agent: config.build().into() }
    }

    /// Whether it answers, and takes the token.
    pub fn status(&self) -> Answered {
        match self.ask("GET", "api/status", None) {
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
        let (status, made) =
            self.ask("POST", "api/kernels", Some(json!({}))).map_err(|error| failed(error.to_string()))?;
        let id = match made["id"].as_str() {
            Some(id) if status == 201 => id.to_owned(),
            _ => return Err(failed(format!("status {status}: {}", made["message"].as_str().unwrap_or_default()))),
        };
        let mut answers = self.open(host, &id).map_err(|error| failed(error.to_string()))?;
        let waited = host.wait_while("the first kernel", KERNEL_LIMIT, Duration::ZERO, || match answers.read() {
            Ok(Message::Text(text)) => Ok(awaited_answer(&text)),
            Ok(_) => Ok(Some("it starts".into())),
            Err(WsError::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Some("it starts".into()))
            }
            Err(error) => Err(failed(error.to_string())),
        });
        // One that is still starting ends with the next restart of the notebook.
        let ended = self.ask("DELETE", &format!("api/kernels/{id}"), None);
        waited?;
        ended.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// A kernel's WebSocket, on which it was asked who it is (jupyter_client, "Messaging in Jupyter", `kernel_info`).
    fn open(&self, host: &Host, id: &str) -> std::result::Result<WebSocket<TcpStream>, WsError> {
        let stream = TcpStream::connect_timeout(&self.place, CONNECT_LIMIT)?;
        stream.set_read_timeout(Some(host.limit(ANSWER_LIMIT)))?;
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
        let failed = |error: HandshakeError<_>| match error {
            HandshakeError::Failure(error) => error,
            HandshakeError::Interrupted(_) => WsError::Io(ErrorKind::TimedOut.into()),
        };
        let (mut socket, _) = tungstenite::client(request, stream).map_err(failed)?;
        socket.get_ref().set_read_timeout(Some(SOCKET_POLL))?;
        let header = json!({"msg_id": "1", "session": "1", "username": "", "msg_type": ASKED, "version": "5.3"});
        let asked = json!({"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell",
            "buffers": []});
        socket.send(Message::text(asked.to_string()))?;
        Ok(socket)
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> std::result::Result<(u16, Value), ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("token {}", self.token.expose()))
            .header("Content-Type", "application/json");
        let mut response = self.agent.run(request.body(body.map(|body| body.to_string()).unwrap_or_default())?)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

/// What is still waited for behind a kernel's message; nothing once it has answered.
fn awaited_answer(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let kind = message["msg_type"].as_str().or(message["header"]["msg_type"].as_str()).unwrap_or_default();
    (kind != "kernel_info_reply").then(|| "it starts".to_owned())
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
        assert_eq!(awaited_answer("{\"msg_type\": \"kernel_info_reply\"}"), None);
        assert_eq!(awaited_answer("{\"header\": {\"msg_type\": \"kernel_info_reply\"}}"), None);
        for other in ["{\"msg_type\": \"status\"}", "no json", ""] {
            assert!(awaited_answer(other).is_some(), "{other}");
        }
    }
}
