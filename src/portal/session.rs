//! Who is logged in. A session is a random number in a cookie, of which only the hash is kept: in memory for each request, in
//! SQLite for the next start of the portal. It ends when its student logs out, when it is too old, and when its student gets
//! another token; WebSockets that hang on it end with it (a download that has begun goes on to its end).

use super::token::TokenHash;
use super::told::Told;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Semaphore, watch};

/// Seconds from the login to its end: a week of a course.
pub const LIFETIME: i64 = 7 * 24 * 3600;
/// So many may one student have; the oldest ends where there would be more.
const MOST_PER_STUDENT: usize = 20;

/// WebSockets of one session: JupyterLab opens one for each kernel and terminal.
const MOST_SOCKETS: usize = 64;

/// Hash of what stands in the cookie.
type Id = [u8; 32];

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Session {
    /// Who.
    pub student: String,
    token: TokenHash,
    until: i64,
    is_over: watch::Sender<bool>,
    /// Room for its WebSockets: each holds two connections for as long as it likes.
    pub sockets: Arc<Semaphore>,
}

impl Session {
    fn new(student: String, token: TokenHash, until: i64) -> Arc<Self> {
        let (is_over, sockets) = (watch::Sender::new(false), Arc::new(Semaphore::new(MOST_SOCKETS)));
        Arc::new(Self { student, token, until, is_over, sockets })
    }

    fn is_good(&self, told: &Told, now: i64) -> bool {
        now < self.until && told.students.get(&self.student) == Some(&self.token)
    }

    /// Waits until it has ended.
    pub async fn over(&self) {
        // The sender is `self`, which outlives this.
        let _ = self.is_over.subscribe().wait_for(|over| *over).await;
    }
}

/// All who are logged in.
pub struct Sessions {
    database: Mutex<Connection>,
    open: RwLock<HashMap<Id, Arc<Session>>>,
    /// Ended, and not yet out of the file.
    ended: Mutex<HashSet<Id>>,
}

impl Sessions {
    /// Those that the file holds; it is made where there is none.
    ///
    /// # Errors
    /// It cannot be opened, or is no database of ours.
    pub fn load(file: &Path) -> rusqlite::Result<Self> {
        let database = Connection::open(file)?;
        // A login survives a power cut (SQLite, "PRAGMA synchronous").
        database.pragma_update(None, "journal_mode", "wal")?;
        database.pragma_update(None, "synchronous", "full")?;
        database.execute_batch(
            "CREATE TABLE IF NOT EXISTS session (id BLOB PRIMARY KEY, student TEXT NOT NULL, token BLOB NOT NULL, \
             until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        )?;
        let mut open = HashMap::new();
        {
            let mut rows = database.prepare("SELECT id, student, token, until FROM session")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let session = Session::new(row.get(1)?, TokenHash::from_bytes(row.get(2)?), row.get(3)?);
                open.insert(row.get(0)?, session);
            }
        }
        Ok(Self { database: Mutex::new(database), open: RwLock::new(open), ended: Mutex::default() })
    }

    /// Notes that `student` is logged in by this token, and returns what goes into the cookie.
    ///
    /// # Errors
    /// The kernel gives no random numbers; it cannot be written.
    pub fn begin(&self, student: &str, token: TokenHash, now: i64) -> Result<String, Box<dyn std::error::Error>> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let cookie = hex::encode(random);
        let (id, session) = (id_of(&cookie), Session::new(student.to_owned(), token, now + LIFETIME));
        let insert = "INSERT INTO session (id, student, token, until) VALUES (?1, ?2, ?3, ?4)";
        self.write(|database| database.execute(insert, params![id, student, token.bytes(), session.until]))?;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(id, session);
        // What could not be written of those is tried again by the next sweep.
        let _ = self.end_where(|all| oldest_of(all, student));
        Ok(cookie)
    }

    /// The session of a cookie.
    pub fn find(&self, cookie: &str, told: &Told, now: i64) -> Option<Arc<Session>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&id_of(cookie)).filter(|session| session.is_good(told, now)).cloned()
    }

    /// Ends the session of a cookie.
    ///
    /// # Errors
    /// It cannot be written; it has ended until the next start.
    pub fn end(&self, cookie: &str) -> rusqlite::Result<()> {
        let id = id_of(cookie);
        self.end_where(|all| all.contains_key(&id).then_some(id).into_iter().collect())
    }

    /// Ends those that are no longer good.
    ///
    /// # Errors
    /// It cannot be written; they have ended until the next start, which ends them again.
    pub fn sweep(&self, told: &Told, now: i64) -> rusqlite::Result<()> {
        let bad = |(id, session): (&Id, &Arc<Session>)| (!session.is_good(told, now)).then_some(*id);
        self.end_where(|all| all.iter().filter_map(bad).collect())
    }

    fn end_where(&self, which: impl Fn(&HashMap<Id, Arc<Session>>) -> Vec<Id>) -> rusqlite::Result<()> {
        let ids = which(&self.open.read().unwrap_or_else(PoisonError::into_inner));
        let mut pending = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // In memory first, all of them: a disk that is full keeps nobody logged in.
        for id in ids {
            if let Some(session) = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&id) {
                session.is_over.send_replace(true);
            }
            pending.insert(id);
        }
        let mut first = Ok(());
        pending.retain(|id| {
            let written = self.write(|database| database.execute("DELETE FROM session WHERE id = ?1", params![id]));
            let failed = written.is_err();
            first = std::mem::replace(&mut first, Ok(())).and(written.map(drop));
            failed
        });
        first
    }

    fn write<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        work(&self.database.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Those of `student` that are too many, the oldest first.
fn oldest_of(all: &HashMap<Id, Arc<Session>>, student: &str) -> Vec<Id> {
    let mut theirs: Vec<_> = all.iter().filter(|(_, session)| session.student == student).collect();
    theirs.sort_by_key(|(_, session)| session.until);
    let many = theirs.len().saturating_sub(MOST_PER_STUDENT);
    theirs.into_iter().take(many).map(|(id, _)| *id).collect()
}

fn id_of(cookie: &str) -> Id {
    Sha256::digest(cookie).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn token(letter: &str) -> TokenHash {
        TokenHash::of_typed(&letter.repeat(20)).unwrap()
    }

    fn told(of_ada: TokenHash) -> Told {
        Told { students: BTreeMap::from([("ada".into(), of_ada), ("bob".into(), token("b"))]), ..Told::default() }
    }

    #[test]
    fn a_session_lasts_over_a_restart_and_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions.sqlite");
        let told = told(token("a"));
        let cookie = Sessions::load(&file).unwrap().begin("ada", token("a"), 1000).unwrap();
        let sessions = Sessions::load(&file).unwrap();
        assert_eq!(sessions.find(&cookie, &told, 1000).unwrap().student, "ada");
        assert!(sessions.find(&cookie, &told, 1000 + LIFETIME).is_none());
        assert!(sessions.find(&format!("{cookie}0"), &told, 1000).is_none());
        let text = std::fs::read(&file).unwrap();
        assert!(!text.windows(cookie.len()).any(|part| part == cookie.as_bytes()), "the file lets nobody in");
        sessions.end(&cookie).unwrap();
        assert!(sessions.find(&cookie, &told, 1000).is_none());
        assert!(Sessions::load(&file).unwrap().find(&cookie, &told, 1000).is_none());
    }

    #[test]
    fn another_token_ends_what_began_with_the_old_one_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::load(&dir.path().join("sessions.sqlite")).unwrap();
        let ada = sessions.begin("ada", token("a"), 0).unwrap();
        let bob = sessions.begin("bob", token("b"), 0).unwrap();
        let renewed = told(token("c"));
        assert!(sessions.find(&ada, &renewed, 1).is_none(), "at once, and not only with the next sweep");
        let held = sessions.find(&ada, &told(token("a")), 1).unwrap();
        sessions.sweep(&renewed, 1).unwrap();
        assert!(*held.is_over.subscribe().borrow(), "what hangs on it is told");
        assert!(sessions.find(&ada, &told(token("a")), 1).is_none(), "the old token does not bring it back");
        assert!(sessions.find(&bob, &renewed, 1).is_some());
    }

    #[test]
    fn one_student_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::load(&dir.path().join("sessions.sqlite")).unwrap();
        let bob = sessions.begin("bob", token("b"), 0).unwrap();
        let first = sessions.begin("ada", token("a"), 0).unwrap();
        let all: Vec<_> = (1..=30).map(|now| sessions.begin("ada", token("a"), now).unwrap()).collect();
        let told = told(token("a"));
        assert!(sessions.find(&first, &told, 31).is_none());
        assert_eq!(all.iter().filter(|cookie| sessions.find(cookie, &told, 31).is_some()).count(), MOST_PER_STUDENT);
        assert!(sessions.find(&bob, &told, 31).is_some());
    }
}
