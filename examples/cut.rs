//! For `tests/lab.rs`: a change of the network that cuts the machine off, as no answers can ask for it. `cut rules` and
//! `cut address` wait for a person's yes that never comes; `cut witnessed` asks those who answered before.

use clap::Parser;
use gpucloud::cli::Cli;
use gpucloud::config::Config;
use gpucloud::engine::engine;
use gpucloud::facts::{network, os};
use gpucloud::host::Host;
use gpucloud::host::nft::Policy;
use gpucloud::network::consent::Confirmation;
use gpucloud::network::desired;
use gpucloud::network::guard::Guard;
use gpucloud::network::live::Ownership;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    match arguments.nth(1).as_deref() {
        // What the timer runs.
        Some("network") => ExitCode::from(gpucloud::command::run(Cli::parse())),
        Some(how) => cut(how),
        None => ExitCode::FAILURE,
    }
}

fn cut(how: &str) -> ExitCode {
    let host = Host::live();
    let (Ok(Some(config)), Ok(os), Ok(facts)) = (Config::load_applied(&host), os::read(&host), network::probe(&host))
    else {
        return ExitCode::FAILURE;
    };
    let mut wanted = desired(&config, &engine(config.engine).services(&config), os.datapath());
    match (how, wanted.bridge.as_mut(), facts.default_route.as_ref().and_then(|route| route.gateway)) {
        // The bridge takes the gateway's own address.
        ("address", Some(bridge), Some(std::net::IpAddr::V4(gateway))) => {
            bridge.addresses.insert(ipnet::Ipv4Net::new_assert(gateway, 25));
        }
        _ => {
            let input = wanted.table.iter_mut().flat_map(|table| &mut table.chains).find(|chain| chain.name == "input");
            if let Some(chain) = input {
                chain.rules.retain(|rule| rule.purpose == "this machine itself");
                if let Some(base) = chain.base.as_mut() {
                    base.policy = Policy::Drop;
                }
            }
        }
    }
    let confirmation =
        if how == "witnessed" { Confirmation::Witnesses } else { Confirmation::Person(Duration::from_secs(8)) };
    let done = Guard::of(&host).bring_about(&wanted, &Ownership::of(&config, None), &facts, confirmation);
    // The test reads how it went, and kills what waits here.
    let text = done.map_or_else(|error| error.to_string(), |changes| format!("{} changes", changes.len()));
    let _ = std::fs::write("/root/cut.result", text);
    if how != "witnessed" {
        std::thread::sleep(Duration::from_secs(60));
    }
    ExitCode::SUCCESS
}
