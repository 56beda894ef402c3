//! What a lab changes on this machine, as steps.

use super::{Lab, System, base, network};
use crate::action::file::File;
use crate::action::packages::Packages;
use crate::action::sysctl::Sysctl;
use crate::action::task::Task;
use crate::action::undo::{Leaves, Original};
use crate::action::{ActionId, Checked, Undo};
use crate::content::Content;
use crate::facts::Facts;
use crate::host::command::Command;
use crate::host::{Host, files, nft, nspawn};
use crate::plan::{Hold, Step};
use std::path::{Path, PathBuf};

/// Forwarding, which the last lab gives back.
pub fn forwarding() -> ActionId {
    ActionId::new("sysctl", FORWARDING)
}

const FORWARDING: &str = "net.ipv4.ip_forward";
/// Files of this machine that a lab needs, or nothing downloads behind a company's proxy.
const TAKEN_ALONG: [&str; 3] = ["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"];
/// Variables that name proxies.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "no_proxy"];

/// What all labs share.
pub fn shared(system: System) -> Vec<Step> {
    let names = ["systemd-container", "mmdebstrap"].map(str::to_owned).to_vec();
    let packages = Packages { purpose: "lab".into(), names, leaves: Leaves::default() };
    vec![
        Step::new("lab-packages", "Install what labs need").holding(Hold::Packages).with(packages),
        Step::new("base-image", "Make the base image").after(&["lab-packages"]).with(base::image(system)),
        Step::new("lab-forwarding", "Let this machine forward")
            .with(Sysctl { key: FORWARDING.into(), value: "1".into() }),
    ]
}

/// What belongs to one lab; its root is a copy of `source`.
pub fn own(lab: &Lab, source: PathBuf, facts: &Facts, host: &Host) -> crate::host::Result<Vec<Step>> {
    Ok(vec![
        Step::new("lab-root", "Copy the root file system").with(root(lab, source)),
        settings(lab, host, facts)?.after(&["lab-root"]),
        Step::new("lab-start", "Boot the host")
            .after(&["lab-settings"])
            .with(rules(lab))
            .with(running(lab))
            .with(link(lab, facts)),
    ])
}

fn root(lab: &Lab, source: PathBuf) -> Task {
    let (target, partial) = (lab.root(), lab.dir().join("root.partial"));
    let there = target.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &there), "copy"));
    let work = move |host: &Host| {
        files::remove_tree(host, &partial)?;
        let (from, to) = (source.display().to_string(), partial.display().to_string());
        Command::new("cp").args(["--archive", "--reflink=auto", &from, &to]).run(host)?;
        let rename = std::fs::rename(host.real(&partial), host.real(&target));
        rename.map_err(|source| crate::host::Error::Io { doing: "rename", path: target.clone(), source })
    };
    let undo = Undo::Directory { path: lab.dir(), original: Original::Absent, made: Vec::new(), shared: false };
    Task::new(ActionId::new("lab-root", &lab.name), "Copy the root file system", probe, work).undone_by(undo)
}

/// Name, address, and what the machine itself needs to reach package servers. These go with the root.
fn settings(lab: &Lab, host: &Host, facts: &Facts) -> crate::host::Result<Step> {
    let mut step = Step::new("lab-settings", "Give the host its name and address");
    let link = format!(
        "[Match]\nName=host0\n\n[Link]\nMTUBytes={}\n\n[Network]\nAddress={}/24\nGateway={}\nLinkLocalAddressing=no\n",
        mtu(facts),
        lab.address,
        lab.gateway()
    );
    let hosts = format!("127.0.0.1 localhost\n{} {}\n::1 localhost ip6-localhost\n", lab.address, lab.host_name);
    for (path, text) in [
        ("etc/hostname", format!("{}\n", lab.host_name)),
        ("etc/hosts", hosts),
        ("etc/systemd/network/10-host0.network", link),
        ("etc/systemd/system.conf.d/10-lab.conf", environment()),
    ] {
        step = step.with(File::new(lab.root().join(path), Content::plain(text)));
    }
    for path in TAKEN_ALONG {
        if let Some(text) = files::read_text(host, path)? {
            step = step.with(File::new(lab.root().join(path.trim_start_matches('/')), Content::plain(text)));
        }
    }
    Ok(step.with(networkd(lab)))
}

/// Proxies for every service, as systemd hands them on.
fn environment() -> String {
    let set = PROXIES.iter().filter_map(|name| Some(format!("\"{name}={}\"", std::env::var(name).ok()?)));
    format!("[Manager]\nDefaultEnvironment={}\n", set.collect::<Vec<_>>().join(" "))
}

/// Debian's images leave systemd-networkd off; and its wait for a link would hold the boot up.
fn networkd(lab: &Lab) -> Task {
    let units = lab.root().join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants/systemd-networkd.service");
    let wait = units.join("systemd-networkd-wait-online.service");
    let there = wanted.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(files::exists(host, &there), "enable"));
    let work = move |host: &Host| {
        files::make_link(host, &wait, Path::new("/dev/null"))?;
        files::make_link(host, &wanted, Path::new("/usr/lib/systemd/system/systemd-networkd.service"))
    };
    Task::new(ActionId::new("lab-networkd", &lab.name), "Enable the host's network", probe, work)
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
    let (lab_again, name) = (lab.container(), lab.name.to_string());
    let probe = move |host: &Host| Ok(Checked::done_if(nspawn::is_running(host, &name), "boot"));
    let work = move |host: &Host| nspawn::start(host, &lab_again);
    let undo = Undo::Container { name: lab.name.to_string() };
    Task::new(ActionId::new("lab-host", &lab.name), "Boot the host", probe, work).undone_by(undo)
}

fn link(lab: &Lab, facts: &Facts) -> Task {
    let (lab_again, lab, mtu) = (lab.clone(), lab.clone(), mtu(facts));
    let id = ActionId::new("lab-link", &lab.name);
    let probe = move |_: &Host| Ok(Checked::done_if(network::is_configured(&lab)?, "give it an address"));
    let work = move |host: &Host| {
        network::configure(host, &lab_again, mtu)?;
        nspawn::wait_booted(host, lab_again.name.as_str())
    };
    Task::new(id, "Connect the host", probe, work).at_runtime()
}
