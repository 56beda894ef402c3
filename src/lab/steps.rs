//! What a lab changes on this machine, as steps: forwarding, the root (an overlay where the kernel has one, else a
//! copy), a virtual machine's disks, its network with NAT, the running host.

use super::base::{self, Base};
use super::{Kind, Lab, hands, image, network};
use crate::action::file::File;
use crate::action::originals::Original;
use crate::action::packages::Packages;
use crate::action::sysctl::Sysctl;
use crate::action::task::Task;
use crate::action::undo::Leaves;
use crate::action::{ActionId, Checked, Undo};
use crate::content::Content;
use crate::facts::{Facts, apt};
use crate::host::command::Command;
use crate::host::overlay::{self, Overlay};
use crate::host::{Host, files, nft, systemd};
use crate::plan::{Hold, Step};
use std::path::{Path, PathBuf};

/// Forwarding, which the last lab gives back.
pub fn forwarding() -> ActionId {
    ActionId::new("sysctl", FORWARDING)
}

/// A daemon that does nothing.
const NO_ISCSI: &str = "[Unit]\nConditionVirtualization=\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=\nExecStart=/bin/true\n";

/// Reads its files anew only when told.
const NETWORKD: &str = "systemd-networkd.service";
const FORWARDING: &str = "net.ipv4.ip_forward";
/// Files of this machine that a lab needs, or nothing downloads behind a company's proxy.
const TAKEN_ALONG: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"];

/// The packages that labs need, and forwarding: what all labs share.
pub fn shared() -> Vec<Step> {
    let forwarding = Step::new("lab-forwarding", "Let this machine forward");
    vec![packages_of_labs(), forwarding.with(Sysctl { key: FORWARDING.into(), value: "1".into() })]
}

/// The packages that labs and base images need.
pub fn packages_of_labs() -> Step {
    let container = packages("lab", &["systemd-container", "mmdebstrap"]);
    Step::new("lab-packages", "Install what labs need").holding(Hold::Packages).with(container)
}

/// What virtual machines need beyond that.
pub fn shared_by_vms() -> Step {
    let names = ["qemu-system-x86", "qemu-utils", "fdisk", "e2fsprogs", "openssh-client"];
    Step::new("vm-packages", "Install what virtual machines need")
        .after(&["lab-packages"])
        .holding(Hold::Packages)
        .with(packages("vm", &names))
}

fn packages(purpose: &str, names: &[&str]) -> Packages {
    Packages {
        purpose: purpose.into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        leaves: Leaves::default(),
        made_once: Vec::new(),
        changed_permissions: Vec::new(),
    }
}

/// The base image.
pub fn base_image(base: Base) -> Step {
    Step::new("base-image", "Make the base image").after(&["lab-packages"]).with(base::image(base))
}

/// What belongs to one lab; its root is an overlay over `source`, or a copy.
pub fn own(lab: &Lab, source: PathBuf, facts: &Facts, host: &Host) -> crate::host::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let has_disk = files::exists(host, lab.disk(0)) || files::exists(host, lab.dir().join(image::RAW));
    let needs_root = match &lab.kind {
        Kind::Container => true,
        Kind::Vm(vm) => vm.image.is_none() && !has_disk,
    };
    if needs_root {
        steps.push(Step::new("lab-root", "Make the root file system").with(root(lab, source)));
        steps.push(
            Step::new("lab-settings", "Give the host its name and address")
                .after(&["lab-root"])
                .with(settings(lab, host, facts)?),
        );
    }
    if let Kind::Vm(vm) = &lab.kind {
        let disks = Step::new("lab-disks", "Make the disks");
        let disks = if needs_root { disks.after(&["lab-settings"]) } else { disks };
        steps.push(disks.with(image::disks(lab, vm)));
    }
    let last: &[&str] = match &lab.kind {
        Kind::Container => &["lab-settings"],
        Kind::Vm(_) => &["lab-disks"],
    };
    steps.push(
        Step::new("lab-start", "Boot the host")
            .after(last)
            .with(unmanaged_link(lab))
            .with(rules(lab))
            .with(running(lab))
            .with(link(lab, facts)),
    );
    Ok(steps)
}

fn root(lab: &Lab, source: PathBuf) -> Task {
    let undo = Undo::Directory { path: lab.root(), original: Original::Absent, made: Vec::new(), shared: false };
    let id = ActionId::new("lab-root", &lab.name);
    match lab.overlay() {
        Some(overlay) => overlaid(id, overlay),
        None => copied(id, lab, source),
    }
    .undone_by(undo)
}

/// `lifecycle.rs` unmounts it before anything is taken back: what was written into it goes with it.
fn overlaid(id: ActionId, overlay: Overlay) -> Task {
    let shown = overlay.shown.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(overlay::is_mounted(host, &shown)?, "mount"));
    Task::new(id, "Lay the root file system over what it begins as", probe, move |host| overlay.mount(host))
}

fn copied(id: ActionId, lab: &Lab, source: PathBuf) -> Task {
    let (target, partial) = (lab.root(), lab.dir().join("root.partial"));
    let there = target.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &there), "copy"));
    let work = move |host: &Host| {
        files::remove_tree(host, &partial)?;
        super::copy(host, &source, &partial)?;
        files::rename(host, &partial, &target)
    };
    Task::new(id, "Copy the root file system", probe, work)
}

/// A file of the host's own: path, content, permissions.
type Setting = (PathBuf, String, u32);

/// Name, address, and what the machine itself needs to reach package servers. Written once: from then on these files are
/// the host's administrator's, as on a real one. They go with the root.
fn settings(lab: &Lab, host: &Host, facts: &Facts) -> crate::host::Result<Task> {
    let (settings, units) = (list_settings(lab, host, facts)?, lab.root().join("etc/systemd/system"));
    let (written, again) = (lab.dir().join(super::SETTINGS), lab.dir().join(super::SETTINGS));
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &written), "write"));
    let work = move |host: &Host| {
        let write = |(path, text, mode): &Setting| files::write(host, path, text.as_bytes(), *mode, None);
        settings.iter().try_for_each(write)?;
        enable_networkd(host, &units)?;
        files::write(host, &again, b"", 0o644, None)
    };
    Ok(Task::new(ActionId::new("lab-settings", &lab.name), "Give the host its name and address", probe, work))
}

fn list_settings(lab: &Lab, host: &Host, facts: &Facts) -> crate::host::Result<Vec<Setting>> {
    let link = format!(
        "[Match]\nName=host0\n\n[Link]\nMTUBytes={}\n\n[Network]\nAddress={}/24\nGateway={}\nLinkLocalAddressing=no\n",
        mtu(facts),
        lab.address,
        lab.gateway()
    );
    let hosts = format!("127.0.0.1 localhost\n{} {}\n::1 localhost ip6-localhost\n", lab.address, lab.host_name);
    let own = [
        ("/etc/hostname", format!("{}\n", lab.host_name)),
        ("/etc/hosts", hosts),
        ("/etc/systemd/network/10-host0.network", link),
        // How pages are shared is this machine's to say, and DevStack writes there.
        ("/etc/fstab", "tmpfs /sys/kernel/mm/ksm tmpfs nofail 0 0\n".to_owned()),
        // A container has no iSCSI, and DevStack's hypervisor insists on its daemon.
        ("/etc/systemd/system/iscsid.service.d/lab.conf", NO_ISCSI.to_owned()),
    ];
    let own = own.into_iter().map(|(path, text)| (PathBuf::from(path), text, 0o644));
    let along = taken_along(host)?.into_iter().map(|(path, text)| (path, text, 0o644));
    // A proxy's address may hold a password.
    let environment = ("/etc/systemd/system.conf.d/10-lab.conf".into(), environment(lab), 0o600);
    let all = own.chain(along).chain([environment]);
    Ok(all.map(|(path, text, mode)| (lab.real(path), text, mode)).collect())
}

fn taken_along(host: &Host) -> crate::host::Result<Vec<(PathBuf, String)>> {
    let mut taken = apt::proxy_files(host)?;
    taken.extend(crate::facts::resolver::resolv_conf(host)?.map(|text| ("/etc/resolv.conf".into(), text)));
    for path in TAKEN_ALONG {
        taken.extend(files::read_text(host, path)?.map(|text| (path.into(), text)));
    }
    Ok(taken)
}

/// Proxies for every service, as systemd hands them on (systemd-system.conf(5), "DefaultEnvironment").
fn environment(lab: &Lab) -> String {
    let set = network::proxies(lab).into_iter().map(|(name, value)| format!("\"{name}={value}\""));
    format!("[Manager]\nDefaultEnvironment={}\n", set.collect::<Vec<_>>().join(" "))
}

/// systemd ships a network for links of this name: a networkd of this machine would give ours another address.
fn unmanaged_link(lab: &Lab) -> File {
    let text = format!("[Match]\nName={}\n\n[Link]\nUnmanaged=yes\n", lab.link());
    File::new(format!("/run/systemd/network/10-gpucloud-lab-{}.network", lab.name), Content::plain(text))
}

/// Debian's images leave systemd-networkd off; and its wait for a link would hold the boot up.
pub fn enable_networkd(host: &Host, units: &Path) -> crate::host::Result<()> {
    files::make_link(host, &units.join("systemd-networkd-wait-online.service"), Path::new("/dev/null"))?;
    let wanted = units.join("multi-user.target.wants/systemd-networkd.service");
    files::make_link(host, &wanted, Path::new("/usr/lib/systemd/system/systemd-networkd.service"))
}

fn mtu(facts: &Facts) -> u32 {
    facts.network.uplink().map_or(1500, |(nic, _)| nic.mtu)
}

fn rules(lab: &Lab) -> Task {
    let (ruleset, table) = (network::rules(lab), network::table_name(lab));
    let name = table.clone();
    let probe = move |_: &Host| Ok(Checked::done_if(nft::table_exists(nft::Family::Ip, &name)?, "load"));
    let work = move |_: &Host| Ok(nft::replace(&ruleset)?);
    let undo = Undo::NftTable { family: "ip".into(), table: table.clone() };
    Task::new(ActionId::new("nft", table), "Load the lab's NAT rules", probe, work).undone_by(undo)
}

fn running(lab: &Lab) -> Task {
    let (lab, again) = (lab.clone(), lab.clone());
    let undo = Undo::Container { name: lab.name.to_string() };
    let id = ActionId::new("lab-host", &lab.name);
    // A state that was begun with and is still noted would be begun with again.
    let probe = move |host: &Host| {
        let (hands, begins_again) = (hands::of(&again), files::exists(host, again.dir().join(super::RUNNING)));
        let is_done = hands.is_running(host) && !begins_again && !hands.is_left_paused(host)?;
        Ok(Checked::done_if(is_done, "boot"))
    };
    let work = move |host: &Host| {
        if systemd::unit(host, NETWORKD).is_ok_and(|status| status.is_active()) {
            Command::new("networkctl").arg("reload").run(host)?;
        }
        hands::of(&lab).start(host)
    };
    Task::new(id, "Boot the host", probe, work).undone_by(undo)
}

fn link(lab: &Lab, facts: &Facts) -> Task {
    let (lab_again, lab, mtu) = (lab.clone(), lab.clone(), mtu(facts));
    let id = ActionId::new("lab-link", &lab.name);
    let probe = move |_: &Host| Ok(Checked::done_if(network::is_configured(&lab)?, "give it an address"));
    let work = move |host: &Host| {
        network::configure(host, &lab_again, mtu)?;
        hands::wait_booted(host, &lab_again)
    };
    Task::new(id, "Connect the host", probe, work).at_runtime()
}
