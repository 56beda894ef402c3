//! A Keystone that takes every connection and never answers.

use super::{LAB, Verdict};
use crate::machine::{Helper, inside, installer, within};
use std::time::Duration;

const UNIT: &str = "gpucloud-keystone.service";
const SILENT: &str = "import socket,sys\nserver=socket.create_server(('0.0.0.0',5000),backlog=500)\nprint('ready',flush=True)\n\
                      held=[]\nwhile True: held.append(server.accept())";

/// Runs our program inside for at most so many seconds; what it said.
fn ends_within(seconds: &str, command: &str) -> (i32, String) {
    let done = inside(LAB, &["timeout", "--signal=KILL", seconds, "gpucloud-install", command]);
    let said = format!("{}{}", done.out, done.err);
    assert!(done.code != 137 && done.code != 124, "{command} did not end within {seconds} s: {said}");
    (done.code, said)
}

/// `status` names it, `plan` does not wait for each question anew; with a Keystone that answers all is as before.
pub fn keystone() -> Verdict {
    inside(LAB, &["systemctl", "stop", UNIT]).expect(0);
    let silent = Helper::start(LAB, SILENT);
    let (code, said) = ends_within("90", "status");
    assert_eq!(code, 1, "{said}");
    assert!(said.to_lowercase().contains("keystone") || said.contains("identity"), "{said}");
    let (code, said) = ends_within("120", "plan");
    assert!(code != 0 || said.to_lowercase().contains("keystone"), "plan does not say that Keystone is silent: {said}");
    drop(silent);
    inside(LAB, &["systemctl", "start", UNIT]).expect(0);
    assert!(within(Duration::from_secs(60), || installer(LAB, &["status"]).code == 0), "not healthy again");
    Ok(())
}
