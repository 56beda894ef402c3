//! Watches a run: reads its events from the file, as they come, until the end.

use super::{EVENTS, UNIT};
use crate::cloud::resource_action::LEFT_ALONE;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::host::{Host, files, systemd};
use crate::paths::LOGS;
use crate::plan::event::{Event, Sink};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How often systemd is asked whether the run's unit is still there.
const ASK: Duration = Duration::from_secs(1);
/// How long a unit may be gone before its run counts as killed: the last lines may still be on their way.
const GRACE: Duration = Duration::from_secs(2);

/// What the events of a run add up to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How it ended, once it did.
    pub ending: Option<Ending>,
    /// How many actions changed something.
    pub changed: usize,
    /// How long it took.
    pub seconds: f64,
    /// Each step that ended: name, seconds, changes.
    pub steps: Vec<(String, f64, usize)>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Why a reboot is needed.
    pub reboots: Vec<String>,
    /// What differs from the answers and stays as it is, each once.
    pub left_alone: Vec<Finding>,
}

impl Summary {
    /// Takes one event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::StepDone { step, seconds, changed } => self.steps.push((step.to_string(), *seconds, *changed)),
            Event::StepFailed { what, evidence, next, .. } => self.failures.push(Failure::new(what, evidence, next)),
            Event::RebootNeeded { why, .. } => self.reboots.push(why.clone()),
            Event::LeftAlone { what, next, .. } if self.left_alone.iter().all(|left| left.what != *what) => {
                self.left_alone.push(Finding::warn(LEFT_ALONE, what, next));
            }
            Event::RunFinished { ending, changed, seconds } => {
                (self.ending, self.changed, self.seconds) = (Some(*ending), *changed, *seconds);
            }
            _ => {}
        }
    }

    /// How it ended: a run without an end was killed.
    pub fn ending(&self) -> Ending {
        self.ending.unwrap_or(Ending::Midway)
    }
}

/// How watching ended.
pub enum Watched {
    /// The run ended.
    Ended(Summary),
    /// The person at the terminal pressed Ctrl-C.
    Interrupted(Summary),
}

/// Shows the run of the unit in `display` until it ends, or `interrupted` is set.
///
/// # Errors
/// The run was killed: its unit is gone without a last event.
pub fn follow(host: &Host, display: &dyn Sink, interrupted: &AtomicBool) -> Result<Watched, Failure> {
    let mut summary = Summary::default();
    let mut reader: Option<BufReader<std::fs::File>> = None;
    let mut line = String::new();
    let mut gone_since: Option<Instant> = None;
    let mut asked = Instant::now();
    loop {
        if interrupted.swap(false, Ordering::SeqCst) {
            return Ok(Watched::Interrupted(summary));
        }
        if reader.is_none() {
            reader = files::open(host, EVENTS).ok().flatten().map(BufReader::new);
        }
        if next_line(&mut reader, &mut line) {
            gone_since = None;
            take(&mut line, display, &mut summary);
            if summary.ending.is_some() {
                return Ok(Watched::Ended(summary));
            }
            continue;
        }
        // Asking systemd costs a process: once a second is enough.
        if asked.elapsed() > ASK {
            asked = Instant::now();
            let there = matches!(super::state(host).as_str(), "active" | "activating" | "deactivating");
            gone_since = if there { None } else { gone_since.or(Some(asked)) };
        }
        if gone_since.is_some_and(|since| since.elapsed() > GRACE) {
            return Err(killed(host));
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a whole line was read; half of one waits in `line`.
fn next_line(reader: &mut Option<BufReader<std::fs::File>>, line: &mut String) -> bool {
    let Some(reader) = reader else { return false };
    matches!(reader.read_line(line), Ok(n) if n > 0) && line.ends_with('\n')
}

fn take(line: &mut String, display: &dyn Sink, summary: &mut Summary) {
    if let Ok(event) = serde_json::from_str::<Event>(line) {
        summary.add(&event);
        display.event(&event);
    }
    line.clear();
}

fn killed(host: &Host) -> Failure {
    let evidence = systemd::last_lines(host, UNIT, 5);
    let next = format!("gpucloud-install apply goes on where it stopped; the log is in {LOGS}");
    Failure::new("the run ended before it was done", evidence, next).with(Ending::Midway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Shown(Mutex<Vec<Event>>);

    impl Sink for Shown {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    /// A host on which no systemd runs, and its file of events.
    fn host(dir: &Path) -> (Host, std::path::PathBuf) {
        let host = Host::at(dir);
        let events = host.real(EVENTS);
        std::fs::create_dir_all(events.parent().unwrap()).unwrap();
        (host, events)
    }

    const STARTED: &str = r#"{"event":"step-started","step":"one"}"#;
    const DONE: &str = r#"{"event":"step-done","step":"one","seconds":0.5,"changed":3}"#;
    const FINISHED: &str = r#"{"event":"run-finished","ending":"done","changed":3,"seconds":0.7}"#;

    /// Follows while `pieces` are written one after the other, the file coming with the first.
    fn followed(pieces: &[&str]) -> (Result<Watched, Failure>, Vec<Event>) {
        let dir = tempfile::tempdir().unwrap();
        let (host, events) = host(dir.path());
        let shown = Shown::default();
        let watched = std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in pieces {
                    std::thread::sleep(3 * POLL);
                    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&events).unwrap();
                    file.write_all(piece.as_bytes()).unwrap();
                }
            });
            follow(&host, &shown, &AtomicBool::new(false))
        });
        (watched, shown.0.into_inner().unwrap())
    }

    fn ended(watched: Result<Watched, Failure>) -> Summary {
        match watched {
            Ok(Watched::Ended(summary)) => summary,
            Ok(Watched::Interrupted(_)) => panic!("interrupted"),
            Err(failure) => panic!("{failure:?}"),
        }
    }

    #[test]
    fn a_file_that_comes_late_and_grows_is_followed_to_its_end() {
        let pieces = [STARTED, "\n", DONE, "\n", FINISHED, "\n"];
        let (watched, shown) = followed(&pieces);
        let summary = ended(watched);
        assert_eq!((summary.ending, summary.changed), (Some(Ending::Done), 3));
        assert_eq!(summary.steps, [("one".to_owned(), 0.5, 3)]);
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn halves_of_lines_are_put_together() {
        let text = format!("{STARTED}\n{DONE}\n{FINISHED}\n");
        let pieces = [
            &text[..10],
            &text[10..STARTED.len()],
            &text[STARTED.len()..STARTED.len() + 30],
            &text[STARTED.len() + 30..],
        ];
        let (watched, shown) = followed(&pieces);
        assert_eq!(ended(watched).steps.len(), 1);
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn lines_that_nobody_understands_are_passed_over() {
        let text = format!("not JSON\n{{\"event\":\"of-a-newer-release\",\"x\":1}}\n{DONE}\n{FINISHED}\n");
        let summary = ended(followed(&[&text]).0);
        assert_eq!((summary.ending, summary.steps.len()), (Some(Ending::Done), 1));
    }

    #[test]
    fn a_unit_that_is_gone_without_a_last_event_was_killed() {
        let begin = Instant::now();
        let (watched, shown) = followed(&[STARTED, "\n", &DONE[..20]]);
        let failure = watched.err().unwrap();
        assert!(failure.what.contains("ended before it was done"), "{failure:?}");
        assert!(failure.next.contains("gpucloud-install apply"), "{failure:?}");
        assert_eq!(shown.len(), 1);
        assert!(begin.elapsed() > GRACE && begin.elapsed() < ASK + 3 * GRACE, "{:?}", begin.elapsed());
    }

    #[test]
    fn whoever_interrupts_leaves_and_may_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (host, events) = host(dir.path());
        let interrupted = AtomicBool::new(true);
        let left = follow(&host, &Shown::default(), &interrupted).unwrap();
        assert!(matches!(left, Watched::Interrupted(_)));
        std::fs::write(events, format!("{FINISHED}\n")).unwrap();
        assert_eq!(ended(follow(&host, &Shown::default(), &interrupted)).ending, Some(Ending::Done));
    }
}
