//! The portal as a process: listeners and connections, what root tells while it runs, and its end.

use super::door::{self, Came, Door};
use super::meter::{self, Meter};
use super::pages::Pages;
use super::session::Sessions;
use super::tls::{self, Tls};
use super::told::Told;
use crate::failure::Failure;
use crate::host::{Host, files};
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// How long the head of a request may take to come, and a connection may wait for the next one.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const LONGEST_HEAD: usize = 64 << 10;
/// Connections from one address: a class behind one has six for each browser, and its WebSockets.
const MOST_PER_ADDRESS: usize = 1024;
/// The same of all who come through a tunnel: its end has one address.
const MOST_THROUGH_TUNNEL: usize = 4096;
/// Threads: what is done here is copying.
const THREADS: usize = 2;
/// How often it is looked whether root tells something else.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks there are between two sweeps.
const LOOKS_PER_SWEEP: u32 = 60;
/// How long requests that are under way may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where browsers come in.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether a tunnel's end connects here, which speaks for all and over TLS.
    pub is_tunnel: bool,
}

/// What a portal works with.
pub struct Order {
    /// Where browsers come in.
    pub listeners: Vec<Listener>,
    /// What root tells.
    pub told: PathBuf,
    /// Who is logged in.
    pub sessions: PathBuf,
    /// Where the portal's key and certificate lie; none: browsers speak plain HTTP.
    pub tls: Option<PathBuf>,
    /// Gets a line for what an administrator may ask about later.
    pub log: Box<dyn Fn(String) + Send + Sync>,
}

/// Serves until it is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// The file of sessions cannot be opened; the kernel gives no threads.
pub fn run(order: Order) -> Result<(), Failure> {
    let Order { listeners, told, sessions, tls, log } = order;
    let next = "journalctl --unit=gpucloud-portal.service";
    let failed = |what: String, error: String| Failure::new(what, error, next);
    let known = known_sessions(&sessions, &log)
        .map_err(|error| failed(format!("cannot open {}", sessions.display()), error.to_string()))?;
    let tls = tls.map(Tls::new).transpose().map_err(|error| failed("cannot prepare TLS".into(), error.to_string()))?;
    let meter = Meter::load(&Host::live(), meter::file_beside(&sessions));
    let door = Arc::new(Door::new((known, Pages::new()?, tls, meter), log)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| failed("cannot start threads".into(), error.to_string()))?;
    runtime.block_on(async {
        let mut watch = Watch::new(told);
        watch.look(&door);
        // A thread of its own: logins must not keep it waiting.
        let again = door.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK);
                watch.look(&again);
            }
        });
        let (end, ended) = watch::channel(false);
        let gate = Arc::new(Gate::default());
        let mut open = tokio::task::JoinSet::new();
        for listener in listeners {
            let socket = tokio::net::TcpListener::from_std(listener.socket);
            let socket = socket.map_err(|error| failed("cannot listen".into(), error.to_string()))?;
            let (router, tls) = (door::router(door.clone()), door.tls.as_ref().map(Tls::config));
            let house = House { router, tls: tls.map(Into::into), gate: gate.clone(), ended: ended.clone() };
            open.spawn(accept(socket, listener.is_tunnel, house));
        }
        told_to_end().await.map_err(|error| failed("cannot wait for signals".into(), error.to_string()))?;
        end.send_replace(true);
        let _ = timeout(FAREWELL, open.join_all()).await;
        note_requests(&door);
        Ok(())
    })
}

/// Those that were there, if their file can be read. Where it is none of ours it is put aside, and where nothing can be written
/// they are kept in memory: a portal that lets everybody log in again is worth more than none.
fn known_sessions(file: &Path, log: &dyn Fn(String)) -> rusqlite::Result<Sessions> {
    let again = |error: rusqlite::Error| log(format!("everybody has to log in again: {}: {error}", file.display()));
    let unreadable = |error: &rusqlite::Error| {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly};
        let codes = [CannotOpen, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly];
        error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
    };
    match Sessions::load(file) {
        Err(error) if unreadable(&error) => {
            again(error);
            for suffix in ["", "-wal", "-shm"] {
                let (host, old) = (Host::live(), files::sibling(file, suffix));
                let aside = files::sibling(&old, ".unreadable");
                if !files::exists(&host, &aside) {
                    // What cannot be moved is said by the next try.
                    let _ = files::rename(&host, &old, &aside);
                } else {
                    let _ = files::remove(&host, &old);
                }
            }
            Sessions::load(file)
        }
        other => other,
    }
    .or_else(|error| {
        again(error);
        Sessions::load(Path::new(":memory:"))
    })
}

async fn told_to_end() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn note_requests(door: &Door) {
    if let Err(error) = door.meter.note(&Host::live()) {
        door.log(format!("cannot note how many requests came through the tunnel: {error}"));
    }
}

/// Reads what root tells, and its certificate, whenever they are others, and ends sessions that are no longer good.
struct Watch {
    file: PathBuf,
    read: Option<SystemTime>,
    certified: Option<SystemTime>,
    failed: [Option<String>; 2],
    looks: u32,
}

impl Watch {
    fn new(file: PathBuf) -> Self {
        Self { file, read: None, certified: None, failed: [None, None], looks: 0 }
    }

    fn look(&mut self, door: &Door) {
        let sweeps = self.looks.is_multiple_of(LOOKS_PER_SWEEP);
        self.looks = self.looks.wrapping_add(1);
        if let Some(tls) = &door.tls {
            self.look_at(tls, door, sweeps);
        }
        let modified = files::modified(&Host::live(), &self.file);
        // Two changes of one tick of the kernel's clock have one time: it is read with each sweep, too.
        let is_other = modified.is_none() || modified != self.read || sweeps;
        if is_other {
            match Told::read(&Host::live(), &self.file) {
                Ok(told) => {
                    door.tell(told);
                    (self.read, self.failed[0]) = (modified, None);
                }
                Err(error) => self.say(0, door, format!("what was told before holds on: {error}")),
            }
        }
        let Some(told) = door.told().filter(|_| is_other) else { return };
        door.limits.tidy();
        note_requests(door);
        if let Err(error) = door.sessions.sweep(&told, door::now()) {
            door.log(format!("cannot note that sessions ended: {error}"));
        }
    }

    fn look_at(&mut self, tls: &Tls, door: &Door, sweeps: bool) {
        let modified = tls.modified(&Host::live());
        if modified.is_none() || modified != self.certified || sweeps {
            match tls.read(&Host::live()) {
                Ok(()) => (self.certified, self.failed[1]) = (modified, None),
                Err(error) => self.say(1, door, format!("the certificate before is shown on: {error}")),
            }
        }
    }

    /// Once, however often it is looked.
    fn say(&mut self, of: usize, door: &Door, error: String) {
        if self.failed[of].as_ref() != Some(&error) {
            door.log(error.clone());
        }
        self.failed[of] = Some(error);
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Gate(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted, until it is dropped.
struct Counted {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    /// None: the address has too many.
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Counted> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { gate: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct House {
    router: Router,
    tls: Option<TlsAcceptor>,
    gate: Arc<Gate>,
    ended: watch::Receiver<bool>,
}

async fn accept(socket: tokio::net::TcpListener, is_tunnel: bool, house: House) {
    let mut ended = house.ended.clone();
    let mut open = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => _ = open.spawn(serve(stream, from, is_tunnel, house.clone())),
            // No descriptors are left: others end and give theirs back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    open.join_all().await;
}

async fn serve(stream: TcpStream, from: SocketAddr, is_tunnel: bool, house: House) {
    let address = (!is_tunnel).then(|| from.ip().to_canonical());
    let most = if is_tunnel { MOST_THROUGH_TUNNEL } else { MOST_PER_ADDRESS };
    let Some(_counted) = house.gate.enter(from.ip().to_canonical(), most).filter(|_| stream.set_nodelay(true).is_ok())
    else {
        return;
    };
    let came = Came { address, over_tls: is_tunnel };
    let Some(acceptor) = house.tls.clone().filter(|_| !is_tunnel) else { return answer(stream, came, house).await };
    // Whoever speaks plain HTTP is led to TLS: people type no scheme.
    let mut first = [0];
    match timeout(HEAD_LIMIT, stream.peek(&mut first)).await {
        Ok(Ok(1..)) if first[0] != tls::FIRST_BYTE => answer(stream, came, house).await,
        Ok(Ok(1..)) => {
            if let Ok(Ok(stream)) = timeout(HEAD_LIMIT, acceptor.accept(stream)).await {
                answer(stream, Came { over_tls: true, ..came }, house).await;
            }
        }
        _ => {}
    }
}

/// Answers what comes by this connection until it ends.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, came: Came, mut house: House) {
    let router = house.router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(came);
        request
    });
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A browser that goes away in the middle is no fault of ours.
        _ = connection.as_mut() => return,
        _ = house.ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_sessions_that_cannot_be_read_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions.sqlite");
        std::fs::write(&file, "no database, and longer than a page's head is: ".repeat(100)).unwrap();
        let said = Mutex::new(Vec::new());
        known_sessions(&file, &|line| said.lock().unwrap().push(line)).unwrap();
        assert!(said.lock().unwrap()[0].contains("everybody has to log in again"));
        assert!(dir.path().join("sessions.sqlite.unreadable").exists());
        known_sessions(&file, &|line| panic!("{line}")).unwrap();
    }
}
