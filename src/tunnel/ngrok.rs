//! ngrok's tunnels, by its own crate. It says by heartbeats that it is up, so that nobody has to ask through it: its plans count
//! requests. What it would do by itself on an outage, in pauses that grow to hours, it is kept from: `supervise.rs` connects anew.

use super::kind::{Broken, Kind, Signs};
use super::told::Order;
use super::watch;
use crate::host::Host;
use ngrok::prelude::{Error as Said, ForwarderBuilder};
use ngrok::session::{ConnectError, IoStream, default_connect};
use ngrok::tunnel::AcceptError;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// How often it is asked whether the other end is there.
const BEAT: Duration = Duration::from_secs(5);
/// How long an answer may take beyond that.
const TOLERANCE: Duration = Duration::from_secs(7);
/// How often it is looked whether to stop.
const POLL: Duration = Duration::from_millis(200);
/// What does not pass by itself (ngrok.com/docs/errors): a token that is none (105, 106), was reset (107) or revoked (300); no
/// account (4018); an agent that is too old (120); a domain of somebody else's (320, 7118) or of nobody's (7117).
const FOR_GOOD: [&str; 9] = ["105", "106", "107", "300", "4018", "120", "320", "7118", "7117"];

/// A tunnel of ngrok's.
pub struct Ngrok(Order);

impl Ngrok {
    /// Of this order; with a server of one's own, whose certificate is trusted as this machine trusts others.
    pub fn new(order: &Order) -> Self {
        Self(order.clone())
    }

    async fn held(&self, host: &Host, signs: &Arc<Signs>) -> Result<(), Broken> {
        let beats = signs.clone();
        let mut builder = ngrok::Session::builder();
        builder
            .authtoken(self.0.token.as_str())
            .client_info("gpucloud-install", env!("CARGO_PKG_VERSION"), None::<String>)
            .heartbeat_interval(BEAT)
            .map_err(lost)?
            .heartbeat_tolerance(TOLERANCE)
            .map_err(lost)?
            .handle_heartbeat(move |latency: Option<Duration>| {
                if latency.is_some() {
                    beats.alive();
                }
                async { Ok(()) }
            })
            .connector(once);
        if !self.0.server.is_empty() {
            let trusted = watch::trusted_bundle(host).map_err(lost)?;
            builder.server_addr(self.0.server.as_str()).map_err(lost)?.ca_cert(trusted.into());
        }
        let session = builder.connect().await.map_err(|error| broken(&error))?;
        let portal = format!("http://{}", self.0.portal).parse().map_err(lost)?;
        let mut endpoint = session
            .http_endpoint()
            .domain(self.0.host())
            .listen_and_forward(portal)
            .await
            .map_err(|error| broken(&error))?;
        signs.alive();
        match endpoint.join().await {
            Ok(Err(error)) => Err(Broken::Lost(error.to_string())),
            Err(error) => Err(lost(error)),
            Ok(Ok(())) => Err(Broken::Lost("the session ended".into())),
        }
    }
}

/// The first connection, and no other.
async fn once(
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    again: Option<AcceptError>,
) -> Result<Box<dyn IoStream>, ConnectError> {
    match again {
        None => default_connect(host, port, tls, None).await,
        Some(_) => Err(ConnectError::Canceled),
    }
}

fn lost(error: impl std::fmt::Display) -> Broken {
    Broken::Lost(error.to_string())
}

fn broken(error: &impl Said) -> Broken {
    let code = error.error_code().and_then(|code| code.strip_prefix("ERR_NGROK_")).unwrap_or_default();
    let what = [error.msg(), error.error_code().unwrap_or_default().to_owned()].join(" ").trim().replace('\n', " ");
    if FOR_GOOD.contains(&code) { Broken::Refused(what) } else { Broken::Lost(what) }
}

async fn told_to_stop(host: &Host) {
    while host.go_on().is_ok() {
        tokio::time::sleep(POLL).await;
    }
}

impl Kind for Ngrok {
    fn hold(&self, host: &Host, signs: &Arc<Signs>) -> Broken {
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return lost(error),
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                held = self.held(host, signs) => held.err(),
                () = told_to_stop(host) => None,
            }
        });
        // What still copies is not waited for.
        runtime.shutdown_background();
        ended.unwrap_or_else(|| Broken::Lost("it was told to stop".into()))
    }

    fn tells(&self) -> bool {
        true
    }
}
