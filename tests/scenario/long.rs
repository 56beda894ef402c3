//! What takes too long for every run: `./test.sh --long`.

use super::{Verdict, run_is_active};
use crate::machine::{Random, inside, installer, ours};
use std::time::Duration;

/// How many installations are killed once each.
const KILLS: usize = 40;
/// About as long as an installation takes, in milliseconds; a kill behind its end kills nothing and is counted so.
const SPAN: u64 = 80_000;
pub const LAB: &str = "suite-kill";

/// Each installation is killed once, at a random instant, and then let through. `FIRST=35` goes on with the 35th of the
/// same seed.
pub fn single_kills() -> Verdict {
    let mut random = Random::seeded();
    let first = std::env::var("FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(1);
    for n in 1..=KILLS {
        let instant = random.below(SPAN);
        if n < first {
            continue;
        }
        ours(&["lab", "down", LAB, "--yes"]);
        ours(&["lab", "up", "--name", LAB, "--no-install", "--yes"]).expect(0);
        installer(LAB, &["init", "--profile", "lab"]).expect(0);
        installer(LAB, &["apply", "--yes", "--detach"]).expect(0);
        std::thread::sleep(Duration::from_millis(instant));
        let killed = inside(LAB, &["systemctl", "kill", "--signal=KILL", "gpucloud-run.service"]).code == 0;
        while run_is_active(LAB) {
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("kill {n} of {KILLS} after {instant} ms: {}", if killed { "killed" } else { "it was done before" });
        installer(LAB, &["apply", "--yes"]).expect(0);
        installer(LAB, &["status"]).expect(0);
        assert_eq!(installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    }
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    Ok(())
}
