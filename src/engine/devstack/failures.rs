//! Why stack.sh failed, from its log: known causes with the line that proves them and the next command. Pure.
//!
//! A new cause is one row of [`CAUSES`], with a line of a real log in the test below.

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackFailure {
    /// In words.
    pub what: String,
    /// The line or lines that prove it.
    pub evidence: String,
    /// The next command.
    pub next: String,
    /// Whether another try may help by itself.
    pub may_pass: bool,
}

/// A cause that is known.
struct Cause {
    /// Any of these in a line tells it; the first tells most.
    signs: &'static [&'static str],
    what: &'static str,
    next: &'static str,
    may_pass: bool,
}

/// In the order in which they are looked for: the deeper cause first.
const CAUSES: &[Cause] = &[
    Cause {
        signs: &["No space left on device"],
        what: "the disk is full",
        next: "free space (df -h / /opt /var), then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &["Cannot allocate memory", "MemoryError", "Out of memory: Killed process"],
        what: "memory is short: DevStack needs 8 GiB, better 16",
        next: "see free -h, close what is not needed, then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &["run this script anyway run with FORCE=yes"],
        what: "this DevStack does not know this system",
        next: "devstack.branch in gpucloud.toml: a branch that knows it; or devstack.force = true",
        may_pass: false,
    },
    Cause {
        signs: &["Invalid chars in password"],
        what: "a password has a character that DevStack does not take",
        next: "letters and digits only in /etc/gpucloud/secrets.toml, then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &["Could not get lock /var/lib/dpkg", "Unable to acquire the dpkg frontend lock"],
        what: "another program installs packages",
        next: "wait for it (ps -e | grep -E 'apt|dpkg'), then: gpucloud-install apply",
        may_pass: true,
    },
    Cause {
        signs: &["Temporary failure in name resolution", "Temporary failure resolving", "Could not resolve host"],
        what: "names cannot be resolved",
        next: "check /etc/resolv.conf, then: gpucloud-install apply",
        may_pass: true,
    },
    Cause {
        signs: &["git call failed", "Could not read from remote repository", "does not appear to be a git repository"],
        what: "a repository could not be cloned",
        next: "check cloud.git_base in gpucloud.toml, then: gpucloud-install apply",
        may_pass: true,
    },
    Cause {
        signs: &["ResolutionImpossible", "has conflicting dependencies", "THESE PACKAGES DO NOT MATCH THE HASHES"],
        what: "Python packages do not fit together",
        next: "the branch and its requirements must belong together: devstack.branch, and a mirror that is complete",
        may_pass: false,
    },
    Cause {
        signs: &[
            "Read timed out",
            "Connection timed out",
            "ReadTimeoutError",
            "Connection reset by peer",
            "IncompleteRead",
        ],
        what: "a download broke off",
        next: "gpucloud-install apply",
        may_pass: true,
    },
    Cause {
        signs: &["Address already in use"],
        what: "another program has a port that the cloud needs",
        next: "find it with ss -ltnp, stop it, then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &[
            "keystone did not start",
            "Could not determine a suitable URL for the plugin",
            "Failed to discover available identity versions",
        ],
        what: "Keystone did not answer",
        next: "journalctl -u devstack@keystone; journalctl -u apache2; then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &["nova-compute did not start", "is_nova_ready", "wait_for_compute"],
        what: "the hypervisor did not report to Nova in time",
        next: "journalctl -u devstack@n-cpu; then: gpucloud-install apply",
        may_pass: false,
    },
    Cause {
        signs: &["Unable to locate package", "has no installation candidate"],
        what: "a package source is missing",
        next: "compare /etc/apt/sources.list* with docs/platforms.md, then: gpucloud-install apply",
        may_pass: false,
    },
];

/// Lines of the log that an unknown failure shows.
const LAST_LINES: usize = 8;

/// Explains a log; `place` is where it lies.
pub fn explain(log: &str, place: &str) -> StackFailure {
    let lines = || log.lines().filter(|line| !is_echo(line));
    let found = CAUSES.iter().find_map(|cause| {
        // Of several lines, the last one: the first may have been overcome.
        let line = cause.signs.iter().find_map(|sign| lines().rfind(|line| line.contains(sign)))?;
        Some((cause, line))
    });
    match found {
        Some((cause, line)) => StackFailure {
            what: format!("stack.sh failed: {}", cause.what),
            evidence: text_of(line).to_owned(),
            next: cause.next.to_owned(),
            may_pass: cause.may_pass,
        },
        None => StackFailure {
            what: "stack.sh failed".into(),
            evidence: last_errors(log).join("\n"),
            next: format!("the whole log: {place}; then: gpucloud-install apply"),
            may_pass: false,
        },
    }
}

/// Lines that bash prints of what it is about to do, in which every error text of a script stands.
fn is_echo(line: &str) -> bool {
    text_of(line).starts_with('+')
}

/// A line without its time.
fn text_of(line: &str) -> &str {
    line.split_once(" | ").map_or(line, |(_, text)| text).trim()
}

/// The lines before the first "Error on exit" that say more than what bash echoes.
fn last_errors(log: &str) -> Vec<&str> {
    let told: Vec<&str> = log.lines().take_while(|line| !line.contains("Error on exit")).collect();
    let errors = told.iter().rev().filter(|line| !is_echo(line)).map(|line| text_of(line));
    let mut last: Vec<&str> = errors.filter(|text| !text.is_empty()).take(LAST_LINES).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as bash, DevStack and the programs print it, with this line before its end.
    fn log_with(line: &str) -> String {
        let stamp = "2026-11-25 03:26:34.968";
        format!(
            "{stamp} | + lib/nova:install_nova:921 :   echo 'No space left on device'\n{stamp} | {line}\n\
             {stamp} | + ./stack.sh:err_trap:560 :   local r=1\n{stamp} | Error on exit\n{stamp} | World dumping...\n"
        )
    }

    #[test]
    fn known_causes_are_named_with_their_line() {
        for (line, cause, may_pass) in [
            ("OSError: [Errno 28] No space left on device", "disk is full", false),
            ("[ERROR] ./stack.sh:231 If you wish to run this script anyway run with FORCE=yes", "does not know", false),
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (apt)",
                "installs packages",
                true,
            ),
            ("fatal: unable to access 'https://opendev.org/': Could not resolve host: opendev.org", "names", true),
            ("[Call Trace]; git call failed: [git clone https://opendev.org/x]", "could not be cloned", true),
            ("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io", "do not fit together", false),
            (
                "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool: Read timed out.",
                "broke off",
                true,
            ),
            ("OSError: [Errno 98] Address already in use", "port", false),
            ("[ERROR] lib/keystone:603 keystone did not start", "Keystone", false),
            ("Error: nova-compute did not start", "hypervisor", false),
            ("MemoryError", "memory", false),
        ] {
            let explained = explain(&log_with(line), "/x.log");
            assert!(explained.what.contains(cause), "{line}: {}", explained.what);
            assert_eq!((explained.evidence.as_str(), explained.may_pass), (line, may_pass));
        }
    }

    /// The ends of logs of a real stack.sh (stable/2026.1), each made to fail in this way.
    #[test]
    fn captured_logs_are_explained() {
        for (log, cause, evidence) in [
            (
                include_str!("../../../tests/fixtures/devstack/failed/unsupported.log"),
                "does not know this system",
                "FORCE=yes",
            ),
            (include_str!("../../../tests/fixtures/devstack/failed/names.log"), "names cannot", "name resolution"),
            (include_str!("../../../tests/fixtures/devstack/failed/lock.log"), "another program", "held by process"),
            (include_str!("../../../tests/fixtures/devstack/failed/clone.log"), "repository", "keystone.git"),
            (
                include_str!("../../../tests/fixtures/devstack/failed/constraints.log"),
                "do not fit together",
                "ResolutionImpossible",
            ),
        ] {
            let explained = explain(log, "/x.log");
            assert!(explained.what.contains(cause), "{cause}: {explained:?}");
            assert!(explained.evidence.contains(evidence), "{evidence}: {explained:?}");
        }
    }

    #[test]
    fn what_bash_echoes_is_no_cause_and_an_unknown_one_shows_the_last_lines() {
        let explained = explain(&log_with("frobnicate: wrong phase of the moon"), "/opt/stack/logs/x.log");
        assert_eq!(explained.what, "stack.sh failed");
        assert_eq!(explained.evidence, "frobnicate: wrong phase of the moon");
        assert!(explained.next.contains("/opt/stack/logs/x.log"));
    }
}
