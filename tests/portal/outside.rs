//! The way from outside, held by the tunnel's process: pagekite's program and server, or ngrok's crate and a stand-in for its
//! service; in front of them TLS, as services have it.

use super::work::Kernel;
use super::world::{ADA, PAGE, Portal, WORLD, Way, ask, free_port, issued, trusting};
use gpucloud::classroom::certificate::Issued;
use gpucloud::config::tunnel::TunnelKind;
use gpucloud::portal::told::Tunnel as Plan;
use gpucloud::tunnel::told::Order;
use libtest_mimic::Failed;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

type Verdict = Result<(), Failed>;

pub const TOKEN: &str = "kite-and-secret";
/// How soon it must be back.
const SOON: Duration = Duration::from_secs(30);

/// Why there is no tunnel of ngrok's here.
pub fn why_no_ngrok() -> Option<String> {
    (!cfg!(feature = "test-ngrok"))
        .then(|| "150 crates more: cargo test --features test-ngrok --test portal".to_owned())
}

/// Why there is none of pagekite's here.
pub fn why_not() -> Option<String> {
    let found = Command::new("pagekite").arg("--appver").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_err().then(|| "a tunnel needs pagekite".to_owned())
}

/// Ends its process, which ends what it started.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// What serves behind the TLS of an edge.
#[allow(dead_code)]
enum Server {
    Pagekite(Process),
    #[cfg(feature = "test-ngrok")]
    Ngrok(super::ngrok::Service),
}

/// The other end of a tunnel: TLS, and a server behind it.
struct Edge {
    kind: TunnelKind,
    dir: tempfile::TempDir,
    /// Where the tunnel's program connects to.
    server_at: SocketAddr,
    at: SocketAddr,
    /// Where browsers go behind the TLS; pagekite has one port for both.
    #[cfg_attr(not(feature = "test-ngrok"), allow(dead_code))]
    behind: SocketAddr,
    issued: Issued,
    server: Option<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Edge {
    fn start(kind: TunnelKind) -> Self {
        let place = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dir, issued, server_at, at) = (tempfile::tempdir().unwrap(), issued(None), place(), place());
        let behind = if kind == TunnelKind::Pagekite { server_at } else { place() };
        std::fs::write(dir.path().join("authority.pem"), &issued.authority).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (acceptor, listener) = (acceptor(&issued), runtime.block_on(TcpListener::bind(at)).unwrap());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let (Ok(mut browser), Ok(mut server)) =
                        (acceptor.accept(stream).await, TcpStream::connect(behind).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut browser, &mut server).await;
                });
            }
        });
        let mut edge = Self { kind, dir, server_at, at, behind, issued, server: None, _runtime: runtime };
        edge.begin();
        edge
    }

    fn begin(&mut self) {
        self.server = Some(match self.kind {
            #[cfg(feature = "test-ngrok")]
            TunnelKind::Ngrok => Server::Ngrok(super::ngrok::Service::start(&self.issued, self.server_at, self.behind)),
            _ => Server::Pagekite(self.pagekite()),
        });
    }

    fn pagekite(&self) -> Process {
        let file = self.dir.path().join("server.rc");
        let text = format!(
            "isfrontend\nhost = 127.0.0.1\nports = {}\nprotos = http,websocket\ndomain = http,websocket:localhost:{TOKEN}\nnullui\n",
            self.server_at.port()
        );
        std::fs::write(&file, text).unwrap();
        let server = Command::new("pagekite")
            .args(["--clean", &format!("--optfile={}", file.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Process(server.unwrap())
    }

    /// How browsers come in.
    fn way(&self) -> Way {
        let host = format!("localhost:{}", self.at.port());
        Way { at: self.at, host, tls: Some(trusting(&self.issued.authority)) }
    }
}

pub fn acceptor(issued: &Issued) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(issued.shown.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.shown.as_bytes()).unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()).into()
}

/// The tunnel's process.
struct Tunnel {
    dir: tempfile::TempDir,
    process: Process,
}

impl Tunnel {
    fn start(portal: &Portal, edge: &Edge, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_told(dir.path(), portal, edge, token);
        let process = Command::new(env!("CARGO_BIN_EXE_gpucloud-install"))
            .args(["tunnel", "serve", "--told"])
            .arg(dir.path().join("told.json"))
            .arg("--state")
            .arg(dir.path())
            .env("SSL_CERT_FILE", edge.dir.path().join("authority.pem"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn();
        Self { dir, process: Process(process.unwrap()) }
    }

    /// "up", "lost", "refused", "connecting".
    fn state(&self) -> String {
        let text = std::fs::read(self.dir.path().join("state.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        state["state"].as_str().unwrap_or_default().to_owned()
    }

    fn comes_to_be(&self, state: &str, limit: Duration) {
        let begin = Instant::now();
        while self.state() != state {
            assert!(begin.elapsed() < limit, "not {state} within {limit:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Processes of pagekite that this one has.
    fn children(&self) -> Vec<u32> {
        let id = self.process.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let of_task =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let all: String = tasks.map(of_task).chain([children]).collect::<Vec<_>>().join(" ");
        all.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }
}

fn write_told(dir: &Path, portal: &Portal, edge: &Edge, token: &str) {
    let order = Order {
        kind: edge.kind,
        address: edge.way().host,
        server: format!("localhost:{}", edge.server_at.port()),
        token: token.into(),
        portal: portal.tunnel,
        is_counted: false,
    };
    std::fs::write(dir.join("told.new"), order.text().unwrap()).unwrap();
    std::fs::rename(dir.join("told.new"), dir.join("told.json")).unwrap();
}

/// A student outside works in a notebook; what came through is counted, and near the end of the plan said.
pub fn worked_in(kind: TunnelKind) -> Verdict {
    let (mut portal, edge) = (Portal::start(), Edge::start(kind));
    let tunnel = Tunnel::start(&portal, &edge, TOKEN);
    tunnel.comes_to_be("up", Duration::from_secs(60));
    assert_eq!(tunnel.children().is_empty(), kind == TunnelKind::Ngrok);
    for child in tunnel.children() {
        let words = std::fs::read(format!("/proc/{child}/cmdline"))?;
        assert!(!String::from_utf8_lossy(&words).contains(TOKEN), "the token is on a command line");
    }
    let way = edge.way();
    let cookie = way.log_in(ADA).expect("nobody is let in through the tunnel");
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    assert_eq!(Kernel::start(&way, &cookie).cell("6 * 7"), "42");
    assert_eq!(way.log_in("wrong"), None);
    // Who the portal is, is for the tunnel alone.
    assert_eq!((portal.get("/alive", &[]).status, way.get("/alive", &[]).status), (404, 200));
    portal.restart();
    let count = || -> u64 {
        let text = std::fs::read(portal.requests_file()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["requests"].as_u64().unwrap()
    };
    // Two logins, a kernel, its socket; and how often the tunnel itself asked.
    assert!(count() >= 4, "{}", count());
    let page = |way: &Way| way.get("/", &[PAGE, ("Cookie", &cookie)]).text();
    assert!(!page(&way).contains("from outside"));
    let near = "https://192.0.2.7:8000/";
    let tell = |tells_tls| {
        let mut told = WORLD.told();
        told.tunnel = Some(Plan { requests: 6, near: near.into(), tells_tls });
        portal.tell(&told);
    };
    tell(false);
    assert!(page(&way).contains(near), "{}", page(&way));
    // Who types no scheme comes without TLS to services that serve both: no token is sent that way.
    assert!(way.get("/", &[PAGE]).header("strict-transport-security").is_some());
    tell(true);
    let plain = [PAGE, ("Host", way.host.as_str()), ("X-Forwarded-Proto", "http")];
    let said = ask(portal.tunnel, "GET", "/?next=%2Fs%2Fada%2Flab", &plain, "");
    assert_eq!((said.status, said.header("location")), (307, Some(way.url("/?next=%2Fs%2Fada%2Flab").as_str())));
    assert!(portal.get("/", &[PAGE, ("X-Forwarded-Proto", "http")]).header("strict-transport-security").is_none());
    // Whoever is in the campus network has nothing to do with it.
    let inside = portal.log_in(ADA).unwrap();
    assert!(!portal.get("/", &[PAGE, ("Cookie", &inside)]).text().contains(near));
    Ok(())
}

/// Whatever goes away comes back, and soon.
pub fn outages(kind: TunnelKind) -> Verdict {
    let (portal, mut edge) = (Portal::start(), Edge::start(kind));
    let tunnel = Tunnel::start(&portal, &edge, TOKEN);
    tunnel.comes_to_be("up", Duration::from_secs(60));
    let is_long_run = std::env::var_os("GPUCLOUD_TEST_LONG").is_some();
    for (seconds, is_noticed) in [(7, false), (140, true)].into_iter().take(if is_long_run { 2 } else { 1 }) {
        edge.server = None;
        std::thread::sleep(Duration::from_secs(seconds));
        assert!(!is_noticed || tunnel.state() == "lost", "{}: {}", tunnel.state(), tunnel.log());
        edge.begin();
        let begin = Instant::now();
        while edge.way().get("/", &[PAGE]).status != 200 {
            assert!(begin.elapsed() < SOON, "not back {SOON:?} after {seconds} s: {}", tunnel.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        eprintln!("{seconds} s away, back after {:.1} s", begin.elapsed().as_secs_f64());
        tunnel.comes_to_be("up", SOON);
    }
    if kind == TunnelKind::Ngrok || !is_long_run {
        return Ok(());
    }
    // A program that hangs is ended, and another one is started.
    let child = tunnel.children()[0];
    let pid = nix::unistd::Pid::from_raw(child.try_into()?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    tunnel.comes_to_be("lost", Duration::from_secs(45));
    tunnel.comes_to_be("up", SOON);
    assert!(!tunnel.children().contains(&child));
    Ok(())
}

/// A service that refuses is asked no more until it is told something else, and nothing is left of the program.
pub fn refused(kind: TunnelKind) -> Verdict {
    let (portal, edge) = (Portal::start(), Edge::start(kind));
    let tunnel = Tunnel::start(&portal, &edge, "not-the-secret");
    tunnel.comes_to_be("refused", Duration::from_secs(60));
    assert!(tunnel.log().contains("next: sudo gpucloud-install tunnel token"), "{}", tunnel.log());
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((tunnel.children(), tunnel.state()), (Vec::new(), "refused".to_owned()));
    let noted = std::fs::read_to_string(tunnel.dir.path().join("state.json"))?;
    assert!(!tunnel.log().contains("not-the-secret") && !noted.contains("not-the-secret"), "{noted}");
    write_told(tunnel.dir.path(), &portal, &edge, TOKEN);
    tunnel.comes_to_be("up", Duration::from_secs(60));
    assert_eq!(tunnel.children().is_empty(), kind == TunnelKind::Ngrok);
    Ok(())
}
