//! Students: their tokens, which outlive their notebooks, and what the portal is told of both. The student of a notebook has
//! its name.

use super::identity::Identity;
use super::reach::JUPYTER;
use super::{Classroom, removed};
use crate::action::task::Task;
use crate::action::{ActionId, Checked};
use crate::cloud::resource::server::{self, ListedServer};
use crate::cloud::resource_action::not_yet;
use crate::config::secrets::Secret;
use crate::host::{Error, Host, Result, files};
use crate::paths::{CLASSROOM, PORTAL, RUNTIME};
use crate::portal::token::{self, TokenHash};
use crate::portal::told::{FILE, Notebook, Told, Tunnel};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The account of the portal.
pub const ACCOUNT: &str = "gpucloud-portal";
/// How long another command may take to tell the portal something.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// The portal, as the classroom knows it.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where browsers find it.
    pub url: String,
    /// How they call this machine, beside its addresses.
    pub names: Vec<String>,
    /// The same through the tunnel, and what its service takes, where there is one.
    pub outside: Option<Outside>,
}

/// The portal, as it is seen from outside.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Where browsers find it.
    pub url: String,
    /// Requests that the service takes in a month; 0: any number.
    pub requests: u64,
    /// Whether TLS ends at the service itself.
    pub ends_tls: bool,
}

impl Page {
    /// A link that lets in whoever has it: the token stands where no server is told of it (RFC 3986, 3.5).
    pub fn link(&self, token: &Secret) -> Secret {
        link(&self.url, token)
    }

    /// The same through the tunnel, where there is one.
    pub fn link_from_outside(&self, token: &Secret) -> Option<Secret> {
        self.outside.as_ref().map(|outside| link(&outside.url, token))
    }

    fn tunnel(&self) -> Option<Tunnel> {
        self.outside.as_ref().map(|outside| Tunnel {
            requests: outside.requests,
            near: self.url.clone(),
            tells_tls: outside.ends_tls,
        })
    }
}

fn link(url: &str, token: &Secret) -> Secret {
    Secret::of(format!("{url}#t={}", token.expose()))
}

/// Where the token of `student` is kept, for root alone.
pub fn token_file(student: &str) -> PathBuf {
    Path::new(CLASSROOM).join("students").join(student)
}

/// The token of `student`, if there is one.
///
/// # Errors
/// It cannot be read.
pub fn token(host: &Host, student: &str) -> Result<Option<Secret>> {
    let text = files::read_text(host, token_file(student))?;
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::of))
}

/// The same, made where there is none.
fn made_token(host: &Host, student: &str) -> Result<Secret> {
    match token(host, student)? {
        Some(token) => Ok(token),
        None => note_new_token(host, student),
    }
}

fn note_new_token(host: &Host, student: &str) -> Result<Secret> {
    let made = token::random().map_err(|failure| Error::protocol(failure.what, failure.evidence))?;
    let (file, text) = (token_file(student), format!("{}\n", made.expose()));
    files::make_parents(host, &file)?;
    files::write(host, &file, text.as_bytes(), 0o600, None)?;
    Ok(made)
}

/// Gives `student` another token: whoever is logged in by the old one is shut out at once, and kernels run on.
///
/// # Errors
/// A file cannot be written.
pub fn renew_token(host: &Host, room: &Classroom, student: &str) -> Result<Secret> {
    let _lock = locked(host)?;
    let made = note_new_token(host, student)?;
    change(host, room, |told| note_student(told, student, &made))?;
    Ok(made)
}

/// Forgets `student`, whose notebooks and data are gone: the token opens nothing any more.
///
/// # Errors
/// A file cannot be written or removed.
pub fn forget(host: &Host, room: &Classroom, student: &str) -> Result<()> {
    let _lock = locked(host)?;
    files::remove(host, &token_file(student))?;
    change(host, room, |told| {
        told.students.remove(student);
    })
}

/// Tells the portal that there is this notebook, where it answers once Nova has built it, and whether it is switched off.
///
/// # Errors
/// Something of it is missing here; a file cannot be written.
pub fn tell(host: &Host, room: &Classroom, name: &str, address: Option<Ipv4Addr>, is_off: bool) -> Result<()> {
    if room.page.is_none() {
        return Ok(());
    }
    let _lock = locked(host)?;
    let (student, notebook) = (made_token(host, name)?, of(host, name, address, is_off)?);
    change(host, room, |told| {
        note_student(told, name, &student);
        told.notebooks.insert(name.to_owned(), notebook);
    })
}

/// Tells the portal that a notebook is gone. Its student has nothing to open any more.
///
/// # Errors
/// A file cannot be written.
pub fn tell_gone(host: &Host, room: &Classroom, name: &str) -> Result<()> {
    let _lock = locked(host)?;
    change(host, room, |told| {
        told.notebooks.remove(name);
    })
}

fn note_student(told: &mut Told, student: &str, token: &Secret) {
    // What was made here is one.
    if let Some(hash) = TokenHash::of_typed(token.expose()) {
        told.students.insert(student.to_owned(), hash);
    }
}

fn of(host: &Host, name: &str, address: Option<Ipv4Addr>, is_off: bool) -> Result<Notebook> {
    let place = address.map(|address| SocketAddr::from((address, JUPYTER)));
    Ok(Notebook { owner: name.to_owned(), place, is_off, token: (&Identity::of(name).token(host)?).into() })
}

/// Nothing is told where there is no portal, or not yet. Whoever calls has the lock, under which tokens are read and written,
/// too: an older one never comes behind a newer one.
fn change(host: &Host, room: &Classroom, work: impl FnOnce(&mut Told)) -> Result<()> {
    let Some(page) = room.page.as_ref().filter(|_| files::exists(host, PORTAL)) else { return Ok(()) };
    let before = known(host)?;
    let mut told = before.clone().unwrap_or_default();
    told.names.clone_from(&page.names);
    told.tunnel = page.tunnel();
    work(&mut told);
    if before.as_ref() == Some(&told) { Ok(()) } else { told.write(host, ACCOUNT) }
}

fn locked(host: &Host) -> Result<files::Lock> {
    let lock = Path::new(RUNTIME).join("portal-told.lock");
    files::lock_within(host, &lock, "the end of another command that tells the portal something", LOCK_LIMIT)
}

fn known(host: &Host) -> Result<Option<Told>> {
    if files::exists(host, FILE) { Told::read(host, Path::new(FILE)).map(Some) } else { Ok(None) }
}

/// Tells the portal all there is, as a task of a plan.
pub fn told(room: Classroom) -> Task {
    let again = room.clone();
    let probe = move |host: &Host| {
        let servers = match room.user.look(host, server::all) {
            Ok(servers) => servers,
            Err(error) => return not_yet(error),
        };
        let without_token = ours(host, &servers).any(|server| !files::exists(host, token_file(&server.name)));
        let is_told = !without_token
            && known(host)?.is_some_and(|told| all(host, &room, &servers).is_ok_and(|all| is_as(all, told)));
        Ok(Checked::done_if(is_told, "tell it"))
    };
    let work = move |host: &Host| {
        // Whoever makes or ends a notebook meanwhile tells it behind this.
        let _lock = locked(host)?;
        let servers = again.user.ask(server::all)?;
        for server in ours(host, &servers) {
            made_token(host, &server.name)?;
        }
        all(host, &again, &servers)?.write(host, ACCOUNT)
    };
    let id = ActionId::new("portal-told", FILE);
    // It holds tokens, and its group goes with the portal.
    Task::new(id, "Tell the portal of students and notebooks", probe, work)
        .undone_by(removed(FILE))
        .asking_the_running_system()
}

/// Whether nothing has to be told. Who is switched off at this moment may be on at the next.
fn is_as(mut all: Told, mut told: Told) -> bool {
    all.notebooks.values_mut().chain(told.notebooks.values_mut()).for_each(|notebook| notebook.is_off = false);
    all == told
}

fn all(host: &Host, room: &Classroom, servers: &[ListedServer]) -> Result<Told> {
    let names = room.page.as_ref().map(|page| page.names.clone()).unwrap_or_default();
    let tunnel = room.page.as_ref().and_then(Page::tunnel);
    let mut told = Told { names, tunnel, ..Told::default() };
    for student in files::list(host, Path::new(CLASSROOM).join("students"))? {
        if let Some(token) = token(host, &student)? {
            note_student(&mut told, &student, &token);
        }
    }
    for server in ours(host, servers) {
        let is_off = server.status == "SHUTOFF";
        told.notebooks.insert(server.name.clone(), of(host, &server.name, server.address("fixed"), is_off)?);
    }
    Ok(told)
}

/// What else is in the project is no notebook of ours; and one that goes may be gone.
fn ours<'a>(host: &'a Host, servers: &'a [ListedServer]) -> impl Iterator<Item = &'a ListedServer> {
    let goes = |server: &ListedServer| server.task.as_deref() == Some("deleting");
    servers.iter().filter(move |server| !goes(server) && files::exists(host, Identity::of(&server.name).token_file()))
}
