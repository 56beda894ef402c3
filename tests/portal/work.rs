//! What students do through the portal.

use super::world::{ADA, BUSY, PAGE, Portal, Said, Stream, WORLD, Way};
use gpucloud::portal::token::TokenHash;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket, handshake::client::generate_key, http::Request};

type Verdict = Result<(), Failed>;

/// What the portal may hold in memory of its own, in KiB, as built for tests.
const MEMORY: u64 = 32 << 10;

fn memory_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A kernel, and its socket through the portal.
pub struct Kernel {
    id: String,
    socket: WebSocket<Box<dyn Stream>>,
}

impl Kernel {
    pub fn start(portal: &Way, cookie: &str) -> Self {
        let origin = portal.url("");
        let headers = [("Cookie", cookie), ("Origin", origin.as_str()), ("Content-Type", "application/json")];
        let said = portal.ask("POST", "/s/ada/api/kernels", &headers, "{}");
        assert_eq!(said.status, 201, "{}", said.text());
        let id = said.json()["id"].as_str().unwrap().to_owned();
        let socket = Self::open(portal, cookie, &id);
        Self { id, socket }
    }

    fn open(portal: &Way, cookie: &str, id: &str) -> WebSocket<Box<dyn Stream>> {
        let request = Request::builder()
            .uri(format!("ws://{}/s/ada/api/kernels/{id}/channels", portal.host))
            .header("Host", &portal.host)
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key())
            .header("Cookie", cookie)
            .header("Origin", portal.url(""))
            .body(())
            .unwrap();
        tungstenite::client(request, portal.connect()).unwrap_or_else(|_| panic!("no WebSocket")).0
    }

    /// What a cell says.
    pub fn cell(&mut self, code: &str) -> String {
        let header =
            json!({"msg_id": code, "session": "1", "username": "", "msg_type": "execute_request", "version": "5.3"});
        let content =
            json!({"code": code, "silent": false, "store_history": false, "allow_stdin": false, "stop_on_error": true});
        let message = json!({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []});
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["parent_header"]["msg_id"] == code && said["msg_type"] == "execute_result" {
                return said["content"]["data"]["text/plain"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Whether the socket ends within `limit`.
    fn ends_within(&mut self, limit: Duration) -> bool {
        self.socket.get_ref().wait_for(Duration::from_millis(100));
        let begin = Instant::now();
        while begin.elapsed() < limit {
            match self.socket.read() {
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return true,
                Ok(_) => {}
            }
        }
        false
    }
}

pub fn cells() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let mut kernel = Kernel::start(&portal, &cookie);
    assert_eq!(kernel.cell("1 + 1"), "2");
    // A megabyte in one message, both ways.
    let long = "x".repeat(1 << 20);
    assert_eq!(kernel.cell(&format!("len('{long}')")), (1 << 20).to_string());
    assert_eq!(kernel.cell("'y' * 2**20").len(), (1 << 20) + 2);
    let origin = portal.url("");
    portal.ask("POST", "/logout", &[("Cookie", &cookie), ("Origin", &origin)], "");
    assert!(kernel.ends_within(Duration::from_secs(2)), "a socket outlives its session");
    Ok(())
}

pub fn another_token() -> Verdict {
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let mut kernel = Kernel::start(&portal, &cookie);
    let other = "zzzzz-zzzzz-zzzzz-zzzzz";
    let mut told = WORLD.told();
    told.students.insert("ada".into(), TokenHash::of_typed(other).unwrap());
    portal.tell(&told);
    assert!(kernel.ends_within(Duration::from_secs(2)), "a socket outlives its token");
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 403);
    assert!(portal.log_in(ADA).is_none());
    let cookie = portal.log_in(other).unwrap();
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200);
    // A student who is gone is gone at once, and what cannot be read changes nothing.
    std::fs::write(portal.told_file(), "{\"names\": [").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200);
    assert!(portal.log().contains("what was told before holds on"), "{}", portal.log());
    told.students.remove("ada");
    portal.tell(&told);
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 403);
    Ok(())
}

pub fn large_files() -> Verdict {
    let _alone = BUSY.lock();
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    // 200 MiB as Jupyter wants them: base64 in JSON.
    let (head, tail) = ("{\"type\": \"file\", \"format\": \"base64\", \"content\": \"", "AAA=\"}");
    let letters: usize = (200 << 20) / 3 * 4;
    let length = head.len() + letters + tail.len();
    let mut stream = TcpStream::connect(portal.at)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let request = format!(
        "PUT /s/ada/api/contents/big HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nOrigin: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{head}",
        portal.at,
        portal.url("")
    );
    stream.write_all(request.as_bytes())?;
    let block = "A".repeat(1 << 20);
    let (mut left, mut most) = (letters, 0);
    while left > 0 {
        let part = left.min(block.len());
        stream.write_all(&block.as_bytes()[..part])?;
        left -= part;
        most = most.max(memory_kib(portal.pid()));
    }
    stream.write_all(tail.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    let said = portal.get("/s/ada/files/big", &[("Cookie", &cookie)]);
    assert_eq!((said.status, said.body.len()), (200, (200 << 20) / 3 * 3 + 2), "{}", said.head);
    most = most.max(memory_kib(portal.pid()));
    eprintln!("the portal held {most} KiB at most while 200 MiB went up and came down");
    assert!(most < MEMORY, "{most} KiB");
    Ok(())
}

pub fn away() -> Verdict {
    let portal = Portal::start();
    let bob = portal.log_in(super::world::BOB).unwrap();
    let said = portal.get("/s/bob/lab", &[("Cookie", &bob), PAGE]);
    assert!(said.status == 503 && said.text().contains("Your notebook does not answer yet"), "{}", said.text());
    assert!(said.text().contains("http-equiv=\"refresh\""), "it looks again by itself");
    assert_eq!(portal.get("/s/bob/api/status", &[("Cookie", &bob)]).status, 503);
    let ada = portal.log_in(ADA).unwrap();
    let said = portal.get("/s/new/lab", &[("Cookie", &ada), PAGE]);
    assert!(said.status == 503 && said.text().contains("is being made"), "{}", said.text());
    let page = portal.get("/", &[("Cookie", &ada), PAGE]).text();
    assert!(page.contains("Open ada") && page.contains("being made") && !page.contains("Open new"), "{page}");
    let mut told = WORLD.told();
    told.notebooks.get_mut("bob").unwrap().is_off = true;
    portal.tell(&told);
    let said = portal.get("/s/bob/lab", &[("Cookie", &bob), PAGE]);
    assert!(said.status == 503 && said.text().contains("Your notebook is switched off"), "{}", said.text());
    assert!(portal.get("/", &[("Cookie", &bob), PAGE]).text().contains("switched off"));
    let lost = portal.get("/elsewhere", &[PAGE]);
    assert!(lost.status == 404 && lost.text().contains("There is no such address"), "{}", lost.text());
    assert_eq!(portal.get("/s/ada", &[("Cookie", &ada), PAGE]).header("location"), Some("/s/ada/"));
    Ok(())
}

pub fn restarted() -> Verdict {
    let mut portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let mut kernel = Kernel::start(&portal, &cookie);
    assert_eq!(kernel.cell("a = 41; a"), "41");
    portal.restart();
    assert!(kernel.ends_within(Duration::from_secs(2)));
    assert_eq!(portal.get("/s/ada/api/status", &[("Cookie", &cookie)]).status, 200);
    kernel.socket = Kernel::open(&portal, &cookie, &kernel.id);
    assert_eq!(kernel.cell("a + 1"), "42", "what was in memory is there");
    Ok(())
}

pub fn many() -> Verdict {
    let _alone = BUSY.lock();
    let portal = Portal::start();
    let cookie = portal.log_in(ADA).unwrap();
    let mut stalled: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(portal.at).unwrap()).collect();
    for stream in &mut stalled {
        stream.write_all(b"GET /s/ada/").unwrap();
    }
    let end = Instant::now() + Duration::from_secs(20);
    let work = || {
        let mut count = 0;
        while Instant::now() < end {
            let said: Said = portal.get("/s/ada/api/status", &[("Cookie", &cookie)]);
            assert_eq!(said.status, 200, "{}", said.head);
            count += 1;
        }
        count
    };
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..200).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|one| one.join().expect("somebody was turned away")).collect()
    });
    let memory = memory_kib(portal.pid());
    eprintln!("200 clients: {} requests in 20 s, {memory} KiB", counts.iter().sum::<u32>());
    assert!(counts.iter().all(|count| *count > 0) && memory < MEMORY, "{counts:?}, {memory} KiB");
    Ok(())
}
