//! What a person sees when something fails: what, the line that proves it, and the next command.
//!
//! A new hint is one row of [`HINTS`]: text seen in an error or in a program's output -> what to type. What the
//! cloud's APIs say is in `cloud/explain.rs`, what stack.sh's log says in `engine/devstack/failures.rs`.
//! Where nothing tells the cause, the command that failed does: [`Failure::or_next`].

use crate::ending::Ending;
use crate::host;
use serde::{Deserialize, Serialize};

/// A failure as a person needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed, in words.
    pub what: String,
    /// The line or lines that prove it; may be empty.
    pub evidence: String,
    /// The next command to type, or what to change.
    pub next: String,
    /// What kind of end it is.
    #[serde(skip)]
    pub ending: Ending,
    /// Whether a service of the cloud did not answer, for a reason that another one may have.
    #[serde(skip)]
    pub unanswered: bool,
}

impl Failure {
    /// A failure of this machine or of the network.
    pub fn new(what: impl Into<String>, evidence: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            evidence: evidence.into(),
            next: next.into(),
            ending: Ending::Failed,
            unanswered: false,
        }
    }

    /// The same as another kind of end.
    pub fn with(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Wrong usage or configuration.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(what, "", next).with(Ending::Usage)
    }

    /// A mistake of our own.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(what, "", "this is a bug of gpucloud-install: report it")
    }

    /// A program that we ran for the person at the terminal ended with `code`: it said itself what was wrong.
    pub fn passed_on(code: i32) -> Self {
        Self::new("", "", "").with(Ending::Passed(u8::try_from(code).unwrap_or(1)))
    }

    /// The administrator said no.
    pub fn declined() -> Self {
        Self { what: "you said no; nothing was changed".into(), ..Self::interrupted() }
    }

    /// The administrator interrupted.
    pub fn interrupted() -> Self {
        Self::new("interrupted; nothing was changed", "", "start again when you are ready").with(Ending::Interrupted)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<host::Error> for Failure {
    fn from(error: host::Error) -> Self {
        let evidence = error.evidence().unwrap_or_default();
        let next = error.next().or_else(|| hint(&format!("{error}\n{evidence}"))).unwrap_or_default();
        let ending = if matches!(error, host::Error::Stopped) { Ending::Midway } else { Ending::Failed };
        Self { unanswered: error.may_pass(), ..Self::new(error.to_string(), evidence, next).with(ending) }
    }
}

/// Causes that are recognised in an error or in the output of a program, and what to do about them. First match wins.
const HINTS: &[(&str, &str)] = &[
    ("No space left on device", "free space below /var (df -h /var), then: gpucloud-install apply"),
    ("Read-only file system", "the disk is mounted read-only: look at `dmesg`, repair, then: gpucloud-install apply"),
    ("Temporary failure resolving", "names cannot be resolved: check /etc/resolv.conf, then: gpucloud-install apply"),
    ("Could not resolve", "names cannot be resolved: check /etc/resolv.conf, then: gpucloud-install apply"),
    ("Connection timed out", "a server does not answer: check network and proxy, then: gpucloud-install apply"),
    (
        "certificate verify failed",
        "TLS is intercepted or the clock is wrong: install your organisation's CA with update-ca-certificates and check `date`",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "TLS is intercepted or the clock is wrong: install your organisation's CA with update-ca-certificates and check `date`",
    ),
    (
        "Release file",
        "the package index is refused: check the clock (`date`) and /etc/apt/sources.list*, then: gpucloud-install apply",
    ),
    (
        "Unable to locate package",
        "a package source is missing: compare /etc/apt/sources.list* with docs/platforms.md, then: apt-get update",
    ),
    ("DO NOT MATCH THE HASHES", "a download was altered or is incomplete; try again: gpucloud-install apply"),
    ("hash mismatch", "a download was altered or is incomplete; try again: gpucloud-install apply"),
    ("Hash mismatch", "a download was altered or is incomplete; try again: gpucloud-install apply"),
    (
        "does not appear to be a git repository",
        "a repository is missing there: check cloud.git_base in gpucloud.toml, then: gpucloud-install apply",
    ),
    (
        "couldn't find remote ref",
        "the repository has no such branch or commit: bring the mirror up to date, then: gpucloud-install apply",
    ),
    (
        "not our ref",
        "the repository has no such branch or commit: bring the mirror up to date, then: gpucloud-install apply",
    ),
    (
        "Packages need to be removed",
        "a package of your own is in the way: see above which; remove it yourself, then: gpucloud-install apply",
    ),
    (
        "you have held broken packages",
        "see above which; where it is installed from a source that is no longer there (apt-cache policy NAME): \
         apt-get install --allow-downgrades NAME=VERSION; then: gpucloud-install apply",
    ),
    ("package lock", "end the program that holds the lock or wait for it, then: gpucloud-install apply"),
    (
        "Address already in use",
        "another program has this port: find it with `ss -ltnp`, stop it, then: gpucloud-install apply",
    ),
    (
        "Cannot allocate memory",
        "memory is short: see `free -h`, close what is not needed, then: gpucloud-install apply",
    ),
    (
        "Assertion failed on job",
        "an upgrade of the service's databases was cut off, and goes on with: gpucloud-install apply",
    ),
    (
        "Function not implemented",
        "a system call is missing (openat2 came with Linux 5.6): see `uname -r`; in a container, let its filter pass it",
    ),
    ("stopped on request", "gpucloud-install apply goes on where it stopped"),
];

/// What to do about an error whose text is `text`, where that tells it.
fn hint(text: &str) -> Option<String> {
    HINTS.iter().find(|(cause, _)| text.contains(cause)).map(|(_, next)| (*next).to_owned())
}

/// What can change something after a failure of `command` whose cause nothing told: another try of what may be tried
/// again, else where more is said.
fn next_after(command: &str) -> &'static str {
    match command {
        "install" | "apply" => "gpucloud-install apply tries again; what the programs said is in /var/log/gpucloud",
        "recover" => "gpucloud-install doctor looks for more; what the programs said is in /var/log/gpucloud",
        "uninstall" => "gpucloud-install uninstall goes on: what was taken back stays so",
        "instance" | "image" | "flavor" | "quota" => "gpucloud-install status says whether the cloud answers",
        "lab" => "gpucloud-install lab list shows what there is; lab down NAME takes one away",
        "network" => "gpucloud-install network probe goes the way hop by hop",
        "plan" | "status" | "doctor" => "what the system itself complains of: journalctl --boot --priority=err",
        _ => "the same with --verbose shows what the programs say",
    }
}

impl Failure {
    /// With something to do, where the failure itself told nothing.
    pub fn or_next(self, command: &str) -> Self {
        // A program that was run for the person said itself what to do.
        if !self.next.is_empty() || self.what.is_empty() {
            return self;
        }
        Self { next: next_after(command).to_owned(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_with_what_to_do() {
        let of = |text: &str| hint(text).unwrap();
        assert!(of("cannot write /x: No space left on device (os error 28)").contains("df -h /var"));
        assert!(of("cannot read /x: Function not implemented (os error 38)").contains("uname -r"));
    }

    #[test]
    fn each_hint_is_reached_and_names_something_to_type_or_to_look_at() {
        for (cause, next) in HINTS {
            assert_eq!(hint(cause).as_deref(), Some(*next), "{cause} is hidden by an earlier row");
            let names_a_thing = ["gpucloud-install", "`", "/", "upgrade"].iter().any(|sign| next.contains(sign));
            assert!(names_a_thing, "{cause}: {next}");
        }
    }

    #[test]
    fn a_failure_without_a_known_cause_leads_to_no_command_that_failed_the_same_way() {
        let unknown = || Failure::from(host::Error::protocol("ask", "nothing"));
        for command in ["apply", "recover", "uninstall", "instance", "lab", "network", "plan", "doctor", "init"] {
            let next = unknown().or_next(command).next;
            assert!(!next.is_empty());
            let itself = format!("gpucloud-install {command} ");
            assert!(["apply", "uninstall", "network", "lab"].contains(&command) || !next.contains(&itself), "{next}");
        }
        assert_eq!(Failure::passed_on(3).or_next("lab").next, "");
    }
}
