//! A stand-in for ngrok's service, as the crate `ngrok` speaks with it: a session of muxado over TLS, JSON on streams of a type.
//! What the real one adds to requests, and where it ends what goes beyond a plan, it does not know.

use super::outside::{TOKEN, acceptor};
use gpucloud::classroom::certificate::Issued;
use muxado::heartbeat::{Heartbeat, HeartbeatConfig};
use muxado::typed::{StreamType, Typed, TypedAccept, TypedOpenClose, TypedSession, TypedStream};
use muxado::{MuxadoSession, SessionBuilder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

const AUTH: u32 = 0;
const BIND: u32 = 1;
const PROXY: u32 = 3;

type Opener = <Heartbeat<Typed<MuxadoSession>> as TypedSession>::TypedOpen;

/// Where browsers go, once somebody has bound a name.
type Bound = Arc<Mutex<Option<(Opener, String)>>>;

/// The service; ends with this.
pub struct Service(#[allow(dead_code)] tokio::runtime::Runtime);

impl Service {
    /// Agents come over TLS to `agents`, browsers without to `browsers`.
    pub fn start(issued: &Issued, agents: SocketAddr, browsers: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bound = Bound::default();
        let (agents, browsers) = runtime
            .block_on(async { (TcpListener::bind(agents).await.unwrap(), TcpListener::bind(browsers).await.unwrap()) });
        let (again, acceptor) = (bound.clone(), acceptor(issued));
        runtime.spawn(async move {
            while let Ok((stream, _)) = agents.accept().await {
                let (bound, acceptor) = (again.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let session = Typed::new(SessionBuilder::new(stream).server().start());
                    // What beats is kept as long as the session.
                    let Ok((session, _beats)) = Heartbeat::start(session, HeartbeatConfig::default()).await else {
                        return;
                    };
                    let (opener, mut incoming) = session.split_typed();
                    let mut opener = Some(opener);
                    while let Ok(stream) = incoming.accept_typed().await {
                        answer(stream, &mut opener, &bound).await;
                    }
                });
            }
        });
        runtime.spawn(async move {
            while let Ok((stream, from)) = browsers.accept().await {
                tokio::spawn(pass(stream, from, bound.clone()));
            }
        });
        Self(runtime)
    }
}

/// The agent does not end what it asks: its document does.
async fn document(stream: &mut TypedStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        if let Ok(value) = serde_json::from_slice(&bytes) {
            return value;
        }
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return Value::Null,
        }
    }
}

async fn answer(mut stream: TypedStream, opener: &mut Option<Opener>, bound: &Bound) {
    let asked = document(&mut stream).await;
    let said = match *stream.typ() {
        AUTH if asked["Extra"]["AuthToken"] == TOKEN => json!({"Version": "2", "ClientId": "one", "Extra": {}}),
        AUTH => {
            let token = asked["Extra"]["AuthToken"].as_str().unwrap_or_default();
            let error =
                format!("This does not look like a proper authtoken.\nYour authtoken: {token}\n\nERR_NGROK_105\n");
            json!({"Version": "2", "ClientId": "", "Extra": {}, "Error": error})
        }
        BIND => {
            if let Some(opener) = opener.take() {
                *bound.lock().await = Some((opener, "tunnel".into()));
            }
            json!({"Id": "tunnel", "URL": "https://localhost", "Proto": asked["Proto"], "Opts": asked["Opts"],
                "Extra": {"Token": "again"}})
        }
        _ => return,
    };
    let _ = stream.write_all(said.to_string().as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn pass(mut browser: TcpStream, from: SocketAddr, bound: Bound) {
    let opened = {
        let mut bound = bound.lock().await;
        let Some((opener, id)) = bound.as_mut() else { return };
        opener.open_typed(StreamType::clamp(PROXY)).await.map(|stream| (stream, id.clone()))
    };
    let Ok((mut stream, id)) = opened else { return };
    let header = json!({"Id": id, "ClientAddr": from.to_string(), "Proto": "https", "EdgeType": "3",
        "PassthroughTLS": false});
    let header = header.to_string();
    if stream.write_i64_le(header.len() as i64).await.is_ok() && stream.write_all(header.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut browser, &mut *stream).await;
    }
}
