//! The layer `notebooks` of `status`: this machine's way to them, and whether those that run answer. A stopped one is no
//! complaint.

use super::identity::Identity;
use super::jupyter::{Answered, Jupyter};
use super::{Classroom, notebook};
use crate::complaint::Complaint;
use crate::host::{Host, Result};
use crate::network::class_port;
use serde::Serialize;

/// How the notebooks are.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClassHealth {
    /// How many answer.
    pub answering: usize,
    /// How many do not run.
    pub stopped: usize,
    /// What is wrong: whose, and what.
    #[serde(skip)]
    pub complaints: Vec<Complaint>,
}

impl ClassHealth {
    /// "3 answer, 1 does not run".
    pub fn in_words(&self) -> String {
        let stopped = match self.stopped {
            0 => String::new(),
            1 => ", 1 does not run".into(),
            n => format!(", {n} do not run"),
        };
        match self.answering {
            1 => format!("1 answers{stopped}"),
            n => format!("{n} answer{stopped}"),
        }
    }
}

/// Looks at all of them at once.
///
/// # Errors
/// The cloud does not say which there are.
pub fn look(host: &Host, room: &Classroom) -> Result<ClassHealth> {
    let mut health = ClassHealth::default();
    health.complaints.extend(way(host)?);
    let all = notebook::all(room)?;
    let answers: Vec<Option<Complaint>> = std::thread::scope(|scope| {
        let asked: Vec<_> = all.iter().map(|one| scope.spawn(|| complaint(host, one))).collect();
        asked
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Some(Complaint::passing("it was not asked"))))
            .collect()
    });
    for (one, complaint) in all.iter().zip(answers) {
        match complaint {
            Some(complaint) => health.complaints.push(complaint),
            None if one.state == "ACTIVE" => health.answering += 1,
            None => health.stopped += 1,
        }
    }
    Ok(health)
}

fn way(host: &Host) -> Result<Option<Complaint>> {
    let mended = |what: String| Complaint::passing(what).mended_by("gpucloud-install apply");
    let Some(port) = class_port::noted(host)? else {
        return Ok(Some(mended("this machine has no link to them".into())));
    };
    let missing = class_port::missing(&port)?;
    Ok((!missing.is_empty()).then(|| {
        let what = format!("this machine's link to them: still to do: {}", missing.join(", "));
        Complaint::passing(what).mended_by("systemctl restart gpucloud-network.service")
    }))
}

/// One student's notebook is no matter of the cloud's health: it is told.
fn told(what: String) -> Complaint {
    Complaint { grave: false, ..Complaint::passing(what) }
}

/// What is wrong with one, if so.
fn complaint(host: &Host, one: &notebook::Notebook) -> Option<Complaint> {
    let name = &one.name;
    match (one.state.as_str(), one.address) {
        ("ACTIVE", Some(address)) => {
            let identity = Identity::of(name);
            let token = match identity.token(host) {
                Ok(token) => token,
                Err(error) => return Some(told(error.to_string())),
            };
            let (how, verb) = match Jupyter::new(host, &identity, address, token).status() {
                Answered::Well => return None,
                Answered::Badly(403) => (format!("{name} does not take the token that is noted here"), "token --new"),
                Answered::Badly(status) => (format!("{name}: JupyterLab answers with status {status}"), "restart"),
                Answered::Not(why) => (format!("{name} does not answer: {why}"), "restart"),
            };
            Some(told(how).mended_by(format!("gpucloud-install notebook {verb} {name}")))
        }
        ("ACTIVE", None) => Some(told(format!("{name} has no address"))),
        ("ERROR", _) => {
            let next =
                format!("gpucloud-install notebook delete {name} --without-saving; then: notebook create {name}");
            Some(told(format!("{name} is in error")).mended_by(next))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_their_number() {
        let words = |answering, stopped| ClassHealth { answering, stopped, complaints: Vec::new() }.in_words();
        assert_eq!(words(1, 0), "1 answers");
        assert_eq!(words(0, 0), "0 answer");
        assert_eq!(words(3, 1), "3 answer, 1 does not run");
        assert_eq!(words(1, 2), "1 answers, 2 do not run");
    }
}
