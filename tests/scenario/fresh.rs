//! A host in which nothing is installed: wrong answers, unfit machines, the wizard; a run that needs a reboot.

use super::{FRESH, SECOND, Verdict, terminal, wrong};
use crate::groups::saved::make_host;
use crate::machine::{inside, installer, ours, program, root, within};
use std::time::Duration;

pub fn host_boots() -> Verdict {
    make_host(FRESH);
    assert_eq!(inside(FRESH, &["cat", "/proc/1/comm"]).expect(0).out.trim(), "systemd");
    assert_eq!(inside(FRESH, &["sh", "-c", "echo out; echo err >&2; exit 7"]).code, 7);
    let labs = ours(&["lab", "list", "--json"]).expect(0).json();
    let ours = labs["labs"].as_array().unwrap().iter().find(|lab| lab["name"] == FRESH);
    assert_eq!(ours.unwrap()["state"], "running");
    Ok(())
}

pub fn wrong_answers() -> Verdict {
    installer(FRESH, &["plan"]).expect(2);
    installer(FRESH, &["init", "--profile", "nosuch"]).expect(2);
    installer(FRESH, &["init", "--profile", "lab"]).expect(0);
    installer(FRESH, &["init"]).expect(3);
    wrong::answers(FRESH)
}

pub fn unfit_machines() -> Verdict {
    wrong::machines(FRESH)?;
    wrong::taken_port(FRESH)?;
    wrong::untrusted_server(FRESH)?;
    wrong::wrong_clock(FRESH)
}

/// The wizard to its end, each change shown on the way; a no changes nothing.
pub fn wizard() -> Verdict {
    let mut person = terminal::person(FRESH, "", "");
    for question in terminal::questions() {
        person.exp_string(question)?;
        person.send_line("")?;
    }
    person.exp_string("Go ahead?")?;
    let (down, enter) = ("\u{1b}[B", "\r");
    person.send(&format!("{down}{enter}"))?;
    person.flush()?;
    person.exp_string("+++ /etc/nova/nova.conf (planned)")?;
    person.exp_string("Go ahead?")?;
    person.send(&format!("{down}{down}{enter}"))?;
    person.flush()?;
    person.exp_string("nothing was changed")?;
    person.exp_eof()?;
    super::nothing_changed(FRESH);
    Ok(())
}

/// What a run meets before and behind its first change: services of the administrator's, a held lock, mirrors that break.
pub fn met_on_the_way() -> Verdict {
    second()?;
    wrong::own_services(SECOND)?;
    wrong::held_lock(SECOND)?;
    wrong::broken_mirrors(SECOND)
}

/// A disk that fills up.
pub fn full_disk() -> Verdict {
    ours(&["lab", "down", SECOND, "--yes"]).expect(0);
    second()?;
    wrong::full_disk(SECOND)
}

fn second() -> Verdict {
    ours(&["lab", "up", "--name", SECOND, "--no-install", "--yes"]).expect(0);
    installer(SECOND, &["init", "--profile", "lab"]).expect(0);
    Ok(())
}

pub fn goes_on_after_reboot() -> Verdict {
    let example = program().with_file_name("examples").join("reboot");
    std::fs::copy(&example, root(FRESH).join("usr/local/bin/gpucloud-install"))?;
    inside(FRESH, &["gpucloud-install"]).expect(5);
    let exists = |name: &str| root(FRESH).join("var/lib/reboot-test").join(name).exists();
    assert!(exists("beside") && !exists("behind"));
    ours(&["lab", "reboot", FRESH]).expect(0);
    let limit = Duration::from_secs(60);
    assert!(within(limit, || exists("behind")), "the run did not go on after the reboot");
    let unit = root(FRESH).join("etc/systemd/system/gpucloud-continue.service");
    assert!(within(limit, || !unit.exists()), "what went on is still there");
    Ok(())
}
