//! Eight cards in a cloud that has none: Nova's own fake driver says that they are there, and Nova, Placement and the
//! scheduler do with them what they do with real ones. What binds cards, and passes them on, is tried in virtual machines
//! (`vm.rs`).

use super::resources::NATIVE;
use super::{LAB, Verdict};
use crate::machine::{Done, inside, installer, write};
use std::time::Duration;

const COMPUTE: &str = "gpucloud-nova-compute.service";
const SPECS: &str = "pci_passthrough:alias";

/// What the rooms would write for so many cards of this model.
fn settings(cards: usize) -> String {
    let spec = |bus: u32| format!("device_spec = {{\"address\": \"0000:{bus:02x}:00.0\"}}\n");
    let specs: String = (0x10..0x90).step_by(0x10).take(cards).map(spec).collect();
    let alias = "alias = {\"name\": \"gpu-10de-2335\", \"vendor_id\": \"10de\", \"product_id\": \"2335\", \
                 \"device_type\": \"type-PF\", \"numa_policy\": \"preferred\"}";
    format!("[pci]\n{specs}{alias}\n")
}

/// Tells Nova of the first so many.
fn tell(cards: usize) {
    write(LAB, "/etc/nova/nova.conf.d/90-cards.conf", &settings(cards));
    let compute = format!("[DEFAULT]\ncompute_driver = fake.EightCards\n{}", settings(cards));
    write(LAB, "/etc/nova/nova-cpu.conf.d/90-cards.conf", &compute);
    let units = ["gpucloud-nova-api.service", "gpucloud-nova-conductor.service", "gpucloud-nova-scheduler.service"];
    inside(LAB, &[&["systemctl", "restart", COMPUTE], &units[..]].concat()).expect(0);
}

fn python(script: &str) -> String {
    inside(LAB, &["/opt/gpucloud/venv/bin/python", "-c", script]).out.trim().to_owned()
}

/// Fails the test unless Placement comes to count so many.
fn counted(cards: usize) {
    let ask = "import openstack; cloud = openstack.connect(cloud='gpucloud'); \
               print(len(list(cloud.placement.resource_providers(resources='CUSTOM_PCI_10DE_2335:1'))))";
    let is_so = || python(ask) == cards.to_string();
    assert!(crate::machine::within(Duration::from_secs(120), is_so), "Placement does not count {cards} cards");
}

fn launch(name: &str, cards: usize) -> Done {
    let flavor = format!("cards{cards}");
    installer(LAB, &["instance", "launch", name, "--flavor", &flavor, "--no-floating-ip", "--wait", "0"])
}

fn delete(name: &str) {
    installer(LAB, &["instance", "delete", name, "--yes"]).expect(0);
}

/// One, two and four cards are placed; who finds none free is told so, and who has them, apart from whom room is short
/// for; what was deleted is free again; a quota of instances is named as what it is. Of forty at once, as many get one as
/// there are cards, also when some are held back.
pub fn placed() -> Verdict {
    for one in installer(LAB, &["instance", "list", "--json"]).expect(0).json()["instances"].as_array().unwrap() {
        delete(one["name"].as_str().unwrap());
    }
    let drop_in = "sed -n 's/.*run-as-host \\([^ ]*\\) .*/\\1/p' /etc/systemd/system/libvirtd.service.d/gpucloud.conf";
    let node = inside(LAB, &["sh", "-c", drop_in]).expect(0).out;
    write(LAB, "/root/eight_cards", include_str!("../fixtures/eight_cards.py"));
    inside(LAB, &["chmod", "755", "/root/eight_cards"]).expect(0);
    let start = format!(
        "[Service]\nEnvironment=NODE={}\nExecStart=\nExecStart=/root/eight_cards --config-file /etc/nova/nova-cpu.conf \
         --config-dir /etc/nova/nova-cpu.conf.d\n",
        node.trim()
    );
    inside(LAB, &["mkdir", "-p", &format!("/etc/systemd/system/{COMPUTE}.d")]).expect(0);
    write(LAB, &format!("/etc/systemd/system/{COMPUTE}.d/cards.conf"), &start);
    inside(LAB, &["systemctl", "daemon-reload"]).expect(0);
    tell(8);
    counted(8);
    for cards in [1, 2, 4] {
        let (name, spec) = (format!("cards{cards}"), format!("{SPECS}=gpu-10de-2335:{cards}"));
        let words = ["flavor", "create", &name, "--vcpus", "1", "--ram", "512", "--disk", "1", "--property", &spec];
        NATIVE.openstack(NATIVE.admin, &words);
    }
    for (name, cards) in [("one", 1), ("two", 2), ("four", 4)] {
        launch(name, cards).expect(0);
    }
    let short = launch("more", 2).expect(1).err;
    assert!(short.contains("not enough cards are free for it"), "{short}");
    assert!(short.contains("gpu-10de-2335:2 is asked for; free: 1 of 8, the others with"), "{short}");
    assert!(["one", "two", "four"].iter().all(|name| short.contains(name)), "{short}");
    delete("more");
    launch("last", 1).expect(0);
    delete("four");
    launch("again", 4).expect(0);
    NATIVE.openstack(NATIVE.admin, &["flavor", "create", "huge", "--vcpus", "1", "--ram", "512", "--disk", "900000"]);
    let memory = installer(LAB, &["instance", "launch", "huge", "--flavor", "huge", "--no-floating-ip", "--wait", "0"]);
    let memory = memory.expect(1).err;
    assert!(memory.contains("no hypervisor has room") && !memory.contains("cards"), "{memory}");
    delete("huge");
    installer(LAB, &["quota", "set", "instances=4"]).expect(0);
    let full = launch("fifth", 1).expect(1).err;
    assert!(full.contains("quota is full"), "{full}");
    for name in ["one", "two", "last", "again"] {
        delete(name);
    }
    installer(LAB, &["quota", "set", "instances=50", "vcpus=50"]).expect(0);
    let forty = include_str!("../fixtures/forty_at_once.py").replace("USER", NATIVE.user);
    assert_eq!(python(&forty), "8 32\n0");
    // Two that failed are told to nobody any more, and are given to nobody.
    tell(6);
    counted(6);
    assert_eq!(python(&forty), "6 34\n0");
    Ok(())
}
