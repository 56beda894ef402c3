//! Groups of trials. The trials of a group build on each other in one host; each group begins from a root of its own, so
//! that a failure ends its group and hides no other.

pub mod saved;

use crate::machine::{self, ours};
use crate::scenario::LAB;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub type Verdict = Result<(), Failed>;

/// One test.
pub struct One {
    pub name: &'static str,
    pub test: fn() -> Verdict,
    /// Why it cannot run here.
    pub why_not: Option<String>,
}

/// What a group's first trial finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// Nothing: the trials make their hosts.
    WithNothing,
    /// The cloud that the group `install` left, restored from its saved root; one that was installed plainly where that
    /// group did not run, or failed.
    WithTheCloud,
    /// The host of the group before it, which leaves a whole cloud; [`Begins::WithTheCloud`] where that did not run, or
    /// failed.
    WhereTheLastEnded,
    /// What all other groups left; its trials only look, and do not build on each other.
    BehindAll,
}

/// Trials that build on each other.
pub struct Group {
    pub name: &'static str,
    pub begins: Begins,
    /// Its labs: gone before it and behind it.
    pub labs: &'static [&'static str],
    pub trials: Vec<One>,
}

/// What came out, and how long it took.
#[derive(Default)]
struct Results {
    verdicts: Mutex<BTreeMap<&'static str, Verdict>>,
    times: Mutex<Vec<(String, Duration)>>,
    came: Condvar,
}

impl Results {
    fn put(&self, name: &'static str, verdict: Verdict) {
        self.verdicts.lock().unwrap().insert(name, verdict);
        self.came.notify_all();
    }

    fn wait_for(&self, name: &str) -> Verdict {
        let mut verdicts = self.verdicts.lock().unwrap();
        loop {
            if let Some(verdict) = verdicts.remove(name) {
                return verdict;
            }
            verdicts = self.came.wait(verdicts).unwrap();
        }
    }

    fn note(&self, what: String, begin: Instant) {
        self.times.lock().unwrap().push((what, begin.elapsed()));
    }

    /// Seconds of each part, as text.
    fn table(&self) -> String {
        let times = self.times.lock().unwrap();
        let lines: Vec<_> = times.iter().map(|(what, time)| format!("{:7.1} s  {what}", time.as_secs_f64())).collect();
        format!("\nseconds of each trial:\n{}", lines.join("\n"))
    }
}

/// Runs the streams of groups side by side, the groups of a stream one after the other. `libtest_mimic` only waits for
/// each result: it counts, prints and ends.
pub fn run(arguments: &Arguments, streams: Vec<Vec<Group>>) -> Conclusion {
    let results = Arc::new(Results::default());
    let (mut trials, mut selected) = (Vec::new(), Vec::new());
    for one in streams.iter().flatten().flat_map(|group| &group.trials) {
        let (name, results) = (one.name, results.clone());
        let trial = Trial::test(name, move || results.wait_for(name)).with_ignored_flag(one.why_not.is_some());
        let ignored = one.why_not.is_some() && !arguments.ignored && !arguments.include_ignored;
        if !ignored && !arguments.is_filtered_out(&trial) {
            selected.push(name);
        }
        trials.push(trial);
    }
    if !arguments.list {
        let again = results.clone();
        std::thread::spawn(move || run_streams(streams, &selected, &again));
    }
    let threads = Some(trials.len().max(1));
    libtest_mimic::run(&Arguments { test_threads: threads, ..arguments.clone() }, trials)
}

/// The last group runs when all others are done. The last result waits until the times are printed: what
/// `libtest_mimic` prints at its end comes behind them.
fn run_streams(mut streams: Vec<Vec<Group>>, selected: &[&'static str], results: &Results) {
    let last = streams.iter_mut().rfind(|stream| !stream.is_empty()).and_then(Vec::pop);
    std::thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(move || run_stream(stream, selected, results));
        }
    });
    if let Some(group) = last {
        run_group(&group, (false, false), selected, results, || eprintln!("{}", results.table()));
    }
}

fn run_stream(stream: &[Group], selected: &[&'static str], results: &Results) {
    let is_selected = |group: &&Group| group.trials.iter().any(|one| selected.contains(&one.name));
    let groups: Vec<&Group> = stream.iter().filter(is_selected).collect();
    let mut is_left = false;
    for (n, group) in groups.iter().enumerate() {
        let leave = groups.get(n + 1).is_some_and(|next| next.begins == Begins::WhereTheLastEnded);
        is_left = run_group(group, (is_left, leave), selected, results, || {});
    }
}

/// `host`: whether the group before it left one; whether this one is to leave its own to the next. Returns whether it
/// did.
fn run_group(
    group: &Group,
    (is_left, leave): (bool, bool),
    selected: &[&'static str],
    results: &Results,
    before_the_last_result: impl Fn(),
) -> bool {
    let trials: Vec<&One> = group.trials.iter().filter(|one| selected.contains(&one.name)).collect();
    if trials.is_empty() {
        return false;
    }
    let begun = begin(group, is_left, results);
    let mut failed = begun.err().map(|error| format!("its group has no host: {error}"));
    for (n, one) in trials.iter().enumerate() {
        let since = Instant::now();
        let verdict = match &failed {
            Some(reason) => Err(reason.as_str().into()),
            None => caught(one.test),
        };
        if let Err(error) = &verdict
            && failed.is_none()
        {
            eprintln!("failed: {}: {}", one.name, error.message().unwrap_or_default());
            if group.begins != Begins::BehindAll {
                failed = Some(format!("an earlier trial of the group {} failed", group.name));
            }
            keep_logs(group);
        }
        results.note(format!("{}: {}", group.name, one.name), since);
        if n + 1 == trials.len() {
            end(group, leave && failed.is_none());
            before_the_last_result();
        }
        results.put(one.name, verdict);
    }
    leave && failed.is_none()
}

fn caught(test: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "it panicked".into()).into())
    })
}

fn begin(group: &Group, is_left: bool, results: &Results) -> Result<(), String> {
    let since = Instant::now();
    let stands = match group.begins {
        Begins::WithTheCloud => saved::take(),
        Begins::WhereTheLastEnded => is_left || saved::take(),
        Begins::WithNothing | Begins::BehindAll => false,
    };
    if !stands {
        take_down(group);
    }
    if matches!(group.begins, Begins::WithTheCloud | Begins::WhereTheLastEnded) && !stands {
        let restored = caught(|| {
            saved::restore();
            Ok(())
        });
        restored.map_err(|error| error.message().unwrap_or_default().to_owned())?;
    }
    results.note(format!("{}: (its host)", group.name), since);
    Ok(())
}

/// The cloud that has just been saved is left to the next group; any other one where the next goes on in it.
fn end(group: &Group, leave: bool) {
    if leave {
        group.labs.iter().filter(|lab| **lab != LAB).for_each(|lab| take_down_lab(lab));
    } else if !(group.labs.contains(&LAB) && saved::stands()) {
        take_down(group);
    }
}

fn take_down(group: &Group) {
    group.labs.iter().for_each(|lab| take_down_lab(lab));
}

fn take_down_lab(lab: &str) {
    machine::note_secrets(lab);
    ours(&["lab", "down", lab, "--yes"]);
}

/// For whoever reads of a failure: the logs of the group's hosts, beside the program under test.
fn keep_logs(group: &Group) {
    for lab in group.labs {
        let logs = machine::root(lab).join("var/log/gpucloud");
        let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{lab}", group.name));
        let copied = std::process::Command::new("cp")
            .args(["--recursive", "--no-target-directory"])
            .arg(logs)
            .arg(&kept)
            .output();
        if copied.is_ok_and(|output| output.status.success()) {
            eprintln!("logs of {lab}: {}", kept.display());
        }
    }
}
