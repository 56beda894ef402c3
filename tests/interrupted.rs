//! Interrupted runs on temporary roots: killed before, between and after every write, a run goes on and its undo
//! reaches the tree from before.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Silent, Tree, apply, steps_of, undo_all};
use gpucloud::action::directory::Directory;
use gpucloud::action::file::File;
use gpucloud::action::symlink::Symlink;
use gpucloud::action::sysctl::Sysctl;
use gpucloud::action::task::{Restartable, Standing, Task};
use gpucloud::action::{ActionId, Checked, Undo};
use gpucloud::content::Content;
use gpucloud::host::{Host, KillPoint, files};
use gpucloud::plan::Step;
use proptest::prelude::*;
use std::path::Path;

/// A machine with something at every kind of place that the steps change.
fn machine() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    for (path, text) in [
        ("/etc/there.conf", "theirs\n"),
        ("/proc/sys/net/x", "0\n"),
        ("/etc/replaced", "old\n"),
        ("/usr/sbin/policy", "own\n"),
    ] {
        files::write(&host, Path::new(path), text.as_bytes(), 0o640, None).unwrap();
    }
    files::make_link(&host, Path::new("/etc/link"), Path::new("/somewhere")).unwrap();
    files::make_dir(&host, Path::new("/srv"), 0o700, None).unwrap();
    (dir, host)
}

/// One action of every kind that works below a root.
fn steps() -> Vec<Step> {
    let made = |host: &Host| Ok(Checked::done_if(files::exists(host, "/srv/made"), "make"));
    let make = |host: &Host| files::write(host, Path::new("/srv/made"), b"x", 0o644, None);
    let undo =
        Undo::Path { path: "/srv/made".into(), original: gpucloud::action::originals::Original::Absent, made: vec![] };
    let stamped = |_: &Host| Ok(Checked::Done);
    vec![
        Step::new("helper", "only for the run")
            .with(File::new("/usr/sbin/policy", Content::plain("ours\n")).for_the_run()),
        Step::new("files", "files")
            .after(&["helper"])
            .with(Directory::new("/var/lib/gpucloud/stamps"))
            .with(File::new("/etc/there.conf", Content::plain("ours\n")))
            .with(File::new("/etc/new/deep/a.conf", Content::plain("a\n")).access(0o600, "root", "root"))
            .with(File::new("/etc/new/deep/b.conf", Content::plain("b\n")))
            .with(Directory::new("/etc/new/dir").access(0o750, "root", "root"))
            .with(Directory::new("/srv").access(0o755, "root", "root")),
        Step::new("others", "others")
            .after(&["files"])
            .with(Symlink::new("/etc/link", "/elsewhere"))
            .with(Symlink::new("/etc/fresh/link", "/elsewhere"))
            .with(File::new("/etc/replaced", Content::plain("new\n")))
            .with(Sysctl { key: "net.x".into(), value: "1".into() })
            .with(Task::new(ActionId::new("task", "made"), "make", made, make).undone_by(undo))
            .with(Task::once(ActionId::new("task", "once"), "once", "1", stamped, |_| Ok(()))),
    ]
}

#[test]
fn killed_at_every_write_a_run_goes_on_and_is_undone() {
    let (_dir, host) = machine();
    let before = Tree::of(&host);
    let counter = KillPoint::counting();
    apply(&host.dying(counter.clone()), steps()).unwrap();
    let wanted = Tree::of(&host);
    undo_all(&host).unwrap();
    assert_eq!(Tree::of(&host), before);
    assert!(counter.count() > 50, "only {} writes", counter.count());
    for kill in 0..counter.count() {
        let (_dir, host) = machine();
        let _ = apply(&host.dying(KillPoint::at(kill)), steps());
        apply(&host, steps()).unwrap_or_else(|e| panic!("killed at write {kill}: {e}"));
        assert_eq!(Tree::of(&host), wanted, "killed at write {kill}, then let through");
        undo_all(&host).unwrap();
        assert_eq!(Tree::of(&host), before, "killed at write {kill}, let through, undone");
    }
}

#[test]
fn killed_at_every_write_an_undo_goes_on() {
    let (_dir, host) = machine();
    let before = Tree::of(&host);
    apply(&host, steps()).unwrap();
    let counter = KillPoint::counting();
    undo_all(&host.dying(counter.clone())).unwrap();
    for kill in 0..counter.count() {
        let (_dir, host) = machine();
        apply(&host, steps()).unwrap();
        let _ = undo_all(&host.dying(KillPoint::at(kill)));
        undo_all(&host).unwrap_or_else(|e| panic!("killed at write {kill}: {e}"));
        assert_eq!(Tree::of(&host), before, "undo killed at write {kill}");
    }
}

/// What a program made, and nobody noted because of the kill, might be somebody's: a copy stays.
fn forget_what_counts_as_edited(host: &Host) {
    let kept = Path::new("/srv/made.gpucloud-kept");
    if files::read(host, kept).unwrap().is_some_and(|content| content == b"x") {
        files::remove(host, kept).unwrap();
    }
}

#[test]
fn undone_halfway_without_going_on_reaches_the_tree_from_before() {
    let counter = KillPoint::counting();
    let (_dir, host) = machine();
    let before = Tree::of(&host);
    apply(&host.dying(counter.clone()), steps()).unwrap();
    for kill in 0..counter.count() {
        let (_dir, host) = machine();
        let _ = apply(&host.dying(KillPoint::at(kill)), steps());
        undo_all(&host).unwrap();
        forget_what_counts_as_edited(&host);
        assert_eq!(Tree::of(&host), before, "killed at write {kill}, undone at once");
    }
}

const TABLES: &str = "/var/lib/tables";
const DUMP: &str = "/var/lib/dump";

/// Tables that one version makes and the next brings forward in two writes, neither of which can be repeated.
fn migration(version: &'static str) -> Vec<Step> {
    let id = ActionId::new("schema", "tables");
    let text = |host: &Host, path: &str| files::read_text(host, path).unwrap().unwrap_or_default();
    let put = |host: &Host, path: &str, text: &str| files::write(host, Path::new(path), text.as_bytes(), 0o600, None);
    let ready = move |host: &Host, standing: Standing| match standing {
        Standing::Nothing => Ok(()),
        Standing::Half => files::remove(host, Path::new(TABLES)),
        Standing::HalfChanged if files::exists(host, DUMP) => put(host, TABLES, &text(host, DUMP)),
        _ => put(host, DUMP, &text(host, TABLES)),
    };
    let work = move |host: &Host| {
        let before = text(host, TABLES);
        if !before.contains(version) {
            put(host, TABLES, &format!("{before}half "))?;
            let half = text(host, TABLES);
            put(host, TABLES, &half.replacen("half ", &format!("{version} "), 1))?;
        }
        files::remove(host, Path::new(DUMP))
    };
    let work = Restartable { ready, work }.noting(&id, version);
    let there = |host: &Host| Ok(Checked::done_if(files::exists(host, TABLES), "make"));
    vec![Step::new("tables", "tables").with(Task::once(id, "Make tables", version, there, work))]
}

#[test]
fn killed_at_every_write_a_migration_and_an_upgrade_lose_and_double_nothing() {
    let counter = KillPoint::counting();
    let (_dir, host) = machine();
    apply(&host.dying(counter.clone()), migration("one")).unwrap();
    apply(&host.dying(counter.clone()), migration("two")).unwrap();
    for kill in 0..counter.count() {
        let (_dir, host) = machine();
        let point = KillPoint::at(kill);
        let _ = apply(&host.dying(point.clone()), migration("one"));
        apply(&host, migration("one")).unwrap_or_else(|e| panic!("killed at write {kill}: {e}"));
        let used = files::read_text(&host, TABLES).unwrap().unwrap() + "a user's row ";
        files::write(&host, Path::new(TABLES), used.as_bytes(), 0o600, None).unwrap();
        let _ = apply(&host.dying(KillPoint::at(kill)), migration("two"));
        apply(&host, migration("two")).unwrap_or_else(|e| panic!("killed at write {kill}: {e}"));
        let tables = files::read_text(&host, TABLES).unwrap();
        assert_eq!(tables.as_deref(), Some("one a user's row two "), "killed at write {kill}");
        assert!(!files::exists(&host, DUMP), "killed at write {kill}: the dump stays behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any answers A, then any answers B, killed anywhere on the way: undone, it is as before A.
    #[test]
    fn whatever_was_applied_and_killed_is_undone(
        a in proptest::collection::vec((0..6_u8, "[a-z]{0,9}"), 1..8),
        b in proptest::collection::vec((0..6_u8, "[a-z]{0,9}"), 1..8),
        kills in proptest::collection::vec(0..120_usize, 0..4),
    ) {
        let (_dir, host) = machine();
        let before = Tree::of(&host);
        for kill in &kills {
            let answers = if kill % 2 == 0 { &a } else { &b };
            let _ = apply(&host.dying(KillPoint::at(*kill)), steps_of(answers));
        }
        apply(&host, steps_of(&a)).unwrap();
        apply(&host, steps_of(&b)).unwrap();
        let again = common::run(&host, steps_of(&b), std::sync::Arc::new(Silent));
        prop_assert_eq!(again.changed, 0);
        undo_all(&host).unwrap();
        prop_assert_eq!(Tree::of(&host), before);
    }
}
