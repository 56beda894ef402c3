//! Whether an account may log in to the RabbitMQ of this machine: the one place that uses the `amqprs` crate, which is
//! asynchronous; a runtime of one thread stays in here.
//!
//! Nothing on the server changes: no channel is opened, no queue, no message. "May log in" means that the password is
//! right and that the account may use the virtual host `/`.

use amqprs::connection::{Connection, OpenConnectionArguments};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The port of AMQP without TLS.
pub const DEFAULT_PORT: u16 = 5672;

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User, password and virtual host are right.
    Ok,
    /// The server ended the connection, or did not answer in time; the words of the connection. RabbitMQ gives no
    /// reason for a wrong password, and takes a second over it on purpose.
    Refused(String),
    /// Nobody listens.
    NoServer,
}

/// Logs in on loopback and out again, within `limit`.
pub fn login(port: u16, user: &str, password: &str, limit: Duration) -> Login {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpStream::connect_timeout(&server, limit).is_err() {
        return Login::NoServer;
    }
    let arguments = OpenConnectionArguments::new(&server.ip().to_string(), port, user, password);
    match in_time(limit, open_and_close(&arguments)) {
        Ok(()) => Login::Ok,
        Err(words) => Login::Refused(words),
    }
}

async fn open_and_close(arguments: &OpenConnectionArguments) -> Result<(), String> {
    let connection = Connection::open(arguments).await.map_err(|error| error.to_string())?;
    // The login went well; a server that does not answer our good-bye changes nothing.
    let _ = connection.close().await;
    Ok(())
}

fn in_time(limit: Duration, work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
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
