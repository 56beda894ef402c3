//! Which notebooks Nova still builds, asked once for all that wait: thirty that ask twice a second, each for itself, keep Nova
//! from building.

use crate::cloud::ApiError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer counts.
const COUNTS: Duration = Duration::from_millis(500);

/// The names, or why there are none.
type Answer = Result<Vec<String>, ApiError>;

/// What Nova said last.
#[derive(Debug, Default)]
pub struct Building(Mutex<Option<(Instant, Answer)>>);

impl Building {
    /// Whether the one called `name` is among those that `ask` tells, asked again where that is too long ago. Who comes
    /// while somebody asks, waits for that and gets what came of it, a failure too.
    ///
    /// # Errors
    /// What `ask` returns.
    pub fn includes(&self, name: &str, ask: impl FnOnce() -> Answer) -> Result<bool, ApiError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= COUNTS) {
            let answer = ask();
            *last = Some((Instant::now(), answer));
        }
        match last.as_ref() {
            Some((_, Ok(names))) => Ok(names.iter().any(|one| one == name)),
            Some((_, Err(error))) => Err(error.clone()),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn many_that_wait_ask_once() {
        let (building, asked) = (Building::default(), AtomicU32::new(0));
        let ask = || {
            asked.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            Ok(vec!["n7".to_owned()])
        };
        std::thread::scope(|scope| {
            let (building, ask) = (&building, &ask);
            for number in 0..30 {
                let name = format!("n{number}");
                scope.spawn(move || assert_eq!(building.includes(&name, ask).unwrap(), number == 7));
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
