//! A Keystone that takes every connection and never answers.

use super::{LAB, Verdict};
use crate::machine::{inside, installer, within};
use std::time::Duration;

const UNIT: &str = "gpucloud-keystone.service";

/// Runs our program inside for at most so many seconds; its exit status, and what it said.
fn ends_within(seconds: &str, command: &str) -> (i32, String) {
    let done = inside(LAB, &["timeout", "--signal=KILL", seconds, "gpucloud-install", command]);
    let said = format!("{}{}", done.out, done.err);
    assert!(done.code != 137 && done.code != 124, "{command} did not end within {seconds} s: {said}");
    (done.code, said.to_lowercase())
}

/// Its processes stand still: the kernel takes connections for them. `status` names it, and `plan` does not wait for each
/// question anew; when it goes on, all is as before.
pub fn keystone() -> Verdict {
    inside(LAB, &["systemctl", "kill", "--signal=STOP", UNIT]).expect(0);
    let (status, plan) = (ends_within("90", "status"), ends_within("120", "plan"));
    inside(LAB, &["systemctl", "kill", "--signal=CONT", UNIT]).expect(0);
    assert_eq!(status.0, 1, "{}", status.1);
    for (_, said) in [&status, &plan] {
        assert!(said.contains("keystone") || said.contains("identity"), "{said}");
    }
    assert!(within(Duration::from_secs(60), || installer(LAB, &["status"]).code == 0), "not healthy again");
    assert_eq!(installer(LAB, &["plan", "--json"]).expect(0).json()["pending"], 0);
    Ok(())
}
