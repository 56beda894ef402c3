//! One look at the whole machine, while nothing is changed: what was asked once is not asked again, neither systemd nor
//! the cloud's APIs (`cloud/session.rs`, `SharedSession::look`).

use super::systemd::UnitStatus;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is remembered as long as one look lasts.
#[derive(Debug, Default)]
pub struct OneLook {
    units: HashMap<String, UnitStatus>,
    answers: Mutex<HashMap<String, Slot>>,
}

/// One answer; locked while it is asked for first, so that nobody asks for the same meanwhile.
type Slot = Arc<Mutex<Answer>>;

#[derive(Debug, Default)]
enum Answer {
    #[default]
    Unasked,
    Known(Value),
    /// Everybody asks for himself, at once: one after the other would wait as often for a server that hangs.
    Failed,
}

impl OneLook {
    /// One for which systemd has been asked about all of `units`.
    pub fn with_units(units: impl IntoIterator<Item = (String, UnitStatus)>) -> Self {
        Self { units: units.into_iter().collect(), answers: Mutex::default() }
    }

    /// What systemd said of a unit.
    pub fn unit(&self, unit: &str) -> Option<&UnitStatus> {
        self.units.get(unit)
    }

    /// The answer to `question`; asked the first time, and again after a failure.
    ///
    /// # Errors
    /// What `ask` returns.
    pub fn answer<E>(&self, question: String, ask: impl FnOnce() -> Result<Value, E>) -> Result<Value, E> {
        let slot = self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Answer::Known(answer) => return Ok(answer.clone()),
            Answer::Failed => {}
            Answer::Unasked => {
                let answer = ask();
                *slot = answer.as_ref().map_or(Answer::Failed, |answer| Answer::Known(answer.clone()));
                return answer;
            }
        }
        drop(slot);
        ask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_question_is_asked_once_also_by_many_at_once() {
        let (look, asked) = (OneLook::default(), AtomicUsize::new(0));
        let ask = || {
            asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok::<_, String>(Value::from(7))
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| assert_eq!(look.answer("seven".into(), ask), Ok(7.into())))));
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let look = OneLook::default();
        assert!(look.answer("x".into(), || Err::<Value, _>("away")).is_err());
        assert_eq!(look.answer("x".into(), || Ok::<_, &str>(1.into())), Ok(1.into()));
    }
}
