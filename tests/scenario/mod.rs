//! The tests of `tests/lab.rs`, in their order.

use crate::browser;
use crate::machine::{
    Random, Sampler, address, difference, first_tree, inside, installer, ours, outside, program, read, root, times,
    tree, write,
};
use fantoccini::error::CmdError;
use fantoccini::{Client, Locator};
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The host of most tests.
const LAB: &str = "t1";
const DEBIAN12: &str = "d12";
const SNAPSHOT: &str = "s1";

type Verdict = Result<(), Failed>;

pub mod damage;
pub mod devstack;
pub mod documents;
#[expect(dead_code, reason = "the list of trials does not have it yet")]
pub mod keys;
pub mod long;
pub mod network;
pub mod resources;
pub mod terminal;
mod wrong;

static MACHINE_BEFORE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
static HOST_BEFORE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
static SAMPLER: OnceLock<Sampler> = OnceLock::new();

pub fn host_boots() -> Verdict {
    // Left-overs of a killed test run would be taken for this one's.
    for name in [LAB, "t2", DEBIAN12, devstack::LAB, SNAPSHOT] {
        ours(&["lab", "down", name, "--yes"]);
    }
    MACHINE_BEFORE.get_or_init(outside);
    ours(&["lab", "up", "--name", LAB, "--no-install", "--yes"]).expect(0);
    assert_eq!(inside(LAB, &["cat", "/proc/1/comm"]).expect(0).out.trim(), "systemd");
    assert_eq!(inside(LAB, &["sh", "-c", "echo out; echo err >&2; exit 7"]).code, 7);
    HOST_BEFORE.get_or_init(|| first_tree(LAB));
    network::FORWARDING_BEFORE.get_or_init(network::forwarding);
    let labs = ours(&["lab", "list", "--json"]).expect(0).json();
    assert_eq!(labs["labs"][0]["state"], "running");
    Ok(())
}

pub fn wrong_answers() -> Verdict {
    installer(LAB, &["plan"]).expect(2);
    installer(LAB, &["init", "--profile", "nosuch"]).expect(2);
    installer(LAB, &["init", "--profile", "lab"]).expect(0);
    installer(LAB, &["init"]).expect(3);
    wrong::answers(LAB)
}

pub fn unfit_machines() -> Verdict {
    wrong::machines(LAB)?;
    wrong::taken_port(LAB)?;
    wrong::untrusted_server(LAB)?;
    wrong::wrong_clock(LAB)
}

fn nothing_changed() -> Verdict {
    let changed = difference(HOST_BEFORE.get().unwrap(), &tree(LAB));
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(!root(LAB).join("var/lib/gpucloud").exists());
    Ok(())
}

/// The wizard to its end, each change shown on the way; a no changes nothing.
pub fn wizard() -> Verdict {
    let mut person = terminal::person("", "");
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
    nothing_changed()
}

fn run_is_active(lab: &str) -> bool {
    inside(lab, &["systemctl", "is-active", "--quiet", "gpucloud-run.service"]).code == 0
}

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
    SAMPLER.get_or_init(Sampler::start);
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
    let end = Instant::now() + Duration::from_secs(60);
    while !run_is_active(LAB) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
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
    SAMPLER.get().unwrap().stop();
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

/// `tests/hands` again, where its servers are.
pub fn hands() -> Verdict {
    let no_run = ["test", "--locked", "--test", "hands", "--no-run", "--message-format=json"];
    let said = String::from_utf8(Command::new(env!("CARGO")).args(no_run).output()?.stdout)?;
    let executable = said.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "hands";
        message["executable"].as_str().filter(|_| ours).map(str::to_owned)
    });
    std::fs::copy(executable.ok_or("cargo built no hands")?, root(LAB).join("root/hands"))?;
    let done = inside(LAB, &["/root/hands", "server-"]).expect(0);
    assert!(done.out.contains("5 passed") && done.out.contains("0 ignored"), "{}", done.out);
    Ok(())
}

pub fn second_apply() -> Verdict {
    let before = times(LAB);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0);
    let after = times(LAB);
    let touched: Vec<_> = after.iter().filter(|(path, time)| before.get(*path) != Some(time)).collect();
    assert!(touched.is_empty() && before.len() == after.len(), "{touched:?}");
    Ok(())
}

pub fn stock_client() -> Verdict {
    let list = |what: &str| {
        inside(LAB, &["openstack", "--os-cloud", "gpucloud", what, "list", "--format", "json"]).expect(0).json()
    };
    let services = list("service");
    let kinds: Vec<&str> = services.as_array().unwrap().iter().map(|s| s["Type"].as_str().unwrap()).collect();
    for kind in ["identity", "image", "placement", "compute", "network"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert_eq!(list("endpoint").as_array().unwrap().len(), 15);
    Ok(())
}

pub fn secrets_nowhere() -> Verdict {
    let text = read(LAB, "/etc/gpucloud/secrets.toml");
    let secrets: Vec<&str> = text.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(secrets.len() >= 13, "{} secrets", secrets.len());
    let clean = |what: &str, text: &str| {
        for secret in &secrets {
            assert!(!text.contains(secret), "a secret is in {what}");
        }
    };
    for line in SAMPLER.get().unwrap().seen() {
        clean("a command line", &line);
    }
    clean("the plan", &installer(LAB, &["plan", "--diff"]).expect(0).out);
    clean("the journal", &read(LAB, "/var/lib/gpucloud/journal.jsonl"));
    clean("the events", &inside(LAB, &["cat", "/run/gpucloud/events.jsonl"]).out);
    for entry in std::fs::read_dir(root(LAB).join("var/log/gpucloud"))?.flatten() {
        clean("a log", &std::fs::read_to_string(entry.path())?);
    }
    for (path, meta) in world_readable() {
        let content = std::fs::read(&path).unwrap_or_default();
        clean(&format!("{} ({meta})", path.display()), &String::from_utf8_lossy(&content));
    }
    Ok(())
}

/// A page of the dashboard, logged in as `user`.
async fn dashboard_of(page: &Client, user: &str) -> Result<String, CmdError> {
    let dashboard = format!("http://{}:8080/dashboard", address(LAB));
    let secrets = read(LAB, "/etc/gpucloud/secrets.toml");
    let secret = format!("{user} = ");
    let password = secrets.lines().find_map(|line| line.strip_prefix(&secret)).unwrap().trim_matches('"');
    page.goto(&format!("{dashboard}/")).await?;
    page.wait().for_element(Locator::Id("id_username")).await?.send_keys(user).await?;
    browser::picture(page, "login").await?;
    page.find(Locator::Id("id_password")).await?.send_keys(password).await?;
    page.find(Locator::Id("loginBtn")).await?.click().await?;
    page.wait().for_element(Locator::Css(".user-name, #profile_editor_switcher")).await?;
    Ok(dashboard)
}

/// Pages of the dashboard as `user` sees them: each with what stands there, and the name of its picture.
fn seen_by(user: &str, pages: &[(&str, &str, &str)]) -> Verdict {
    browser::visit(async |page| {
        let dashboard = dashboard_of(page, user).await?;
        for (path, there, picture) in pages {
            page.goto(&format!("{dashboard}/{path}/")).await?;
            page.wait().for_element(Locator::XPath(there)).await?;
            browser::picture(page, picture).await?;
        }
        Ok(())
    })
}

/// The administrator logs in with a browser and sees the hypervisor.
pub fn dashboard() -> Verdict {
    seen_by("admin", &[("admin/hypervisors", &format!("//td[contains(., '{LAB}')]"), "hypervisors")])
}

/// What was declared, as its user and the administrator see it.
pub fn dashboard_of_the_resources() -> Verdict {
    let instance = "//tr[contains(., 'demo') and contains(., 'ds2G')]";
    let (private, public) = ("//*[contains(text(), 'private')]", "//*[contains(text(), 'public')]");
    seen_by(
        "demo",
        &[("project/instances", instance, "instances"), ("project/network_topology", private, "topology")],
    )?;
    let pages =
        [("admin/instances", instance, "admin-instances"), ("project/network_topology", public, "admin-topology")];
    seen_by("admin", &pages)
}

fn world_readable() -> Vec<(std::path::PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    let mut dirs: Vec<_> = ["etc", "var/lib", "opt/gpucloud", "run", "usr/local", "var/log"]
        .iter()
        .map(|dir| root(LAB).join(dir))
        .collect();
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = std::fs::symlink_metadata(entry.path()) else { continue };
            let open = meta.mode() & 0o005;
            if meta.is_dir() && open == 0o005 && !entry.path().ends_with("site-packages") {
                dirs.push(entry.path());
            } else if meta.is_file() && meta.mode() & 0o004 != 0 && meta.size() < 5_000_000 {
                found.push((entry.path(), format!("{:o}", meta.mode() & 0o7777)));
            }
        }
    }
    found
}

fn main_process(unit: &str) -> String {
    inside(LAB, &["systemctl", "show", "--property=MainPID", unit]).out
}

pub fn changed_answer() -> Verdict {
    let good = read(LAB, "/etc/gpucloud/gpucloud.toml");
    let (keystone, mariadb) = (main_process("gpucloud-keystone.service"), main_process("mariadb.service"));
    write(LAB, "/etc/gpucloud/gpucloud.toml", &good.replace("workers = 1", "workers = 2"));
    let plan = installer(LAB, &["plan"]).expect(0).out;
    assert!(
        plan.contains(
            "Start gpucloud-keystone.service: later, again, because /etc/gpucloud/uwsgi/keystone.ini changes"
        ),
        "{plan}"
    );
    installer(LAB, &["apply", "--yes"]).expect(0);
    assert_ne!(main_process("gpucloud-keystone.service"), keystone, "Keystone was not restarted");
    assert_eq!(main_process("mariadb.service"), mariadb, "MariaDB was restarted for nothing");
    installer(LAB, &["status"]).expect(0);
    Ok(())
}

/// A newer program over the cloud of an older one: only what differs is changed.
pub fn newer_program() -> Verdict {
    let mut newer = std::fs::read(program())?;
    newer.extend_from_slice(b"another build");
    std::fs::write(root(LAB).join("root/newer"), newer)?;
    inside(LAB, &["chmod", "755", "/root/newer"]).expect(0);
    let plan = inside(LAB, &["/root/newer", "plan", "--json"]).expect(0).json();
    let actions = plan["steps"].as_array().unwrap().iter().flat_map(|step| step["actions"].as_array().unwrap());
    let needed: Vec<&str> = actions.filter(|a| a["state"] == "needed").map(|a| a["id"].as_str().unwrap()).collect();
    assert_eq!(needed, ["file:/usr/local/bin/gpucloud-install"]);
    let applied = inside(LAB, &["/root/newer", "apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(applied["changed"], 1);
    installer(LAB, &["status"]).expect(0);
    Ok(())
}

pub fn changed_fixed_answer() -> Verdict {
    let good = read(LAB, "/etc/gpucloud/gpucloud.toml");
    write(LAB, "/etc/gpucloud/gpucloud.toml", &good.replace("RegionOne", "RegionTwo"));
    let refused = installer(LAB, &["plan"]).expect(3);
    assert!(refused.err.contains("cloud.region is fixed") && refused.err.contains("RegionOne"), "{}", refused.err);
    write(LAB, "/etc/gpucloud/gpucloud.toml", &good);
    installer(LAB, &["plan"]).expect(0);
    Ok(())
}

/// Stopped, failed and flushed: brought back layer by layer, and nothing else is touched.
pub fn recovered() -> Verdict {
    let down = "systemctl stop mariadb rabbitmq-server gpucloud-keystone ovn-central
        systemctl kill --signal=KILL gpucloud-nova-compute
        nft flush ruleset";
    inside(LAB, &["sh", "-c", down]).expect(0);
    installer(LAB, &["status"]).expect(1);
    let recovered = installer(LAB, &["recover", "--json"]).expect(0).json();
    assert_eq!(recovered["healthy"], true, "{recovered}");
    assert!(recovered["changed"].as_u64().unwrap() >= 4, "{recovered}");
    installer(LAB, &["status"]).expect(0);
    assert_eq!(installer(LAB, &["recover", "--json"]).expect(0).json()["changed"], 0);
    // What runs now has the configuration that apply gave it.
    assert_eq!(installer(LAB, &["plan", "--json"]).expect(0).json()["pending"], 0);
    Ok(())
}

pub fn holdings() -> Verdict {
    write(LAB, "/root/disk.raw", &"x".repeat(4096));
    let make = [
        "openstack",
        "--os-cloud",
        "gpucloud",
        "image",
        "create",
        "--file",
        "/root/disk.raw",
        "--disk-format",
        "raw",
        "mine",
    ];
    inside(LAB, &make).expect(0);
    let refused = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(refused.err.contains("users have 1 image"), "{}", refused.err);
    inside(LAB, &["systemctl", "stop", "mariadb.service"]).expect(0);
    let refused = installer(LAB, &["uninstall", "--yes"]).expect(3);
    assert!(refused.err.contains("cannot be told"), "{}", refused.err);
    installer(LAB, &["apply", "--yes"]).expect(0);
    inside(LAB, &["openstack", "--os-cloud", "gpucloud", "image", "delete", "mine"]).expect(0);
    Ok(())
}

pub fn reboot() -> Verdict {
    ours(&["lab", "reboot", LAB]).expect(0);
    installer(LAB, &["status"]).expect(0);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0, "units that a boot started were taken for stale");
    network::as_before_the_boot();
    Ok(())
}

/// The second host serves for what must not happen to the first.
pub fn side_by_side() -> Verdict {
    let keystone = main_process("gpucloud-keystone.service");
    ours(&["lab", "up", "--name", "t2", "--no-install", "--yes"]).expect(0);
    let addresses = |lab| inside(lab, &["hostname", "-I"]).expect(0).out;
    assert_ne!(addresses(LAB), addresses("t2"));
    installer("t2", &["init", "--profile", "lab"]).expect(0);
    wrong::own_services("t2")?;
    wrong::held_lock("t2")?;
    wrong::broken_mirrors("t2")?;
    ours(&["lab", "down", "t2", "--yes"]).expect(0);
    ours(&["lab", "up", "--name", "t2", "--no-install", "--yes"]).expect(0);
    installer("t2", &["init", "--profile", "lab"]).expect(0);
    wrong::full_disk("t2")?;
    ours(&["lab", "down", "t2", "--yes"]).expect(0);
    assert_eq!(main_process("gpucloud-keystone.service"), keystone);
    installer(LAB, &["status"]).expect(0);
    Ok(())
}

/// A package of our own installs where there is no toolchain, and its program is linked to, not copied.
pub fn package() -> Verdict {
    let lab = "t2";
    let made = Command::new("./bootstrap.sh").arg("--package").stderr(Stdio::null()).output()?;
    let path = String::from_utf8(made.stdout)?.trim().to_owned();
    assert!(path.ends_with(".deb"), "{path}");
    ours(&["lab", "up", "--name", lab, "--no-install", "--yes"]).expect(0);
    std::fs::remove_file(root(lab).join("usr/local/bin/gpucloud-install"))?;
    std::fs::copy(path, root(lab).join("root/own.deb"))?;
    inside(lab, &["sh", "-c", "apt-get -qq update && apt-get -qq -y install /root/own.deb >/dev/null 2>&1"]).expect(0);
    installer(lab, &["init", "--profile", "lab"]).expect(0);
    let plan = installer(lab, &["plan", "--json"]).expect(0).out;
    assert!(plan.contains("link:/usr/local/bin/gpucloud-install"), "{plan}");
    inside(lab, &["apt-get", "-qq", "-y", "purge", "gpucloud-install"]).expect(0);
    assert!(!root(lab).join("usr/bin/gpucloud-install").exists());
    ours(&["lab", "down", lab, "--yes"]).expect(0);
    Ok(())
}

/// The other Debian, from nothing to nothing.
pub fn debian12() -> Verdict {
    let lab = DEBIAN12;
    ours(&["lab", "up", "--name", lab, "--os", "debian12", "--no-install", "--yes"]).expect(0);
    let before = first_tree(lab);
    ours(&["lab", "up", "--name", lab, "--yes"]).expect(0);
    installer(lab, &["doctor"]).expect(0);
    assert_eq!(installer(lab, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    // RabbitMQ's program for a changed password is another one here.
    std::fs::remove_file(root(lab).join("etc/gpucloud/secrets.toml"))?;
    installer(lab, &["apply", "--yes"]).expect(0);
    ours(&["lab", "reboot", lab]).expect(0);
    installer(lab, &["status"]).expect(0);
    installer(lab, &["uninstall", "--yes"]).expect(0);
    let left = difference(&before, &tree(lab));
    assert!(left.is_empty(), "{left:#?}");
    ours(&["lab", "down", lab, "--yes"]).expect(0);
    Ok(())
}

pub fn save_and_restore() -> Verdict {
    ours(&["lab", "save", LAB, SNAPSHOT]).expect(0);
    ours(&["lab", "save", LAB, SNAPSHOT]).expect(3);
    ours(&["lab", "restore", SNAPSHOT, "t2"]).expect(3);
    // What this leaves in the host goes with it.
    network::beside_firewalls()?;
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    ours(&["lab", "restore", SNAPSHOT, LAB]).expect(0);
    installer(LAB, &["status"]).expect(0);
    Ok(())
}

pub fn uninstall() -> Verdict {
    write(LAB, "/etc/nova/nova.conf.d/own.conf", "[DEFAULT]\n");
    let mut random = Random::seeded();
    for _ in 0..3 {
        let mut run = Command::new(program())
            .args(["lab", "exec", LAB, "--", "gpucloud-install", "uninstall", "--yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(500 + random.below(9_000)));
        inside(LAB, &["pkill", "--signal", "KILL", "gpucloud-instal"]);
        run.kill()?;
        run.wait()?;
    }
    documents::check("uninstall", &installer(LAB, &["uninstall", "--yes", "--json"]).expect(0).json());
    assert_eq!(read(LAB, "/etc/nova/nova.conf.d/own.conf"), "[DEFAULT]\n", "the administrator's own file is gone");
    std::fs::remove_dir_all(root(LAB).join("etc/nova"))?;
    // What ssh noted of the instances that were logged in to.
    std::fs::remove_file(root(LAB).join("root/.ssh/known_hosts"))?;
    std::fs::remove_dir(root(LAB).join("root/.ssh"))?;
    let left = difference(HOST_BEFORE.get().unwrap(), &tree(LAB));
    assert!(left.is_empty(), "{left:#?}");
    network::nothing_left();
    assert!(root(LAB).join("etc/gpucloud/gpucloud.toml").exists(), "the answers are gone");
    assert!(!root(LAB).join("etc/gpucloud/secrets.toml").exists(), "the secrets are still there");
    installer(LAB, &["uninstall", "--yes"]).expect(0);
    Ok(())
}

pub fn goes_on_after_reboot() -> Verdict {
    let example = program().with_file_name("examples").join("reboot");
    std::fs::copy(&example, root(LAB).join("usr/local/bin/gpucloud-install"))?;
    inside(LAB, &["gpucloud-install"]).expect(5);
    let exists = |name: &str| root(LAB).join("var/lib/reboot-test").join(name).exists();
    assert!(exists("beside") && !exists("behind"));
    ours(&["lab", "reboot", LAB]).expect(0);
    let end = Instant::now() + Duration::from_secs(60);
    while !exists("behind") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(exists("behind"), "the run did not go on after the reboot");
    let unit = root(LAB).join("etc/systemd/system/gpucloud-continue.service");
    while unit.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!unit.exists(), "what went on is still there");
    Ok(())
}

pub fn down() -> Verdict {
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    let after = outside();
    let left = difference(MACHINE_BEFORE.get().unwrap(), &after);
    assert!(left.is_empty(), "{left:#?}");
    assert!(!root(LAB).exists());
    ours(&["lab", "down", SNAPSHOT, "--yes"]).expect(0);
    Ok(())
}
