//! `inventory`: network links and display devices, as tables. What is known of them comes from `facts/`
//! (`network.rs`, `pci.rs`): a new column is a field there and a cell here.

use super::Invocation;
use crate::ending::Ending;
use crate::facts::{network, pci};
use crate::failure::Failure;
use crate::ui::text;
use serde_json::json;

pub(super) fn run(invocation: &Invocation) -> Result<Ending, Failure> {
    let network = network::probe(&invocation.host)?;
    let displays = pci::displays(&invocation.host)?;
    invocation
        .ui
        .document("inventory", json!({"nics": network.nics, "default_route": network.default_route, "gpus": displays}));
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    let uplink = network.default_route.as_ref().map(|route| route.interface.as_str());
    // Links without a device and without an address are the business of others.
    let shown = network.nics.iter().filter(|nic| nic.driver.is_some() || !nic.addresses.is_empty());
    let nics: Vec<Vec<String>> = shown.map(|nic| nic_row(nic, uplink)).collect();
    invocation.ui.say(text::table(&["LINK", "DRIVER", "MTU", "STATE", "ADDRESSES", "NOTE"], &nics));
    invocation.ui.say("");
    if displays.is_empty() {
        invocation.ui.say("No display devices.");
    } else {
        let rows: Vec<Vec<String>> = displays.iter().map(display_row).collect();
        invocation.ui.say(text::table(&["PCI ADDRESS", "VENDOR:DEVICE", "CLASS", "DRIVER", "NOTE"], &rows));
    }
    Ok(Ending::Done)
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

fn display_row(display: &pci::Display) -> Vec<String> {
    let note = match (display.boot_vga, display.vendor == pci::NVIDIA) {
        (true, _) => "console",
        (false, true) => "NVIDIA",
        _ => "",
    };
    let ids = format!("{}:{}", display.vendor, display.device);
    vec![display.address.clone(), ids, display.class.clone(), display.driver.clone().unwrap_or_default(), note.into()]
}
