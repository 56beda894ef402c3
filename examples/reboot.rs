//! A run that needs a reboot in its middle, for the tests: it takes the place of the program in a lab host. With
//! `--in-a-cloud` it only adds that need to what was done there before: the program itself goes on after the boot.

#![allow(missing_docs)]

use gpucloud::action::file::File;
use gpucloud::action::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use gpucloud::command::exit;
use gpucloud::content::Content;
use gpucloud::host::command::Command;
use gpucloud::host::{Host, Result, boot_id, files};
use gpucloud::plan::{Plan, Step};
use gpucloud::run::worker::{self, Work};
use std::path::Path;
use std::process::ExitCode;

/// Is in force in every boot but the one in which it was set.
struct NextBoot;

const SET: &str = "/var/lib/reboot-test/set-in";

impl Action for NextBoot {
    fn id(&self) -> ActionId {
        ActionId::new("test", "next-boot")
    }

    fn describe(&self) -> String {
        "Set what takes effect with the next boot".into()
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let set = files::read_text(host, SET)?;
        Ok(Checked::done_if(set.is_some_and(|boot| boot != boot_id(host)), "set"))
    }

    fn prepare(&self, _host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        files::write(host, Path::new(SET), boot_id(host).as_bytes(), 0o644, None)?;
        Ok(Applied::RebootNeeded("a test wants it".into()))
    }
}

fn main() -> ExitCode {
    let host = Host::live();
    if std::env::args().any(|argument| argument == "--detach") {
        // As the program itself does: a run has a unit of its own.
        let run =
            Command::new("systemd-run").args(["--collect", "--unit=gpucloud-run", "/usr/local/bin/gpucloud-install"]);
        return ExitCode::from(u8::from(run.run(&host).is_err()));
    }
    if std::env::args().any(|argument| argument == "--in-a-cloud") {
        return work(&host, vec![Step::new("one", "Needs a boot").with(NextBoot)], Others::Stay);
    }
    let file = |path: &str| File::new(path, Content::plain("done\n"));
    let steps = vec![
        Step::new("one", "Needs a boot").with(NextBoot),
        Step::new("behind", "Behind it").after(&["one"]).with(file("/var/lib/reboot-test/behind")),
        Step::new("beside", "Beside it").with(file("/var/lib/reboot-test/beside")),
    ];
    work(&host, steps, Others::Go)
}

/// What other runs did there.
#[derive(PartialEq)]
enum Others {
    Stay,
    /// As in every apply.
    Go,
}

fn work(host: &Host, steps: Vec<Step>, others: Others) -> ExitCode {
    let outcome = worker::work(host, Work::lasting("apply", 1, Vec::new()), |journal| {
        let mut plan = Plan::make(steps, host, journal)?;
        if others == Others::Stay {
            plan.orphans.clear();
        }
        Ok(plan)
    });
    ExitCode::from(exit::status(outcome.map_or_else(|failure| failure.ending, |outcome| outcome.ending)))
}
