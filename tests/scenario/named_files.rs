//! Files that answers and options name: what the cloud takes of them, and what is said of the others before anything is
//! changed. Each form and each word: the unit tests of `cloud/public_key/` and `cloud/disk_image/`.

use super::resources::Cloud;
use super::{ANSWERS, Verdict};
use crate::machine::{inside, installer, read, write};

const JOURNAL: &str = "/var/lib/gpucloud/journal.jsonl";

/// A disk with a partition, as other hypervisors have it; an overlay over it.
const DISKS: &str = r"mkdir -p /srv/disks && cd /srv/disks && truncate -s 8M d.raw &&
    printf '\200\000\002\000\203\000\000\000\001\000\000\000\100\000\000\000' | dd of=d.raw bs=1 seek=446 conv=notrunc status=none &&
    printf '\125\252' | dd of=d.raw bs=1 seek=510 conv=notrunc status=none &&
    for f in vdi vhdx vpc; do qemu-img convert -f raw -O $f d.raw d.$f; done &&
    qemu-img convert -f raw -O vmdk -o subformat=streamOptimized d.raw d.vmdk &&
    qemu-img create -q -f qcow2 -b d.vdi -F vdi over.qcow2 && gzip -k d.raw";

/// An ECDSA key in the form of PuTTYgen gets to Nova; the private key beside it stops the plan, and is written nowhere.
pub fn keys(cloud: &Cloud) -> Verdict {
    let lab = cloud.lab;
    let sh = |script: &str| inside(lab, &["sh", "-c", script]).expect(0).out;
    sh("ssh-keygen -q -t ecdsa -N '' -f /root/ec && ssh-keygen -e -f /root/ec.pub > /root/ec.ssh2");
    let before = read(lab, ANSWERS);
    let with = |file: &str| {
        let entry = format!("{{ name = \"demo\" }},\n    {{ name = \"ec\", public_key = \"{file}\" }}");
        let changed = before.replacen("{ name = \"demo\" }", &entry, 1);
        assert_ne!(changed, before);
        write(lab, ANSWERS, &changed);
    };
    with("~/ec");
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let refused = installer(lab, command).expect(3);
        assert!(refused.err.contains("/root/ec holds a private key"), "{}", refused.err);
        assert!(refused.err.contains("ssh-keygen -y -f /root/ec > /root/ec.pub"), "{}", refused.err);
    }
    assert!(!read(lab, JOURNAL).contains("PRIVATE KEY"));
    with("~/ec.ssh2");
    installer(lab, &["apply", "--yes"]).expect(0);
    let nova = cloud.openstack(cloud.user, &["keypair", "show", "--public-key", "ec"]);
    let two_words = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(two_words(&nova), two_words(&read(lab, "/root/ec.pub")));
    // Nova has it: the file is needed no more.
    sh("rm /root/ec*");
    assert_eq!(installer(lab, &["apply", "--yes", "--json"]).expect(0).json()["changed"], 0);
    write(lab, ANSWERS, &before);
    installer(lab, &["apply", "--yes"]).expect(0);
    cloud.openstack(cloud.user, &["keypair", "delete", "ec"]);
    Ok(())
}

/// Disks of other hypervisors are images as what they are, and become instances; others are named with a command.
pub fn disks(cloud: &Cloud) -> Verdict {
    let lab = cloud.lab;
    inside(lab, &["sh", "-c", DISKS]).expect(0);
    for (file, format) in [("d.vdi", "vdi"), ("d.vhdx", "vhdx"), ("d.vmdk", "vmdk"), ("d.raw.gz", "raw")] {
        let made = installer(lab, &["image", "add", file, "--from", &format!("/srv/disks/{file}"), "--json"]);
        assert_eq!(made.expect(0).json()["disk_format"], format);
        let launch = ["instance", "launch", "theirs", "--image", file, "--flavor", "ds2G", "--network", "private"];
        let launched =
            installer(lab, &[&launch[..], &["--key", "demo", "--no-floating-ip", "--wait", "0", "--json"]].concat());
        assert_eq!(launched.expect(0).json()["state"], "ACTIVE");
        installer(lab, &["instance", "delete", "theirs", "--yes"]).expect(0);
        installer(lab, &["image", "delete", file, "--yes"]).expect(0);
    }
    let convert = "qemu-img convert -f vpc -O qcow2 /srv/disks/d.vpc /srv/disks/d-converted.qcow2";
    for (file, what, next) in [
        ("d.vpc", "/srv/disks/d.vpc is a VHD", convert),
        ("over.qcow2", "is an overlay", "qemu-img convert -O qcow2 /srv/disks/over.qcow2"),
    ] {
        let refused = installer(lab, &["image", "add", "no", "--from", &format!("/srv/disks/{file}")]).expect(1);
        assert!(refused.err.contains(what) && refused.err.contains(next), "{}", refused.err);
    }
    inside(lab, &["sh", "-c", "rm -r /srv/disks; ls -A /var/lib/gpucloud/images | grep unnamed"]).expect(1);
    Ok(())
}
