//! Two commands at once: the second waits, watches or refuses, and harms nothing.

use super::{ANSWERS, LAB, Verdict, network, run_is_active};
use crate::machine::{inside, installer, read, within, write};
use std::time::Duration;

/// How long a run that restarts all services may take.
const RUN_LIMIT: Duration = Duration::from_secs(180);

fn has_begun() -> bool {
    inside(LAB, &["grep", "--quiet", "step-started", "/run/gpucloud/events.jsonl"]).code == 0
}

/// What is asked for while an apply is at work.
pub fn during_an_apply() -> Verdict {
    let good = read(LAB, ANSWERS);
    let (one, two) = ("workers = 1", "workers = 2");
    write(LAB, ANSWERS, &if good.contains(one) { good.replace(one, two) } else { good.replace(two, one) });
    installer(LAB, &["apply", "--yes", "--detach"]).expect(0);
    assert!(within(Duration::from_secs(30), has_begun));
    let uninstall = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(uninstall.err.contains("a run is going on"), "{}", uninstall.err);
    let lost = installer(LAB, &["uninstall", "--yes", "--and-lose-all-instances"]).expect(3);
    assert!(lost.err.contains("a run is going on"), "{}", lost.err);
    inside(LAB, &["nft", "flush", "ruleset"]).expect(0);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| installer(LAB, &["apply", "--yes", "--json"]));
        let keep = scope.spawn(|| installer(LAB, &["network", "keep"]));
        let recover = installer(LAB, &["recover"]);
        assert!(run_is_active(LAB), "the run was over before all was asked");
        assert_eq!(recover.code, 3, "{}{}", recover.out, recover.err);
        let second = second.join().unwrap().expect(0);
        assert!(second.err.contains("watching it"), "{}", second.err);
        keep.join().unwrap().expect(0);
    });
    assert!(within(RUN_LIMIT, || !run_is_active(LAB)));
    network::is_whole_again("behind an apply beside which the rules were flushed");
    installer(LAB, &["status"]).expect(0);
    assert_eq!(installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    Ok(())
}
