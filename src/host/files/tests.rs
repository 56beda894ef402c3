use super::*;
use std::os::unix::fs::symlink;
use std::time::Duration;

fn host() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("root"));
    fs::create_dir(host.real("/")).unwrap();
    (dir, host)
}

#[test]
fn a_write_replaces_the_whole_file_and_leaves_no_temporary() {
    let (_dir, host) = host();
    let path = Path::new("/etc/a/b.conf");
    write(&host, path, b"one", 0o640, None).unwrap();
    write(&host, path, b"two", 0o600, None).unwrap();
    assert_eq!(read(&host, path).unwrap().unwrap(), b"two");
    assert_eq!(status(&host, path).unwrap().unwrap().mode, 0o600);
    assert_eq!(list(&host, "/etc/a").unwrap(), ["b.conf"]);
}

#[test]
fn missing_parents_are_named_outermost_first() {
    let (_dir, host) = host();
    let missing = missing_parents(&host, Path::new("/a/b/c"));
    assert_eq!(missing, [Path::new("/a"), Path::new("/a/b")]);
}

/// A tree with links that would lead out of it: absolute, by `..`, in the middle; and a file outside and inside.
fn tree_with_links() -> (tempfile::TempDir, Host) {
    let (dir, host) = host();
    let real = |path: &str| host.real(path);
    fs::create_dir_all(real("/etc/inner")).unwrap();
    fs::write(dir.path().join("secret"), "outside").unwrap();
    fs::write(real("/secret"), "inside").unwrap();
    symlink(dir.path().join("secret"), real("/etc/absolute")).unwrap();
    symlink("../../../../../../../../secret", real("/etc/upwards")).unwrap();
    symlink("/", real("/etc/middle")).unwrap();
    symlink(dir.path(), real("/etc/out")).unwrap();
    (dir, host)
}

#[test]
fn links_of_a_root_lead_inside_it() {
    let (dir, host) = tree_with_links();
    let text = |path: &str| read_text(&host, path).unwrap();
    assert_eq!(text("/etc/absolute"), None, "an absolute link left the root");
    assert_eq!(text("/etc/upwards").as_deref(), Some("inside"));
    assert_eq!(text("/etc/middle/secret").as_deref(), Some("inside"));
    assert_eq!(text("/etc/out/secret"), None, "a link in the middle left the root");
    assert!(!leads_somewhere(&host, "/etc/out") && exists(&host, "/etc/out"));
    assert!(list(&host, "/etc/out").unwrap().is_empty());
    assert_eq!(list(&host, "/etc/middle").unwrap(), ["etc", "secret"]);
    assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "outside");
}

#[test]
fn nothing_is_changed_outside_a_root() {
    let (dir, host) = tree_with_links();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let through = Path::new("/etc/out/new");
    assert!(write(&host, through, b"x", 0o644, None).is_err());
    assert!(append(&host, through, b"x", false).is_err());
    assert!(make_link(&host, through, Path::new("x")).is_err());
    assert!(lock(&host, through).is_err());
    append(&host, Path::new("/etc/upwards"), b"!", false).unwrap();
    truncate(&host, Path::new("/etc/upwards"), 3).unwrap();
    assert_eq!(read(&host, Path::new("/secret")).unwrap().unwrap(), b"ins");
    for path in ["/etc/out/secret", "/etc/out"] {
        remove(&host, Path::new(path)).unwrap();
        remove_tree(&host, Path::new(path)).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
    assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "outside");
}

#[test]
fn a_link_is_replaced_and_removed_itself() {
    let (_dir, host) = tree_with_links();
    write(&host, Path::new("/etc/upwards"), b"new", 0o600, None).unwrap();
    assert_eq!(status(&host, Path::new("/etc/upwards")).unwrap().unwrap().link, None);
    make_dir(&host, Path::new("/etc/inner/deep"), 0o755, None).unwrap();
    make_link(&host, Path::new("/etc/inner/deep/up"), Path::new("/secret")).unwrap();
    remove_tree(&host, Path::new("/etc/inner")).unwrap();
    assert!(!exists(&host, "/etc/inner") && exists(&host, "/secret"));
}

#[test]
fn a_pipe_is_no_file() {
    let (_dir, host) = host();
    nix::unistd::mkfifo(&host.real("/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pipe = Path::new("/pipe");
    assert!(read(&host, pipe).unwrap_err().to_string().contains("no file"));
    assert!(append(&host, pipe, b"x", false).is_err(), "a pipe without a reader takes nothing, at once");
}

#[test]
fn a_lock_is_for_its_owner_alone_and_seen_by_who_looks() {
    let (_dir, host) = host();
    let (path, at_once) = (Path::new("/run/lock"), Duration::ZERO);
    write(&host, path, b"", 0o644, None).unwrap();
    let looks = [try_lock_shared(&host, path).unwrap(), try_lock_shared(&host, path).unwrap()];
    assert_eq!(status(&host, path).unwrap().unwrap().mode, 0o600);
    assert!(looks.iter().all(Option::is_some) && try_lock(&host, path, at_once).unwrap().is_none());
    drop(looks);
    let held = try_lock(&host, path, at_once).unwrap().unwrap();
    assert!(try_lock_shared(&host, path).unwrap().is_none() && try_lock(&host, path, at_once).unwrap().is_none());
    drop(held);
    drop(lock(&host, path).unwrap());
}

#[test]
fn a_lock_that_another_has_is_waited_for_in_vain_and_named() {
    let (_dir, host) = host();
    let path = Path::new("/run/lock");
    let tried = || lock_within(&host, path, "the end of the other", Duration::from_millis(100));
    let first = tried().unwrap();
    let error = tried().unwrap_err();
    assert_eq!(error.to_string(), "the end of the other did not happen within 0 s");
    drop(first);
    tried().unwrap();
}

#[test]
fn links_that_only_root_can_have_made_are_followed() {
    let live = Host::live();
    assert!(!read_text(&live, "/proc/mounts").unwrap().unwrap().is_empty());
    assert!(open(&live, "/proc/self/exe").unwrap().is_some());
    assert!(open(&live, "/proc/thread-self/ns/net").unwrap().is_some());
    assert!(!list(&live, "/").unwrap().is_empty() && status(&live, Path::new("/")).unwrap().unwrap().is_dir);
    assert!(directory_status(&live, Path::new("/proc/self/../self/root/")).unwrap().is_some());
}

/// A directory of root's with one that belongs to somebody else (65534, "nobody"), in which a link leads to a
/// directory of root's; `None` where only root could make that.
fn foreign_directory() -> Option<tempfile::TempDir> {
    if !accounts::is_root() {
        eprintln!("not tried: only root can give a directory away");
        return None;
    }
    // Nobody but root writes into /run, as everybody does into /tmp.
    let dir = tempfile::tempdir_in("/run").unwrap();
    let at = |path: &str| dir.path().join(path);
    for path in ["theirs", "ours", "ours/inner"] {
        fs::create_dir(at(path)).unwrap();
    }
    fs::write(at("ours/file"), "ours").unwrap();
    symlink(at("ours"), at("theirs/link")).unwrap();
    symlink(at("ours/file"), at("theirs/file")).unwrap();
    symlink(at("theirs"), at("by-root")).unwrap();
    std::os::unix::fs::chown(at("theirs"), Some(65534), Some(65534)).unwrap();
    Some(dir)
}

/// What every operation says of `dir/link/...` and of the link `dir/file`.
fn all_operations(dir: &Path) -> Vec<(&'static str, Result<()>)> {
    let live = Host::live();
    let (file, link, through) = (&dir.join("file"), &dir.join("link"), &dir.join("link/file"));
    vec![
        ("read", read(&live, file).map(drop)),
        ("read through", read(&live, through).map(drop)),
        ("status", status(&live, through).map(drop)),
        ("directory_status", directory_status(&live, link).map(drop)),
        ("list", list(&live, link).map(drop)),
        ("look_behind", look_behind(&live, link).map(drop)),
        ("write", write(&live, through, b"x", 0o644, None)),
        ("write_volatile", write_volatile(&live, through, b"x", 0o644)),
        ("make_dir", make_dir(&live, link, 0o777, None)),
        ("make_dir through", make_dir(&live, &dir.join("link/new"), 0o755, None)),
        ("set_permissions", set_permissions(&live, link, 0o777, Some(Owner { uid: 65534, gid: 65534 }))),
        ("make_link", make_link(&live, through, Path::new("/x"))),
        ("rename", rename(&live, through, &dir.join("mine"))),
        ("rename to", rename(&live, &dir.join("file"), &dir.join("link/mine"))),
        ("append", append(&live, file, b"x", false)),
        ("truncate", truncate(&live, file, 0)),
        ("copy", copy(&live, file, &dir.join("copy"), 0o644)),
        ("lock", lock(&live, file).map(drop)),
        ("try_lock", try_lock(&live, file, Duration::ZERO).map(drop)),
        ("put_in_place", put_in_place(&live, through, &dir.join("mine"))),
        ("sync_parent", sync_parent(&live, through)),
        ("remove", remove(&live, through)),
        ("remove_tree", remove_tree(&live, &dir.join("link/inner"))),
        ("remove_empty_dir", remove_empty_dir(&live, &dir.join("link/inner")).map(drop)),
        ("remove_empty_tree", remove_empty_tree(&live, &dir.join("link/inner")).map(drop)),
    ]
}

fn state_of(dir: &Path) -> (String, Vec<String>, u32) {
    let text = fs::read_to_string(dir.join("ours/file")).unwrap();
    (text, list(&Host::live(), dir.join("ours")).unwrap(), fs::metadata(dir.join("ours")).unwrap().mode())
}

#[test]
fn root_follows_no_link_that_somebody_else_can_have_made() {
    let Some(dir) = foreign_directory() else { return };
    let before = state_of(dir.path());
    for base in ["theirs", "by-root"] {
        for (what, result) in all_operations(&dir.path().join(base)) {
            let error = result.err().unwrap_or_else(|| panic!("{what} went through the link"));
            let (said, evidence, next) = (error.to_string(), error.evidence().unwrap(), error.next().unwrap());
            assert!(said.contains("theirs/") && said.contains("is a link"), "{what}: {said}");
            assert!(evidence.contains(" -> ") && next.contains("ls -ld"), "{what}: {evidence}: {next}");
        }
    }
    assert_eq!(state_of(dir.path()), before);
}

#[test]
fn what_others_can_write_is_told_by_owner_and_permissions() {
    let Some(dir) = foreign_directory() else { return };
    let theirs = dir.path().join("theirs");
    let link_is_followed = |uid: u32, gid: u32, mode: u32| {
        std::os::unix::fs::chown(&theirs, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(mode)).unwrap();
        read(&Host::live(), &theirs.join("link/file")).is_ok()
    };
    assert!(link_is_followed(0, 0, 0o755) && link_is_followed(0, 65534, 0o2755) && link_is_followed(0, 0, 0o775));
    for (uid, gid, mode) in [(65534, 0, 0o755), (0, 65534, 0o775), (0, 0, 0o777), (0, 0, 0o1777), (0, 65534, 0o3770)] {
        assert!(!link_is_followed(uid, gid, mode), "{uid} {gid} {mode:o}");
    }
}

#[test]
fn an_access_list_counts_where_it_lets_others_write() {
    let Some(dir) = foreign_directory() else { return };
    let theirs = dir.path().join("theirs");
    std::os::unix::fs::chown(&theirs, Some(0), Some(0)).unwrap();
    // Version 2; then tag, permissions and id of: owner, user 65534, group, mask, others (linux/posix_acl_xattr.h).
    let list = |mask: u16| -> Vec<u8> {
        let entries =
            [(0x01, 7, u32::MAX), (0x02, 7, 65534), (0x04, 5, u32::MAX), (0x10, mask, u32::MAX), (0x20, 5, u32::MAX)];
        let bytes = |(tag, permissions, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        [2_u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(bytes)).flatten().collect()
    };
    for (mask, is_followed) in [(7, false), (5, true)] {
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(&theirs, "system.posix_acl_access", &list(mask), flags) {
            Err(rustix::io::Errno::OPNOTSUPP) => return eprintln!("not tried: no access lists below /run"),
            set => set.unwrap(),
        }
        assert_eq!(read(&Host::live(), &theirs.join("link/file")).is_ok(), is_followed, "mask {mask}");
    }
}

#[test]
fn a_tree_of_somebody_else_goes_and_nothing_behind_its_links() {
    let Some(dir) = foreign_directory() else { return };
    let before = state_of(dir.path());
    let live = Host::live();
    let theirs = dir.path().join("theirs");
    write(&live, &theirs.join("deep/er/file"), b"x", 0o600, Some(Owner { uid: 65534, gid: 65534 })).unwrap();
    remove(&live, &theirs.join("file")).unwrap();
    remove_tree(&live, &theirs.join("link")).unwrap();
    symlink(dir.path().join("ours"), theirs.join("deep/er/link")).unwrap();
    remove_tree(&live, &theirs).unwrap();
    assert!(!exists(&live, &theirs));
    assert_eq!(state_of(dir.path()), before);
}

#[test]
fn nobody_can_swap_a_directory_for_a_link_in_time() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let Some(dir) = foreign_directory() else { return };
    let before = state_of(dir.path());
    let (at, link) = (dir.path().join("theirs/at"), dir.path().join("theirs/link"));
    fs::create_dir(&at).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (at, link, stop) = (at.clone(), link.clone(), stop.clone());
        move || {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                renameat2(AT_FDCWD, &at, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        }
    });
    let began = std::time::Instant::now();
    let (mut went, mut refused) = (0, 0);
    // On a busy machine both turns take their time.
    let is_enough = |went: u32, refused: u32| went > 0 && refused > 0 && began.elapsed() > Duration::from_millis(300);
    while !is_enough(went, refused) && began.elapsed() < Duration::from_secs(30) {
        match write(&Host::live(), &at.join("file"), b"x", 0o644, None) {
            Ok(()) => went += 1,
            Err(_) => refused += 1,
        }
        let _ = remove_tree(&Host::live(), &at.join("inner"));
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    swapper.join().unwrap();
    assert_eq!(state_of(dir.path()), before);
    assert!(went > 0 && refused > 0, "{went} written, {refused} refused");
}
