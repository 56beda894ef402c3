//! Key pairs in the home of an administrator, who may have put links there.

use crate::machine::{Done, inside, installer, read, write};
use libtest_mimic::Failed;

const ANSWERS: &str = "/etc/gpucloud/gpucloud.toml";
/// Where a line of an administrator's would run as root at the next apt.
const ROOT_ONLY: &str = "/etc/apt/apt.conf.d";

/// The answers with `ann` as the administrator, for whom a pair is made; the old pair is given.
fn with_ann(answers: &str) -> String {
    let changed = |line: &str| match line.split(" = ").next() {
        Some("administrators") => "administrators = [\"ann\"]".to_owned(),
        _ => line.replace(
            "{ name = \"demo\" }",
            "{ name = \"demo\", public_key = \"/root/.ssh/gpucloud-demo.pub\" },\n    { name = \"linked\" }",
        ),
    };
    answers.lines().map(changed).collect::<Vec<_>>().join("\n") + "\n"
}

fn apply(lab: &str) -> Done {
    installer(lab, &["apply", "--yes", "--json"])
}

/// An administrator whose `~/.ssh` leads to where only root may write: nothing is written there, root keeps the pair and
/// says so. One whose `~/.ssh` leads to a folder of that user's own gets the next pair, made by that user. On a standing
/// cloud of the `lab` profile; it leaves that cloud with its own answers, and key pairs that `uninstall` takes.
pub fn links_in_a_home(lab: &str) -> Result<(), Failed> {
    let sh = |script: &str| inside(lab, &["sh", "-c", script]).expect(0).out;
    let before = read(lab, ANSWERS);
    assert!(with_ann(&before).contains("linked") && before.contains("administrators = []"), "{before}");
    // The first group is not called like the user.
    sh("useradd --create-home --gid users ann");
    sh(&format!("ln -s {ROOT_ONLY} /home/ann/.ssh"));
    let root_only = sh(&format!("ls -lA {ROOT_ONLY}"));
    write(lab, ANSWERS, &with_ann(&before));
    let kept = apply(lab).expect(0);
    assert!(kept.err.contains("ann cannot write a key below /home/ann"), "{}", kept.err);
    assert_eq!(sh("stat -c '%n %a %U' /root/.ssh/gpucloud-linked"), "/root/.ssh/gpucloud-linked 600 root\n");
    assert_eq!(sh(&format!("ls -lA {ROOT_ONLY}")), root_only, "something was written where only root may");
    assert_eq!(apply(lab).expect(0).json()["changed"], 0);
    sh("rm /home/ann/.ssh; su ann -c 'mkdir -m 700 ~/keys && ln -s keys ~/.ssh'");
    write(lab, ANSWERS, &with_ann(&before).replace("\"linked\" }", "\"linked\" }, { name = \"owned\" }"));
    apply(lab).expect(0);
    let made = sh("cd /home/ann/keys && stat -c '%n %a %U %G' *");
    assert_eq!(made, "gpucloud-owned 600 ann users\ngpucloud-owned.pub 644 ann users\n");
    assert_eq!(apply(lab).expect(0).json()["changed"], 0);
    write(lab, ANSWERS, &before);
    apply(lab).expect(0);
    // What su began for ann stays for some seconds.
    sh("timeout 60 sh -c 'until userdel --remove ann 2>/dev/null; do sleep 1; done'");
    assert_eq!(apply(lab).expect(0).json()["changed"], 0);
    Ok(())
}
