//! The whole plan of a cloud, from a captured tree, without root: every step and action by name. Journals of users
//! hold these names: a change here is a change of what an upgrade finds.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use gpucloud::action::{Checked, History};
use gpucloud::config::devstack::Extra;
use gpucloud::config::volumes::VolumeBackend;
use gpucloud::config::{Config, EngineName, profile};
use gpucloud::engine::service::Service;
use gpucloud::facts::Facts;
use gpucloud::facts::network::{DefaultRoute, Network, Nic, NicAddress};
use gpucloud::host::{Host, files};
use gpucloud::installation::Installation;
use std::path::Path;

/// A copy of a captured Ubuntu 24.04 with nothing on it.
fn captured() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ubuntu-24.04"), dir.path());
    let host = Host::at(dir.path());
    (dir, host)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn facts(host: &Host) -> Facts {
    let address = NicAddress { address: "192.0.2.10".parse().unwrap(), prefix_len: 24, dynamic: false };
    let nic = Nic { name: "eno1".into(), up: true, carrier: true, addresses: vec![address], ..Nic::default() };
    let default_route = Some(DefaultRoute { interface: "eno1".into(), gateway: None, source: None });
    let network = Network { nics: vec![nic], default_route, ..Network::default() };
    Facts { network, ..Facts::gather(host).unwrap() }
}

fn plan_text(change: impl FnOnce(&mut Config)) -> String {
    let (_dir, host) = captured();
    let mut config = profile::answers("workstation", &facts(&host)).unwrap();
    config.host.administrators = vec!["ada".parse().unwrap()];
    change(&mut config);
    text_of(&host, &config)
}

fn text_of(host: &Host, config: &Config) -> String {
    let installation = Installation::new(host, config.clone()).unwrap();
    let plan = installation.plan(&installation.journal().unwrap()).unwrap();
    let mut lines = Vec::new();
    for step in &plan.steps {
        let after: Vec<String> = step.step.after.iter().map(ToString::to_string).collect();
        lines.push(format!("{} (after {})", step.step.id, after.join(" ")));
        lines.extend(step.actions.iter().map(|action| {
            let state = match &action.checked {
                Checked::Done => "done",
                Checked::Needed(_) => "needed",
                Checked::Later(_) => "later",
                Checked::Blocked(_) => "blocked",
                Checked::LeftAlone(_) => "left alone",
            };
            format!("  {} {state}", action.id)
        }));
    }
    lines.join("\n")
}

/// A card in the captured tree, in a group of its own.
fn put_card(root: &Path, address: &str, driver: &str) {
    let dir = root.join("sys/bus/pci/devices").join(address);
    std::fs::create_dir_all(&dir).unwrap();
    let text = format!("DRIVER={driver}\nPCI_CLASS=30200\nPCI_ID=10DE:2335\nPCI_SUBSYS_ID=10DE:18BE\n");
    std::fs::write(dir.join("uevent"), text).unwrap();
    let group = &address[5..7];
    std::fs::create_dir_all(root.join("sys/kernel/iommu_groups").join(group)).unwrap();
    std::os::unix::fs::symlink(format!("../../../../kernel/iommu_groups/{group}"), dir.join("iommu_group")).unwrap();
}

/// A whole plan with cards: what waits for a boot is bound then, and Nova is told of the bound one alone.
#[test]
fn cards_are_a_part_of_the_plan_with_either_engine() {
    for engine in [EngineName::Native, EngineName::Devstack] {
        let (dir, host) = captured();
        put_card(dir.path(), "0000:41:00.0", "vfio-pci");
        put_card(dir.path(), "0000:81:00.0", "nouveau");
        let mut config = profile::answers("workstation", &facts(&host)).unwrap();
        config.engine = engine;
        config.gpu = toml::from_str("cards = \"all-ready\"").unwrap();
        let installation = Installation::new(&host, config).unwrap();
        let plan = installation.plan(&installation.journal().unwrap()).unwrap();
        let actions: Vec<String> =
            plan.steps.iter().flat_map(|step| &step.actions).map(|action| action.id.to_string()).collect();
        for wanted in [
            "file:/etc/gpucloud/claims.json",
            "gpu:bound",
            "gpu:counted",
            "resource:flavor/gpu1.small",
            "resource:flavor/gpu2.large",
        ] {
            assert!(actions.iter().any(|id| id == wanted), "no {wanted} with {engine:?}: {actions:?}");
        }
        let file = match engine {
            EngineName::Native => "file:/etc/nova/nova-cpu.conf.d/50-gpucloud.conf",
            EngineName::Devstack => "file:/opt/stack/devstack/local.conf",
        };
        let action =
            plan.steps.iter().flat_map(|step| &step.step.actions).find(|one| one.id().to_string() == file).unwrap();
        action.apply(&host, &History::default()).unwrap();
        let told = std::fs::read_to_string(host.real(file.trim_start_matches("file:"))).unwrap();
        assert!(told.contains("0000:41:00.0") && !told.contains("0000:81:00.0"), "{told}");
        assert_eq!(told.matches("gpu-10de-2335").count(), 1, "{told}");
    }
}

/// A card goes back to its driver behind the last step of the cloud, which has forgotten it by then.
#[test]
fn a_card_goes_back_once_nova_has_forgotten_it() {
    let (dir, host) = captured();
    put_card(dir.path(), "0000:41:00.0", "vfio-pci");
    put_card(dir.path(), "0000:81:00.0", "vfio-pci");
    let mut config = profile::answers("workstation", &facts(&host)).unwrap();
    config.gpu = toml::from_str("cards = \"all-ready\"").unwrap();
    let order = |config: &Config| {
        let installation = Installation::new(&host, config.clone()).unwrap();
        let plan = installation.plan(&installation.journal().unwrap()).unwrap();
        let place = |id: &str| plan.steps.iter().position(|step| step.step.id.to_string() == id);
        let given_back =
            plan.steps.iter().flat_map(|step| &step.actions).any(|action| {
                action.id.to_string() == "gpu:given-back" && matches!(action.checked, Checked::Needed(_))
            });
        (place("gpu") > place("finish"), given_back)
    };
    let both = Installation::new(&host, config.clone()).unwrap();
    assert_eq!(order(&config), (false, false));
    let note = serde_json::to_string(&both.cards().unwrap().claims).unwrap();
    files::write(&host, Path::new("/etc/gpucloud/claims.json"), note.as_bytes(), 0o644, None).unwrap();
    assert_eq!(order(&config), (false, false));
    config.gpu = toml::from_str("cards = [\"0000:41:00.0\"]").unwrap();
    assert_eq!(order(&config), (true, true));
}

/// The program itself, without root: `plan --sysroot`.
#[test]
fn a_captured_tree_is_planned_from_the_command_line() {
    let (_dir, host) = captured();
    let text = profile::answers("workstation", &facts(&host)).unwrap().render();
    files::write(&host, Path::new("/etc/gpucloud/gpucloud.toml"), text.as_bytes(), 0o644, None).unwrap();
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_gpucloud-install"));
    let output = program.arg("--sysroot").arg(host.real("/")).args(["--json", "plan"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plan["pending"].as_u64().unwrap() > 100, "{}", plan["pending"]);
}

#[test]
fn the_plan_of_a_workstation() {
    insta::assert_snapshot!(plan_text(|_| ()));
}

/// Only what volumes add and change: the rest is the plan above.
#[test]
fn the_plan_of_a_workstation_with_volumes() {
    let (without, with) = (plan_text(|_| ()), plan_text(|config| config.volumes.backend = VolumeBackend::Lvm));
    let more = |line: &&str| !without.lines().any(|other| other == *line);
    insta::assert_snapshot!(with.lines().filter(more).collect::<Vec<_>>().join("\n"));
    let less: Vec<&str> = without.lines().filter(|line| !with.lines().any(|other| other == *line)).collect();
    assert_eq!(less.len(), 1, "{less:?}");
    let on_disk = plan_text(|config| {
        config.volumes.backend = VolumeBackend::Lvm;
        config.volumes.device = "/dev/sdb".parse().unwrap();
    });
    assert!(with.contains("volumes-file:") && !on_disk.contains("volumes-file:") && on_disk.contains("volume-group:"));
}

/// Only what notebooks add, with a card of NVIDIA's for some of them; the image of those comes behind the other one.
#[test]
fn the_plan_of_a_workstation_with_notebooks() {
    let (dir, host) = captured();
    put_card(dir.path(), "0000:41:00.0", "vfio-pci");
    let mut config = profile::answers("workstation", &facts(&host)).unwrap();
    config.gpu = toml::from_str("cards = \"all-ready\"").unwrap();
    let without = text_of(&host, &config);
    config.classroom.enabled = true;
    let with = text_of(&host, &config);
    let more: Vec<String> =
        with.lines().filter(|line| !without.lines().any(|other| other == *line)).map(without_version).collect();
    insta::assert_snapshot!(more.join("\n"));
    config.engine = EngineName::Devstack;
    let devstack = text_of(&host, &config);
    assert!(devstack.contains("python:uv") && devstack.contains("classroom:image-with-driver"), "{devstack}");
}

/// Images are called by what they are made of.
fn without_version(line: &str) -> String {
    let is_version = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let short = |word: &str| match word.rsplit_once('-') {
        Some((name, version)) if is_version(version) => format!("{name}-VERSION"),
        _ => word.to_owned(),
    };
    line.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_plan_of_a_workstation_with_devstack() {
    insta::assert_snapshot!(plan_text(|config| config.engine = EngineName::Devstack));
}

/// What DevStack is told by these answers, written below a directory.
fn local_conf(profile_name: &str, services: &[Extra]) -> (tempfile::TempDir, Installation, std::path::PathBuf) {
    let (dir, host) = captured();
    let own = "[[post-config|$NOVA_CONF]]\n[pci]\nown = 1\n";
    files::write(&host, Path::new("/etc/gpucloud/local.conf.d/own.conf"), own.as_bytes(), 0o600, None).unwrap();
    let mut config = profile::answers(profile_name, &facts(&host)).unwrap();
    config.engine = EngineName::Devstack;
    config.devstack.services = services.to_vec();
    config.network.dns = vec!["192.0.2.53".parse().unwrap(), "192.0.2.54".parse().unwrap()];
    let installation = Installation::new(&host, config).unwrap();
    let plan = installation.plan(&installation.journal().unwrap()).unwrap();
    let actions = plan.steps.iter().flat_map(|step| &step.step.actions);
    let path = "/opt/stack/devstack/local.conf";
    let action = actions.into_iter().find(|action| action.id().to_string() == format!("file:{path}")).unwrap();
    action.apply(&host, &History::default()).unwrap();
    let path = host.real(path);
    (dir, installation, path)
}

#[test]
fn local_conf_of_each_profile() {
    for (name, services) in [("workstation", &[Extra::Cinder, Extra::Swift, Extra::Heat][..]), ("lab", &[])] {
        let (_dir, installation, path) = local_conf(name, services);
        let mut text = std::fs::read_to_string(path).unwrap();
        for secret in installation.secrets.values() {
            text = text.replace(&secret, "********");
        }
        insta::assert_snapshot!(format!("local_conf_{name}"), text);
    }
}

/// DevStack reads the section by sourcing it.
#[test]
fn local_conf_arrives_in_bash_value_by_value() {
    let (_dir, installation, path) = local_conf("workstation", &[]);
    let script = "enable_service() { :; }; disable_service() { gone=\"$*\"; }; enable_plugin() { :; }
        source <(sed -n '/^\\[\\[local|localrc\\]\\]/,/^\\[\\[post/p' \"$1\" | grep -v '^\\[\\[')
        for name in HOST_IP HOST_IP_IFACE ADMIN_PASSWORD GIT_BASE TARGET_BRANCH FLOATING_RANGE PUBLIC_NETWORK_GATEWAY \
            Q_FLOATING_ALLOCATION_POOL IPV4_ADDRS_SAFE_TO_USE LOGFILE; do echo \"$name ${!name}\"; done; echo \"gone $gone\"";
    let output = std::process::Command::new("bash").args(["-c", script, "bash"]).arg(path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap_or_default();
    let (config, network) = (&installation.config, &installation.config.network);
    assert_eq!(value("HOST_IP"), config.host.address.to_string());
    assert_eq!(value("HOST_IP_IFACE"), config.host.interface.as_str());
    assert_eq!(value("ADMIN_PASSWORD"), installation.secrets.get("admin").unwrap().expose());
    assert_eq!(value("GIT_BASE"), config.cloud.git_base.url());
    assert_eq!(value("TARGET_BRANCH"), config.devstack.branch.as_str());
    assert_eq!(value("FLOATING_RANGE"), network.range.to_string());
    assert_eq!(value("PUBLIC_NETWORK_GATEWAY"), network.gateway.to_string());
    let pool = format!("start={},end={}", network.pool.first, network.pool.last);
    assert_eq!(value("Q_FLOATING_ALLOCATION_POOL"), pool);
    assert_eq!(value("IPV4_ADDRS_SAFE_TO_USE"), network.tenant_range.to_string());
    assert_eq!(value("LOGFILE"), "/opt/stack/logs/stack/stack.sh.log");
    assert!(value("gone").contains("c-vol"), "{text}");
}

#[test]
fn every_file_of_the_plan_is_shown_without_its_secrets() {
    let (_dir, host) = captured();
    let mut config = profile::answers("lab", &facts(&host)).unwrap();
    config.volumes.backend = VolumeBackend::Lvm;
    let installation = Installation::new(&host, config).unwrap();
    let plan = installation.plan(&installation.journal().unwrap()).unwrap();
    let actions = plan.steps.iter().flat_map(|step| &step.actions);
    let diffs: Vec<&str> = actions
        .filter_map(|a| if let Checked::Needed(change) = &a.checked { change.diff.as_deref() } else { None })
        .collect();
    assert!(diffs.iter().any(|diff| diff.contains("********")));
    for secret in installation.secrets.values() {
        assert!(diffs.iter().all(|diff| !diff.contains(&secret)));
    }
}

/// As a file that this plan writes, with the masks of its secrets.
fn shown(config: Config, host: &Host, path: &str) -> String {
    let installation = Installation::new(host, config).unwrap();
    let plan = installation.plan(&installation.journal().unwrap()).unwrap();
    let id = format!("file:{path}");
    let action = plan.steps.iter().flat_map(|step| &step.actions).find(|action| action.id.to_string() == id).unwrap();
    let Checked::Needed(change) = &action.checked else { panic!("{id} is not needed") };
    let lines = change.diff.as_deref().unwrap().lines().filter_map(|line| line.strip_prefix('+'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn cinder_wipes_what_the_answers_say_and_nova_knows_it_only_where_it_is() {
    let (_dir, host) = captured();
    let mut config = profile::answers("workstation", &facts(&host)).unwrap();
    let nova = shown(config.clone(), &host, "/etc/nova/nova-cpu.conf");
    assert!(nova.contains("[cinder]\nos_region_name = RegionOne\n\n[libvirt]"), "{nova}");
    config.volumes.backend = VolumeBackend::Lvm;
    let nova = shown(config.clone(), &host, "/etc/nova/nova-cpu.conf");
    assert!(nova.contains("\ncatalog_info = block-storage:cinder:publicURL\n"), "{nova}");
    assert!(shown(config.clone(), &host, "/etc/cinder/cinder.conf").contains("\nvolume_clear = zero\n"));
    assert!(shown(config.clone(), &host, "/etc/systemd/system/gpucloud-volumes.service").contains("losetup"));
    config.volumes.wipe = false;
    config.volumes.device = "/dev/sdb".parse().unwrap();
    assert!(shown(config.clone(), &host, "/etc/cinder/cinder.conf").contains("\nvolume_clear = none\n"));
    assert!(!shown(config, &host, "/etc/systemd/system/gpucloud-volumes.service").contains("losetup"));
}

#[test]
fn the_service_table_is_sound() {
    let (_dir, host) = captured();
    for engine in [EngineName::Native, EngineName::Devstack] {
        let mut config = Config { engine, ..profile::answers("workstation", &facts(&host)).unwrap() };
        if engine == EngineName::Native {
            config.volumes.backend = VolumeBackend::Lvm;
        }
        let installation = Installation::new(&host, config).unwrap();
        is_sound(&installation.engine.services(&installation.config));
    }
}

fn is_sound(services: &[Service]) {
    for (i, service) in services.iter().enumerate() {
        assert!(!services[..i].iter().any(|other| other.id == service.id), "{} twice", service.id);
        for before in service.after {
            let place = services.iter().position(|other| other.id == *before);
            assert!(place.is_some_and(|place| services[place].layer <= service.layer), "{} after {before}", service.id);
        }
    }
    let ports: Vec<u16> =
        services.iter().flat_map(|service| service.listens.iter().map(|listen| listen.port)).collect();
    assert!(ports.iter().enumerate().all(|(i, port)| !ports[..i].contains(port)), "{ports:?}");
}
