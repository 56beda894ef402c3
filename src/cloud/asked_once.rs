//! An answer that many want at once: one of them asks, all get what came of it, success or failure. Behind it are the
//! login of a session (`session.rs`) and what one snapshot of the host remembers of the APIs ([`Answers`]).

use super::ApiError;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a failure counts for all that look at the same machine: longer than it takes to begin the next look,
/// shorter than a service takes to start.
pub(super) const FAILURE_COUNTS: Duration = Duration::from_secs(5);

/// One answer, and what came of asking for it last.
pub(super) struct AskedOnce<T>(Mutex<Arc<Attempt<T>>>);

/// One time of asking: empty while it is going on.
type Attempt<T> = OnceLock<(Result<T, ApiError>, Instant)>;

impl<T> Default for AskedOnce<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> AskedOnce<T> {
    /// The answer that came before, or, while somebody asks, what he gets; a failure too if it is not older than
    /// `failure_counts`. Else `ask` asks. The limit of `ask` is the limit of everybody's wait.
    ///
    /// # Errors
    /// What `ask` returns, here or for whoever asked.
    pub fn get(&self, failure_counts: Duration, ask: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let attempt = self.attempt(failure_counts);
        let (answer, _) = attempt.get_or_init(|| {
            let answer = ask();
            (answer, Instant::now())
        });
        answer.clone()
    }

    /// Asks anew next time, if the answer still is the one that `is_meant` knows.
    pub fn forget(&self, is_meant: impl FnOnce(&T) -> bool) {
        let mut attempt = locked(&self.0);
        if attempt.get().is_some_and(|(answer, _)| answer.as_ref().is_ok_and(is_meant)) {
            *attempt = Arc::default();
        }
    }

    /// The last attempt, or a new one where that failed long enough ago.
    fn attempt(&self, failure_counts: Duration) -> Arc<Attempt<T>> {
        let mut attempt = locked(&self.0);
        let is_over = |(answer, at): &(Result<T, ApiError>, Instant)| answer.is_err() && at.elapsed() >= failure_counts;
        if attempt.get().is_some_and(is_over) {
            *attempt = Arc::default();
        }
        attempt.clone()
    }
}

/// What the APIs said during one snapshot of the host.
#[derive(Default)]
pub(super) struct Answers {
    by_question: Mutex<HashMap<String, Arc<AskedOnce<Value>>>>,
    /// Services that did not answer, and when that was known.
    silent: Mutex<HashMap<String, (ApiError, Instant)>>,
}

impl Answers {
    /// The answer of `service` to `question`; asked once for the whole snapshot, and after a failure again a little
    /// later. A service that did not answer one question is not asked another meanwhile.
    ///
    /// # Errors
    /// What `ask` returns, here or for whoever asked.
    pub fn get(
        &self,
        service: &str,
        question: String,
        ask: impl FnOnce() -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        if let Some((error, at)) = locked(&self.silent).get(service)
            && at.elapsed() < FAILURE_COUNTS
        {
            return Err(error.clone());
        }
        let answer = locked(&self.by_question).entry(question).or_default().clone();
        let answer = answer.get(FAILURE_COUNTS, ask);
        if let Err(error @ (ApiError::Unanswered { .. } | ApiError::Unreachable { .. })) = &answer {
            locked(&self.silent).insert(service.to_owned(), (error.clone(), Instant::now()));
        }
        answer
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn away() -> ApiError {
        ApiError::NoService("image".into())
    }

    /// How often eight at once ask a question that takes 50 ms and has this answer.
    fn times_asked(answer: &Result<Value, ApiError>) -> usize {
        let (answers, asked) = (Answers::default(), AtomicUsize::new(0));
        let ask = || {
            asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            answer.clone()
        };
        std::thread::scope(|scope| {
            let get = || assert_eq!(answers.get("image", "seven".into(), ask).is_ok(), answer.is_ok());
            (0..8).for_each(|_| drop(scope.spawn(get)));
        });
        asked.load(Ordering::SeqCst)
    }

    #[test]
    fn a_question_is_asked_once_by_many_at_once_also_one_that_fails() {
        assert_eq!(times_asked(&Ok(7.into())), 1);
        assert_eq!(times_asked(&Err(away())), 1);
    }

    #[test]
    fn a_failure_counts_for_a_moment() {
        let answer = AskedOnce::default();
        assert!(answer.get(Duration::ZERO, || Err(away())).is_err());
        assert!(answer.get(Duration::from_secs(60), || Ok(1)).is_err());
        assert_eq!(answer.get(Duration::ZERO, || Ok(2)).unwrap(), 2);
        assert_eq!(answer.get(Duration::ZERO, || Ok(3)).unwrap(), 2, "an answer stays");
    }

    #[test]
    fn only_the_answer_that_is_meant_is_forgotten() {
        let answer = AskedOnce::default();
        let get = |next: u32| answer.get(Duration::ZERO, || Ok(next)).unwrap();
        assert_eq!(get(1), 1);
        answer.forget(|old| *old == 0);
        assert_eq!(get(2), 1);
        answer.forget(|old| *old == 1);
        assert_eq!(get(2), 2);
    }
}
