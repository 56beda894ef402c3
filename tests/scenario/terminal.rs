//! A person at a real terminal (a pty) in a host where nothing is installed yet.

use super::{FRESH, Verdict};
use crate::machine::{program, root};
use rexpect::process::wait::WaitStatus;
use rexpect::session::PtySession;

/// The wizard's questions, as a person meets them in a lab.
const QUESTIONS: [&str; 7] = [
    "What is this machine for?",
    "Which address?",
    "How are instances run?",
    "Install the dashboard?",
    "Which way?",
    "Which range?",
    "Administrators",
];

/// Starts the program inside a host, with these variables.
pub fn person(lab: &str, variables: &str, arguments: &str) -> PtySession {
    let command = format!(
        "env TERM=xterm {} lab exec {lab} -- env {variables} gpucloud-install {arguments}",
        program().display()
    );
    rexpect::spawn(&command, Some(60_000)).unwrap()
}

pub fn exit_status(person: &mut PtySession) -> i32 {
    match person.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

/// Which questions come depends on whether there are answers already.
pub fn questions() -> &'static [&'static str] {
    if root(FRESH).join("etc/gpucloud/gpucloud.toml").exists() { &QUESTIONS[1..] } else { &QUESTIONS }
}

/// Ctrl-C at each question: status 130, the cursor is back, nothing changed.
pub fn interrupted() -> Verdict {
    for n in 0..questions().len() {
        let mut person = person(FRESH, "", "");
        for question in &questions()[..n] {
            person.exp_string(question)?;
            person.send_line("")?;
        }
        person.exp_string(questions()[n])?;
        person.send_control('c')?;
        let left = person.exp_eof()?;
        assert!(left.contains("\u{1b}[?25h"), "the cursor stays hidden at {}: {left:?}", questions()[n]);
        assert!(left.contains("nothing was changed"), "{left:?}");
        assert_eq!(exit_status(&mut person), 130);
    }
    super::nothing_changed(FRESH);
    Ok(())
}

/// A wrong value is asked for again, Esc and `<` go back, and a no changes nothing.
pub fn wrong_and_back() -> Verdict {
    let mut person = person(FRESH, "", "");
    for question in questions().iter().take_while(|question| !question.starts_with("How are")) {
        person.exp_string(question)?;
        person.send_line("")?;
    }
    person.exp_string("How are instances run?")?;
    person.send("\u{1b}")?;
    person.flush()?;
    person.exp_string("Which address?")?;
    person.send_line("")?;
    person.exp_string("How are instances run?")?;
    person.send_line("")?;
    person.exp_string("Install the dashboard?")?;
    person.send_line("")?;
    person.exp_string("Which way?")?;
    person.send_line("")?;
    person.exp_string("Which range?")?;
    person.send_line("172.24.0.0/33")?;
    person.exp_string("is no number of bits")?;
    person.send("\u{3}")?;
    person.flush()?;
    let left = person.exp_eof()?;
    assert!(left.contains("nothing was changed"), "{left:?}");
    assert_eq!(exit_status(&mut person), 130);
    super::nothing_changed(FRESH);
    Ok(())
}

/// A terminal that becomes narrow between two questions: what is chosen is what is taken.
pub fn resized() -> Verdict {
    let mut person = person(FRESH, "", "");
    for (n, question) in questions().iter().enumerate() {
        person.exp_string(question)?;
        let columns = if n % 2 == 0 { "44" } else { "100" };
        let terminal = std::fs::read_link(format!("/proc/{}/fd/0", person.process().child_pid))?;
        let mut stty = std::process::Command::new("stty");
        assert!(stty.arg("-F").arg(terminal).args(["cols", columns, "rows", "12"]).status()?.success());
        std::thread::sleep(std::time::Duration::from_millis(200));
        person.send_line("")?;
    }
    person.exp_string("Go ahead?")?;
    person.send_control('c')?;
    let left = person.exp_eof()?;
    assert!(left.contains("nothing was changed"), "{left:?}");
    super::nothing_changed(FRESH);
    Ok(())
}

/// No colour and no character beyond ASCII where the terminal wants none.
pub fn plain() -> Verdict {
    let mut person = person(FRESH, "NO_COLOR=1 LANG=C LC_ALL=C", "doctor");
    let said = person.exp_eof()?;
    assert!(said.is_ascii(), "{said:?}");
    assert!(!said.contains("\u{1b}[3"), "{said:?}");
    assert!(said.contains("next:"), "{said:?}");
    Ok(())
}
