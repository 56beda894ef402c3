//! A cloud that stands, with other answers, with a newer program, with what is down.

use super::{ANSWERS, LAB, Verdict, main_process};
use crate::machine::{inside, installer, program, read, root, write};

pub fn changed_answer() -> Verdict {
    let good = read(LAB, ANSWERS);
    let (keystone, mariadb) = (main_process("gpucloud-keystone.service"), main_process("mariadb.service"));
    write(LAB, ANSWERS, &good.replace("workers = 1", "workers = 2"));
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
    let good = read(LAB, ANSWERS);
    write(LAB, ANSWERS, &good.replace("RegionOne", "RegionTwo"));
    let refused = installer(LAB, &["plan"]).expect(3);
    assert!(refused.err.contains("cloud.region is fixed") && refused.err.contains("RegionOne"), "{}", refused.err);
    write(LAB, ANSWERS, &good);
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
