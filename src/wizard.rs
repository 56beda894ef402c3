//! The wizard: at most eight questions, each with a detected default and one line of why; all of them before the first
//! change. A new question is a function here and its line in [`ask`].

use crate::config::profile::{self, PROFILES};
use crate::config::values::UserName;
use crate::config::{Config, Virt};
use crate::facts::{Facts, kvm::Kvm};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::ui::prompt::Prompter;
use std::net::Ipv4Addr;

/// Asks everything; `earlier` answers are the defaults where there are some.
pub fn ask(ui: &Ui, prompter: &dyn Prompter, facts: &Facts, earlier: Option<Config>) -> Result<Config, Failure> {
    let mut config = match earlier {
        Some(config) => config,
        None => profile::answers(&ask_profile(ui, prompter)?, facts)?,
    };
    ask_address(ui, prompter, facts, &mut config)?;
    ask_virt(ui, prompter, facts, &mut config)?;
    ask_dashboard(ui, prompter, &mut config)?;
    ask_workers(ui, prompter, &mut config)?;
    ask_administrators(ui, prompter, &mut config)?;
    ask_sharing(ui, prompter, facts, &mut config)?;
    Ok(config)
}

fn ask_profile(ui: &Ui, prompter: &dyn Prompter) -> Result<String, Failure> {
    ui.say("A profile sets what the following questions offer first.");
    let names: Vec<String> = PROFILES.iter().map(|(name, text)| format!("{name}: {}", first_comment(text))).collect();
    let chosen = prompter.select("What is this machine for?", &names, 0)?;
    Ok(PROFILES[chosen].0.to_owned())
}

fn first_comment(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).trim_end_matches('.')
}

fn ask_address(ui: &Ui, prompter: &dyn Prompter, facts: &Facts, config: &mut Config) -> Result<(), Failure> {
    ui.say("The cloud's services will answer at this address; it must never change.");
    let choices = addresses(facts);
    let labels: Vec<String> =
        choices.iter().map(|(address, link, note)| format!("{address} on {link}{note}")).collect();
    let default = choices.iter().position(|(address, ..)| *address == config.host.address).unwrap_or(0);
    let (address, link, _) = &choices[prompter.select("Which address?", &labels, default)?];
    config.host.address = *address;
    config.host.interface = link.parse().map_err(|what: String| Failure::usage(what, "choose another link"))?;
    Ok(())
}

fn addresses(facts: &Facts) -> Vec<(Ipv4Addr, String, &'static str)> {
    let nics = facts.network.nics.iter();
    nics.flat_map(|nic| {
        nic.addresses.iter().filter_map(move |a| match a.address {
            std::net::IpAddr::V4(v4) => {
                Some((v4, nic.name.clone(), if a.dynamic { " (from DHCP: it may change)" } else { "" }))
            }
            std::net::IpAddr::V6(_) => None,
        })
    })
    .collect()
}

fn ask_virt(ui: &Ui, prompter: &dyn Prompter, facts: &Facts, config: &mut Config) -> Result<(), Failure> {
    let works = facts.kvm == Kvm::Works;
    let proof = if works {
        "KVM works here: a small machine was run on it."
    } else {
        "KVM does not work here: instances would be emulated."
    };
    ui.say(proof);
    let items = ["automatic: KVM where it works, else emulation", "KVM, or stop", "emulation, ten times slower"]
        .map(str::to_owned);
    let kinds = [Virt::Auto, Virt::Kvm, Virt::Qemu];
    let default = kinds.iter().position(|kind| *kind == config.compute.virt).unwrap_or(0);
    config.compute.virt = kinds[prompter.select("How are instances run?", &items, default)?];
    Ok(())
}

fn ask_dashboard(ui: &Ui, prompter: &dyn Prompter, config: &mut Config) -> Result<(), Failure> {
    ui.say("Horizon shows the cloud in a browser; it takes about 250 MB of memory.");
    config.cloud.dashboard = prompter.confirm("Install the dashboard?", config.cloud.dashboard)?;
    Ok(())
}

fn ask_workers(ui: &Ui, prompter: &dyn Prompter, config: &mut Config) -> Result<(), Failure> {
    ui.say("Two processes for each API answer quicker when a whole class comes; one saves about 1 GB of memory.");
    let check = |text: &str| match text.parse::<u8>() {
        Ok(1..=64) => Ok(()),
        _ => Err("a number from 1 to 64".to_owned()),
    };
    let text = prompter.input("Processes for each API?", &config.cloud.workers.to_string(), &check)?;
    config.cloud.workers = text.parse().unwrap_or(config.cloud.workers);
    Ok(())
}

fn ask_administrators(ui: &Ui, prompter: &dyn Prompter, config: &mut Config) -> Result<(), Failure> {
    ui.say("These accounts may use the cloud as its administrator (group gpucloud-admin); blank for root alone.");
    let default: Vec<&str> = config.host.administrators.iter().map(UserName::as_str).collect();
    let check = |text: &str| parse_accounts(text).map(drop);
    let text = prompter.input("Administrators, separated by blanks?", &default.join(" "), &check)?;
    config.host.administrators = parse_accounts(&text).map_err(|what| Failure::usage(what, "try again"))?;
    Ok(())
}

fn parse_accounts(text: &str) -> Result<Vec<UserName>, String> {
    let names = text.split_whitespace().map(|name| {
        let name: UserName = name.parse()?;
        match crate::host::users::find_user(name.as_str()) {
            Ok(Some(_)) => Ok(name),
            _ => Err(format!("there is no account {name} here")),
        }
    });
    names.collect()
}

fn ask_sharing(ui: &Ui, prompter: &dyn Prompter, facts: &Facts, config: &mut Config) -> Result<(), Failure> {
    if facts.software.shared.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = facts.software.shared.iter().map(|(name, _)| name.as_str()).collect();
    ui.say(format!(
        "Already here: {}. The cloud would put its own databases and settings into them.",
        names.join(", ")
    ));
    config.host.share_services = prompter.confirm("May the cloud use them?", config.host.share_services)?;
    Ok(())
}
