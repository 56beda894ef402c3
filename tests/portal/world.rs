//! A JupyterLab of the notebooks' lock, in an environment that is made once, and a portal in front of it.

use gpucloud::classroom::certificate::{self, Issued, Names};
use gpucloud::config::secrets::Secret;
use gpucloud::portal::token::TokenHash;
use gpucloud::portal::told::{Notebook, Told};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const LOCK: &str = include_str!("../../profiles/notebook/server.lock");
const CONFIG: &str = include_str!("../../profiles/notebook/root/etc/notebook/server.json");
/// How long JupyterLab may take to answer first.
const START: Duration = Duration::from_secs(120);

pub const ADA: &str = "00000-11111-22222-33333";
pub const BOB: &str = "bbbbb-ccccc-ddddd-eeeee";
pub const INNER: &str = "innersecret";

/// Why there is no JupyterLab here.
pub fn why_not() -> Option<String> {
    let made = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    let is_there = made.is_ok_and(|output| output.status.success());
    (!is_there).then(|| "a real JupyterLab needs python3-venv".to_owned())
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(program: &Path, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{} {args:?}: {}", program.display(), String::from_utf8_lossy(&done.stderr));
}

/// The environment, made anew where the lock is another.
fn environment() -> PathBuf {
    let hash = gpucloud::host::files::hash(LOCK.as_bytes());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jupyter-{}", &hash[..8]));
    let (whole, lock) = (dir.join("whole"), dir.join("server.lock"));
    if !whole.exists() {
        let _ = std::fs::remove_dir_all(&dir);
        run(Path::new("python3"), &["-m", "venv", dir.to_str().unwrap()]);
        std::fs::write(&lock, LOCK).unwrap();
        let pip = dir.join("bin/pip");
        run(&pip, &["install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock.to_str().unwrap()]);
        // The lock is for Python 3.12 and newer; Debian 12 has 3.11, where jupyter_server wants these two.
        run(&pip, &["install", "--quiet", "--no-deps", "overrides", "typing_extensions"]);
        std::fs::write(whole, "").unwrap();
    }
    dir
}

/// What all tests share.
pub struct World {
    dir: tempfile::TempDir,
    pub jupyter_at: SocketAddr,
}

/// Held by what keeps JupyterLab busy, and by whom that would disturb: it has one thread.
pub static BUSY: Mutex<()> = Mutex::new(());

static JUPYTER: Mutex<Option<Child>> = Mutex::new(None);
pub static WORLD: LazyLock<World> = LazyLock::new(World::begin);

/// Ends JupyterLab.
pub fn end() {
    if let Some(mut jupyter) = JUPYTER.lock().unwrap().take() {
        let _ = jupyter.kill();
        let _ = jupyter.wait();
    }
}

impl World {
    fn begin() -> Self {
        let environment = environment();
        let dir = tempfile::tempdir().unwrap();
        let (home, port) = (dir.path().join("home"), free_port());
        std::fs::create_dir(&home).unwrap();
        let mut config: Value = serde_json::from_str(CONFIG).unwrap();
        let own = json!({"ip": "127.0.0.1", "port": port, "root_dir": home, "allow_root": true, "base_url": "/s/ada/"});
        config["ServerApp"].as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        // Here the server's own kernel is the student's.
        config.as_object_mut().unwrap().retain(|key, _| key != "KernelSpecManager" && key != "MappingKernelManager");
        std::fs::write(dir.path().join("server.json"), config.to_string()).unwrap();
        std::fs::write(dir.path().join("token"), INNER).unwrap();
        let jupyter = Command::new(environment.join("bin/jupyter-lab"))
            .arg(format!("--config={}", dir.path().join("server.json").display()))
            .env("JUPYTER_TOKEN_FILE", dir.path().join("token"))
            .env("HOME", &home)
            .stderr(std::fs::File::create(dir.path().join("jupyter.log")).unwrap())
            .spawn()
            .unwrap();
        *JUPYTER.lock().unwrap() = Some(jupyter);
        let jupyter_at = SocketAddr::from(([127, 0, 0, 1], port));
        let world = Self { jupyter_at, dir };
        let begin = Instant::now();
        while TcpStream::connect(jupyter_at).is_err() {
            let log = || std::fs::read_to_string(world.dir.path().join("jupyter.log")).unwrap_or_default();
            assert!(begin.elapsed() < START, "JupyterLab does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
        world
    }

    /// Where the notebook's files are.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn told(&self) -> Told {
        let hash = |token: &str| TokenHash::of_typed(token).unwrap();
        let notebook = |owner: &str, place| Notebook {
            owner: owner.into(),
            place,
            is_off: false,
            token: (&Secret::of(INNER.into())).into(),
        };
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        Told {
            names: vec!["gpu.lab".into()],
            students: BTreeMap::from([("ada".into(), hash(ADA)), ("bob".into(), hash(BOB))]),
            notebooks: BTreeMap::from([
                ("ada".into(), notebook("ada", Some(self.jupyter_at))),
                ("bob".into(), notebook("bob", Some(nobody))),
                ("new".into(), notebook("ada", None)),
            ]),
            tunnel: None,
        }
    }
}

/// How a portal is reached.
pub struct Way {
    pub at: SocketAddr,
    /// What browsers call it.
    pub host: String,
    /// How its TLS is trusted; none: it has none.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A portal that runs; ends with this.
pub struct Portal {
    process: Child,
    dir: tempfile::TempDir,
    way: Way,
    pub tunnel: SocketAddr,
}

impl std::ops::Deref for Portal {
    type Target = Way;

    fn deref(&self) -> &Way {
        &self.way
    }
}

impl Portal {
    /// With what the world tells.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None)
    }

    /// With a certificate of its own.
    pub fn start_with_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let issued = issued(None);
        std::fs::write(dir.path().join("tls.pem"), &issued.shown).unwrap();
        Self::start_in(dir, Some(trusting(&issued.authority)))
    }

    fn start_in(dir: tempfile::TempDir, tls: Option<Arc<ClientConfig>>) -> Self {
        let place = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (at, tunnel) = (place(), place());
        write_told(dir.path(), &WORLD.told());
        let process = Self::process(dir.path(), at, tunnel);
        let portal = Self { process, dir, way: Way { at, host: at.to_string(), tls }, tunnel };
        portal.wait();
        portal
    }

    fn process(dir: &Path, at: SocketAddr, tunnel: SocketAddr) -> Child {
        let tls = dir.join("tls.pem");
        Command::new(env!("CARGO_BIN_EXE_gpucloud-install"))
            .args(["portal", "serve", "--listen", &at.to_string(), "--tunnel", &tunnel.to_string()])
            .arg("--told")
            .arg(dir.join("told.json"))
            .arg("--sessions")
            .arg(dir.join("sessions.sqlite"))
            .args(tls.exists().then(|| format!("--tls={}", tls.display())))
            .stdout(std::fs::File::options().append(true).create(true).open(dir.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        let begin = Instant::now();
        // The page is there, and the students are told.
        while TcpStream::connect(self.at).is_err() || self.log_in(ADA).is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the portal does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn restart(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
        self.process = Self::process(self.dir.path(), self.at, self.tunnel);
        self.wait();
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something else, and waits until it must have heard.
    pub fn tell(&self, told: &Told) {
        write_told(self.dir.path(), told);
        std::thread::sleep(Duration::from_millis(2500));
    }

    pub fn told_file(&self) -> PathBuf {
        self.dir.path().join("told.json")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Where its certificate lies.
    pub fn tls_file(&self) -> PathBuf {
        self.dir.path().join("tls.pem")
    }

    /// Where it notes how many requests came through the tunnel.
    pub fn requests_file(&self) -> PathBuf {
        self.dir.path().join("requests.json")
    }
}

impl Way {
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host)
    }

    /// A connection as a browser makes it.
    pub fn connect(&self) -> Box<dyn Stream> {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        match &self.tls {
            None => Box::new(stream),
            Some(config) => Box::new(over_tls(config.clone(), stream)),
        }
    }

    /// The cookie of whoever logs in with this token.
    pub fn log_in(&self, token: &str) -> Option<String> {
        let url = self.url("");
        let said = self.ask("POST", "/login", &[("Origin", &url), FORM], &format!("token={token}"));
        let set = said.header("set-cookie")?;
        Some(set.split(';').next().unwrap().to_owned())
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        exchange(self.connect(), request(&self.host, method, path, headers, body).as_bytes())
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Said {
        self.ask("GET", path, headers, "")
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is read from and written to.
pub trait Stream: Read + Write {
    /// How long a read may wait.
    fn wait_for(&self, limit: Duration);
}

impl Stream for TcpStream {
    fn wait_for(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn wait_for(&self, limit: Duration) {
        self.sock.wait_for(limit);
    }
}

/// A certificate for this machine; by this authority, where there is one already.
pub fn issued(authority: Option<&str>) -> Issued {
    let authorities: Vec<String> = authority.into_iter().map(str::to_owned).collect();
    let names = Names::new(Ipv4Addr::new(127, 0, 0, 1), &["gpu.lab".parse().unwrap()]);
    certificate::issue(&authorities, &names).unwrap()
}

/// Trusts this authority, and nobody else.
pub fn trusting(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

pub fn over_tls(config: Arc<ClientConfig>, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    StreamOwned::new(ClientConnection::new(config, "127.0.0.1".try_into().unwrap()).unwrap(), stream)
}

pub const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
pub const PAGE: (&str, &str) = ("Accept", "text/html,*/*");

fn write_told(dir: &Path, told: &Told) {
    let beside = dir.join("told.new");
    std::fs::write(&beside, serde_json::to_vec(told).unwrap()).unwrap();
    std::fs::rename(beside, dir.join("told.json")).unwrap();
}

/// An answer, as it came.
pub struct Said {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Said {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A request of exactly these headers (and `Host`, where none is among them), on a connection of its own.
pub fn ask(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    raw(at, request(&at.to_string(), method, path, headers, body).as_bytes())
}

fn request(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if headers.iter().all(|(name, _)| *name != "Host") {
        text += &format!("Host: {host}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    text + body
}

/// These bytes, and what comes until the end.
pub fn raw(at: SocketAddr, bytes: &[u8]) -> Said {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    exchange(stream, bytes)
}

fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Said {
    // It may refuse before it has read all.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|part| part == b"\r\n\r\n").map_or(all.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut said = Said { status, head, body: all.split_off(end) };
    if said.header("transfer-encoding") == Some("chunked") {
        said.body = unchunked(&said.body);
    }
    said
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap_or("0"), 16).unwrap_or(0);
        if size == 0 || rest.len() < end + 2 + size {
            break;
        }
        whole.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[(end + 4 + size).min(rest.len())..];
    }
    whole
}
