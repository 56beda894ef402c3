//! A notebook that runs, waited for until it can be worked in: it has booted, has its home, answers, starts a kernel, and
//! its card works. What does not come up says how far it came. The limits of each wait are here, but a first
//! kernel's (`jupyter.rs`).

use super::identity::Identity;
use super::jupyter::{Answered, Jupyter};
use super::notebook::{Notebook, POLL, found};
use super::remote::{self, Remote};
use super::{Classroom, ClassroomError, home, home_volume, reach};
use crate::cloud::resource::server::{self, ListedServer};
use crate::cloud::{ApiError, Id, Session};
use crate::host::{Error, Host, Result, command};
use serde::Serialize;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long it may take until its JupyterLab answers. Emulated and beside others: two minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);
/// How long its cards may take; one that hangs never answers.
const CARD_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long each part took, in seconds from the order on.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    /// Until Nova had built it.
    pub built: f64,
    /// Until it answered SSH: it has booted.
    pub booted: f64,
    /// Until its JupyterLab took its token.
    pub answered: f64,
    /// Until its first kernel had come and gone: it is ready.
    pub ready: f64,
}

/// Waits until it has booted, answers and has started a kernel.
///
/// # Errors
/// It does not in its time, and how far it came; Nova's fault; its card does not work.
pub fn wait(host: &Host, room: &Classroom, name: &str, begin: Instant, times: &mut Times) -> Result<()> {
    let identity = Identity::of(name);
    let server = found(room, name)?;
    let silent = |how: String| ClassroomError::Silent { name: name.to_owned(), how, console: None };
    let address = server.address("fixed").ok_or_else(|| silent("it has no address".into()))?;
    let jupyter = Jupyter::new(host, &identity, address, identity.token(host)?);
    let home = home_volume::of(&server);
    let mut last = String::new();
    let waited = host.wait_while(&format!("notebook {name}"), ANSWER_LIMIT, POLL, || {
        if times.booted == 0.0 {
            match TcpStream::connect_timeout(&SocketAddr::from((address, reach::SSH)), CONNECT_LIMIT) {
                Ok(_) => {
                    let remote = Remote::new(identity.clone(), address);
                    match &home {
                        None => home::bring_back(host, &remote, name, &server.id)?,
                        Some(volume) => match home_volume::is_used(host, &remote, volume)? {
                            Some(true) => settle_home(host, room, &remote, &server, volume)?,
                            Some(false) => return Err(home_volume::not_used(name).into()),
                            None => return Ok(Some("its home comes".into())),
                        },
                    }
                    times.booted = begin.elapsed().as_secs_f64();
                }
                Err(_) => {
                    still_runs(room, name)?;
                    last = "it boots".into();
                    return Ok(Some(last.clone()));
                }
            }
        }
        last = match jupyter.status() {
            Answered::Well => return Ok(None),
            Answered::Badly(403) => return Err(ClassroomError::OtherToken { name: name.to_owned() }.into()),
            Answered::Badly(status) => format!("JupyterLab answers with status {status}"),
            Answered::Not(_) => "JupyterLab starts".into(),
        };
        Ok(Some(last.clone()))
    });
    match waited {
        Err(Error::TimedOut { seconds, .. }) => {
            let how = format!("{last}, and nothing else within {seconds} s");
            let console = room.user.ask(|session| said_last(session, &server)).ok().flatten();
            return Err(ClassroomError::Silent { name: name.to_owned(), how, console }.into());
        }
        other => other?,
    }
    times.answered = begin.elapsed().as_secs_f64();
    jupyter.try_a_kernel(host).map_err(|error| match error {
        Error::Stopped => error,
        error => silent(format!("JupyterLab answers, and starts no kernel ({error})")).into(),
    })?;
    if Notebook::of(&server).gpu {
        driver_works(host, &Remote::new(identity, address), name)?;
    }
    times.ready = begin.elapsed().as_secs_f64();
    Ok(())
}

/// A home that is on its volume: what was saved before there was one is laid into it, once, and is on it alone from then on.
///
/// # Errors
/// It cannot be laid in; Cinder cannot note that somebody is on it.
pub(super) fn settle_home(
    host: &Host,
    room: &Classroom,
    remote: &Remote,
    server: &ListedServer,
    volume: &Id,
) -> Result<()> {
    let name = server.name.as_str();
    if home::is_noted(host, name, &server.id)? && !home::is_saved(host, name) {
        return Ok(());
    }
    // Killed behind its order, `create` has not noted it.
    home_volume::note_used(room, volume)?;
    home::bring_back(host, remote, name, &server.id)?;
    home::leave_to_volume(host, name, &server.id)
}

/// Of NVIDIA's cards (`profiles/notebook/root/usr/local/sbin/notebook-card`). An image of somebody's own need not have it.
fn driver_works(host: &Host, remote: &Remote, name: &str) -> Result<()> {
    let look = "test ! -e /usr/local/sbin/notebook-card || exec /usr/local/sbin/notebook-card";
    let outcome = remote::outcome(host, remote.program(&["sh", "-c", look]).limit(CARD_LIMIT))?;
    Ok(outcome.map_err(|how| ClassroomError::NoDriver { name: name.to_owned(), how })?)
}

fn still_runs(room: &Classroom, name: &str) -> Result<()> {
    let found = found(room, name)?;
    match found.status.as_str() {
        "ERROR" => Err(found.fault_in_words().into()),
        "SHUTOFF" if found.task.is_none() => {
            let how = "it ended by itself while it booted".to_owned();
            Err(ClassroomError::Silent { name: name.to_owned(), how, console: None }.into())
        }
        _ => Ok(()),
    }
}

/// The last line of its console that tells of a failure.
fn said_last(session: &Session, server: &ListedServer) -> std::result::Result<Option<String>, ApiError> {
    let output = console(session, server, 200)?;
    let tells = |line: &&str| ["notebook", "ailed", "anic", "rror"].iter().any(|word| line.contains(word));
    Ok(output.lines().rfind(tells).map(str::to_owned))
}

fn console(session: &Session, server: &ListedServer, lines: u32) -> std::result::Result<String, ApiError> {
    let asked = serde_json::json!({"length": lines});
    let answer = server::act(session, &server.id, "os-getConsoleOutput", asked)?;
    Ok(command::harmless(answer["output"].as_str().unwrap_or_default()))
}

/// What its console printed last.
///
/// # Errors
/// There is no such notebook; the cloud's own.
pub fn console_of(room: &Classroom, name: &str, lines: u32) -> Result<String> {
    let server = found(room, name)?;
    Ok(room.user.ask(|session| console(session, &server, lines))?)
}
