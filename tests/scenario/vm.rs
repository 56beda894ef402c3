//! Labs that are virtual machines: a kernel, a board, power of their own. They are emulated where KVM boots no kernel, so
//! a boot takes half a minute. Those with a whole cloud are in the long run: it boots for a quarter of an hour.

use super::{ANSWERS, Verdict, network};
use crate::machine::{Done, inside, note_secrets, ours, program, secrets, within};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Its host.
pub const LAB: &str = "suite-vm";
/// Another one, from a snapshot.
pub const AGAIN: &str = "suite-vm2";
/// The one with a cloud.
pub const CLOUD: &str = "suite-vmc";
const SNAPSHOT: &str = "suite-vms";

fn cards(text: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cards.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn up(lab: &str, more: &[&str]) -> Done {
    ours(&[&["lab", "up", "--name", lab, "--kind", "vm", "--no-install", "--yes"], more].concat())
}

fn shell(lab: &str, script: &str) -> Done {
    inside(lab, &["sh", "-c", script])
}

fn boot_id(lab: &str) -> String {
    inside(lab, &["cat", "/proc/sys/kernel/random/boot_id"]).expect(0).out
}

/// What `lab list` says of it.
fn listed(lab: &str) -> serde_json::Value {
    let all = ours(&["lab", "list", "--json"]).expect(0).json();
    all["labs"].as_array().unwrap().iter().find(|one| one["name"] == lab).cloned().unwrap_or_default()
}

/// Wrong files are refused before anything is made; then a host boots whose kernel sees the board that is asked for.
pub fn boots_with_its_board() -> Verdict {
    let wrong = cards("[[card]]\nis = \"gpu\"\n");
    let said = up(LAB, &["--cards", wrong.to_str().unwrap()]).expect(2).err;
    assert!(said.contains("unknown variant `gpu`") && said.contains("profiles/cards"), "{said}");
    ours(&["lab", "up", "--name", LAB, "--memory", "4", "--yes"]).expect(2);
    up(LAB, &[]).expect(0);
    let board = shell(
        LAB,
        "for d in /sys/kernel/iommu_groups/*/devices/*; do echo $(basename $(dirname $(dirname $d))) \
                            $(basename $d) $(cat $d/vendor $d/device); done",
    )
    .expect(0)
    .out;
    let group = |address: &str| {
        let line = board.lines().find(|line| line.contains(address)).unwrap_or_else(|| panic!("{address}: {board}"));
        line.split(' ').next().unwrap().to_owned()
    };
    let alone =
        |address: &str| board.lines().filter(|line| line.starts_with(&format!("{} ", group(address)))).count() == 1;
    assert!(board.contains("0000:00:01.0 0x1234 0x1111"), "the console: {board}");
    assert_eq!(group("0000:01:00.0"), group("0000:01:00.1"), "the audio function: {board}");
    assert_eq!(group("0000:03:01.0"), group("0000:03:02.0"), "the disk behind the bridge: {board}");
    assert!(alone("0000:04:00.0") && alone("0000:05:00.0"), "{board}");
    assert_eq!(shell(LAB, "cat /sys/bus/pci/devices/0000:04:00.0/sriov_totalvfs").expect(0).out.trim(), "4");
    assert_eq!(listed(LAB)["kind"], "vm");
    Ok(())
}

/// Status, both outputs, standard input, and a signal.
pub fn is_entered() -> Verdict {
    let said = shell(LAB, "echo out; echo err >&2; exit 7");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(inside(LAB, &["printf", "%s|", "a b", "", "$HOME", "it's"]).expect(0).out, "a b||$HOME|it's|");
    let mut child = Command::new(program())
        .args(["lab", "exec", LAB, "--", "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &vec![7; 1 << 20])?;
    assert_eq!(String::from_utf8(child.wait_with_output()?.stdout)?.trim(), "1048576");
    let since = Instant::now();
    inside(LAB, &["true"]).expect(0);
    assert!(since.elapsed() < Duration::from_secs(3), "a program took {:?} to begin", since.elapsed());
    let mut waiting = Command::new(program()).args(["lab", "exec", LAB, "--", "sleep", "3131"]).spawn()?;
    let sleeps = || inside(LAB, &["pgrep", "--full", "^sleep 3131"]).code == 0;
    assert!(within(Duration::from_secs(20), sleeps));
    let pid = nix::unistd::Pid::from_raw(waiting.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
    assert!(within(Duration::from_secs(20), || !sleeps()), "the signal did not reach the program");
    assert_eq!(waiting.wait()?.code(), Some(130));
    let console = ours(&["lab", "console", LAB]).expect(0).out;
    assert!(console.contains("Linux version") && console.contains("login:"), "{console}");
    Ok(())
}

/// Each card's verdict from the live kernel; a claim that is killed goes on; nothing is taken from a driver before a boot.
pub fn cards_are_claimed() -> Verdict {
    inside(LAB, &["gpucloud-install", "init", "--profile", "vagrant"]).expect(0);
    let verdicts: Vec<(String, String, String)> = cards_of(LAB);
    let expected = [
        ("0000:00:01.0", "blocked", "bochs-drm"),
        ("0000:01:00.0", "companions", "bochs-drm"),
        ("0000:03:01.0", "blocked", "bochs-drm"),
        ("0000:04:00.0", "ready", "nvme"),
        ("0000:05:00.0", "ready", "bochs-drm"),
    ];
    assert_eq!(verdicts, expected.map(|(at, verdict, driver)| (at.into(), verdict.into(), driver.into())));
    let refused = inside(LAB, &["gpucloud-install", "gpu", "claim", "03:01.0", "--yes"]).expect(3).err;
    assert!(refused.contains("0000:03:02.0, a disk controller"), "{refused}");
    // What the kernel is told goes by GRUB's drop-in.
    shell(LAB, "echo '{\"arguments\":[\"suite=1\"],\"claims\":[]}' > /etc/gpucloud/claims.json").expect(0);
    shell(LAB, "gpucloud-install gpu claim --yes & pid=$!; sleep 6; kill -9 $pid; wait").expect(0);
    let said = inside(LAB, &["gpucloud-install", "gpu", "claim", "--yes"]).expect(5);
    assert!(said.err.contains("0000:01:00.1") && said.out.contains("A reboot is needed"), "{said:?}");
    assert_eq!(cards_of(LAB), expected.map(|(at, verdict, driver)| (at.into(), verdict.into(), driver.into())));
    Ok(())
}

fn cards_of(lab: &str) -> Vec<(String, String, String)> {
    let all = inside(lab, &["gpucloud-install", "gpu", "list", "--json"]).expect(0).json();
    super::documents::check("gpu list", &all);
    let text = |card: &serde_json::Value, key: &str| card[key].as_str().unwrap_or_default().to_owned();
    let cards = all["gpus"].as_array().unwrap().iter();
    cards.map(|card| (text(card, "address"), text(card, "verdict"), text(card, "driver"))).collect()
}

/// Who drives the claimed cards, the companion, and those that are not claimed.
fn drivers() -> Vec<String> {
    let all = ["01:00.0", "01:00.1", "04:00.0", "05:00.0", "00:01.0", "03:01.0"];
    let path = |at: &str| format!("/sys/bus/pci/devices/0000:{at}/driver");
    let paths = all.map(path).join(" ");
    let script = format!("for driver in {paths}; do basename $(readlink $driver); done");
    shell(LAB, &script).expect(0).out.lines().map(str::to_owned).collect()
}

/// Given back, a card has its driver again; uninstall leaves neither claims nor arguments.
pub fn cards_are_given_back() -> Verdict {
    inside(LAB, &["gpucloud-install", "gpu", "release", "05:00.0", "--yes"]).expect(0);
    assert_eq!(drivers()[..4], ["vfio-pci", "vfio-pci", "vfio-pci", "bochs-drm"]);
    let answers = shell(LAB, "grep ^cards /etc/gpucloud/gpucloud.toml").expect(0).out;
    assert_eq!(answers, "cards = [\"0000:01:00.0\", \"0000:04:00.0\"]\n");
    // Another claim waits for a boot of its own, though an earlier one had its.
    inside(LAB, &["gpucloud-install", "gpu", "claim", "05:00.0", "--yes"]).expect(5);
    inside(LAB, &["gpucloud-install", "uninstall", "--yes"]).expect(0);
    assert_eq!(drivers()[..4], ["bochs-drm", "snd_hda_intel", "nvme", "bochs-drm"]);
    let left = "ls /etc/default/grub.d/60-gpucloud.cfg /etc/systemd/system/gpucloud-gpu.service /var/lib/gpucloud; \
                grep suite=1 /boot/grub/grub.cfg";
    assert_eq!(shell(LAB, left).out, "");
    Ok(())
}

/// GRUB reads its drop-in, a reboot is a real one, a power cut loses nothing that was on the disk; what is claimed is
/// bound after both.
pub fn boots_again() -> Verdict {
    let first = boot_id(LAB);
    ours(&["lab", "reboot", LAB]).expect(0);
    let second = boot_id(LAB);
    assert_ne!(first, second);
    assert!(inside(LAB, &["cat", "/proc/cmdline"]).expect(0).out.contains("suite=1"));
    let bound = ["vfio-pci", "vfio-pci", "vfio-pci", "vfio-pci", "bochs-drm", "bochs-drm"];
    assert_eq!(drivers(), bound);
    shell(LAB, "echo kept > /root/kept; sync; echo lost > /dev/shm/lost").expect(0);
    ours(&["lab", "cut", LAB]).expect(0);
    assert_eq!(listed(LAB)["state"], "stopped");
    assert!(ours(&["lab", "exec", LAB, "--", "true"]).expect(1).err.contains("does not run"));
    up(LAB, &[]).expect(0);
    assert_eq!(inside(LAB, &["cat", "/root/kept"]).expect(0).out, "kept\n");
    assert_eq!(drivers(), bound);
    Ok(())
}

/// What cannot be saved is said; what can comes back as it ran, with this machine's time.
pub fn is_saved_and_restored() -> Verdict {
    let said = ours(&["lab", "save", LAB, SNAPSHOT]).expect(3).err;
    assert!(said.contains("sr-iov") && said.contains("--cards"), "{said}");
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    let board = cards("iommu = false\n[[card]]\nis = \"console\"\n[[card]]\nis = \"with-disk\"\n");
    up(LAB, &["--cards", board.to_str().unwrap()]).expect(0);
    assert_eq!(shell(LAB, "ls /sys/kernel/iommu_groups | wc -l").expect(0).out.trim(), "0");
    let running = boot_id(LAB);
    shell(LAB, "echo before > /dev/shm/state").expect(0);
    ours(&["lab", "save", LAB, SNAPSHOT]).expect(0);
    shell(LAB, "echo after > /dev/shm/state").expect(0);
    assert!(ours(&["lab", "restore", SNAPSHOT, AGAIN]).expect(3).err.contains("has the snapshot's address"));
    ours(&["lab", "down", LAB, "--yes"]).expect(0);
    let since = Instant::now();
    ours(&["lab", "restore", SNAPSHOT, AGAIN]).expect(0);
    eprintln!("restored in {:?}", since.elapsed());
    assert_eq!((boot_id(AGAIN), shell(AGAIN, "cat /dev/shm/state").expect(0).out), (running, "before\n".into()));
    let there: i64 = inside(AGAIN, &["date", "+%s"]).expect(0).out.trim().parse()?;
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
    assert!((there - here).abs() < 30, "the clock is {} s off", there - here);
    ours(&["lab", "down", AGAIN, "--yes"]).expect(0);
    ours(&["lab", "down", SNAPSHOT, "--yes"]).expect(0);
    Ok(())
}

/// The cloud, installed at a container's speed, comes up by itself on a kernel of its own; `apply` finds nothing to do. The
/// network is kept there too, where the kernel has the datapath.
pub fn with_a_cloud() -> Verdict {
    ours(&["lab", "up", "--name", CLOUD, "--kind", "vm", "--yes"]).expect(0);
    let known = secrets().len();
    note_secrets(CLOUD);
    assert!(secrets().len() > known);
    let datapaths = shell(CLOUD, "ovs-vsctl get bridge br-int datapath_type; ls /sys/module | grep -x openvswitch");
    assert_eq!(datapaths.expect(0).out, "system\nopenvswitch\n");
    let applied = inside(CLOUD, &["gpucloud-install", "apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(applied["changed"], 0, "{applied}");
    network::kept(CLOUD, 12)
}

/// Instances behind two routers reach each other at their floating addresses: in containers they do not, since the
/// userspace datapath cannot take a packet through two of OVN's routers (seen with OVN 23.03 and 25.03).
pub fn with_two_routers() -> Verdict {
    let second =
        "/name = \"private\", subnet/a { name = \"other\", subnet = \"10.254.1.0/24\", router = \"router2\" },";
    inside(CLOUD, &["sed", "-i", second, ANSWERS]).expect(0);
    inside(CLOUD, &["gpucloud-install", "apply", "--yes"]).expect(0);
    for (name, network) in [("near", "private"), ("far", "other")] {
        let launch = ["gpucloud-install", "instance", "launch", name, "--network", network, "--wait", "2400"];
        inside(CLOUD, &launch).expect(0);
    }
    let all = inside(CLOUD, &["gpucloud-install", "instance", "list", "--json"]).expect(0).json();
    let floating = |name: &str| {
        let one = all["instances"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        one["floating_ip"].as_str().unwrap_or_else(|| panic!("{one}")).to_owned()
    };
    for (from, to) in [("far", "near"), ("near", "far")] {
        in_guest(from, &format!("ping -c 5 -W 10 {}", floating(to))).expect(0);
        let banner = in_guest(from, &format!("nc -w 30 {} 22 </dev/null | head -c 4", floating(to))).expect(0).out;
        assert!(banner.contains("SSH-"), "{from} to {to}: {banner}");
    }
    for name in ["near", "far"] {
        inside(CLOUD, &["gpucloud-install", "instance", "delete", name, "--yes"]).expect(0);
    }
    Ok(())
}

fn in_guest(instance: &str, script: &str) -> Done {
    inside(CLOUD, &["gpucloud-install", "instance", "ssh", instance, "--", script])
}

fn volume(args: &[&str]) -> serde_json::Value {
    let all = [&["gpucloud-install", "volume"], args, &["--yes", "--json"]].concat();
    inside(CLOUD, &all).expect(0).json()
}

/// The answers want volumes.
const VOLUMES_ON: &str =
    "sed -i 's/^backend = \"none\"/backend = \"lvm\"/; s/^size_gib = 30/size_gib = 4/' /etc/gpucloud/gpucloud.toml";

/// A volume is made, attached, extended and written; after a power cut it is there with the same content, and the instance
/// has it. Another instance boots from one.
pub fn with_volumes() -> Verdict {
    let answers = shell(CLOUD, "cat /etc/gpucloud/gpucloud.toml").expect(0).out;
    assert!(answers.contains("backend = \"none\""), "{answers}");
    shell(CLOUD, VOLUMES_ON).expect(0);
    inside(CLOUD, &["gpucloud-install", "apply", "--yes"]).expect(0);
    volume(&["create", "data", "--size-gib", "1"]);
    let launch = ["gpucloud-install", "instance", "launch", "one", "--network", "private", "--wait", "1800"];
    inside(CLOUD, &launch).expect(0);
    assert_eq!(volume(&["attach", "data", "one"])["state"], "in-use");
    assert_eq!(volume(&["extend", "data", "--size-gib", "2"])["size_gib"], 2);
    in_guest("one", "echo kept-content | dd of=/dev/vdb conv=fsync && sync").expect(0);
    ours(&["lab", "cut", CLOUD]).expect(0);
    ours(&["lab", "up", "--name", CLOUD, "--yes"]).expect(0);
    let read = || in_guest("one", "dd if=/dev/vdb bs=12 count=1 2>/dev/null").out.contains("kept-content");
    assert!(within(Duration::from_secs(1800), read), "the volume is not what it was");
    let boot = [
        "gpucloud-install",
        "instance",
        "launch",
        "two",
        "--network",
        "private",
        "--boot-volume",
        "1",
        "--wait",
        "1800",
    ];
    inside(CLOUD, &boot).expect(0);
    inside(CLOUD, &["gpucloud-install", "instance", "delete", "two", "--yes"]).expect(0);
    volume(&["detach", "data"]);
    volume(&["delete", "data"]);
    inside(CLOUD, &["gpucloud-install", "instance", "delete", "one", "--yes"]).expect(0);
    Ok(())
}

fn notebook(args: &[&str]) -> Done {
    inside(CLOUD, &[&["gpucloud-install", "notebook"], args].concat())
}

/// Where virtual machines run in virtual machines at their own speed.
const NESTED: &str = "GPUCLOUD_TEST_NESTED";

/// Why no notebook boots in a virtual lab: emulated in an emulated machine, it was not there after 25 minutes.
pub fn not_nested() -> Option<String> {
    let why =
        || format!("a notebook that is emulated twice does not come up: {NESTED}=1 where KVM is, in its guests too");
    std::env::var_os(NESTED).is_none().then(why)
}

/// A home on a volume outlives its notebook, and a power cut.
pub fn with_homes() -> Verdict {
    shell(CLOUD, VOLUMES_ON).expect(0);
    let edit = "sed -i '/^\\[classroom\\]/,$ s/^enabled = false/enabled = true/; s/^home_gib = .*/home_gib = 1/' \
                /etc/gpucloud/gpucloud.toml";
    shell(CLOUD, edit).expect(0);
    inside(CLOUD, &["gpucloud-install", "apply", "--yes"]).expect(0);
    notebook(&["create", "ada"]).expect(0);
    assert_eq!(notebook(&["show", "ada", "--json"]).expect(0).json()["home_on_volume"], true);
    let write = "echo mine > /home/student/work; chown student: /home/student/work; lsblk --noheadings --output=FSTYPE,SIZE,MOUNTPOINTS \
                 /dev/vdb; ls -A /home";
    let said = notebook(&["ssh", "ada", "--", write]).expect(0).out;
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["ext4", "1G", "/home", "lost+found", "student"], "{said}");
    notebook(&["delete", "ada", "--yes"]).expect(0);
    let list = notebook(&["list", "--json"]).expect(0).json();
    assert_eq!((&list["notebooks"], &list["saved"]), (&serde_json::json!([]), &serde_json::json!(["ada"])));
    // It is made as large as homes are now.
    shell(CLOUD, "sed -i 's/^home_gib = 1/home_gib = 2/' /etc/gpucloud/gpucloud.toml").expect(0);
    inside(CLOUD, &["gpucloud-install", "apply", "--yes"]).expect(0);
    notebook(&["create", "ada"]).expect(0);
    let look = "cat /home/student/work; lsblk --noheadings --output=SIZE /dev/vdb; df --output=size /home | tail -n 1";
    let said = notebook(&["ssh", "ada", "--", look]).expect(0).out;
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(words[..2] == ["mine", "2G"] && words[2].parse::<u64>()? > 1_500_000, "{said}");
    notebook(&["ssh", "ada", "--", "sync"]).expect(0);
    ours(&["lab", "cut", CLOUD]).expect(0);
    ours(&["lab", "up", "--name", CLOUD, "--yes"]).expect(0);
    let read = || notebook(&["ssh", "ada", "--", "findmnt /home && cat /home/student/work"]).out.ends_with("mine\n");
    assert!(within(Duration::from_secs(2400), read), "the home is not back");
    notebook(&["delete", "ada", "--and-its-data", "--yes"]).expect(0);
    assert_eq!(notebook(&["list", "--json"]).expect(0).json()["saved"], serde_json::json!([]));
    Ok(())
}

/// The cards of this cloud as `gpu list` tells them: claim state, and who has it.
fn card(address: &str) -> serde_json::Value {
    let all = inside(CLOUD, &["gpucloud-install", "gpu", "list", "--json"]).expect(0).json();
    let cards = all["gpus"].as_array().unwrap();
    cards.iter().find(|card| card["address"] == address).cloned().unwrap_or_default()
}

fn gpu_layer() -> serde_json::Value {
    let status = inside(CLOUD, &["gpucloud-install", "status", "--json"]).json();
    let layers = status["layers"].as_array().unwrap();
    layers.iter().find(|layer| layer["name"] == "gpu").cloned().unwrap_or_default()
}

/// A card is claimed in a cloud that stands; after the boot the installation goes on by itself until the cloud counts it and
/// has flavors for it. A guest proves it; an instance gets it and sees its ids; a second one is told why it gets none; the
/// card comes back, and outlives a power cut with its instance.
pub fn with_cards() -> Verdict {
    const CARD: &str = "0000:05:00.0";
    inside(CLOUD, &["gpucloud-install", "gpu", "claim", CARD, "--yes"]).expect(5);
    ours(&["lab", "reboot", CLOUD]).expect(0);
    let counted = || gpu_layer()["healthy"] == true && gpu_layer()["detail"].as_str().unwrap_or("").contains("free");
    assert!(within(Duration::from_secs(1800), counted), "{}", gpu_layer());
    let flavors = || {
        let all = inside(CLOUD, &["gpucloud-install", "flavor", "list", "--json"]).expect(0).json();
        all["flavors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["name"].as_str().unwrap().starts_with("gpu1."))
            .count()
    };
    assert!(within(Duration::from_secs(600), || flavors() == 2), "{} flavors", flavors());
    let nothing = || inside(CLOUD, &["gpucloud-install", "apply", "--yes", "--json"]);
    assert!(within(Duration::from_secs(600), || nothing().code == 0));
    assert_eq!(nothing().json()["changed"], 0);
    let tested = inside(CLOUD, &["gpucloud-install", "gpu", "test", "--json"]).expect(0).json();
    super::documents::check("gpu test", &tested);
    assert_eq!((&tested["passed"], &tested["tests"][0]["rounds"]), (&true.into(), &3.into()));
    assert_eq!(card(CARD)["tested"], true);
    let launch = |name: &str| {
        let launch = ["gpucloud-install", "instance", "launch", name, "--network", "private"];
        inside(CLOUD, &[&launch[..], &["--flavor", "gpu1.small", "--wait", "2400"]].concat())
    };
    launch("student").expect(0);
    assert_eq!(card(CARD)["instances"], serde_json::json!(["student"]));
    let seen = in_guest("student", "cat /sys/bus/pci/devices/*/uevent | grep PCI_ID").expect(0).out;
    assert!(seen.contains("PCI_ID=1234:1111"), "{seen}");
    // One that runs without its card is started anew.
    let without = "domain=$(virsh list --name | head -n 1); virsh dumpxml --security-info $domain | \
                   sed '/<hostdev/,/<\\/hostdev>/d' >/root/without.xml; virsh destroy $domain; \
                   virsh create /root/without.xml; rm /root/without.xml";
    shell(CLOUD, without).expect(0);
    assert!(gpu_layer()["detail"].as_str().is_some_and(|why| why.contains("runs without")), "{}", gpu_layer());
    inside(CLOUD, &["gpucloud-install", "recover", "--yes"]).expect(0);
    assert_eq!(gpu_layer()["healthy"], true, "{}", gpu_layer());
    let refused = launch("second").expect(1).err;
    assert!(refused.contains("not enough cards are free") && refused.contains("student"), "{refused}");
    inside(CLOUD, &["gpucloud-install", "instance", "delete", "second", "--yes"]).expect(0);
    let busy = inside(CLOUD, &["gpucloud-install", "gpu", "test", CARD]).expect(3).err;
    assert!(busy.contains("student"), "{busy}");
    let busy = inside(CLOUD, &["gpucloud-install", "gpu", "release", "--yes"]).expect(3).err;
    assert!(busy.contains("open"), "{busy}");
    ours(&["lab", "cut", CLOUD]).expect(0);
    ours(&["lab", "up", "--name", CLOUD, "--yes"]).expect(0);
    let again = || in_guest("student", "cat /sys/bus/pci/devices/*/uevent").out.contains("PCI_ID=1234:1111");
    assert!(within(Duration::from_secs(1800), again), "the instance has not its card again");
    inside(CLOUD, &["gpucloud-install", "instance", "delete", "student", "--yes"]).expect(0);
    assert!(within(Duration::from_secs(300), || card(CARD)["instances"] == serde_json::json!([])));
    inside(CLOUD, &["gpucloud-install", "gpu", "release", "--yes"]).expect(0);
    assert_eq!(flavors(), 0);
    Ok(())
}
