//! Whether an account may log in to a RabbitMQ: the handshake of AMQP 0-9-1 and no more.
//!
//! What holds here:
//! - Nothing on the server changes: no channel is opened, no queue, no message.
//! - "May log in" means that the password is right and the account has permissions on the virtual
//!   host. RabbitMQ looks at their patterns (configure, write, read) only when a queue is used.
//! - The password is in no error and in no `Debug` text.
//! - No call takes longer than its time limit.
//!
//! The numbers are those of <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The port of AMQP without TLS.
pub const DEFAULT_PORT: u16 = 5672;

/// Longer frames are no handshake. RabbitMQ's longest, its Start, has about 500 bytes.
const MAX_FRAME_BYTES: usize = 128 * 1024;

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User, password and virtual host are right.
    Ok,
    /// The server said no, in these words.
    Refused(String),
    /// Nobody listens at the address.
    NoServer,
}

/// Why it is not known whether the login works.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// No connection, and not because nobody listens.
    #[error("cannot connect to RabbitMQ at {server}: {source}")]
    Connect {
        /// The address tried.
        server: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke or the time was up.
    #[error("the login to RabbitMQ at {server} broke off: {source}")]
    Broken {
        /// The address.
        server: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What listens there speaks something else.
    #[error("what listens at {server} does not speak AMQP 0-9-1: {why}")]
    NotAmqp {
        /// The address.
        server: SocketAddr,
        /// What it said.
        why: String,
    },
    /// The virtual host's name does not fit into the protocol.
    #[error("the virtual host's name has {0} bytes, AMQP allows 255")]
    VirtualHost(usize),
}

/// Logs in at `server` and out again, within `limit`.
///
/// Right or wrong, RabbitMQ answers within milliseconds; under memory pressure, later. It notes
/// each refused login as an error in its log.
pub fn login(
    server: SocketAddr,
    user: &str,
    password: &str,
    virtual_host: &str,
    limit: Duration,
) -> Result<Login, AmqpError> {
    let deadline = Instant::now() + limit;
    let start_ok = start_ok_arguments(user, password);
    let open = open_arguments(virtual_host)?;
    let Some(stream) = connect(server, limit)? else {
        return Ok(Login::NoServer);
    };
    let mut connection = Connection { stream, server, deadline };
    match connection.shake_hands(&start_ok, &open) {
        Ok(()) => Ok(Login::Ok),
        Err(Stop::Refused(why)) => Ok(Login::Refused(why)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn connect(server: SocketAddr, limit: Duration) -> Result<Option<TcpStream>, AmqpError> {
    // Our messages are small and wait for each other: with Nagle's delay a login takes 40 ms more.
    let connected =
        TcpStream::connect_timeout(&server, limit).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(source) => Err(AmqpError::Connect { server, source }),
    }
}

/// What a client says first; a server of another version answers with its own and hangs up.
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";

/// Types of frames, and what each ends with.
const METHOD_FRAME: u8 = 1;
const HEARTBEAT_FRAME: u8 = 8;
const FRAME_END: u8 = 0xCE;

/// A method: its class (10, connection, for all of ours) and its number, as sent.
type Method = [u8; 4];
const START: Method = [0, 10, 0, 10];
const START_OK: Method = [0, 10, 0, 11];
const TUNE: Method = [0, 10, 0, 30];
const TUNE_OK: Method = [0, 10, 0, 31];
const OPEN: Method = [0, 10, 0, 40];
const OPEN_OK: Method = [0, 10, 0, 41];
const CLOSE: Method = [0, 10, 0, 50];
const CLOSE_OK: Method = [0, 10, 0, 51];

/// Asks for a reason: without it RabbitMQ answers a wrong password by hanging up
/// (<https://www.rabbitmq.com/docs/auth-notification>). A table in a table, its fields named.
const CLIENT_PROPERTIES: &[u8] = b"\x0ccapabilitiesF\x00\x00\x00\x1f\x1cauthentication_failure_closet\x01";

/// The reply code 200, an empty text, and no method that failed.
const CLOSE_ARGUMENTS: [u8; 7] = [0, 200, 0, 0, 0, 0, 0];

/// Why a handshake ended early.
enum Stop {
    Refused(String),
    Failed(AmqpError),
}

impl From<AmqpError> for Stop {
    fn from(error: AmqpError) -> Self {
        Self::Failed(error)
    }
}

struct Connection {
    stream: TcpStream,
    server: SocketAddr,
    deadline: Instant,
}

impl Connection {
    fn shake_hands(&mut self, start_ok: &[u8], open: &[u8]) -> Result<(), Stop> {
        self.write(PROTOCOL_HEADER)?;
        self.await_method(START)?;
        self.send(START_OK, start_ok)?;
        let tune = self.await_method(TUNE)?;
        self.send(TUNE_OK, &tune_ok_arguments(&tune))?;
        self.send(OPEN, open)?;
        self.await_method(OPEN_OK)?;
        self.send(CLOSE, &CLOSE_ARGUMENTS)?;
        // We are in, so that a farewell which gets lost changes nothing. Waiting for it keeps
        // "closed unexpectedly" out of the server's log.
        let _farewell = self.await_method(CLOSE_OK);
        Ok(())
    }

    /// The arguments of the `wanted` method; a Close instead of it is a refusal.
    fn await_method(&mut self, wanted: Method) -> Result<Vec<u8>, Stop> {
        let payload = self.read_method_frame()?;
        match payload.split_first_chunk() {
            Some((&method, arguments)) if method == wanted => Ok(arguments.to_vec()),
            Some((&CLOSE, arguments)) => {
                // Courtesy only: the server has made up its mind.
                let _unheard = self.send(CLOSE_OK, &[]);
                Err(Stop::Refused(close_text(arguments)))
            }
            _ => Err(self.not_amqp(format!("not {wanted:?} but {payload:?}")).into()),
        }
    }

    fn read_method_frame(&mut self) -> Result<Vec<u8>, AmqpError> {
        loop {
            let (kind, payload) = self.read_frame()?;
            match kind {
                METHOD_FRAME => return Ok(payload),
                HEARTBEAT_FRAME => {}
                other => return Err(self.not_amqp(format!("a frame of type {other}"))),
            }
        }
    }

    /// Type and payload of the next frame. Its channel is 0 for all of this class.
    fn read_frame(&mut self) -> Result<(u8, Vec<u8>), AmqpError> {
        let [kind, _, _, a, b, c, d] = self.read_header()?;
        let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
        if bytes > MAX_FRAME_BYTES {
            return Err(self.not_amqp(format!("a frame of {bytes} bytes")));
        }
        let mut payload = vec![0; bytes + 1];
        self.read(&mut payload)?;
        match payload.pop() {
            Some(FRAME_END) => Ok((kind, payload)),
            other => Err(self.not_amqp(format!("a frame that ends with {other:?}"))),
        }
    }

    /// Another protocol is known by its first byte, and may never send seven.
    fn read_header(&mut self) -> Result<[u8; 7], AmqpError> {
        let mut header = [0; 7];
        let (first, rest) = header.split_at_mut(1);
        self.read(first)?;
        if ![METHOD_FRAME, HEARTBEAT_FRAME].contains(&first[0]) {
            return Err(self.not_amqp(format!("a frame of type {}", first[0])));
        }
        self.read(rest)?;
        Ok(header)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), AmqpError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = self.time_left()?;
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut buffer[filled..]));
            filled += match read {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(self.broken(error)),
            };
        }
        Ok(())
    }

    fn send(&mut self, method: Method, arguments: &[u8]) -> Result<(), AmqpError> {
        let bytes = method.len() + arguments.len();
        let mut frame = vec![METHOD_FRAME, 0, 0];
        frame.extend((bytes as u32).to_be_bytes());
        frame.extend(method);
        frame.extend(arguments);
        frame.push(FRAME_END);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AmqpError> {
        let left = self.time_left()?;
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|source| self.broken(source))
    }

    /// Never zero, which would mean "for ever" to a socket.
    fn time_left(&self) -> Result<Duration, AmqpError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(self.broken(io::ErrorKind::TimedOut.into())),
            false => Ok(left),
        }
    }

    /// A socket's time limit reads as "resource temporarily unavailable": say what it is.
    fn broken(&self, source: io::Error) -> AmqpError {
        let source = match source.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => source,
        };
        AmqpError::Broken { server: self.server, source }
    }

    fn not_amqp(&self, why: String) -> AmqpError {
        AmqpError::NotAmqp { server: self.server, why }
    }
}

fn start_ok_arguments(user: &str, password: &str) -> Vec<u8> {
    let plain = format!("\0{user}\0{password}");
    let mut arguments = long_string(CLIENT_PROPERTIES);
    arguments.extend(b"\x05PLAIN");
    arguments.extend(long_string(plain.as_bytes()));
    arguments.extend(b"\x05en_US");
    arguments
}

/// The server's limits as they are (channels: 2 bytes, frame: 4 bytes), and no heartbeat.
fn tune_ok_arguments(tune: &[u8]) -> Vec<u8> {
    let mut arguments = tune.to_vec();
    arguments.resize(6, 0);
    arguments.extend([0, 0]);
    arguments
}

/// The virtual host and two fields that mean nothing any more.
fn open_arguments(virtual_host: &str) -> Result<Vec<u8>, AmqpError> {
    let too_long = |_| AmqpError::VirtualHost(virtual_host.len());
    let mut arguments = vec![u8::try_from(virtual_host.len()).map_err(too_long)?];
    arguments.extend(virtual_host.as_bytes());
    arguments.extend([0, 0]);
    Ok(arguments)
}

/// Four bytes of length, then the bytes: also what a table looks like.
fn long_string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u32).to_be_bytes().to_vec();
    string.extend(bytes);
    string
}

/// `403 ACCESS_REFUSED - ...` from the arguments of a Close: a code, and a text with its length.
fn close_text(arguments: &[u8]) -> String {
    let [high, low, length, text @ ..] = arguments else {
        return "closed without a reason".to_owned();
    };
    let code = u16::from_be_bytes([*high, *low]);
    let text = text.get(..usize::from(*length)).unwrap_or(text);
    format!("{code} {}", String::from_utf8_lossy(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    const LIMIT: Duration = Duration::from_secs(10);

    fn frame(method: Method, arguments: &[u8]) -> Vec<u8> {
        let bytes = (4 + arguments.len()) as u32;
        let head = [&[1, 0, 0][..], &bytes.to_be_bytes()].concat();
        [&head, &method[..], arguments, &[0xCE]].concat()
    }

    /// Says `answers` one by one, each after something was heard; returns all that was heard.
    fn server(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
            for answer in answers {
                let bytes = stream.read(&mut buffer).unwrap();
                heard.extend(&buffer[..bytes]);
                stream.write_all(&answer).unwrap();
            }
            // Whatever else there is, until the client hangs up.
            let _hung_up = stream.read_to_end(&mut heard);
            heard
        });
        (address, thread)
    }

    fn start() -> Vec<u8> {
        frame(START, b"\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US")
    }

    fn tune() -> Vec<u8> {
        frame(TUNE, b"\x07\xff\x00\x02\x00\x00\x00\x3c")
    }

    fn open_ok() -> Vec<u8> {
        frame(OPEN_OK, b"\0")
    }

    fn close_ok() -> Vec<u8> {
        frame(CLOSE_OK, b"")
    }

    fn log_in(address: SocketAddr) -> Result<Login, AmqpError> {
        login(address, "nova", "s3cret", "/", LIMIT)
    }

    #[test]
    fn every_byte_is_as_the_specification_says() {
        let answers = vec![start(), tune(), open_ok(), close_ok()];
        let (address, heard) = server(answers);
        assert_eq!(log_in(address).unwrap(), Login::Ok);
        let expected = [
            b"AMQP\x00\x00\x09\x01".to_vec(),
            b"\x01\x00\x00\x00\x00\x00\x55\x00\x0a\x00\x0b".to_vec(),
            b"\x00\x00\x00\x31\x0ccapabilitiesF\x00\x00\x00\x1f".to_vec(),
            b"\x1cauthentication_failure_closet\x01".to_vec(),
            b"\x05PLAIN\x00\x00\x00\x0c\x00nova\x00s3cret\x05en_US\xce".to_vec(),
            frame(TUNE_OK, b"\x07\xff\x00\x02\x00\x00\x00\x00"),
            frame(OPEN, b"\x01/\x00\x00"),
            frame(CLOSE, b"\x00\xc8\x00\x00\x00\x00\x00"),
        ];
        assert_eq!(heard.join().unwrap(), expected.concat());
    }

    #[test]
    fn refusal_is_told_and_confirmed() {
        let close = frame(CLOSE, b"\x01\x93\x0eACCESS_REFUSED\x00\x0a\x00\x0b");
        let (address, heard) = server(vec![start(), close]);
        let refused = Login::Refused("403 ACCESS_REFUSED".into());
        assert_eq!(log_in(address).unwrap(), refused);
        assert!(heard.join().unwrap().ends_with(&frame(CLOSE_OK, b"")));
    }

    #[test]
    fn heartbeat_is_passed_over() {
        let heartbeat = vec![8, 0, 0, 0, 0, 0, 0, 0xCE];
        let late = [heartbeat, tune()].concat();
        let (address, _) = server(vec![start(), late, open_ok(), close_ok()]);
        assert_eq!(log_in(address).unwrap(), Login::Ok);
    }

    #[test]
    fn nobody_listening_is_no_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(log_in(address).unwrap(), Login::NoServer);
    }

    #[test]
    fn other_protocols_are_recognised() {
        let too_long = b"\x01\x00\x00\x7f\xff\xff\xff".to_vec();
        let endless = b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0aX".to_vec();
        let answers = [
            b"AMQP\x00\x00\x09\x00".to_vec(),
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            b"S".to_vec(),
            open_ok(),
            too_long,
            endless,
        ];
        for answer in answers {
            let (address, _) = server(vec![answer.clone()]);
            let error = log_in(address).unwrap_err();
            assert!(matches!(error, AmqpError::NotAmqp { .. }), "{answer:?}: {error}");
        }
    }

    #[test]
    fn silence_and_dripping_end_in_time() {
        for drip in [Vec::new(), vec![1; 10]] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let thread = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                for byte in drip {
                    std::thread::sleep(Duration::from_millis(50));
                    let _hung_up = stream.write_all(&[byte]);
                }
                let _hung_up = stream.read_to_end(&mut Vec::new());
            });
            let start = Instant::now();
            let limit = Duration::from_millis(300);
            let result = login(address, "nova", "s3cret", "/", limit);
            assert!(start.elapsed() < Duration::from_secs(2));
            let error = result.unwrap_err();
            assert!(matches!(error, AmqpError::Broken { .. } | AmqpError::NotAmqp { .. }));
            thread.join().unwrap();
        }
    }

    #[test]
    fn hanging_up_is_broken_and_shows_no_password() {
        let (address, _) = server(vec![b"\x01\x00".to_vec()]);
        let limit = Duration::from_millis(300);
        let error = login(address, "nova", "s3cret", "/", limit).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("timed out") && !shown.contains("s3cret"), "{shown}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || drop(listener.accept()));
        let error = log_in(address).unwrap_err();
        assert!(matches!(error, AmqpError::Broken { .. }), "{error}");
    }

    #[test]
    fn long_virtual_host_is_refused_here() {
        let name = "v".repeat(256);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = login(address, "nova", "s3cret", &name, LIMIT).unwrap_err();
        assert!(matches!(error, AmqpError::VirtualHost(256)));
        assert_eq!(open_arguments(&name[1..]).unwrap().len(), 258);
    }

    #[test]
    fn odd_closes_do_no_harm() {
        assert_eq!(close_text(b"\x02"), "closed without a reason");
        assert_eq!(close_text(b"\x02\x12\xff\xc3text"), "530 \u{fffd}text");
    }

    /// Against a RabbitMQ whose address is in GPUCLOUD_TEST_RABBITMQ, with its account
    /// guest/guest and an account outsider/outsider that has no permissions.
    #[test]
    fn real_server_agrees() {
        let Ok(address) = std::env::var("GPUCLOUD_TEST_RABBITMQ") else {
            eprintln!("skipped: needs GPUCLOUD_TEST_RABBITMQ=127.0.0.1:5672");
            return;
        };
        let address: SocketAddr = address.parse().unwrap();
        let at = |user: &str, password: &str, host: &str| {
            let start = Instant::now();
            let login = login(address, user, password, host, LIMIT).unwrap();
            eprintln!("{user} on {host}: {login:?} after {:?}", start.elapsed());
            login
        };
        let refused = |login: Login, words: &str| match login {
            Login::Refused(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("guest", "guest", "/"), Login::Ok);
        refused(at("guest", "wrong", "/"), "403 ACCESS_REFUSED");
        refused(at("nobody", "guest", "/"), "403 ACCESS_REFUSED");
        refused(at("guest", "guest", "missing"), "530 NOT_ALLOWED");
        refused(at("outsider", "outsider", "/"), "530 NOT_ALLOWED");
        assert_eq!(at("guest", "guest", "/"), Login::Ok);
    }
}
