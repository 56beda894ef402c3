//! The DevStack engine around stack.sh, with a stand-in for that: a small script in a small repository. It shows that
//! account, sudo, clones, unit, attaching, failure and success work, and proves nothing about DevStack.

use super::Verdict;
use crate::machine::tree::{difference, first_tree, tree};
use crate::machine::{inside, installer, note_secrets, ours, read, root, within, write};
use std::time::Duration;

pub const LAB: &str = "suite-stand";
const BRANCH: &str = "stand-in";
const REPOSITORIES: [&str; 8] =
    ["devstack", "requirements", "keystone", "glance", "nova", "neutron", "placement", "horizon"];

/// Fails as the file `mode` beside it says, or takes its time and completes.
const STACK_SH: &str = r#"#!/bin/bash
set -ex
cd "$(dirname "$0")"
source <(sed -n '/^\[\[local|localrc\]\]/,/^\[\[post/p' local.conf | grep -v '^\[\[' | grep -v '_service ')
[ "$(id -un)" = stack ] && [ "$HOME" = /opt/stack ] && sudo -n true
mkdir -p "$LOGDIR"
log=$LOGFILE.$(date +%s)
touch "$log" "$log.summary"
ln -sf "$log" "$LOGFILE"
ln -sf "$log.summary" "$LOGFILE.summary"
say() { echo "$(date '+%F %T.000') | $1" >>"$log.summary"; }
echo "$(date '+%F %T.000') | + stack.sh:main:1 : echo $ADMIN_PASSWORD" >>"$log"
say "Installing package prerequisites"
if [ -e /opt/stack/full ]; then
    echo "$(date '+%F %T.000') | OSError: [Errno 28] No space left on device" >>"$log"
    echo "$(date '+%F %T.000') | Error on exit" >>"$log"
    exit 1
fi
sleep 12
say "Starting Keystone"
sleep 3
say "stack.sh completed in 15 seconds."
echo "The password: $ADMIN_PASSWORD"
"#;

fn make_repositories() {
    inside(LAB, &["sh", "-c", "apt-get -qq update && apt-get -qq -y --no-install-recommends install git >/dev/null"])
        .expect(0);
    write(LAB, "/root/stack.sh", STACK_SH);
    let make = format!(
        "set -e; git config --global user.name lab; git config --global user.email lab@example.org
         for name in {}; do
             git init -q -b {BRANCH} /root/source; cp /root/stack.sh /root/source/; chmod +x /root/source/stack.sh
             echo $name >/root/source/name; git -C /root/source add .; git -C /root/source commit -qm stand-in; git -C /root/source tag 1.0.0
             git clone -q --bare /root/source /srv/git/openstack/$name.git; rm -r /root/source
         done; rm /root/.gitconfig /root/stack.sh",
        REPOSITORIES.join(" ")
    );
    inside(LAB, &["bash", "-c", &make]).expect(0);
}

/// A mirror of them: it stops at one that is missing, goes on, is complete, and damage is seen.
fn mirrored() {
    let create = || installer(LAB, &["mirror", "create", "/srv/mirror", "--from", "/srv/git", "--branch", BRANCH]);
    let verify = || installer(LAB, &["mirror", "verify", "/srv/mirror", "--json"]);
    inside(LAB, &["mv", "/srv/git/openstack/glance.git", "/srv/git/glance.git"]).expect(0);
    let stopped = create();
    assert!(stopped.code != 0 && stopped.err.contains("mirror create goes on"), "{}", stopped.err);
    verify().expect(1);
    inside(LAB, &["mv", "/srv/git/glance.git", "/srv/git/openstack/glance.git"]).expect(0);
    let went_on = create();
    assert!(went_on.code == 0 && went_on.err.contains("mirror: 2 steps"), "{}", went_on.err);
    assert!(!create().expect(0).err.contains("mirror:"), "it fetched again");
    let whole = verify().expect(0).json();
    assert_eq!(whole["repositories"].as_array().unwrap().len(), REPOSITORIES.len());
    assert_eq!(whole["repositories"][0]["detail"], "1.0.0");
    inside(LAB, &["sh", "-c", "rm -r /srv/mirror/openstack/keystone.git/objects/*"]).expect(0);
    let damaged = verify().expect(1).json();
    let bad = damaged["repositories"].as_array().unwrap().iter().filter(|one| one["ok"] == false);
    assert_eq!(bad.map(|one| one["repository"].as_str().unwrap()).collect::<Vec<_>>(), ["openstack/keystone"]);
    create().expect(0);
    verify().expect(0);
}

fn answers() {
    installer(LAB, &["init", "--profile", "lab"]).expect(0);
    let path = root(LAB).join("etc/gpucloud/gpucloud.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // No resources: a stand-in has no APIs that could make them.
    let text = text.split("\n[resources]").next().unwrap();
    let change = |line: &str| match line.split(" = ").next() {
        Some("engine") => "engine = \"devstack\"".to_owned(),
        Some("git_base") => "git_base = \"/srv/mirror\"".to_owned(),
        Some("branch") => format!("branch = \"{BRANCH}\""),
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(change).collect();
    std::fs::write(path, text.join("\n") + "\n").unwrap();
}

fn stack_is_active() -> bool {
    inside(LAB, &["systemctl", "is-active", "--quiet", "gpucloud-stack.service"]).code == 0
}

fn wait_until(done: impl Fn() -> bool) {
    assert!(within(Duration::from_secs(60), done));
}

fn runs() -> usize {
    inside(LAB, &["sh", "-c", "ls /opt/stack/logs/stack/*.summary"])
        .out
        .lines()
        .filter(|l| !l.ends_with("log.summary"))
        .count()
}

pub fn around_stack_sh() -> Verdict {
    ours(&["lab", "up", "--name", LAB, "--no-install", "--yes"]).expect(0);
    make_repositories();
    mirrored();
    answers();
    let before = first_tree(LAB);
    // A mirror that misses a repository is said, with what to do.
    inside(LAB, &["mv", "/srv/mirror/openstack/nova.git", "/srv/mirror/nova.git"]).expect(0);
    let missing = installer(LAB, &["apply", "--yes"]).expect(4);
    assert!(missing.err.contains("nova.git") && missing.err.contains("cloud.git_base"), "{}", missing.err);
    inside(LAB, &["mv", "/srv/mirror/nova.git", "/srv/mirror/openstack/nova.git"]).expect(0);
    // A failure of stack.sh comes in words.
    inside(LAB, &["touch", "/opt/stack/full"]).expect(0);
    let full = installer(LAB, &["apply", "--yes"]).expect(4);
    assert!(full.err.contains("the disk is full") && full.err.contains("No space left on device"), "{}", full.err);
    assert_eq!(runs(), 1);
    inside(LAB, &["rm", "/opt/stack/full"]).expect(0);
    // The run is killed twice; stack.sh is not, is watched again, and at last ends while nobody watches.
    for _ in 0..2 {
        installer(LAB, &["apply", "--yes", "--detach"]).expect(0);
        wait_until(stack_is_active);
        inside(LAB, &["systemctl", "kill", "--signal=KILL", "gpucloud-run.service"]).expect(0);
        wait_until(|| !super::run_is_active(LAB));
        assert!(stack_is_active(), "stack.sh died with the run");
    }
    wait_until(|| !stack_is_active());
    // There is no cloud behind a stand-in: the run goes on to the configuration of services, and stops there.
    let attached = installer(LAB, &["apply", "--yes"]).expect(4);
    assert!(attached.err.contains("Run stack.sh done"), "{}", attached.err);
    assert!(attached.err.contains("/etc/nova/nova.conf"), "{}", attached.err);
    assert_eq!(runs(), 2, "it was started anew");
    let again = installer(LAB, &["plan"]).expect(0).out;
    assert!(!again.contains("+ Run stack.sh"), "{again}");
    passwords_are_hidden();
    assert_eq!(inside(LAB, &["stat", "-c", "%a %U", "/opt/stack/logs"]).out.trim(), "750 stack");
    note_secrets(LAB);
    edits_are_kept();
    let left = difference(&before, &tree(LAB));
    assert!(left.is_empty(), "{left:#?}");
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    Ok(())
}

/// What an administrator wrote since stack.sh left its files is kept beside them when those are put back.
fn edits_are_kept() {
    let hosts = read(LAB, "/etc/hosts");
    write(LAB, "/etc/hosts", &format!("{hosts}192.0.2.9 friend\n"));
    installer(LAB, &["uninstall", "--yes"]).expect(0);
    let kept = read(LAB, "/etc/hosts.gpucloud-kept");
    assert!(kept.contains("192.0.2.9 friend"), "the edit of /etc/hosts is lost: {kept:?}");
    std::fs::remove_file(root(LAB).join("etc/hosts.gpucloud-kept")).unwrap();
}

/// The password is looked for by a file that holds it: on a command line it would be found as well.
fn passwords_are_hidden() {
    let shell = |script: &str| inside(LAB, &["sh", "-c", script]).out;
    shell("umask 077; sed -n 's/^admin = \"\\(.*\\)\"/\\1/p' /etc/gpucloud/secrets.toml >/run/password");
    assert_eq!(shell("wc -l </run/password").trim(), "1");
    let found = shell("grep -rlF -f /run/password /var/log /run/gpucloud /var/lib/gpucloud");
    assert_eq!(found, "", "a password is in {found}");
    let open = shell(
        "find /opt/stack /etc -type f -perm -o=r -exec grep -lF -f /run/password {} + | while read -r file; do
        runuser -u nobody -- cat $file >/dev/null 2>&1 && echo $file; done",
    );
    assert_eq!(open, "", "anybody reads a password in {open}");
    assert_eq!(shell("journalctl --no-pager | grep -F -f /run/password"), "");
}
