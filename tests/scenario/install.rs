//! The installation that is killed, left by its terminal, and complete in the end.

use super::{LAB, SECOND, Verdict, network, run_is_active};
use crate::groups::saved;
use crate::machine::{Random, inside, installer, note_secrets, ours, program, root, within};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn is_complete() -> bool {
    root(LAB).join("var/lib/gpucloud/applied.toml").exists()
}

/// Of the run that is going on: steps that had something to do at its beginning, and how many of them are done.
fn progress() -> (usize, usize) {
    let text = inside(LAB, &["cat", "/run/gpucloud/events.jsonl"]).out;
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.fold((0, 0), |(steps, done), event| match event["event"].as_str() {
        Some("run-started") => (event["steps"].as_array().unwrap().len(), done),
        Some("step-done") => (steps, done + 1),
        _ => (steps, done),
    })
}

/// Waits until `part` sixteenths of all steps are done, but not for ever: a step may take longer than a kill can wait.
fn wait_for_part(part: usize, all: &mut usize) {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end && run_is_active(LAB) {
        let (steps, done) = progress();
        *all = (*all).max(steps);
        if steps > 0 && (*all - steps + done) * 16 >= part * *all {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Ten kills, spread over the steps that make the cloud: on a fast machine too, the last one meets an incomplete one.
pub fn killed_ten_times() -> Verdict {
    saved::make_host(LAB);
    installer(LAB, &["init", "--profile", "lab"]).expect(0);
    let mut random = Random::seeded();
    let mut all_steps = 0;
    for part in 0..10 {
        installer(LAB, &["apply", "--yes", "--detach"]).expect(0);
        wait_for_part(part, &mut all_steps);
        std::thread::sleep(Duration::from_millis(random.below(3_000)));
        inside(LAB, &["systemctl", "kill", "--signal=KILL", "gpucloud-run.service"]);
        // A killed run's unit is collected; what it started inside other units goes on.
        while run_is_active(LAB) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

pub fn terminal_closed() -> Verdict {
    assert!(!is_complete(), "the installation was complete before it was to be watched");
    let command = format!("{} lab exec {LAB} -- gpucloud-install apply --yes", program().display());
    let mut terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    assert!(within(Duration::from_secs(60), || run_is_active(LAB)), "no run began");
    std::thread::sleep(Duration::from_secs(3));
    terminal.kill()?;
    terminal.wait()?;
    assert!(run_is_active(LAB), "the run ended with its terminal");
    let watched = installer(LAB, &["apply", "--yes", "--json"]).expect(0);
    assert!(watched.err.contains("watching it"), "{}", watched.err);
    assert!(watched.json()["changed"].as_u64().unwrap() > 0);
    assert!(is_complete());
    Ok(())
}

fn sql(statement: &str) -> String {
    inside(LAB, &["mariadb", "--batch", "--skip-column-names", "--execute", statement]).expect(0).out.trim().to_owned()
}

pub fn nothing_doubled() -> Verdict {
    note_secrets(LAB);
    installer(LAB, &["status"]).expect(0);
    assert_eq!(sql("SELECT COUNT(*) FROM keystone.service"), "5");
    assert_eq!(sql("SELECT COUNT(*) FROM keystone.endpoint"), "15");
    assert_eq!(
        sql("SELECT GROUP_CONCAT(name ORDER BY name) FROM keystone.local_user"),
        "admin,demo,glance,neutron,nova,placement"
    );
    assert_eq!(sql("SELECT COUNT(*) FROM nova_api.cell_mappings"), "2");
    assert_eq!(sql("SELECT COUNT(*) FROM nova_api.host_mappings"), "1");
    assert_eq!(
        sql("SELECT COUNT(*) FROM mysql.db WHERE User IN ('keystone','placement','glance','nova','neutron')"),
        "7"
    );
    let databases = "SELECT DISTINCT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME REGEXP 'nova|keystone|glance|neutron|placement'";
    let tables = "SELECT DISTINCT TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA REGEXP 'nova|keystone|glance|neutron|placement'";
    let collations = format!("{}\n{}", sql(databases), sql(tables));
    assert!(collations.contains("utf8mb4_general_ci") && !collations.contains("uca1400"), "{collations}");
    assert_eq!(inside(LAB, &["systemctl", "--failed", "--no-legend", "gpucloud-*"]).out.trim(), "");
    Ok(())
}

/// The cloud is saved: for what follows, and as a promise of its own. The host comes back from its boot with everything
/// as it was.
pub fn saved_and_booted() -> Verdict {
    installer(LAB, &["status"]).expect(0);
    saved::save();
    let snapshot = saved::snapshot();
    ours(&["lab", "save", LAB, &snapshot]).expect(3);
    let taken = ours(&["lab", "restore", &snapshot, SECOND]).expect(3);
    assert!(taken.err.contains("has the snapshot's address"), "{}", taken.err);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0, "units that a boot started were taken for stale");
    network::as_before_the_boot();
    Ok(())
}
