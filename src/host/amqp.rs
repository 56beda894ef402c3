//! Whether an account may log in to the RabbitMQ of this machine and send: the one place that uses the `amqprs` crate,
//! which is asynchronous; a runtime of one thread stays in here. (What RabbitMQ says of itself: `rabbitmq.rs`.)
//!
//! Nothing on the server changes: one empty message goes to the default exchange for a queue that is not there, which
//! drops it. "May log in" means that the password is right and that the account may use the virtual host `/`.

use amqprs::BasicProperties;
use amqprs::channel::{BasicPublishArguments, BasicQosArguments};
use amqprs::connection::{Connection, OpenConnectionArguments};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The port of AMQP without TLS.
pub const DEFAULT_PORT: u16 = 5672;
/// No queue is called that.
const NOWHERE: &str = "gpucloud-install.nowhere";
/// How long RabbitMQ may take over a message and one question: milliseconds. Who takes longer is asked why.
const TAKEN_LIMIT: Duration = Duration::from_secs(2);

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User, password and virtual host are right, and a message is taken.
    Ok,
    /// The login is right, but who has sent a message hears nothing more: RabbitMQ reads no further from a connection
    /// that sends while it is in alarm (<https://www.rabbitmq.com/docs/alarms>).
    Blocked,
    /// The server ended the connection, or did not answer in time; the words of the connection. RabbitMQ gives no
    /// reason for a wrong password, and takes a second over it on purpose.
    Refused(String),
    /// Nobody listens.
    NoServer,
}

/// Logs in on loopback, sends, and logs out again, within `limit`.
pub fn login(port: u16, user: &str, password: &str, limit: Duration) -> Login {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpStream::connect_timeout(&server, limit).is_err() {
        return Login::NoServer;
    }
    let arguments = OpenConnectionArguments::new(&server.ip().to_string(), port, user, password);
    in_time(limit, open_and_send(&arguments)).unwrap_or_else(Login::Refused)
}

async fn open_and_send(arguments: &OpenConnectionArguments) -> Result<Login, String> {
    let connection = Connection::open(arguments).await.map_err(|error| words(&error.to_string()))?;
    let Ok(sent) = tokio::time::timeout(TAKEN_LIMIT, send(&connection)).await else { return Ok(Login::Blocked) };
    sent.map_err(|error| words(&error.to_string()))?;
    // A server that does not answer our good-bye changes nothing.
    let _ = connection.close().await;
    Ok(Login::Ok)
}

/// Sends, and asks something that is answered only behind the message.
async fn send(connection: &Connection) -> Result<(), amqprs::error::Error> {
    let channel = connection.open_channel(None).await?;
    channel.basic_publish(BasicProperties::default(), Vec::new(), BasicPublishArguments::new("", NOWHERE)).await?;
    channel.basic_qos(BasicQosArguments::new(0, 1, false)).await?;
    channel.close().await
}

/// The server's own words ("NOT_ALLOWED - vhost / not found"), which the crate shows inside of its types.
fn words(said: &str) -> String {
    let server = said.split_once("reply_text").and_then(|(_, rest)| rest.split('"').nth(1));
    match server {
        Some(server) => server.to_owned(),
        None if said.contains(['{', '(']) => "it ended the connection".to_owned(),
        None => said.to_owned(),
    }
}

fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let late = || Err(format!("no answer within {} s", limit.as_secs()));
    runtime.block_on(async { tokio::time::timeout(limit, work).await.unwrap_or_else(|_| late()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(1);

    /// A server that takes one connection after the other, says `words`, and keeps or ends the connection.
    fn server(words: &'static [u8], keep: bool) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(words);
                if keep {
                    kept.push(stream);
                }
            }
        });
        port
    }

    #[test]
    fn the_crates_types_are_never_shown() {
        let said = "AMQP connection open error: failed to open connection, reason: Close(MethodHeader { class_id: 10 }, Close \
                    { reply_code: 530, reply_text: ShortStr(31, \"NOT_ALLOWED - vhost / not found\"), class_id: 10 })";
        assert_eq!(words(said), "NOT_ALLOWED - vhost / not found");
        assert_eq!(words("AMQP network error: Io(Kind { x: 1 })"), "it ended the connection");
        assert_eq!(
            words("AMQP network error: connection reset by peer"),
            "AMQP network error: connection reset by peer"
        );
    }

    #[test]
    fn nobody_there_is_told_from_a_refusal() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(login(port, "u", "p", LIMIT), Login::NoServer);
        assert!(matches!(login(server(b"", false), "u", "p", LIMIT), Login::Refused(_)));
    }

    #[test]
    fn a_server_that_is_silent_or_speaks_something_else_does_not_hold_us() {
        let started = std::time::Instant::now();
        let silent = login(server(b"", true), "u", "verysecret1", LIMIT);
        let other = login(server(b"HTTP/1.1 400 Bad Request\r\n\r\n", true), "u", "verysecret1", LIMIT);
        for login in [silent, other] {
            assert!(matches!(&login, Login::Refused(words) if !words.contains("verysecret1")), "{login:?}");
        }
        assert!(started.elapsed() < 5 * LIMIT);
    }
}
