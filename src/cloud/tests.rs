//! Sessions and resources against servers that hang, lose answers, or have something twice.

use super::ApiError;
use super::asked_once::FAILURE_COUNTS;
use super::resource::network::Network;
use super::resource::server::{Place, Server};
use super::resource::{Kind, Resource, remove};
use super::session::{Login, SharedSession};
use crate::config::secrets::Secret;
use crate::host::Host;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(1);

fn shared(auth_url: String) -> SharedSession {
    let (user, project, region) = ("admin".into(), "admin".into(), "R".into());
    SharedSession::new(Login { auth_url, user, password: Secret::random().unwrap(), project, region })
}

/// Accepts connections and never answers; counts them.
fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v3", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (url, accepted)
}

/// How long `count` on eight threads take, all of which must fail.
fn time_of(count: usize, ask: impl Fn(usize) -> Result<(), ApiError> + Sync) -> Duration {
    let (begin, next) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::SeqCst);
                    if i >= count {
                        break;
                    }
                    let error = ask(i).unwrap_err().to_string();
                    assert!(
                        error.contains(" does not answer: no answer to ") && error.ends_with(" within 1 s"),
                        "{error}"
                    );
                }
            });
        }
    });
    begin.elapsed()
}

#[test]
fn probes_wait_for_one_login_when_keystone_accepts_and_is_silent() {
    let (url, accepted) = silent();
    let session = shared(url).with_limit(LIMIT);
    let time = time_of(7, |_| session.ask(|_| Ok(())));
    assert!(time < 2 * LIMIT, "seven probes took {time:?}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[test]
fn looks_of_one_snapshot_wait_for_one_login_when_keystone_accepts_and_is_silent() {
    let (url, accepted) = silent();
    let session = shared(url).with_limit(LIMIT);
    let host = Host::at("/nowhere").with_snapshot(&[]);
    let time = time_of(30, |_| session.look(&host, |_| Ok(())));
    assert!(time < 2 * LIMIT, "thirty looks took {time:?}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    assert!(FAILURE_COUNTS > 2 * LIMIT, "or the test above says nothing");
}

#[test]
fn looks_of_one_snapshot_wait_once_for_an_api_that_accepts_and_is_silent() {
    let session = serve(|method, _, _| {
        if method != "LOGIN" {
            std::thread::sleep(10 * LIMIT);
        }
        Reply::Lost
    });
    let session = session.with_limit(LIMIT);
    let host = Host::at("/nowhere").with_snapshot(&[]);
    let look = |i| session.look(&host, |session| session.get::<Value>("network", &format!("/networks/{i}")).map(drop));
    let time = time_of(30, look);
    assert!(time < 2 * LIMIT, "thirty looks took {time:?}");
}

/// What a stand-in does with a request.
enum Reply {
    Answer(u16, Value),
    /// Closes the connection without a word.
    Lost,
}

/// An API on a port of its own: `reply` to method, path and body; a login, told as method "LOGIN", is answered here.
fn serve(reply: impl Fn(&str, &str, Value) -> Reply + Send + Sync + 'static) -> SharedSession {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (session, reply) = (shared(format!("{url}/v3")), Arc::new(reply));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (url, reply) = (url.clone(), reply.clone());
            std::thread::spawn(move || while answer(&stream, &url, reply.as_ref()).is_some() {});
        }
    });
    session
}

/// Answers one request of a connection; `None` when it is over.
fn answer(mut stream: &TcpStream, url: &str, reply: &dyn Fn(&str, &str, Value) -> Reply) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok()?;
    let (method, path) = (line.split(' ').next()?.to_owned(), line.split(' ').nth(1)?.to_owned());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.to_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let reply = match path.as_str() {
        "/v3/auth/tokens" => {
            reply("LOGIN", &path, body);
            Reply::Answer(201, token(url))
        }
        path => reply(&method, path, body),
    };
    let Reply::Answer(status, body) = reply else { return stream.shutdown(std::net::Shutdown::Both).err().map(drop) };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nX-Subject-Token: t\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).ok()
}

fn token(url: &str) -> Value {
    let endpoints = json!([{"interface": "public", "region": "R", "url": url}]);
    let entry = |kind: &str| json!({"type": kind, "endpoints": endpoints});
    json!({"token": {"catalog": [entry("network"), entry("compute"), entry("image")]}})
}

/// What was made: its collection ("networks"), and the thing itself.
type Made = Mutex<Vec<(String, Value)>>;

/// Lists by path and name of the collection; a thing comes into its list when `make` says so, and the answer is lost.
fn forgetful(make_after: Duration) -> (SharedSession, Arc<Made>) {
    let made: Arc<Made> = Arc::default();
    let all = made.clone();
    let session = serve(move |method, path, body| {
        let collection = path.rsplit('/').next().unwrap().split('?').next().unwrap();
        let collection = if collection == "detail" { path.split('/').nth(1).unwrap() } else { collection }.to_owned();
        if method == "POST" {
            let mut thing = body.as_object().unwrap().values().next().unwrap().clone();
            thing["id"] = json!(format!("id-{}", all.lock().unwrap().len()));
            thing["status"] = json!("BUILD");
            let all = all.clone();
            std::thread::spawn(move || {
                std::thread::sleep(make_after);
                all.lock().unwrap().push((collection, thing));
            });
            return Reply::Lost;
        }
        let known = [
            ("images", json!({"id": "i", "name": "guest", "status": "active"})),
            ("flavors", json!({"id": "f", "name": "small", "vcpus": 1, "ram": 64, "disk": 0})),
            ("networks", json!({"id": "n", "name": "others"})),
        ];
        let known = known.into_iter().filter(|(of, _)| *of == collection).map(|(_, thing)| thing);
        let made = all.lock().unwrap().clone().into_iter().filter(|(of, _)| *of == collection).map(|(_, thing)| thing);
        let list: Vec<Value> = known.chain(made).collect();
        Reply::Answer(200, json!({collection.as_str(): list}))
    });
    (session, made)
}

fn kinds(made: &Made) -> Vec<String> {
    made.lock().unwrap().iter().map(|(kind, _)| kind.clone()).collect()
}

fn network() -> Network {
    Network { name: "private".into(), subnet: "192.0.2.0/24".parse().unwrap(), dns: Vec::new(), external: None }
}

/// The service still is at it when its answer is lost: a second look at once finds nothing.
#[test]
fn what_is_made_although_its_answer_is_lost_is_made_once() {
    let (session, made) = forgetful(Duration::from_millis(1500));
    let host = Host::at("/nowhere");
    session.ask_patiently(Duration::from_secs(20), || true, |session| network().ensure(session, &host)).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(kinds(&made), ["networks", "subnets"]);
}

#[test]
fn an_instance_whose_order_is_not_answered_is_found() {
    let (session, made) = forgetful(Duration::ZERO);
    let (name, image, flavor) = ("one".to_owned(), "guest".into(), "small".into());
    let place = Place::Network("others".into());
    let server = Server { name, image, flavor, place, security_groups: Vec::new(), key_pair: None, marked: false };
    assert_eq!(session.ask(|session| server.order(session)).unwrap().as_str(), "id-0");
    assert_eq!(kinds(&made), ["servers"]);
}

#[test]
fn a_session_that_somebody_renewed_is_not_dropped() {
    let logins = Arc::new(AtomicUsize::new(0));
    let count = logins.clone();
    let session = serve(move |method, _, _| {
        count.fetch_add(usize::from(method == "LOGIN"), Ordering::SeqCst);
        Reply::Answer(404, Value::Null)
    });
    let refused = || ApiError::Refused { service: "x".into(), status: 401, message: String::new(), request: None };
    // Taken while there was one login only: a token of the first.
    let is_old = || logins.load(Ordering::SeqCst) == 1;
    let renew = || session.ask(|_| if is_old() { Err(refused()) } else { Ok(()) });
    session.ask(|_| if is_old() { renew().and_then(|()| Err(refused())) } else { Ok(()) }).unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 2, "the renewed session was dropped");
}

#[test]
fn of_two_with_one_name_the_one_to_delete_is_named() {
    let mark = super::resource::MARK;
    let session = serve(move |_, _, _| {
        let thing = |id: &str, mark: &str| json!({"id": id, "name": "private", "description": mark});
        Reply::Answer(200, json!({"networks": [thing("a", mark), thing("b", mark)]}))
    });
    let error = session.ask(|session| remove(session, Kind::Network, "private", None)).unwrap_err();
    assert!(error.to_string().contains("(a, b)"), "{error}");
    let failure = crate::failure::Failure::from(error);
    assert!(failure.next.contains("openstack network delete b"), "{}", failure.next);
}

#[test]
fn nobody_there_is_said_of_the_service() {
    let error = shared("http://127.0.0.1:1/v3".into()).ask(|_| Ok(())).unwrap_err();
    assert!(error.to_string().starts_with("identity does not answer"), "{error}");
    assert!(matches!(error, ApiError::Unreachable { .. }) && !error.may_be_done());
    assert!(crate::host::RoomError::may_pass(&error));
}
