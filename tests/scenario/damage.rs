//! What happens to a cloud that stands: found by `doctor` in words, mended by `apply`.

use super::{LAB, Verdict};
use crate::machine::{Random, inside, installer, note_secrets, read, root, write};

/// A way to damage a cloud.
struct Damage {
    /// What was done, for a failed test.
    what: &'static str,
    /// Done inside.
    command: &'static [&'static str],
    /// What `doctor` must name.
    found: &'static str,
}

const DAMAGES: &[Damage] = &[
    Damage {
        what: "a unit is deleted",
        command: &["rm", "/etc/systemd/system/gpucloud-placement.service"],
        found: "file:/etc/systemd/system/gpucloud-placement.service",
    },
    Damage {
        what: "a unit is edited",
        command: &["sed", "-i", "s/^Restart=.*/Restart=no/", "/etc/systemd/system/gpucloud-glance-api.service"],
        found: "file:/etc/systemd/system/gpucloud-glance-api.service",
    },
    Damage {
        what: "a unit is masked",
        command: &["systemctl", "mask", "--now", "memcached.service"],
        found: "unit:memcached.service",
    },
    Damage {
        what: "a unit is disabled and stopped",
        command: &["systemctl", "disable", "--now", "gpucloud-nova-conductor.service"],
        found: "unit:gpucloud-nova-conductor.service",
    },
    Damage {
        what: "a configuration file is emptied",
        command: &["truncate", "--size=0", "/etc/nova/nova.conf"],
        found: "file:/etc/nova/nova.conf",
    },
    Damage {
        what: "a database user is dropped",
        command: &["mariadb", "--execute", "DROP USER 'glance'@'127.0.0.1'"],
        found: "database-user:glance",
    },
    Damage {
        what: "the endpoints of a service are deleted",
        command: &[
            "mariadb",
            "keystone",
            "--execute",
            "DELETE FROM endpoint WHERE service_id IN (SELECT id FROM service WHERE type = 'image')",
        ],
        found: "endpoints:image",
    },
    Damage {
        what: "two packages are removed by force",
        command: &["dpkg", "--purge", "--force-depends", "novnc", "libslirp0"],
        found: "packages:compute",
    },
    Damage {
        what: "the interpreter's link is broken",
        command: &["ln", "-sfn", "/usr/bin/python3.99", "/opt/gpucloud/venv/bin/python"],
        found: "python:environment",
    },
];

/// All at once and in any order, as a bad day would have it; each is named.
pub fn found_and_mended() -> Verdict {
    for damage in Random::seeded().shuffled(DAMAGES.iter().collect()) {
        inside(LAB, damage.command).expect(0);
    }
    let found = installer(LAB, &["doctor", "--json"]).expect(1).json();
    let findings = found["findings"].as_array().ok_or(format!("{found}"))?;
    for Damage { what, found, .. } in DAMAGES {
        let named = |finding: &&serde_json::Value| finding["what"].as_str().unwrap().starts_with(&format!("{found}:"));
        let finding = findings.iter().find(named).ok_or(format!("{what}: {found} is not found"))?;
        assert_eq!(finding["level"], "stop", "{what}");
    }
    installer(LAB, &["apply", "--yes"]).expect(0);
    installer(LAB, &["doctor"]).expect(0);
    inside(LAB, &["apt-get", "check"]).expect(0);
    inside(LAB, &["test", "-d", "/opt/gpucloud/venv/lib/python3.13/site-packages/nova/__pycache__"]).expect(0);
    let kept = read(LAB, "/etc/systemd/system/gpucloud-glance-api.service.gpucloud-kept");
    assert!(kept.contains("Restart=no"), "the edit is lost");
    std::fs::remove_file(root(LAB).join("etc/systemd/system/gpucloud-glance-api.service.gpucloud-kept"))?;
    Ok(())
}

fn admin_password() -> String {
    let text = read(LAB, "/etc/gpucloud/secrets.toml");
    text.lines().find_map(|line| line.strip_prefix("admin = ")).unwrap().to_owned()
}

/// New ones are made, everything that uses them follows; the old ones are gone.
pub fn lost_secrets() -> Verdict {
    note_secrets(LAB);
    let before = admin_password();
    std::fs::remove_file(root(LAB).join("etc/gpucloud/secrets.toml"))?;
    let found = installer(LAB, &["doctor"]).expect(1).out;
    assert!(found.contains("the passwords of this cloud are lost"), "{found}");
    installer(LAB, &["apply", "--yes"]).expect(0);
    assert_ne!(admin_password(), before);
    note_secrets(LAB);
    installer(LAB, &["doctor"]).expect(0);
    inside(LAB, &["openstack", "--os-cloud", "gpucloud", "token", "issue"]).expect(0);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0);
    Ok(())
}

/// The cloud goes on; what cannot be rebuilt is said, and nothing is taken for somebody else's.
pub fn lost_journal() -> Verdict {
    let path = "/var/lib/gpucloud/journal.jsonl";
    let journal = read(LAB, path);
    std::fs::remove_file(root(LAB).join(path.trim_start_matches('/')))?;
    let found = installer(LAB, &["doctor"]).expect(0).out;
    assert!(found.contains("the journal of this cloud is lost"), "{found}");
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0);
    write(LAB, path, &journal);
    inside(LAB, &["chmod", "600", path]).expect(0);
    let found = installer(LAB, &["doctor"]).expect(0).out;
    assert!(!found.contains("is lost"), "{found}");
    Ok(())
}

/// Since systemd 255 every unit counts as one whose files changed, from the moment that any other was enabled without a
/// reload. That says nothing of ours: nothing is restarted.
pub fn foreign_enable() -> Verdict {
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    write(LAB, "/etc/systemd/system/foreign.service", unit);
    let processes = || {
        let show = ["systemctl", "show", "--property=MainPID", "mariadb", "libvirtd", "gpucloud-keystone"];
        inside(LAB, &show).expect(0).out
    };
    let before = processes();
    inside(LAB, &["systemctl", "enable", "--no-reload", "foreign.service"]).expect(0);
    let flag = inside(LAB, &["systemctl", "show", "--property=NeedDaemonReload", "--value", "memcached"]).expect(0).out;
    assert_eq!(flag.trim(), "yes", "this systemd does not show what is to be tried");
    assert_eq!(installer(LAB, &["plan", "--json"]).expect(0).json()["pending"], 0);
    assert_eq!(installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    assert_eq!(processes(), before, "a running cloud was restarted");
    inside(LAB, &["systemctl", "disable", "foreign.service"]).expect(0);
    std::fs::remove_file(root(LAB).join("etc/systemd/system/foreign.service"))?;
    // Its service runs: a socket beside it is stale or stopped, and must start all the same.
    inside(LAB, &["systemctl", "start", "libvirtd.service"]).expect(0);
    inside(
        LAB,
        &[
            "sh",
            "-c",
            "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket; systemctl start libvirtd.service || true",
        ],
    );
    installer(LAB, &["apply", "--yes"]).expect(0);
    installer(LAB, &["status"]).expect(0);
    Ok(())
}

/// A queue in alarm takes connections and no message: said with the numbers, with what ends it, and nothing is restarted
/// for it. A hypervisor that a person has disabled is told, and is no damage.
pub fn answers_and_does_not_work() -> Verdict {
    let limit = |bytes: &str| inside(LAB, &["rabbitmqctl", "--quiet", "set_disk_free_limit", bytes]).expect(0);
    limit("900000GB");
    let began = std::time::Instant::now();
    let blocked = "it blocks all senders: free disk";
    // RabbitMQ measures its disk every ten seconds.
    while !installer(LAB, &["status"]).out.contains(blocked) {
        assert!(began.elapsed() < std::time::Duration::from_secs(40), "the alarm was not seen");
    }
    let began = std::time::Instant::now();
    let refused = installer(LAB, &["recover", "--yes"]).expect(1);
    assert!(refused.err.contains(blocked) && refused.err.contains("df -h"), "{}", refused.err);
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "it took {:?}", began.elapsed());
    limit("50MB");
    installer(LAB, &["recover", "--yes"]).expect(0);
    let disabled = "UPDATE services SET disabled=1, disabled_reason='new disk' WHERE `binary`='nova-compute'";
    inside(LAB, &["mariadb", "nova_cell1", "--execute", disabled]).expect(0);
    let status = installer(LAB, &["status"]).expect(0).out;
    assert!(status.contains("somebody disabled the compute service") && status.contains("new disk"), "{status}");
    let enabled = "UPDATE services SET disabled=0, disabled_reason=NULL WHERE `binary`='nova-compute'";
    inside(LAB, &["mariadb", "nova_cell1", "--execute", enabled]).expect(0);
    Ok(())
}
