//! The only way to the server: MariaDB's client/server protocol over its unix socket.
//!
//! What holds here:
//! - We say that we are root and prove nothing: the server asks the kernel who is at the other end
//!   of its socket (`unix_socket`). Whatever else it asks for, a password say, is answered with nothing.
//! - A [`Sql`] keeps one connection, and one statement at a time uses it.
//! - A statement whose connection broke is sent once more, over a new one. All of ours may be repeated.
//! - Nothing waits for ever: not for a server that is stopped, not for an answer.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::packet::{self, COM_QUERY, COM_QUIT, MAX_PAYLOAD_BYTES, Refusal};
use super::{Sql, SqlError};

/// The longest that one statement may take. Dropping nova's database takes seconds on a slow disk.
const STATEMENT_LIMIT: Duration = Duration::from_secs(300);

/// The longest wait for each step of a login.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Seconds to wait for a lock on a table: MariaDB's default is a day (`lock_wait_timeout`). And no
/// transaction that stays open between two statements, even where the administrator's default is that.
const SESSION_SETTINGS: &str = "SET SESSION lock_wait_timeout=60, SESSION autocommit=1";

/// How often we answer a question of the login with nothing. Each way to log in asks once or twice.
const MAX_QUESTIONS: usize = 16;

type Rows = Vec<Vec<String>>;

impl Sql {
    /// The rows that `sql`, one statement, answers, column by column. NULL reads as the text `NULL`.
    pub(super) fn query(&self, what: &str, sql: &str) -> Result<Rows, SqlError> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = ask(&mut kept, sql);
        if matches!(&answer, Err(stop) if stop.may_try_again()) {
            *kept = Some(Connection::open(&self.socket)?);
            answer = ask(&mut kept, sql);
        }
        answer.map_err(|stop| stop.during(what, STATEMENT_LIMIT))
    }
}

/// Asks over the kept connection, which is kept further unless it broke.
fn ask(kept: &mut Option<Connection>, sql: &str) -> Result<Rows, Stop> {
    let mut connection = kept.take().ok_or(io::Error::from(io::ErrorKind::NotConnected))?;
    let answer = connection.query(sql);
    if !matches!(answer, Err(Stop::Broken(_))) {
        *kept = Some(connection);
    }
    answer
}

/// Why there is no answer.
#[derive(Debug)]
enum Stop {
    /// The server said no. The connection can be used further.
    Refused(Refusal),
    /// The connection cannot be used further.
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Stop {
    /// A statement that takes too long would do so again.
    fn may_try_again(&self) -> bool {
        matches!(self, Self::Broken(error) if !is_timeout(error.kind()))
    }

    fn during(self, what: &str, limit: Duration) -> SqlError {
        let what = what.to_owned();
        match self {
            Self::Refused(Refusal { code, said }) => SqlError::Refused { what, code, said },
            Self::Broken(error) if is_timeout(error.kind()) => SqlError::Timeout { what, limit },
            Self::Broken(source) => SqlError::Broken { what, source },
        }
    }
}

/// A socket's time limit reads as "resource temporarily unavailable".
fn is_timeout(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn violation(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it does not speak the protocol of MariaDB: {}", what.into()))
}

/// A session of root. Says goodbye when dropped, or the server would log an "Aborted connection".
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    /// The number of the next packet, ours or the server's. Each command starts at 0 again.
    sequence: u8,
}

impl Connection {
    /// Logs in at `path`. [`SqlError::Socket`] where there is nobody to talk to.
    pub(super) fn open(path: &Path) -> Result<Self, SqlError> {
        let what = "log root in";
        let stream = match dial(path) {
            Err(error) if is_timeout(error.kind()) => return Err(Stop::from(error).during(what, CONNECT_LIMIT)),
            other => other.map_err(|source| SqlError::Socket { socket: path.to_owned(), source })?,
        };
        let mut connection = Self { stream: BufReader::new(stream), sequence: 0 };
        connection.start().map_err(|stop| stop.during(what, CONNECT_LIMIT))?;
        Ok(connection)
    }

    fn start(&mut self) -> Result<(), Stop> {
        self.log_in()?;
        self.query(SESSION_SETTINGS)?;
        Ok(limit(self.stream.get_ref(), STATEMENT_LIMIT)?)
    }

    fn log_in(&mut self) -> Result<(), Stop> {
        let greeting = self.receive()?;
        if !packet::is_greeting(&greeting) {
            return Err(violation(format!("a greeting that starts with {:?}", greeting.first())).into());
        }
        self.send(&packet::handshake_response())?;
        for _ in 0..MAX_QUESTIONS {
            match self.receive()?.first() {
                Some(&packet::OK) => return Ok(()),
                // "Authentication Switch Request", or what else a plugin may ask.
                _ => self.send(&[])?,
            }
        }
        Err(violation("a login without end").into())
    }

    fn query(&mut self, sql: &str) -> Result<Rows, Stop> {
        self.sequence = 0;
        self.send(&[&[COM_QUERY], sql.as_bytes()].concat())?;
        let first = self.receive()?;
        if first.first() == Some(&packet::OK) {
            return Ok(Vec::new());
        }
        let columns = packet::column_count(&first)
            .ok_or_else(|| violation(format!("an answer that starts with {:?}", first.first())))?;
        self.receive_rows(columns)
    }

    /// The columns' definitions, an end, the rows, an end.
    fn receive_rows(&mut self, columns: u64) -> Result<Rows, Stop> {
        for _ in 0..columns {
            self.receive()?;
        }
        if !packet::is_end(&self.receive()?) {
            return Err(violation("columns without an end").into());
        }
        let mut rows = Vec::new();
        loop {
            let payload = self.receive()?;
            if packet::is_end(&payload) {
                return Ok(rows);
            }
            rows.push(packet::row(&payload).ok_or_else(|| violation("a row that is cut off"))?);
        }
    }

    /// The next packet, unless that tells an error.
    fn receive(&mut self) -> Result<Vec<u8>, Stop> {
        let payload = self.receive_payload()?;
        if payload.first() != Some(&packet::ERR) {
            return Ok(payload);
        }
        let refusal = Refusal::read(&payload).ok_or_else(|| violation("an error that is cut off"))?;
        Err(match refusal.ends_connection() {
            true => io::Error::new(io::ErrorKind::ConnectionAborted, refusal.said).into(),
            false => Stop::Refused(refusal),
        })
    }

    /// A packet: 3 bytes of length, its number, the payload.
    fn receive_payload(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.fill(&mut header)?;
        let [a, b, c, number] = header;
        let bytes = u32::from_le_bytes([a, b, c, 0]) as usize;
        if number != self.sequence || bytes > MAX_PAYLOAD_BYTES {
            return Err(violation(format!("packet {number} of {bytes} bytes in place of packet {}", self.sequence)));
        }
        self.sequence = number.wrapping_add(1);
        let mut payload = vec![0; bytes];
        self.fill(&mut payload)?;
        Ok(payload)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it hung up"),
            _ => error,
        })
    }

    fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the statement is too long"));
        }
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        let packet = [&[a, b, c, self.sequence], payload].concat();
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.get_mut().write_all(&packet)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sequence = 0;
        let _gone_anyway = self.send(&[COM_QUIT]);
    }
}

/// [`UnixStream::connect`] with a time limit, which std does not have: without it we would wait for
/// ever for a server that is stopped while its queue is full (the send limit counts: socket(7)).
fn dial(path: &Path) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let stream = UnixStream::from(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
    limit(&stream, CONNECT_LIMIT)?;
    loop {
        match connect(stream.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            done => return done.map(|()| stream).map_err(io::Error::from),
        }
    }
}

fn limit(stream: &UnixStream, limit: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    const GREETING: &[u8] = b"\x0a5.5.5-10.11.14-MariaDB\0\x01\0\0\0abcdefgh\0";
    const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
    const END: &[u8] = b"\xfe\x00\x00\x02\x00";
    const SWITCH: &[u8] = b"\xfemysql_native_password\0abcdefghijklmnopqrst\0";

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[payload.len() as u8, 0, 0, number], payload].concat()
    }

    fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
        payloads.iter().zip(first..).flat_map(|(payload, number)| packet(number, payload)).collect()
    }

    /// A server of scripts, one for each connection: it says the first answer at once, each
    /// other one after it heard a packet, and hangs up. Returns the payloads heard.
    struct Server {
        folder: tempfile::TempDir,
        thread: JoinHandle<Vec<Vec<u8>>>,
    }

    impl Server {
        fn start(scripts: Vec<Vec<Vec<u8>>>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
            let thread = std::thread::spawn(move || scripts.into_iter().flat_map(|s| serve(&listener, s)).collect());
            Self { folder, thread }
        }

        fn connect(&self) -> Result<Sql, SqlError> {
            Sql::connect(&self.folder.path().join("sock")).map(Option::unwrap)
        }

        fn heard(self) -> Vec<Vec<u8>> {
            self.thread.join().unwrap()
        }
    }

    fn serve(listener: &UnixListener, script: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let (mut stream, _) = listener.accept().unwrap();
        let (first, others) = script.split_first().unwrap();
        stream.write_all(first).unwrap();
        let mut heard = Vec::new();
        for answer in others {
            heard.extend(hear(&mut stream));
            stream.write_all(answer).unwrap();
        }
        heard.extend(hear(&mut stream));
        heard
    }

    fn hear(stream: &mut UnixStream) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        stream.read_exact(&mut header).ok()?;
        let mut payload = vec![0; header[0].into()];
        stream.read_exact(&mut payload).ok()?;
        Some(payload)
    }

    /// A login and the session's settings, then `answers`.
    fn script(answers: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let login = [packet(0, GREETING), packet(2, OK), packet(1, OK)];
        [&login[..], answers].concat()
    }

    fn one_row(values: &[u8]) -> Vec<u8> {
        packets(1, &[b"\x02", b"\x03def", b"\x03def", END, values, END])
    }

    #[test]
    fn rows_come_back_and_the_farewell_is_said() {
        let server = Server::start(vec![script(&[one_row(b"\x04nova\xfb"), packet(1, OK)])]);
        let sql = server.connect().unwrap();
        assert_eq!(sql.query("ask", "SELECT 1").unwrap(), [["nova", "NULL"]]);
        assert!(sql.query("do", "DO 1").unwrap().is_empty());
        drop(sql);
        let settings = [b"\x03", SESSION_SETTINGS.as_bytes()].concat();
        let expected: [&[u8]; 5] =
            [&packet::handshake_response(), &settings, b"\x03SELECT 1", b"\x03DO 1", &[COM_QUIT]];
        assert_eq!(server.heard(), expected);
    }

    #[test]
    fn questions_are_answered_with_nothing() {
        let questions = [packet(2, SWITCH), packet(4, b"\x01Password: "), packet(6, b"\xfe")];
        let login = [&[packet(0, GREETING)], &questions[..], &[packet(8, OK), packet(1, OK)]].concat();
        let server = Server::start(vec![login]);
        server.connect().unwrap();
        assert_eq!(server.heard()[1..4], [b"", b"", b""]);
    }

    #[test]
    fn login_may_be_refused() {
        let denied = packet(2, b"\xff\x15\x04#28000Access denied for user");
        let full = packet(0, b"\xff\x10\x04Too many connections");
        let server = Server::start(vec![vec![packet(0, GREETING), denied], vec![full]]);
        let error = server.connect().unwrap_err().to_string();
        assert_eq!(error, "MariaDB could not log root in: ERROR 1045 (28000): Access denied for user");
        let error = server.connect().unwrap_err().to_string();
        assert!(error.contains("ERROR 1040 (HY000): Too many"), "{error}");
    }

    #[test]
    fn hanging_up_is_told() {
        for said in [&b""[..], b"\x05", b"\x05\x00\x00\x00\x0a5.5"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            drop(theirs);
            let stop = Connection { stream: BufReader::new(ours), sequence: 0 }.start().unwrap_err();
            let error = stop.during("log root in", CONNECT_LIMIT).to_string();
            assert_eq!(error, "MariaDB could not be asked to log root in: it hung up");
        }
    }

    #[test]
    fn refused_statement_leaves_the_connection() {
        let no = packet(1, b"\xff\x75\x04#42000There is no such grant");
        let late = packets(1, &[b"\x01", b"\x03def", END, b"\xff\xd7\x04#70100Timeout"]);
        let server = Server::start(vec![script(&[no, late, packet(1, OK)])]);
        let sql = server.connect().unwrap();
        let error = sql.query("ask", "x").unwrap_err();
        assert!(matches!(error, SqlError::Refused { code: 1141, .. }), "{error}");
        let error = sql.query("ask", "x").unwrap_err();
        assert!(matches!(error, SqlError::Refused { code: 1239, .. }), "{error}");
        assert!(sql.query("ask", "x").unwrap().is_empty());
    }

    #[test]
    fn broken_connection_is_made_anew_once() {
        let killed = packet(1, b"\xff\x87\x07#70100Connection was killed");
        let server =
            Server::start(vec![script(std::slice::from_ref(&killed)), script(&[packet(1, OK)]), script(&[killed])]);
        let sql = server.connect().unwrap();
        assert!(sql.query("ask", "first").unwrap().is_empty());
        let error = sql.query("ask", "second").unwrap_err().to_string();
        assert!(error.contains("ask: ERROR 1927 (70100)"), "{error}");
        drop(sql);
        let said: Vec<_> =
            server.heard().into_iter().filter(|said| said.ends_with(b"t") || said.ends_with(b"d")).collect();
        assert_eq!(
            said,
            [b"\x03first".to_vec(), b"\x03first".to_vec(), b"\x03second".to_vec(), b"\x03second".to_vec()]
        );
    }

    #[test]
    fn other_protocols_are_recognised() {
        let endless = (0..=MAX_QUESTIONS as u8).map(|n| packet(2 * n, if n == 0 { GREETING } else { SWITCH }));
        let scripts = [
            vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()],
            vec![b"\xff\xff\xff\x00".to_vec()],
            vec![packet(0, b"\x09")],
            vec![packet(0, b"")],
            vec![packet(0, b"\xff\x10")],
            vec![packet(7, GREETING)],
            endless.collect(),
            vec![packet(0, GREETING), packet(2, OK), packet(1, b"\xfb/etc/passwd")],
            vec![packet(0, GREETING), packet(2, OK), packets(1, &[b"\x01", b"\x03def", b"\x01x"])],
            vec![packet(0, GREETING), packet(2, OK), packets(1, &[b"\x01", b"\x03def", END, b"\x09x"])],
        ];
        for script in scripts {
            let server = Server::start(vec![script.clone()]);
            let error = server.connect().unwrap_err();
            assert!(matches!(error, SqlError::Broken { .. }), "{script:?}: {error}");
            assert!(error.to_string().contains("does not speak"), "{error}");
        }
    }

    #[test]
    fn silence_is_a_timeout_and_asked_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        limit(&ours, Duration::from_millis(50)).unwrap();
        let mut kept = Some(Connection { stream: BufReader::new(ours), sequence: 0 });
        let stop = ask(&mut kept, "SELECT SLEEP(9)").unwrap_err();
        assert!(!stop.may_try_again() && kept.is_none());
        let error = stop.during("sleep", STATEMENT_LIMIT).to_string();
        assert_eq!(error, "MariaDB did not sleep within 300 seconds");
        assert_eq!(hear(&mut theirs).unwrap(), b"\x03SELECT SLEEP(9)");
        assert_eq!(hear(&mut theirs).unwrap(), [COM_QUIT]);
    }

    #[test]
    fn long_statements_are_refused_here() {
        let server = Server::start(vec![script(&[]), script(&[])]);
        let sql = server.connect().unwrap();
        let error = sql.query("ask", &"x".repeat(MAX_PAYLOAD_BYTES)).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}
