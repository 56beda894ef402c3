//! `inventory`: network links, and each card with its verdict. What is known of them comes from `facts/`, what it means
//! from `gpu/`: a new column is a field there and a cell here. What `--capture` packs is in `gpu/capture.rs`.

use super::{Invocation, absolute};
use crate::cli::Inventory as Options;
use crate::config::Config;
use crate::ending::Ending;
use crate::facts::iommu::{Iommu, Maker};
use crate::facts::network;
use crate::failure::Failure;
use crate::finding::bytes;
use crate::gpu::verdict::Judgement;
use crate::gpu::{self, Card, Inventory};
use crate::host::{Host, accounts, files};
use crate::ui::text;
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn run(invocation: &Invocation, options: &Options) -> Result<Ending, Failure> {
    if let Some(file) = &options.capture {
        return capture(invocation, &absolute(file));
    }
    let network = network::probe(&invocation.host)?;
    let inventory = gpu::inventory(&invocation.host, &also(invocation)?)?;
    let document = json!({
        "nics": network.nics, "default_route": network.default_route,
        "gpus": inventory.cards.iter().map(|(card, judgement)| card_document(card, judgement, &inventory)).collect::<Vec<_>>(),
        "others": inventory.apart, "iommu": inventory.scene.iommu,
    });
    invocation.ui.document("inventory", document);
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    let uplink = network.default_route.as_ref().map(|route| route.interface.as_str());
    // Links without a device and without an address are the business of others.
    let shown = network.nics.iter().filter(|nic| nic.driver.is_some() || !nic.addresses.is_empty());
    let nics: Vec<Vec<String>> = shown.map(|nic| nic_row(nic, uplink)).collect();
    if !nics.is_empty() {
        invocation.ui.say(text::table(&["LINK", "DRIVER", "MTU", "STATE", "ADDRESSES", "NOTE"], &nics));
        invocation.ui.say("");
    }
    show_cards(invocation, &inventory);
    if invocation.host.is_live() && !accounts::is_root() && !inventory.cards.is_empty() {
        invocation.ui.say("");
        invocation
            .ui
            .say("Who has a card open, and whether the firmware's screen lies in one, root alone can see: sudo.");
    }
    invocation.ui.say("");
    invocation.ui.say(machine_lines(&inventory.scene.iommu).join("\n"));
    Ok(Ending::Done)
}

/// Packs what was read. A file that is there is somebody's.
fn capture(invocation: &Invocation, file: &Path) -> Result<Ending, Failure> {
    if files::exists(&Host::live(), file) {
        let what = format!("{} is there already", file.display());
        return Err(Failure::new(what, "", "choose another file").with(Ending::Refused));
    }
    let inventory = gpu::inventory(&invocation.host, &also(invocation)?)?;
    let archive = gpu::capture::archive(&invocation.host, &inventory)?;
    files::write(&Host::live(), file, &archive, 0o644, None)?;
    invocation.ui.document("inventory", json!({"captured": file}));
    invocation.ui.say(format!("{} written. Look into it before you send it: tar tzf {0}", file.display()));
    invocation.ui.say(format!(
        "Next: mkdir tree; tar xzf {} -C tree; gpucloud-install --sysroot tree inventory",
        file.display()
    ));
    Ok(Ending::Done)
}

/// What the answers call cards beyond cards, where there are answers.
pub(super) fn also(invocation: &Invocation) -> Result<Vec<String>, Failure> {
    let path = &invocation.global.config;
    match files::exists(&invocation.host, path) {
        true => Ok(Config::load(&invocation.host, path)?.gpu.also()),
        false => Ok(Vec::new()),
    }
}

pub(super) fn card_document(card: &Card, judgement: &Judgement, inventory: &Inventory) -> Value {
    let group = card.function.group;
    let members = inventory.scene.functions.iter().filter(|other| group.is_some() && other.group == group);
    let users = inventory.scene.users.iter().filter(|user| user.address == card.function.address);
    let mut document = json!({
        "group_members": members.map(|other| &other.address).collect::<Vec<_>>(),
        "device_type": card.device_type(),
        "users": users.collect::<Vec<_>>(),
    });
    for part in [json!(card), json!(judgement)] {
        let (Value::Object(all), Value::Object(part)) = (&mut document, part) else { continue };
        all.extend(part);
    }
    document
}

fn show_cards(invocation: &Invocation, inventory: &Inventory) {
    if inventory.cards.is_empty() {
        invocation.ui.say("No cards that instances could have.");
    }
    let rows: Vec<Vec<String>> = inventory.cards.iter().map(|(card, judgement)| card_row(card, judgement)).collect();
    if !rows.is_empty() {
        let head = ["CARD", "NAME", "MEMORY", "LINK", "NODE", "GROUP", "DRIVER", "VERDICT"];
        invocation.ui.say(text::table(&head, &rows));
    }
    for (card, judgement) in &inventory.cards {
        invocation.ui.say("");
        invocation.ui.say(format!("{}  {}: {}", card.function.address, judgement.verdict.name(), judgement.reason));
        invocation.ui.say(format!("              next: {}", judgement.next));
    }
    if !inventory.apart.is_empty() {
        let rows: Vec<Vec<String>> = inventory
            .apart
            .iter()
            .map(|other| vec![other.address.clone(), other.name.clone(), other.why.clone()])
            .collect();
        invocation.ui.say("");
        invocation.ui.say(text::table(&["NO CARD", "NAME", "WHAT IT IS"], &rows));
    }
}

fn card_row(card: &Card, judgement: &Judgement) -> Vec<String> {
    let details = &card.details;
    let largest = details.bars.iter().map(|bar| bar.size).max();
    let link = match (&details.link, &details.link_possible) {
        (Some(now), Some(possible)) if now != possible => format!("{now} (of {possible})"),
        (now, _) => now.clone().unwrap_or_default(),
    };
    vec![
        card.function.address.clone(),
        card.name.clone(),
        largest.map(bytes).unwrap_or_default(),
        link,
        details.numa_node.map(|node| node.to_string()).unwrap_or_default(),
        card.function.group.map(|group| group.to_string()).unwrap_or_default(),
        card.function.driver.clone().unwrap_or_default(),
        judgement.verdict.name().into(),
    ]
}

fn machine_lines(iommu: &Iommu) -> Vec<String> {
    let name = match iommu.maker {
        Maker::Intel => "VT-d",
        Maker::Amd => "AMD-Vi",
        Maker::Other => "IOMMU",
    };
    let state = match (iommu.table, iommu.on) {
        (_, true) => "on",
        (Some(_), false) => "offered by the firmware, not used by the kernel",
        (None, false) => "not offered by the firmware",
    };
    let mut lines = vec![format!("{name}: {state}")];
    let secure =
        "Secure Boot is on: modules that nobody signed are not loaded (vfio-pci is signed by the distribution)";
    lines.extend(iommu.secure_boot.filter(|on| *on).map(|_| secure.to_owned()));
    lines.extend(iommu.inside.as_ref().map(|inside| format!("This machine is virtual itself: {inside}")));
    lines
}

fn nic_row(nic: &network::Nic, uplink: Option<&str>) -> Vec<String> {
    let addresses: Vec<String> = nic
        .addresses
        .iter()
        .map(|a| format!("{}/{}{}", a.address, a.prefix_len, if a.dynamic { " (DHCP)" } else { "" }))
        .collect();
    let state = match (nic.up, nic.carrier) {
        (true, true) => "up",
        (true, false) => "no cable",
        (false, _) => "down",
    };
    let driver = nic.driver.as_ref().or(nic.kind.as_ref()).cloned().unwrap_or_default();
    let note = if uplink == Some(nic.name.as_str()) { "default route" } else { "" };
    vec![nic.name.clone(), driver, nic.mtu.to_string(), state.into(), addresses.join(" "), note.into()]
}
