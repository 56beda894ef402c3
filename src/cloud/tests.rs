//! Sessions and resources against servers that hang, lose answers, or have something twice.

use super::ApiError;
use super::asked_once::FAILURE_COUNTS;
use super::resource::flavor::Flavor;
use super::resource::image::Image;
use super::resource::network::Network;
use super::resource::router::Router;
use super::resource::security_group::SecurityGroup;
use super::resource::server::{self, Place, Server};
use super::resource::{Comparison, Kind, Resource, remove};
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
    SharedSession::new(Login { auth_url, user, password: Secret::random().unwrap(), project, region, pace: 1 })
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
    let server = Server {
        name,
        image,
        flavor,
        place,
        security_groups: Vec::new(),
        key_pair: None,
        boot_volume_gib: None,
        volumes: Vec::new(),
        user_data: None,
        marked: false,
        metadata: std::collections::BTreeMap::new(),
    };
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

/// A cloud of what others made: by collection.
fn of_others(lists: Value) -> SharedSession {
    serve(move |_, path, _| {
        let path = path.split('?').next().unwrap();
        let parts: Vec<&str> = path.trim_matches('/').split('/').filter(|part| !part.starts_with("v2")).collect();
        match parts.as_slice() {
            ["servers", id] if *id != "detail" => {
                let servers = lists["servers"].as_array().cloned().unwrap_or_default();
                match servers.into_iter().find(|server| server["id"] == *id) {
                    Some(server) => Reply::Answer(200, json!({"server": server})),
                    None => Reply::Answer(404, json!({"itemNotFound": {"message": "no"}})),
                }
            }
            [collection, ..] => {
                let collection = collection.replace('-', "_");
                Reply::Answer(200, json!({collection.as_str(): lists.get(&collection).unwrap_or(&json!([]))}))
            }
            [] => Reply::Answer(404, Value::Null),
        }
    })
}

/// What is said of a thing that others made.
fn difference(session: &SharedSession, wanted: &dyn Resource) -> Option<String> {
    match session.ask(|session| wanted.compare(session)).unwrap() {
        Comparison::Foreign(how) => Some(how),
        Comparison::Same => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_foreign_flavor_that_differs_is_told_and_one_that_does_not_is_used() {
    let listed = |memory: u32, specs: Value| {
        of_others(
            json!({"flavors": [{"id": "f", "name": "a", "vcpus": 1, "ram": memory, "disk": 1, "extra_specs": specs}]}),
        )
    };
    let specs = [("hw:cpu_policy".to_owned(), "shared".to_owned())].into();
    let wanted = Flavor { name: "a".into(), vcpus: 1, memory_mib: 64, disk_gib: 1, specs, marked: true };
    let same = json!({"hw:cpu_policy": "shared", "hw_rng:allowed": "True"});
    assert_eq!(difference(&listed(64, same), &wanted), None);
    let larger = difference(&listed(128, json!({"hw:cpu_policy": "shared"})), &wanted).unwrap();
    assert!(larger.contains("128 MiB") && larger.contains("64 MiB"), "{larger}");
    assert_eq!(difference(&listed(64, json!({})), &wanted).unwrap(), "hw:cpu_policy is not shared");
    let more = json!({"hw:cpu_policy": "shared", "pci_passthrough:alias": "a100:1"});
    assert_eq!(difference(&listed(64, more), &wanted).unwrap(), "it has pci_passthrough:alias=a100:1");
}

#[test]
fn a_foreign_group_is_told_by_the_rules_that_it_has_not_or_has_besides() {
    let rule = |direction: &str, ethertype: &str, protocol: Value, port: Value, remote: Value| {
        json!({"id": "r", "direction": direction, "ethertype": ethertype, "protocol": protocol, "port_range_min": port,
            "port_range_max": port, "remote_ip_prefix": remote, "remote_group_id": null})
    };
    let none = Value::Null;
    let neutrons = [
        rule("egress", "IPv4", none.clone(), none.clone(), none.clone()),
        rule("egress", "IPv6", none.clone(), none.clone(), none.clone()),
    ];
    let group = |rules: &[Value]| {
        let all: Vec<&Value> = neutrons.iter().chain(rules).collect();
        of_others(
            json!({"security_groups": [{"id": "g", "name": "web", "description": "", "security_group_rules": all}]}),
        )
    };
    let rules = ["in tcp 80", "in tcp 22 from 203.0.113.5", "in icmpv6"].map(|rule| rule.parse().unwrap()).into();
    let wanted = SecurityGroup { name: "web".into(), rules, alone: false };
    let have = [
        rule("ingress", "IPv4", json!("tcp"), json!(80), json!("0.0.0.0/0")),
        rule("ingress", "IPv4", json!("6"), json!(22), json!("203.0.113.5/32")),
        rule("ingress", "IPv6", json!("ipv6-icmp"), none.clone(), json!("::/0")),
    ];
    assert_eq!(difference(&group(&have), &wanted), None);
    assert_eq!(
        difference(&group(&have[..1]), &wanted).unwrap(),
        "it misses the rule \"in tcp 22 from 203.0.113.5/32\", it misses the rule \"in icmpv6\""
    );
    let open = [&have[..], &[rule("ingress", "IPv4", none.clone(), none.clone(), none)]].concat();
    assert_eq!(difference(&group(&open), &wanted).unwrap(), "it has the rule \"in any\"");
}

#[test]
fn foreign_networks_routers_images_volumes_and_instances_are_told_too() {
    let session = of_others(json!({
        "networks": [{"id": "n", "name": "private"}, {"id": "e", "name": "public"}],
        "subnets": [{"id": "s", "network_id": "n", "cidr": "10.9.0.0/26"}],
        "routers": [{"id": "r", "name": "router1", "external_gateway_info": {"network_id": "e"}}],
        "images": [{"id": "i", "name": "mine", "status": "active", "disk_format": "qcow2", "hw_firmware_type": "bios"}],
        "servers": [{"id": "s", "name": "demo", "status": "ACTIVE", "flavor": {"original_name": "tiny"},
            "image": {"id": "other"}, "key_name": "demo"}],
    }));
    let told = |wanted: &dyn Resource| difference(&session, wanted).unwrap();
    assert_eq!(told(&network()), "its subnet is 10.9.0.0/26 instead of 192.0.2.0/24");
    assert_eq!(difference(&session, &Network { subnet: "10.9.0.0/24".parse().unwrap(), ..network() }), None);
    let router = Router { name: "router1".into(), external: "public".into(), networks: vec!["private".into()] };
    assert_eq!(told(&router), "it does not connect private");
    let image = Image {
        name: "mine".into(),
        file: "/nowhere".into(),
        told: super::disk_image::Told::ByContent,
        properties: [("hw_firmware_type".to_owned(), "uefi".to_owned())].into(),
        parts: Vec::new(),
        marked: true,
    };
    assert_eq!(told(&image), "hw_firmware_type is bios instead of uefi");
    let server = Server {
        name: "demo".into(),
        image: "mine".into(),
        flavor: "ds2G".into(),
        place: Place::Port("demo".into()),
        security_groups: Vec::new(),
        key_pair: Some("demo".into()),
        boot_volume_gib: None,
        volumes: Vec::new(),
        user_data: None,
        marked: true,
        metadata: std::collections::BTreeMap::new(),
    };
    assert_eq!(told(&server), "it has flavor tiny instead of ds2G, it was not made of image mine");
}

fn twins() -> SharedSession {
    let server =
        |id: &str, name: &str| json!({"id": id, "name": name, "status": "ACTIVE", "created": "2026-11-29T00:00:00Z"});
    let (one, other) = ("a0ffc5ce-0000-4000-8000-000000000001", "a0ffc5ce-0000-4000-8000-000000000002");
    of_others(json!({"servers": [server(one, "twin"), server(other, "twin"), server("x", "Größe (1)")]}))
}

#[test]
fn instances_are_found_by_id_and_by_any_name_and_twins_are_listed_with_our_command() {
    let session = twins();
    let get = |text: &str| session.ask(|session| server::get(session, text));
    assert_eq!(
        get("a0ffc5ce-0000-4000-8000-000000000002").unwrap().id.as_str(),
        "a0ffc5ce-0000-4000-8000-000000000002"
    );
    assert_eq!(get("Größe (1)").unwrap().id.as_str(), "x");
    let failure = crate::failure::Failure::from(get("twin").unwrap_err());
    assert!(failure.evidence.contains("000000000002  made 2026-11-29"), "{failure:?}");
    assert!(failure.next.contains("gpucloud-install instance delete ID"), "{failure:?}");
    for (text, near) in
        [("twni", "did you mean twin?"), ("Größe(1)", "did you mean Größe (1)?"), ("nothing", "gpucloud-install")]
    {
        let failure = crate::failure::Failure::from(get(text).unwrap_err());
        assert!(failure.what.contains(&format!("no instance called {text}")), "{failure:?}");
        assert!(
            failure.next.starts_with(near) && failure.next.ends_with("gpucloud-install instance list"),
            "{failure:?}"
        );
    }
}
