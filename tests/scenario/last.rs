//! Behind all groups: what must not have been seen, and what must not be left.

use super::Verdict;
use crate::groups::saved;
use crate::machine::sampler::Sampler;
use crate::machine::tree::difference;
use crate::machine::{self, PREFIX, ours, outside, secrets};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

static SAMPLER: OnceLock<Sampler> = OnceLock::new();
static OUTSIDE: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// How many programs the sampler is tried with, which end at once.
const SHORT_PROGRAMS: usize = 20;

/// Before the first group: from now on every command line is looked at, and what this machine is like is remembered.
pub fn begin() {
    // What a killed suite left would be taken for this one's.
    for lab in machine::labs().iter().filter(|name| name.starts_with(PREFIX)) {
        ours(&["lab", "down", lab, "--yes"]);
    }
    SAMPLER.get_or_init(Sampler::start);
    OUTSIDE.get_or_init(outside);
}

/// No secret of any host stood on a command line, at any time.
pub fn no_secret_on_a_command_line() -> Verdict {
    for n in 0..SHORT_PROGRAMS {
        assert!(Command::new("true").arg(format!("short-program-{n}")).status()?.success());
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    let sampler = SAMPLER.get().ok_or("nobody looked")?;
    let seen = sampler.seen();
    let short = seen.iter().filter(|line| line.contains("short-program-")).count();
    eprintln!("{} command lines; {}; of {SHORT_PROGRAMS} short ones, {short}", seen.len(), sampler.how());
    assert!(short > 0 || !sampler.is_told(), "the kernel tells of programs, and none is seen");
    let secrets = secrets();
    for line in &seen {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "a secret is on a command line");
    }
    Ok(())
}

/// The suite's labs are gone, and with them all they brought.
pub fn nothing_is_left() -> Verdict {
    let before = OUTSIDE.get().ok_or("nobody looked")?;
    let mut after = outside();
    // Who has a lab of his own has forwarding on.
    after.retain(|what, _| before.contains_key(what));
    let mut before = before.clone();
    before.retain(|what, _| after.contains_key(what));
    let left = difference(&before, &after);
    assert!(left.is_empty(), "{left:#?}");
    if std::env::var_os("GPUCLOUD_TEST_ONLY").is_none() {
        saved::forget();
    }
    Ok(())
}
