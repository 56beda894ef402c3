//! The volume group that volumes are cut from: on a disk of the answers, or in a sparse file that is a loop device. Its
//! unit brings both back at a boot, before whoever needs them. LVM is told to leave alone what guests keep inside their
//! volumes: Cinder hands these out over iSCSI on loopback, so that each attached one is a disk of this machine too.
//!
//! The group carries a tag of ours, and only one with it is ever removed: names of disks change, the tag does not.

use super::Recipe;
use super::rows::theirs;
use crate::action::directory::Directory;
use crate::action::file::File;
use crate::action::task::Task;
use crate::action::unit::{Enabled, Started};
use crate::action::{ActionId, Checked, Undo};
use crate::config::Config;
use crate::engine::service::{Layer, Probe, Service};
use crate::failure::Failure;
use crate::finding::Finding;
use crate::host::command::{Command, on_path};
use crate::host::{Error, Host, Result, files};
use crate::paths::VOLUME_GROUP;
use crate::plan::{Role, Step};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;

/// The step in which it is made.
pub(super) const STEP: &str = "volume-group";
/// Its unit.
pub(super) const UNIT: &str = "gpucloud-volumes.service";
/// Where the unit's file lies.
const UNIT_FILE: &str = "/etc/systemd/system/gpucloud-volumes.service";
/// Marks it as ours.
const TAG: &str = "gpucloud";
/// Which group is ours, as LVM selects (lvmreport(7)).
const OURS: &str = "vg_name=gpucloud-volumes && vg_tags=gpucloud";
/// Only root looks into it.
const DIRECTORY: &str = "/var/lib/gpucloud/volumes";
/// What volumes lie in where the answers name no disk.
const FILE: &str = "/var/lib/gpucloud/volumes/lvm.img";
/// The file as a disk. A high number: whoever asks for a free one (snaps do) gets a low one.
const LOOP: &str = "/dev/loop876";
/// What LVM may keep for itself at the ends of a disk: 1 MiB in front, less than one extent (4 MiB) behind.
const MARGIN: u64 = 8 << 20;

/// The action that makes the group.
pub fn id() -> ActionId {
    ActionId::new("volume-group", VOLUME_GROUP)
}

pub(super) fn steps(recipe: &Recipe) -> std::result::Result<Vec<Step>, Failure> {
    if !recipe.config.volumes.are_wanted() {
        return Ok(Vec::new());
    }
    let in_file = recipe.config.volumes.device.path().is_none();
    let unit = recipe.render_with(
        UNIT_FILE.trim_start_matches('/'),
        &[("directory", json!(DIRECTORY)), ("file", json!(in_file.then_some(FILE))), ("loop_device", json!(LOOP))],
    )?;
    let mut step = Step::new(STEP, "Make the group of volumes")
        .after(&["install-volumes", "prepare"])
        .on_compute()
        .with(recipe.public_file("/etc/lvm/lvmlocal.conf")?);
    if in_file {
        let size = u64::from(recipe.config.volumes.size_gib) << 30;
        step = step.with(Directory::new(DIRECTORY).access(0o700, "root", "root")).with(file(size));
    }
    step = step.with(File::new(UNIT_FILE, unit)).with(Enabled { unit: UNIT.into() });
    // A restart would take a disk from under what runs on it: a new unit file has its time at the next boot.
    step = step.with(Started::new(UNIT)).with(group(recipe.config));
    Ok(vec![if in_file { step.with(size()) } else { step }])
}

/// Its row of the service table.
pub(super) fn row() -> Service {
    Service {
        stores: &["/var/lib/gpucloud"],
        ..theirs("volume-group", UNIT, Layer::Foundation, Role::Compute, Probe::VolumeGroup)
    }
}

/// It takes room only as volumes are written.
fn file(bytes: u64) -> Task {
    let path = Path::new(FILE);
    let length = |host: &Host| Ok::<u64, Error>(files::status(host, path)?.map_or(0, |status| status.size));
    let probe = move |host: &Host| Ok(Checked::done_if(length(host)? >= bytes, "make it, or make it larger"));
    let work = move |host: &Host| {
        if !files::exists(host, path) {
            files::write(host, path, b"", 0o600, None)?;
        }
        files::truncate(host, path, bytes)
    };
    Task::new(ActionId::new("volumes-file", FILE), format!("Make {FILE}, of {} GiB", bytes >> 30), probe, work)
        .kept_when_orphaned()
}

/// Without `--yes`: LVM itself refuses a disk that holds something.
fn group(config: &Config) -> Task {
    let disk = config.volumes.device.path().unwrap_or(Path::new(LOOP)).display().to_string();
    let work = move |host: &Host| Command::new("vgcreate").args(["--addtag", TAG, VOLUME_GROUP, &disk]).run(host);
    let remove = ["vgremove", "--force", "--yes", "--select", OURS].map(str::to_owned);
    Task::new(id(), format!("Make volume group {VOLUME_GROUP}"), has_group, work)
        .undone_by(Undo::Program { argv: remove.into() })
        .kept_when_orphaned()
        .asking_the_running_system()
}

fn has_group(host: &Host) -> Result<Checked> {
    let Some(groups) = report(host, "vgs", "vg_name,vg_tags")? else {
        return Ok(Checked::Later("when LVM is installed".into()));
    };
    let found = groups.iter().find(|row| row.vg_name == VOLUME_GROUP);
    Ok(match found {
        None => Checked::needed("make"),
        Some(row) if row.vg_tags.split(',').any(|tag| tag == TAG) => Checked::Done,
        Some(_) => Checked::Blocked(Finding::stop(
            "volumes",
            format!("a volume group of yours is called {VOLUME_GROUP}"),
            format!("vgrename {VOLUME_GROUP} OTHER-NAME"),
        )),
    })
}

/// Where the file grew: the loop device, and LVM on it.
fn size() -> Task {
    let probe = |host: &Host| {
        let Some(disks) = report(host, "pvs", "vg_name,pv_size,dev_size")? else {
            return Ok(Checked::Later("when LVM is installed".into()));
        };
        let ours = disks.iter().find(|row| row.vg_name == VOLUME_GROUP);
        let Some(ours) = ours else { return Ok(Checked::Later("when the group is there".into())) };
        let file = files::status(host, Path::new(FILE))?.map_or(0, |status| status.size);
        let grown = file.max(bytes(&ours.dev_size)) > bytes(&ours.pv_size) + MARGIN;
        Ok(Checked::done_if(!grown, "let volumes use all of the file"))
    };
    let work = |host: &Host| {
        Command::new("losetup").args(["--set-capacity", LOOP]).run(host)?;
        Command::new("pvresize").arg(LOOP).run(host)
    };
    Task::new(ActionId::new("volume-group-size", VOLUME_GROUP), "Let volumes use all of the file", probe, work)
        .at_runtime()
        .asking_the_running_system()
}

/// One row of what LVM tells; a tool leaves out what it was not asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Row {
    vg_name: String,
    vg_tags: String,
    pv_size: String,
    dev_size: String,
}

/// `vgs` or `pvs`, sizes in bytes; none where LVM is not here.
fn report(host: &Host, tool: &str, columns: &str) -> Result<Option<Vec<Row>>> {
    if !on_path(tool) {
        return Ok(None);
    }
    let asked = Command::new(tool).args(["--reportformat", "json", "--units", "b", "--nosuffix", "--options", columns]);
    let text = asked.quiet().read(host)?;
    rows(&text).map(Some).map_err(|error| Error::protocol("read what LVM says", error))
}

/// `{"report": [{"vg": [{...}]}]}`, or `"pv"` (lvmreport(7)).
fn rows(text: &str) -> serde_json::Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Report {
        report: Vec<std::collections::BTreeMap<String, Vec<Row>>>,
    }
    let report: Report = serde_json::from_str(text)?;
    Ok(report.report.into_iter().flat_map(std::collections::BTreeMap::into_values).flatten().collect())
}

fn bytes(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lvm_says_is_read() {
        let text = r#"{"report": [{"pv": [{"vg_name":"", "pv_size":"1073741824", "dev_size":"1073741824"},
            {"vg_name":"gpucloud-volumes", "pv_size":"32208060416", "dev_size":"32212254720"}]}], "log": []}"#;
        let rows = rows(text).unwrap();
        let ours = rows.iter().find(|row| row.vg_name == VOLUME_GROUP).unwrap();
        assert!(bytes(&ours.dev_size) - bytes(&ours.pv_size) <= MARGIN);
        assert_eq!(self::rows(r#"{"report": [{"vg": []}]}"#).unwrap().len(), 0);
    }

    #[test]
    fn the_selection_names_our_group_and_our_tag() {
        assert_eq!(OURS, format!("vg_name={VOLUME_GROUP} && vg_tags={TAG}"));
    }

    #[test]
    fn the_file_is_made_and_grows_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        files::make_parents(&host, Path::new(FILE)).unwrap();
        let length = || files::status(&host, Path::new(FILE)).unwrap().unwrap().size;
        for (size, becomes) in [(3 << 20, 3 << 20), (5 << 20, 5 << 20), (1 << 20, 5 << 20)] {
            let task = file(size);
            if crate::action::Action::check(&task, &host, &Default::default()).unwrap() != Checked::Done {
                crate::action::Action::apply(&task, &host, &Default::default()).unwrap();
            }
            assert_eq!(length(), becomes);
        }
    }
}
