//! Plans and runs on temporary roots: orphans, edits, order, reboots.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Kept, Silent, Tree, apply, run, undo_all};
use gpucloud::action::file::File;
use gpucloud::action::packages::Packages;
use gpucloud::action::task::Task;
use gpucloud::action::undo::Leaves;
use gpucloud::action::{Action, ActionId, Applied, Checked, History, Lifetime, Originals, Undo, WhenOrphaned};
use gpucloud::content::Content;
use gpucloud::ending::Ending;
use gpucloud::finding::Finding;
use gpucloud::host::{Host, Result, files};
use gpucloud::plan::event::Event;
use gpucloud::plan::journal::{DIRECTORY, Journal, Record};
use gpucloud::plan::runner::Runner;
use gpucloud::plan::{Plan, PlanError, Step};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn host() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    files::write(&host, Path::new("/etc/there"), b"theirs\n", 0o644, None).unwrap();
    files::write(&host, Path::new("/proc/sys/kernel/random/boot_id"), b"boot-1\n", 0o644, None).unwrap();
    (dir, host)
}

fn file(path: &str, text: &str) -> File {
    File::new(path, Content::plain(text))
}

fn text(host: &Host, path: &str) -> Option<String> {
    files::read_text(host, path).unwrap()
}

/// Runs steps in the order of their plan.
fn one_by_one(host: &Host, journal: Journal) -> Runner<'_> {
    Runner { host, journal, take_back: gpucloud::undo::run, sink: Arc::new(Silent), jobs: 1, what: "apply".into() }
}

#[test]
fn after_a_and_then_b_uninstall_restores_what_was_before_a() {
    let (_dir, host) = host();
    let before = Tree::of(&host);
    apply(&host, vec![Step::new("s", "s").with(file("/etc/there", "A\n"))]).unwrap();
    apply(&host, vec![Step::new("s", "s").with(file("/etc/there", "B\n"))]).unwrap();
    assert_eq!(text(&host, "/etc/there").as_deref(), Some("B\n"));
    undo_all(&host).unwrap();
    assert_eq!(Tree::of(&host), before);
}

#[test]
fn a_dropped_setting_takes_its_file_along_and_the_plan_says_so() {
    let (_dir, host) = host();
    apply(&host, vec![Step::new("s", "s").with(file("/etc/a", "1")).with(file("/etc/b", "2"))]).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let plan = Plan::make(vec![Step::new("s", "s").with(file("/etc/a", "1"))], &host, &journal).unwrap();
    assert_eq!(plan.orphans.len(), 1);
    assert_eq!(plan.orphans[0].undo.as_deref(), Some("Remove /etc/b"));
    apply(&host, vec![Step::new("s", "s").with(file("/etc/a", "1"))]).unwrap();
    assert_eq!((text(&host, "/etc/a").as_deref(), text(&host, "/etc/b")), (Some("1"), None));
}

/// What others hold goes behind the steps that tell them, and stays where these fail.
#[test]
fn what_others_hold_is_taken_back_behind_the_steps() {
    let (_dir, host) = host();
    let fails = || Task::new(ActionId::new("task", "fails"), "Fail", |_| Ok(Checked::needed("x")), |_| Ok(()));
    let told = || {
        Task::new(
            ActionId::new("task", "told"),
            "Tell",
            |host| Ok(Checked::done_if(files::exists(host, "/told"), "tell")),
            |host| {
                assert!(files::exists(host, "/etc/card") && !files::exists(host, "/etc/other"));
                files::write(host, Path::new("/told"), b"", 0o644, None)
            },
        )
    };
    let again = |steps: Vec<Step>| {
        let journal = Journal::open(&host, DIRECTORY, "apply").unwrap();
        let mut plan = Plan::make(steps, &host, &journal).unwrap();
        plan.let_go_first(|id| id.to_string() == "file:/etc/card");
        one_by_one(&host, journal).run(plan).0
    };
    apply(&host, vec![Step::new("s", "s").with(file("/etc/card", "1")).with(file("/etc/other", "2"))]).unwrap();
    assert_eq!(again(vec![Step::new("t", "t").with(fails())]).ending, Ending::Midway);
    assert_eq!((text(&host, "/etc/card").as_deref(), text(&host, "/etc/other")), (Some("1"), None));
    let outcome = again(vec![Step::new("t", "t").with(told())]);
    assert_eq!((outcome.ending, outcome.changed, text(&host, "/etc/card")), (Ending::Done, 3, None));
}

/// Databases lie in what packages leave: a group that this release calls otherwise stays until `uninstall`, as 0.1.0
/// wrote it and as it is written now.
#[test]
fn packages_that_are_called_otherwise_are_kept_for_uninstall() {
    let (_dir, host) = host();
    let id = |purpose: &str| ActionId::new("packages", purpose);
    let added = |purpose: &str, when_orphaned| Record::Intent {
        id: id(purpose),
        undo: Undo::Packages { added: vec![format!("{purpose}-server")], leaves: Leaves::default() },
        lifetime: Lifetime::Installed,
        when_orphaned,
        fingerprint: None,
    };
    let now = Packages {
        purpose: "database".into(),
        names: Vec::new(),
        leaves: Leaves::default(),
        made_once: Vec::new(),
        changed_permissions: Vec::new(),
    };
    let mut journal = Journal::open(&host, DIRECTORY, "apply").unwrap();
    journal.append(&[added("old", WhenOrphaned::Undo), added("new", now.when_orphaned())], true).unwrap();
    drop(journal);
    let steps = || vec![Step::new("s", "s").with(file("/etc/a", "1"))];
    let plan = Plan::make(steps(), &host, &Journal::read(&host, DIRECTORY).unwrap()).unwrap();
    let undone: Vec<Option<String>> = plan.orphans.into_iter().map(|orphan| orphan.undo).collect();
    assert_eq!(undone, [None, None]);
    apply(&host, steps()).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    assert!(journal.entry(&id("old")).is_some() && journal.entry(&id("new")).is_some(), "uninstall would not purge it");
}

#[test]
fn an_edited_file_is_kept_beside_by_apply_and_by_uninstall() {
    let (_dir, host) = host();
    let steps = || vec![Step::new("s", "s").with(file("/etc/a", "ours\n"))];
    apply(&host, steps()).unwrap();
    files::write(&host, Path::new("/etc/a"), b"edited\n", 0o644, None).unwrap();
    apply(&host, steps()).unwrap();
    assert_eq!(text(&host, "/etc/a.gpucloud-kept").as_deref(), Some("edited\n"));
    files::write(&host, Path::new("/etc/a"), b"edited again\n", 0o644, None).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(text(&host, "/etc/a.gpucloud-kept").as_deref(), Some("edited\n"), "the first edit is lost");
    assert_eq!(text(&host, "/etc/a.gpucloud-kept-2").as_deref(), Some("edited again\n"));
    assert_eq!(text(&host, "/etc/a"), None);
}

#[test]
fn a_link_of_the_administrator_is_put_back_and_what_it_points_to_stays_private() {
    let (_dir, host) = host();
    files::write(&host, Path::new("/home/private"), b"a password\n", 0o600, None).unwrap();
    files::make_link(&host, Path::new("/etc/a"), Path::new("/home/private")).unwrap();
    let before = Tree::of(&host);
    apply(&host, vec![Step::new("s", "s").with(file("/etc/a", "ours\n"))]).unwrap();
    assert_eq!(files::list(&host, "/etc").unwrap(), ["a", "there"], "a copy was made of what is not ours");
    undo_all(&host).unwrap();
    assert_eq!(Tree::of(&host), before);
}

#[test]
fn a_second_run_changes_and_writes_nothing() {
    let (_dir, host) = host();
    let steps = || vec![Step::new("s", "s").with(file("/etc/a", "x")).with(file("/etc/there", "y"))];
    apply(&host, steps()).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let plan = Plan::make(steps(), &host, &journal).unwrap();
    assert_eq!(plan.pending(), 0);
    assert!(plan.orphans.is_empty());
}

/// Frozen when 0.1.0 was made, never changed again: what it can be taken back to must stay what it was.
#[test]
fn the_journal_of_0_1_0_is_read_and_means_the_same() {
    let (_dir, host) = host();
    let text = include_bytes!("fixtures/journal/0.1.0.jsonl");
    files::write(&host, &Path::new(DIRECTORY).join("journal.jsonl"), text, 0o600, None).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let undone: Vec<String> = journal.entries().map(|(id, e)| format!("{id}: {}", e.describe_undo())).collect();
    insta::assert_snapshot!(undone.join("\n"));
}

#[test]
fn two_actions_with_one_name_are_a_bug() {
    let (_dir, host) = host();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let steps = vec![Step::new("s", "s").with(file("/etc/a", "1")).with(file("/etc/a", "2"))];
    assert!(matches!(Plan::make(steps, &host, &journal), Err(PlanError::Twice(_))));
    let steps = vec![Step::new("s", "s").after(&["later"]), Step::new("later", "later")];
    assert!(matches!(Plan::make(steps, &host, &journal), Err(PlanError::Order { .. })));
}

#[test]
fn a_failed_step_keeps_those_behind_it_from_running_and_says_what_failed() {
    let (_dir, host) = host();
    let fails = Task::new(
        ActionId::new("task", "fails"),
        "Fail",
        |_| Ok(Checked::needed("fail")),
        |_| Err(gpucloud::host::Error::protocol("do it", "it is broken")),
    );
    let kept = Arc::new(Kept::default());
    let steps = vec![Step::new("a", "A").with(fails), Step::new("b", "B").after(&["a"]).with(file("/etc/b", "b"))];
    let outcome = run(&host, steps, kept.clone());
    assert_eq!(outcome.ending, Ending::Midway);
    assert_eq!(text(&host, "/etc/b"), None);
    assert!(outcome.failures[0].what.contains("it is broken") && !outcome.failures[0].next.is_empty());
    assert!(kept.0.lock().unwrap().iter().any(|event| matches!(event, Event::StepFailed { .. })));
}

/// A step for the time of the run, and work behind it that fails without it.
fn guarded() -> Vec<Step> {
    let work = |host: &Host| match text(host, "/run-only") {
        Some(_) => files::write(host, Path::new("/seen"), b"", 0o644, None),
        None => Err(gpucloud::host::Error::protocol("work", "the guard is missing")),
    };
    let done = |host: &Host| Ok(Checked::done_if(text(host, "/seen").is_some(), "work"));
    vec![
        Step::new("guard", "Guard").with(file("/run-only", "x").for_the_run()),
        Step::new("work", "Work").after(&["guard"]).with(Task::new(ActionId::new("task", "w"), "Work", done, work)),
    ]
}

/// What is there when a run was killed inside the work: nothing tidied up.
fn killed_behind_the_guard(host: &Host) {
    let mut journal = Journal::open(host, DIRECTORY, "apply").unwrap();
    let guard = file("/run-only", "x").for_the_run();
    let undo = guard.prepare(host, &journal.originals()).unwrap();
    let (lifetime, when_orphaned) = (guard.lifetime(), guard.when_orphaned());
    let intent = Record::Intent { id: guard.id(), undo, lifetime, when_orphaned, fingerprint: guard.fingerprint() };
    journal.append(&[intent], true).unwrap();
    guard.apply(host, &History::default()).unwrap();
}

#[test]
fn what_is_there_for_the_run_is_there_again_after_a_kill() {
    let (_dir, host) = host();
    killed_behind_the_guard(&host);
    apply(&host, guarded()).unwrap();
    assert_eq!(text(&host, "/run-only"), None, "it stays behind");
}

#[test]
fn what_a_killed_run_left_is_pending_although_all_else_is_done() {
    let (_dir, host) = host();
    files::write(&host, Path::new("/seen"), b"", 0o644, None).unwrap();
    killed_behind_the_guard(&host);
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    assert_eq!(Plan::make(guarded(), &host, &journal).unwrap().pending(), 1);
    drop(journal);
    apply(&host, guarded()).unwrap();
    assert_eq!(text(&host, "/run-only"), None, "it stays behind");
}

#[test]
fn work_that_has_no_effect_is_a_failure() {
    let (_dir, host) = host();
    let idle = Task::new(ActionId::new("task", "idle"), "Idle", |_| Ok(Checked::needed("change")), |_| Ok(()));
    let outcome = run(&host, vec![Step::new("a", "A").with(idle)], Arc::new(Silent));
    assert!(outcome.failures[0].what.contains("had no effect"), "{}", outcome.failures[0].what);
}

#[test]
fn a_step_waits_through_one_that_has_nothing_to_do() {
    let (_dir, host) = host();
    let steps = || {
        let slow = Task::new(
            ActionId::new("task", "slow"),
            "Slow",
            |host| Ok(Checked::done_if(files::exists(host, "/slow"), "make")),
            |host| {
                std::thread::sleep(std::time::Duration::from_millis(200));
                files::write(host, Path::new("/slow"), b"", 0o644, None)
            },
        );
        let behind = Task::new(
            ActionId::new("task", "behind"),
            "Behind",
            |host| match (files::exists(host, "/slow"), files::exists(host, "/behind")) {
                (false, _) => Ok(Checked::Later("when the slow one is done".into())),
                (true, there) => Ok(Checked::done_if(there, "make")),
            },
            |host| files::write(host, Path::new("/behind"), b"", 0o644, None),
        );
        vec![
            Step::new("slow", "S").with(slow),
            Step::new("idle", "I").after(&["slow"]).with(file("/etc/there", "theirs\n")),
            Step::new("behind", "B").after(&["idle"]).with(behind),
        ]
    };
    apply(&host, steps()).unwrap();
}

#[test]
fn independent_steps_run_side_by_side_and_one_job_keeps_plan_order() {
    let (_dir, host) = host();
    let order = Arc::new(Mutex::new(Vec::new()));
    let steps = |order: &Arc<Mutex<Vec<usize>>>| {
        let task = |n: usize| {
            let (order, path) = (order.clone(), format!("/t{n}"));
            let there = path.clone();
            Task::new(
                ActionId::new("task", n),
                "x",
                move |host| Ok(Checked::done_if(files::exists(host, &there), "x")),
                move |host| {
                    order.lock().unwrap().push(n);
                    files::write(host, Path::new(&path), b"", 0o644, None)
                },
            )
        };
        (0..6).map(|n| Step::new(&format!("s{n}"), "s").with(task(n))).collect::<Vec<_>>()
    };
    let journal = Journal::open(&host, DIRECTORY, "apply").unwrap();
    let plan = Plan::make(steps(&order), &host, &journal).unwrap();
    one_by_one(&host, journal).run(plan);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

/// Takes effect with the next boot.
struct KernelArgument(Arc<AtomicUsize>);

impl Action for KernelArgument {
    fn id(&self) -> ActionId {
        ActionId::new("test-kernel-argument", "iommu")
    }

    fn describe(&self) -> String {
        "Set a kernel argument".into()
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        Ok(Checked::done_if(text(host, "/proc/cmdline").is_some_and(|line| line.contains("iommu")), "set"))
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, _host: &Host, _history: &History) -> Result<Applied> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Applied::RebootNeeded("a kernel argument was set".into()))
    }
}

#[test]
fn a_reboot_is_asked_for_once_and_never_a_second_time() {
    let (_dir, host) = host();
    let tries = Arc::new(AtomicUsize::new(0));
    let steps = || {
        vec![
            Step::new("kernel", "K").with(KernelArgument(tries.clone())),
            Step::new("behind", "B").after(&["kernel"]).with(file("/etc/behind", "b")),
            Step::new("beside", "C").with(file("/etc/beside", "c")),
        ]
    };
    let outcome = run(&host, steps(), Arc::new(Silent));
    assert_eq!(outcome.ending, Ending::RebootNeeded);
    assert_eq!((text(&host, "/etc/behind"), text(&host, "/etc/beside").as_deref()), (None, Some("c")));
    // The same boot: still waiting, not done again.
    assert_eq!(run(&host, steps(), Arc::new(Silent)).ending, Ending::RebootNeeded);
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    // A boot without effect: failed, not tried again.
    files::write(&host, Path::new("/proc/sys/kernel/random/boot_id"), b"boot-2\n", 0o644, None).unwrap();
    let outcome = run(&host, steps(), Arc::new(Silent));
    assert!(outcome.failures[0].what.contains("no effect after the reboot"), "{:?}", outcome.failures);
    // A boot with effect: the rest goes on.
    files::write(&host, Path::new("/proc/cmdline"), b"iommu=pt\n", 0o644, None).unwrap();
    assert_eq!(run(&host, steps(), Arc::new(Silent)).ending, Ending::Done);
    assert_eq!(text(&host, "/etc/behind").as_deref(), Some("b"));
}

#[test]
fn a_unit_whose_file_will_change_is_shown_as_later() {
    let (_dir, host) = host();
    let unit = Task::new(ActionId::new("started", "x"), "Start x", |_| Ok(Checked::Done), |_| Ok(()))
        .at_runtime()
        .depending_on(vec!["/etc/x".into()]);
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let plan =
        Plan::make(vec![Step::new("s", "s").with(file("/etc/x/a.conf", "1")).with(unit)], &host, &journal).unwrap();
    let Checked::Later(why) = &plan.steps[0].actions[1].checked else { panic!("not later") };
    assert!(why.contains("/etc/x"), "{why}");
}

#[test]
fn a_closing_step_runs_behind_every_change_and_never_without_one() {
    let (_dir, host) = host();
    let steps = || {
        let tidy = Task::new(
            ActionId::new("tidy", "left"),
            "Tidy",
            |host| Ok(Checked::done_if(!files::exists(host, "/left"), "remove")),
            |host| files::remove(host, Path::new("/left")),
        );
        let leaves = Task::new(
            ActionId::new("task", "leaves"),
            "Leave something",
            |host| Ok(Checked::done_if(files::exists(host, "/made"), "make")),
            |host| {
                files::write(host, Path::new("/left"), b"", 0o644, None)?;
                files::write(host, Path::new("/made"), b"", 0o644, None)
            },
        );
        vec![
            Step::new("work", "W").with(leaves),
            Step::new("finish", "F").after(&["work"]).closing().with(tidy.at_runtime()),
        ]
    };
    apply(&host, steps()).unwrap();
    assert_eq!(text(&host, "/left"), None);
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    assert_eq!(Plan::make(steps(), &host, &journal).unwrap().pending(), 0);
}

#[test]
fn what_is_only_for_the_run_is_left_out_when_nobody_needs_it() {
    let (_dir, host) = host();
    let steps = || {
        vec![
            Step::new("helper", "H").with(file("/usr/sbin/policy-rc.d", "exit 101").for_the_run()),
            Step::new("work", "W").after(&["helper"]).with(file("/etc/a", "a")),
        ]
    };
    apply(&host, steps()).unwrap();
    assert_eq!(text(&host, "/usr/sbin/policy-rc.d"), None);
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    assert_eq!(Plan::make(steps(), &host, &journal).unwrap().pending(), 0);
}

#[test]
fn a_panic_fails_its_step_and_the_run_ends() {
    let (_dir, host) = host();
    let needed = |_: &Host| Ok(Checked::needed("do it"));
    let broken = Task::new(ActionId::new("task", "broken"), "Break", needed, |_: &Host| panic!("out of cheese"));
    let steps = vec![
        Step::new("broken", "Broken").with(broken),
        Step::new("behind", "Behind").after(&["broken"]).with(file("/etc/behind", "x")),
        Step::new("beside", "Beside").with(file("/etc/beside", "x")),
    ];
    let (send, ended) = std::sync::mpsc::channel();
    let thread_host = host.clone();
    std::thread::spawn(move || send.send(run(&thread_host, steps, Arc::new(Silent))));
    let outcome = ended.recv_timeout(std::time::Duration::from_secs(20)).expect("the run hangs");
    assert_eq!(outcome.ending, Ending::Midway);
    assert!(outcome.failures[0].what.contains("out of cheese"), "{:?}", outcome.failures);
    assert_eq!(text(&host, "/etc/behind"), None);
}

#[test]
fn what_is_left_as_it_is_is_nothing_to_do_and_is_told_by_plan_and_run() {
    let (_dir, host) = host();
    let left = |_: &Host| Ok(Checked::LeftAlone(Finding::warn("left-alone", "a flavor differs", "another name")));
    let task = || Task::new(ActionId::new("task", "left"), "Leave it", left, |_: &Host| panic!("it was done"));
    let alone = || Step::new("alone", "Alone").with(task());
    let plan = Plan::make(vec![alone()], &host, &Journal::read(&host, DIRECTORY).unwrap()).unwrap();
    assert_eq!((plan.pending(), plan.left_alone().len()), (0, 1));
    let kept = Arc::new(Kept::default());
    let outcome = run(&host, vec![alone(), Step::new("a", "A").with(file("/etc/a", "x"))], kept.clone());
    assert_eq!((outcome.ending, outcome.changed), (Ending::Done, 1));
    let events = kept.0.lock().unwrap();
    let told = |event: &&Event| matches!(event, Event::LeftAlone { what, .. } if what == "a flavor differs");
    assert_eq!(events.iter().filter(told).count(), 1);
}

/// Work after which the look says only "later": the API went away meanwhile.
#[test]
fn an_effect_that_cannot_be_seen_is_not_taken_for_done() {
    let (_dir, host) = host();
    let seen = AtomicUsize::new(0);
    let look = move |_: &Host| {
        Ok(match seen.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Checked::needed("make it"),
            _ => Checked::Later("when the cloud answers".into()),
        })
    };
    let task = Task::new(ActionId::new("task", "made"), "Make it", look, |_: &Host| Ok(()));
    let outcome = run(&host, vec![Step::new("s", "s").with(task)], Arc::new(Silent));
    assert_eq!(outcome.ending, Ending::Midway);
    assert!(outcome.failures[0].what.contains("cannot be seen"), "{:?}", outcome.failures);
}

/// What a program made is known by what was there when it ended.
fn made_by_a_program() -> Vec<Step> {
    let path = Path::new("/etc/made");
    let done = move |host: &Host| Ok(Checked::done_if(files::exists(host, path), "make it"));
    let make = move |host: &Host| files::write(host, path, b"made\n", 0o600, None);
    let undo = Undo::Path { path: path.into(), original: gpucloud::action::originals::Original::Absent, made: vec![] };
    let task = Task::new(ActionId::new("task", "made"), "Make it", done, make).undone_by(undo);
    vec![Step::new("s", "s").with(task)]
}

#[test]
fn what_a_program_made_goes_and_what_somebody_put_in_its_place_stays() {
    let (_dir, host) = host();
    let before = Tree::of(&host);
    apply(&host, made_by_a_program()).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(Tree::of(&host), before);
    apply(&host, made_by_a_program()).unwrap();
    files::write(&host, Path::new("/etc/made"), b"my own\n", 0o600, None).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(text(&host, "/etc/made.gpucloud-kept").as_deref(), Some("my own\n"), "what was put there is lost");
}

#[test]
fn what_was_left_by_a_change_that_nobody_finished_counts_as_edited() {
    let (_dir, host) = host();
    let mut journal = Journal::open(&host, DIRECTORY, "apply").unwrap();
    let undo =
        Undo::Path { path: "/etc/made".into(), original: gpucloud::action::originals::Original::Absent, made: vec![] };
    let (lifetime, when_orphaned) = (gpucloud::action::Lifetime::Installed, gpucloud::action::WhenOrphaned::Undo);
    let id = ActionId::new("task", "made");
    journal.append(&[Record::Intent { id, undo, lifetime, when_orphaned, fingerprint: None }], true).unwrap();
    drop(journal);
    files::write(&host, Path::new("/etc/made"), b"whose?\n", 0o644, None).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(text(&host, "/etc/made.gpucloud-kept").as_deref(), Some("whose?\n"));
}

/// stack.sh edits files in place: two actions around it remember what was there and how it was left.
fn around_a_program() -> Vec<Step> {
    use gpucloud::engine::devstack::saved::{LeftBehind, Saved};
    let path = Path::new("/etc/there");
    let done = move |host: &Host| Ok(Checked::done_if(text(host, "/etc/there").unwrap().contains("stack"), "run"));
    let edit = move |host: &Host| files::write(host, path, b"theirs\nstack\n", 0o644, None);
    vec![
        Step::new("before", "b").with(Saved { path: path.into(), by: "stack.sh" }),
        Step::new("stack", "s").after(&["before"]).with(Task::new(ActionId::new("task", "stack"), "Stack", done, edit)),
        Step::new("behind", "l").after(&["stack"]).with(LeftBehind::new(path)),
    ]
}

#[test]
fn what_another_program_edited_is_put_back_and_later_edits_are_kept() {
    let (_dir, host) = host();
    let before = Tree::of(&host);
    apply(&host, around_a_program()).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(Tree::of(&host), before, "a copy was made of what nobody edited");
    apply(&host, around_a_program()).unwrap();
    files::write(&host, Path::new("/etc/there"), b"theirs\nstack\nmine\n", 0o644, None).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(text(&host, "/etc/there").as_deref(), Some("theirs\n"));
    assert_eq!(text(&host, "/etc/there.gpucloud-kept").as_deref(), Some("theirs\nstack\nmine\n"), "the edit is lost");
}

/// One of every kind of undo record. A new variant does not compile here until it has its line in the samples.
fn has_a_sample(undo: &Undo) -> &'static str {
    match undo {
        Undo::Nothing => "nothing",
        Undo::Path { .. } => "path",
        Undo::Edits { .. } => "edits",
        Undo::Directory { .. } => "directory",
        Undo::User { .. } => "user",
        Undo::Group { .. } => "group",
        Undo::Member { .. } => "member",
        Undo::Packages { .. } => "packages",
        Undo::Unit { .. } => "unit",
        Undo::Sysctl { .. } => "sysctl",
        Undo::Database { .. } => "database",
        Undo::DatabaseUser { .. } => "database-user",
        Undo::Program { .. } => "program",
        Undo::Container { .. } => "container",
        Undo::Devstack(_) => "devstack",
        Undo::Network(_) => "network",
        Undo::Iptables { .. } => "iptables",
        Undo::Resource { .. } => "resource",
        Undo::NftTable { .. } => "nft-table",
    }
}

/// Frozen when schema 2 was made: every undo record as it stands in journals of users.
#[test]
fn every_undo_record_of_schema_2_is_read_and_means_the_same() {
    let (_dir, host) = host();
    let text = include_str!("fixtures/journal/schema-2.jsonl");
    files::write(&host, &Path::new(DIRECTORY).join("journal.jsonl"), text.as_bytes(), 0o600, None).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let undone: Vec<String> = journal.entries().map(|(id, e)| format!("{id}: {}", e.describe_undo())).collect();
    insta::assert_snapshot!(undone.join("\n"));
    let kinds: std::collections::BTreeSet<&str> =
        journal.entries().filter_map(|(_, entry)| entry.history.undo.as_ref()).map(has_a_sample).collect();
    assert_eq!(kinds.len(), 19, "{kinds:?}");
    for line in text.lines().filter(|line| line.contains(r#""record":"intent""#)) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let undo: Undo = serde_json::from_value(value["undo"].clone()).unwrap();
        assert_eq!(serde_json::to_value(&undo).unwrap(), value["undo"], "it is written otherwise than it was");
    }
}

#[test]
fn packages_of_a_journal_of_schema_1_stay_when_their_group_is_called_otherwise() {
    let (_dir, host) = host();
    let text = include_bytes!("fixtures/journal/0.1.0.jsonl");
    files::write(&host, &Path::new(DIRECTORY).join("journal.jsonl"), text, 0o600, None).unwrap();
    let journal = Journal::read(&host, DIRECTORY).unwrap();
    let plan = Plan::make(vec![Step::new("s", "s").with(file("/etc/a", "1"))], &host, &journal).unwrap();
    let packages: Vec<_> = plan.orphans.iter().filter(|orphan| orphan.id.kind() == "packages").collect();
    assert!(!packages.is_empty() && packages.iter().all(|orphan| orphan.undo.is_none()), "{packages:?}");
}

/// A stop before anything was taken back is no end of an uninstall: the journal is all that can still undo.
#[test]
fn an_undo_that_was_stopped_before_it_began_has_failed() {
    let (_dir, host) = host();
    apply(&host, vec![Step::new("s", "s").with(file("/etc/a", "ours\n"))]).unwrap();
    let mut journal = Journal::open(&host, DIRECTORY, "uninstall").unwrap();
    host.stop();
    let take_back = gpucloud::undo::run;
    let report = gpucloud::plan::rollback::everything(&host, &mut journal, take_back, &|_| Ok(()), &Silent);
    assert!(!report.failed.is_empty(), "a stop counts as done");
    assert_eq!(journal.entries().count(), 1);
}

#[test]
fn a_file_in_the_place_of_a_link_of_ours_is_kept_by_apply() {
    use gpucloud::action::symlink::Symlink;
    let (_dir, host) = host();
    let steps = || vec![Step::new("s", "s").with(Symlink::new("/etc/paste.ini", "/opt/paste.ini"))];
    apply(&host, steps()).unwrap();
    files::remove(&host, Path::new("/etc/paste.ini")).unwrap();
    files::write(&host, Path::new("/etc/paste.ini"), b"mine\n", 0o644, None).unwrap();
    apply(&host, steps()).unwrap();
    assert_eq!(text(&host, "/etc/paste.ini.gpucloud-kept").as_deref(), Some("mine\n"), "it was written over");
}

#[test]
fn an_edit_in_a_directory_that_goes_is_kept_elsewhere() {
    use gpucloud::action::directory::Directory;
    let (_dir, host) = host();
    let steps = vec![Step::new("s", "s").with(Directory::new("/opt/ours")).with(file("/opt/ours/a/local.conf", "x\n"))];
    apply(&host, steps).unwrap();
    files::write(&host, Path::new("/opt/ours/a/local.conf"), b"mine\n", 0o644, None).unwrap();
    undo_all(&host).unwrap();
    assert_eq!(text(&host, "/etc/gpucloud/kept/local.conf.gpucloud-kept").as_deref(), Some("mine\n"), "it went");
}
