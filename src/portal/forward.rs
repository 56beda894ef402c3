//! A request to a notebook, its answer, and what the two say to each other once both went on as a WebSocket.

use super::headers;
use super::session::Session;
use super::told::Key;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a notebook may take to accept a connection: it is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection to a notebook waits for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// The notebook of a request.
pub struct Place<'a> {
    /// Its address and port.
    pub address: SocketAddr,
    /// What opens it.
    pub token: &'a Key,
    /// The path of its pages: "/s/ada/".
    pub base: &'a str,
}

/// How long a connection may be silent before it is asked whether anybody is there.
const SILENCE: Duration = Duration::from_secs(15);
/// WebSockets of all: each holds two of the unit's 65536 descriptors.
const MOST_SOCKETS: usize = 16_000;

/// Why a notebook gives no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody answers there.
    Silent,
    /// Its student has too many WebSockets, or all together have.
    TooManySockets,
}

/// Sends requests to notebooks.
pub struct Forward {
    client: Client<HttpConnector, Body>,
    sockets: Arc<Semaphore>,
}

impl Default for Forward {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        // A notebook whose power is gone says no goodbye.
        connector.set_keepalive(Some(SILENCE));
        connector.set_keepalive_interval(Some(SILENCE));
        connector.set_keepalive_retries(Some(3));
        connector.set_tcp_user_timeout(Some(SILENCE * 3));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { client, sockets: Arc::new(Semaphore::new(MOST_SOCKETS)) }
    }
}

impl Forward {
    /// What the notebook answers. A WebSocket that it opens lives until one of both ends it, or the session ends.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn send(
        &self,
        mut request: Request<Body>,
        place: &Place<'_>,
        session: &Arc<Session>,
    ) -> Result<Response<Body>, NoAnswer> {
        let is_upgrade = *request.method() == Method::GET && headers::is_upgrade(request.headers());
        let browser = match is_upgrade {
            true => Some((hyper::upgrade::on(&mut request), self.room(session).ok_or(NoAnswer::TooManySockets)?)),
            false => None,
        };
        headers::up(request.headers_mut(), place.token.expose(), is_upgrade);
        *request.uri_mut() = uri(request.uri(), place.address);
        *request.version_mut() = Version::HTTP_11;
        let mut response = self.client.request(request).await.map_err(|_| NoAnswer::Silent)?;
        let goes_on = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some((browser, room))) = (goes_on, browser) {
            let (notebook, session) = (hyper::upgrade::on(&mut response), session.clone());
            tokio::spawn(async move {
                join(browser, notebook, session).await;
                drop(room);
            });
        }
        headers::down(response.headers_mut(), place.base, goes_on);
        Ok(response.map(Body::new))
    }

    /// Room for one more WebSocket of this session.
    fn room(&self, session: &Session) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = session.sockets.clone().try_acquire_owned().ok()?;
        Some([own, self.sockets.clone().try_acquire_owned().ok()?])
    }
}

/// The same path at the notebook.
fn uri(asked: &Uri, address: SocketAddr) -> Uri {
    let path = asked.path_and_query().map_or("/", |path| path.as_str());
    let builder = Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path);
    // A path that came as one is one, and so is an address.
    builder.build().unwrap_or_default()
}

async fn join(browser: OnUpgrade, notebook: OnUpgrade, session: Arc<Session>) {
    let (Ok(browser), Ok(notebook)) = tokio::join!(browser, notebook) else { return };
    let (mut browser, mut notebook) = (TokioIo::new(browser), TokioIo::new(notebook));
    tokio::select! {
        // Whoever ends it, the other one sees its end.
        _ = tokio::io::copy_bidirectional(&mut browser, &mut notebook) => {}
        () = session.over() => {}
    }
}
