//! Programs: the only place that starts one.
//!
//! Arguments are passed as arguments, never through a shell. A secret goes in by environment or standard input, never
//! as an argument. A program gets its own process group, so that a stop reaches its children too; on a host that must
//! come [to its end](Host::to_its_end) it is let alone.

use super::{Error, Host, Result, files};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How much of a failed program's output an error carries.
const TAIL_LINES: usize = 20;
/// After a polite SIGTERM, how long until SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long to wait for the end of the output after the program itself ended: a daemon that it left behind may hold
/// the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// A program to be run, with what it is given.
#[derive(Clone)]
pub struct Command {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Input,
    limit: Option<Duration>,
    quiet: bool,
    clean: bool,
}

/// What a program reads on standard input.
#[derive(Clone)]
enum Input {
    Empty,
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Command {
    /// `program` is looked up on PATH, or absolute.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Input::Empty,
            limit: None,
            quiet: false,
            clean: false,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable for the program alone; may be a secret.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The program gets the variables of [`Command::env`] and no other.
    pub fn clean_environment(mut self) -> Self {
        self.clean = true;
        self
    }

    /// What the program reads on standard input; may be a secret. Without it, standard input is empty.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(input.into());
        self
    }

    /// A file that the program reads on standard input: one that is too large for memory.
    pub fn stdin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin = Input::File(path.into());
        self
    }

    /// Ends the program after this time.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Does not pass its output lines on.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The command line as a person would type it; holds no secret by construction.
    pub fn shown(&self) -> String {
        std::iter::once(&self.program).chain(&self.args).map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it, passing its output on line by line.
    ///
    /// # Errors
    /// Ends unsuccessfully, cannot be started, was stopped, took too long.
    pub fn run(&self, host: &Host) -> Result<()> {
        let (status, tail) = self.spawn_and_follow(host)?;
        if status.success() { Ok(()) } else { Err(self.failed(host, status, &tail)) }
    }

    /// Runs it with its standard output in a new file: one that is too large for memory.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn write_to(&self, host: &Host, path: &std::path::Path, mode: u32) -> Result<()> {
        host.require_live(&self.shown())?;
        host.go_on()?;
        host.write_point()?;
        let file = files::open_to_append(host, path, mode)?;
        let (reader, writer) = os_pipe::pipe().map_err(|e| self.not_started(e))?;
        let handle = {
            let expression = self.expression()?.stdout_file(file).stderr_file(writer);
            expression.start().map_err(|e| self.not_started(e))?
        };
        let follower = Follower::start(host, reader, self.quiet);
        let status = self.wait(host, &handle)?;
        let tail = follower.finish();
        if status.success() { Ok(()) } else { Err(self.failed(host, status, &tail)) }
    }

    /// Runs it and returns its exit status, 128 + n for signal n; its output lines are passed on.
    pub fn exit_code(&self, host: &Host) -> Result<i32> {
        let (status, _) = self.spawn_and_follow(host)?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn read(&self, host: &Host) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read_bytes(host)?).into_owned())
    }

    /// The same, where it need not be text.
    pub fn read_bytes(&self, host: &Host) -> Result<Vec<u8>> {
        let output = self.output(host)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let all = [output.stdout, output.stderr].concat();
        let tail: Vec<String> = String::from_utf8_lossy(&all).lines().map(str::to_owned).collect();
        Err(self.failed(host, output.status, &tail))
    }

    /// Runs it and returns everything, whatever its exit status.
    pub fn output(&self, host: &Host) -> Result<Output> {
        host.require_live(&self.shown())?;
        host.write_point()?;
        let expression = self.expression()?.stdout_capture().stderr_capture();
        let handle = expression.start().map_err(|e| self.not_started(e))?;
        self.wait(host, &handle)?;
        handle.into_output().map_err(|e| self.not_started(e))
    }

    /// Runs it on our own terminal and returns its exit status, 128 + n for signal n.
    pub fn interactive(&self, host: &Host) -> Result<i32> {
        host.require_live(&self.shown())?;
        let output = self.in_environment().run().map_err(|e| self.not_started(e))?;
        Ok(output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)))
    }

    /// The same command as the argument of `wrapper`; its environment goes along as options `--setenv`.
    pub fn wrapped_by(self, wrapper: Command) -> Self {
        let mut args = wrapper.args;
        let end = args.pop();
        args.extend(self.env.iter().map(|(name, value)| format!("--setenv={name}={value}")));
        args.extend(end);
        args.push(self.program);
        args.extend(self.args);
        Self { args, ..wrapper }
    }

    /// Starts it in a session of its own and leaves it alone: it outlives this program. Its output goes to `log`.
    pub fn detach(&self, host: &Host, log: &std::path::Path) -> Result<u32> {
        host.require_live(&self.shown())?;
        let file = files::open_to_append(host, log, 0o644)?;
        let handle =
            self.expression()?.stderr_to_stdout().stdout_file(file).start().map_err(|e| self.not_started(e))?;
        Ok(handle.pids().first().copied().unwrap_or(0))
    }

    fn expression(&self) -> Result<duct::Expression> {
        let speaks = |expression: duct::Expression| expression.env("LC_ALL", LANGUAGE).env_remove("LANGUAGE");
        let expression = if self.clean { self.in_environment() } else { speaks(self.in_environment()) };
        let expression = expression.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
        let not_there = || self.not_started(std::io::ErrorKind::NotFound.into());
        Ok(match &self.stdin {
            Input::Bytes(input) => expression.stdin_bytes(input.clone()),
            Input::File(path) => expression.stdin_file(files::open(&Host::live(), path)?.ok_or_else(not_there)?),
            Input::Empty => expression.stdin_null(),
        })
    }

    fn in_environment(&self) -> duct::Expression {
        let expression = duct::cmd(&self.program, &self.args).unchecked();
        let own = self.env.iter().cloned();
        match self.clean {
            true => expression.full_env(own),
            false => own.fold(expression.env("PATH", search_path()), |e, (name, value)| e.env(name, value)),
        }
    }

    fn spawn_and_follow(&self, host: &Host) -> Result<(std::process::ExitStatus, Vec<String>)> {
        host.require_live(&self.shown())?;
        host.go_on()?;
        host.write_point()?;
        let (reader, writer) = os_pipe::pipe().map_err(|e| self.not_started(e))?;
        let handle = {
            // The expression holds the pipe's writing end: it must be gone before the reader can see the end.
            let expression = self.expression()?.stderr_to_stdout().stdout_file(writer);
            expression.start().map_err(|e| self.not_started(e))?
        };
        let follower = Follower::start(host, reader, self.quiet);
        let status = self.wait(host, &handle)?;
        host.write_point()?;
        Ok((status, follower.finish()))
    }

    fn wait(&self, host: &Host, handle: &duct::Handle) -> Result<std::process::ExitStatus> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(output) = handle.try_wait().map_err(|e| self.not_started(e))? {
                return Ok(output.status);
            }
            if host.go_on().is_err() {
                end_group(handle);
                return Err(Error::Stopped);
            }
            if let Some(limit) = self.limit.map(|limit| host.limit(limit)).filter(|limit| started.elapsed() > *limit) {
                end_group(handle);
                return Err(Error::TimedOut {
                    what: format!("the end of `{}`", self.shown()),
                    seconds: limit.as_secs(),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL);
        }
    }

    fn failed(&self, host: &Host, status: std::process::ExitStatus, tail: &[String]) -> Error {
        let from = tail.len().saturating_sub(TAIL_LINES);
        let tail = host.mask(tail[from..].join("\n").trim());
        Error::Failed { command: self.shown(), status: status.to_string(), tail }
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::Start { command: self.shown(), source }
    }
}

/// Reads a program's output in a thread of its own, passes it on and keeps the end of it.
struct Follower {
    tail: Arc<Mutex<VecDeque<String>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Follower {
    fn start(host: &Host, reader: os_pipe::PipeReader, quiet: bool) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::with_capacity(TAIL_LINES)));
        let (kept, host) = (tail.clone(), host.clone());
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(std::result::Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !quiet {
                    host.line(&line);
                }
                keep(&kept, line);
            }
        });
        Self { tail, thread }
    }

    fn finish(self) -> Vec<String> {
        let end = Instant::now() + OUTPUT_GRACE;
        while !self.thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.tail.lock().map(|tail| tail.iter().cloned().collect()).unwrap_or_default()
    }
}

fn keep(tail: &Mutex<VecDeque<String>>, line: String) {
    if let Ok(mut tail) = tail.lock() {
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// SIGTERM to the whole group, SIGKILL after [`KILL_AFTER`].
fn end_group(handle: &duct::Handle) {
    use nix::sys::signal::{Signal, killpg};
    // A group that ended meanwhile is what we want.
    let signal = |group, signal| _ = killpg(group, signal);
    let groups: Vec<_> = handle.pids().iter().map(|pid| nix::unistd::Pid::from_raw(*pid as i32)).collect();
    groups.iter().for_each(|group| signal(*group, Signal::SIGTERM));
    let end = Instant::now() + KILL_AFTER;
    while matches!(handle.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::sleep(POLL);
    }
    groups.iter().for_each(|group| signal(*group, Signal::SIGKILL));
    drop(handle.wait());
}

/// What somebody else's program printed, without what steers a terminal.
pub fn harmless(text: &str) -> String {
    let plain = console::strip_ansi_codes(text);
    plain.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A word as it is typed in a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What programs say is read here, and looked for in tables: on a machine in any language they say it in English.
const LANGUAGE: &str = "C.UTF-8";

/// PATH, and where administrators' programs are: a plain `su` leaves those out.
fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for dir in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    std::env::join_paths(dirs).unwrap_or(path)
}

/// Whether a program of this name can be found.
pub fn on_path(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|dir| files::leads_somewhere(&Host::live(), dir.join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_speak_english_whatever_the_machine_speaks() {
        let german = Command::new("sh").args(["-c", "echo \"$LC_ALL $LANGUAGE\""]).env("LANG", "de_DE.UTF-8");
        assert_eq!(german.read(&Host::live()).unwrap().trim(), LANGUAGE);
    }

    #[test]
    fn a_failure_carries_the_end_of_the_output() {
        let error = Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]).run(&Host::live()).unwrap_err();
        assert_eq!(error.evidence(), Some("one\ntwo".into()));
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_hold_us() {
        let started = Instant::now();
        Command::new("sh").args(["-c", "sleep 30 & echo up"]).run(&Host::live()).unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_stop_ends_the_whole_group() {
        let host = Host::live();
        let stopper = host.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            stopper.stop();
        });
        let started = Instant::now();
        let error = Command::new("sh").args(["-c", "sleep 31; sleep 32"]).run(&host).unwrap_err();
        assert!(matches!(error, Error::Stopped), "{error}");
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_stop_lets_what_must_not_be_cut_come_to_its_end() {
        let host = Host::live();
        let uncut = host.to_its_end("a migration").unwrap();
        let stopper = host.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            stopper.stop();
        });
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        let make = format!("sleep 1; touch {}", made.display());
        Command::new("sh").args(["-c", &make]).run(&uncut).unwrap();
        assert!(made.exists());
        assert!(matches!(Command::new("true").run(&host), Err(Error::Stopped)));
    }

    #[test]
    fn a_file_is_read_on_standard_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("input");
        std::fs::write(&file, "from a file").unwrap();
        assert_eq!(Command::new("cat").stdin_file(file).read(&Host::live()).unwrap(), "from a file");
    }

    #[test]
    fn secrets_are_masked_in_errors() {
        let host = Host::live().masking(["verysecret1".to_owned()]);
        let error = Command::new("sh").args(["-c", "cat; exit 1"]).stdin("is verysecret1").run(&host).unwrap_err();
        assert_eq!(error.evidence(), Some("is ********".into()));
    }
}
