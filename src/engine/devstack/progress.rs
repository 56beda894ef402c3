//! How far stack.sh is, told from its summary: `YYYY-MM-DD HH:MM:SS.mmm | text` for each phase, at the end
//! `stack.sh completed in N seconds.`, and that line only where all went well. Pure.

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The phase that is going on, in DevStack's words.
    pub phase: String,
    /// Hundredths of the whole that lie behind.
    pub percent: u64,
    /// Whether it said that it is complete.
    pub complete: bool,
}

/// Phases in their order, and hundredths of the time that each took in a fresh run of stable/2026.1.
const PHASES: [(&str, u64); 20] = [
    ("Installing package prerequisites", 13),
    ("Starting RabbitMQ", 2),
    ("Installing OpenStack project source", 37),
    ("Configuring and starting MySQL", 1),
    ("Starting Keystone", 11),
    ("Configuring Horizon", 7),
    ("Configuring Glance", 0),
    ("Configuring Neutron", 7),
    ("Configuring placement", 3),
    ("Configuring Nova", 3),
    ("Starting Nova API", 1),
    ("Starting OVN services", 1),
    ("Starting Neutron", 2),
    ("Starting Placement", 1),
    ("Creating initial neutron network elements", 4),
    ("Starting Nova", 2),
    ("Starting Glance", 1),
    ("Uploading images", 1),
    ("Starting Horizon", 3),
    ("stack.sh completed", 0),
];

/// Reads a summary.
pub fn read(summary: &str) -> Progress {
    let mut now = Progress { phase: "Beginning".into(), percent: 0, complete: false };
    let mut seen = 0;
    for text in summary.lines().filter_map(|line| line.split_once(" | ").map(|(_, text)| text.trim())) {
        // From the last one seen: "Starting Nova API" comes before "Starting Nova".
        let known = PHASES.iter().enumerate().skip(seen).find(|(_, (name, _))| text.starts_with(name));
        if let Some((index, _)) = known {
            seen = index;
            now.percent = PHASES.iter().take(index).map(|(_, share)| share).sum();
            now.phase = text.to_owned();
        }
        now.complete = text.starts_with("stack.sh completed in ");
    }
    if now.complete {
        now.percent = 100;
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = include_str!("../../../tests/fixtures/devstack/complete.summary");

    fn until(text: &str) -> Progress {
        let end = SUMMARY.find(text).unwrap() + text.len();
        read(&SUMMARY[..end])
    }

    #[test]
    fn a_real_run_goes_forward_to_its_end() {
        let mut last = 0;
        for (end, _) in SUMMARY.match_indices('\n') {
            let now = read(&SUMMARY[..end]);
            assert!(now.percent >= last, "{now:?} after {last}");
            last = now.percent;
        }
        assert_eq!((read(SUMMARY).percent, read(SUMMARY).complete), (100, true));
    }

    #[test]
    fn phases_with_one_beginning_are_told_apart() {
        assert_eq!(until("Starting Nova API").percent + 1 + 1 + 2 + 1 + 4, until("Starting Nova\n").percent);
        assert!(!until("Starting Horizon").complete);
    }
}
