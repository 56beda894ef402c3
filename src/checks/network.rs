//! Addresses, names and what must be reached.

use super::{Outcome, Subject};
use crate::config::EngineName;
use crate::config::values::names_a_host;
use crate::engine::devstack::REPOSITORIES;
use crate::facts::reach::{Problem, Server};
use crate::finding::{Finding, Level, bytes};

pub(super) fn address(s: &Subject) -> Vec<Finding> {
    let address = s.config.host.address;
    let Some((nic, found)) = s.facts.network.owner(address) else { return vec![address_is_gone(s)] };
    if nic.name != s.config.host.interface.as_str() {
        let what = format!("{address} belongs to {}, not to {}", nic.name, s.config.host.interface);
        return vec![Finding::stop("address", what, "correct host.interface in gpucloud.toml")];
    }
    if found.dynamic {
        let what = format!("{address} is from DHCP: when the lease changes, every endpoint is wrong");
        let place = s.facts.network.settings.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
        let next = format!("give this machine a fixed address{place}, or a reservation in the DHCP server");
        return vec![Finding::warn("address", what, next)];
    }
    vec![Finding::pass("address", format!("{address} on {} is fixed", nic.name))]
}

/// Nobody here has the address of the answers.
fn address_is_gone(s: &Subject) -> Finding {
    let (address, network) = (s.config.host.address, &s.facts.network);
    let have = network.nics.iter().flat_map(|nic| nic.ipv4().map(move |own| format!("{own} on {}", nic.name)));
    let have: Vec<String> = have.collect();
    let seen =
        if have.is_empty() { "no link has an IPv4 address".to_owned() } else { format!("it has {}", have.join(", ")) };
    if !s.is_begun() {
        let what = format!("host.address {address} is not an address of this machine");
        return Finding::stop("address", what, "correct it in gpucloud.toml").seen(seen);
    }
    let link = &s.config.host.interface;
    let place = network.settings.as_ref().map(|path| format!(", and in {}", path.display())).unwrap_or_default();
    let back = format!("give it back (ip addr add {address}/PREFIX dev {link}{place})");
    let next = match (network.uplink(), s.config.engine) {
        (Some((nic, own)), EngineName::Native) => format!(
            "{back}; or move the cloud: host.address = \"{own}\" and host.interface = \"{}\" in gpucloud.toml, then: \
             gpucloud-install apply",
            nic.name
        ),
        _ => back,
    };
    Finding::stop("address", format!("the cloud's address {address} is gone"), next).seen(seen)
}

/// The cloud keeps the name that it knows, whatever the machine is called (`engine/hypervisor.rs`), as long as that is a
/// name at all.
pub(super) fn host_name(s: &Subject) -> Vec<Finding> {
    let (now, wanted) = (s.facts.os.short_host_name(), s.config.host.name.as_str());
    let kernels = &s.facts.os.host_name;
    if !kernels.is_empty() && !names_a_host(kernels) {
        let what = format!("this machine is called `{kernels}`, and Neutron does not start under such a name");
        let next = format!(
            "hostnamectl set-hostname {wanted} (letters, digits and `-`); what runs notices it at its next start"
        );
        return vec![Finding::stop("host-name", what, next)];
    }
    if now == "localhost" && !s.is_begun() {
        let next = "hostnamectl set-hostname NAME, and host.name in gpucloud.toml: it stays as long as the cloud";
        return vec![Finding::warn(
            "host-name",
            "this machine is called localhost, as every machine calls itself",
            next,
        )];
    }
    let what = format!("this machine is called {now}; the cloud knows it as {wanted}, and keeps that");
    if now == wanted { Vec::new() } else { vec![Finding::pass("host-name", what)] }
}

/// More than this, and certificates and package indexes are refused sooner or later.
const CLOCK_LIMIT_SECONDS: i64 = 5 * 60;
/// What to do about a wrong clock.
pub(super) const SET_CLOCK: &str = "set it: timedatectl set-ntp true";

/// Whether the servers of downloads answer.
pub(super) fn servers(s: &Subject) -> Outcome {
    s.seen.servers.judged(|servers| {
        let silent = servers.iter().filter_map(|server| Some((server, server.problem.as_ref()?)));
        let mut findings: Vec<Finding> = silent.map(finding).collect();
        if findings.is_empty() && !servers.is_empty() {
            findings.push(Finding::pass("servers", format!("{} download servers answer", servers.len())));
        }
        findings.extend(sizes(servers));
        findings
    })
}

/// Bytes a second of a line with 100 Mbit/s.
const USUAL_LINE: u64 = 100_000_000 / 8;

/// What the files that the answers want will take.
fn sizes(servers: &[Server]) -> Option<Finding> {
    let files: Vec<(&Server, u64)> = servers.iter().filter_map(|server| Some((server, server.size?))).collect();
    let all: u64 = files.iter().map(|(_, size)| size).sum();
    let each: Vec<String> = files.iter().map(|(server, size)| format!("{} {}", server.purpose, bytes(*size))).collect();
    let minutes = (all / USUAL_LINE).div_ceil(60);
    let what = format!("will be downloaded: {}; about {minutes} min with 100 Mbit/s", each.join(", "));
    (!files.is_empty()).then(|| Finding::pass(super::DOWNLOADS, what))
}

/// Whether one of them has the same time.
pub(super) fn clock(s: &Subject) -> Outcome {
    s.seen.servers.judged(|servers| compared_clock(servers).into_iter().collect())
}

fn compared_clock(servers: &[Server]) -> Option<Finding> {
    let (server, ahead) = servers.iter().find_map(|server| Some((server, server.clock_ahead?)))?;
    if ahead.abs() <= CLOCK_LIMIT_SECONDS {
        return Some(Finding::pass("clock", format!("the clock agrees with that of {}", server.host)));
    }
    let (span, side) = (span(ahead.abs()), if ahead > 0 { "behind" } else { "ahead of" });
    let what = format!("this machine's clock is {span} {side} that of {}", server.host);
    Some(Finding::stop("clock", what, SET_CLOCK))
}

fn span(seconds: i64) -> String {
    // To the nearest: a server's clock is some seconds off itself.
    match (seconds + 30) / 60 {
        minutes if minutes >= 2 * 24 * 60 => format!("{} days", (minutes + 12 * 60) / (24 * 60)),
        minutes if minutes >= 2 * 60 => format!("{} hours", (minutes + 30) / 60),
        minutes => format!("{minutes} minutes"),
    }
}

/// git may go another way, by settings of its own (`http.proxy`, `insteadOf`): its silence stops nothing.
fn finding((server, problem): (&Server, &Problem)) -> Finding {
    let finding = stopped_by(server, problem);
    let level = if server.purpose.starts_with(REPOSITORIES) { Level::Warn } else { finding.level };
    Finding { level, ..finding }
}

fn stopped_by(server: &Server, problem: &Problem) -> Finding {
    let (host, port, purpose) = (&server.host, server.port, &server.purpose);
    match problem {
        Problem::Unresolved(why) => {
            let what = format!("the name {host} ({purpose}) cannot be resolved");
            Finding::stop("servers", what, "check /etc/resolv.conf and the network, or set a proxy (https_proxy)")
                .seen(why)
        }
        Problem::Unreachable(why) => {
            let what = format!("{host} port {port} ({purpose}) does not answer");
            Finding::stop("servers", what, "check firewall and proxy (https_proxy), or use a mirror").seen(why)
        }
        Problem::Missing(why) => {
            let next =
                "name another one in gpucloud.toml, or leave it out; gpucloud-install image add brings one later";
            Finding::stop("servers", format!("{purpose} is not where it should be"), next).seen(why)
        }
        Problem::Untrusted(why) => {
            let what = format!("nothing here vouches for {host} ({purpose}): is TLS intercepted, or the clock wrong?");
            let next = "install your organisation's CA (copy it to /usr/local/share/ca-certificates, then: \
                        update-ca-certificates), and check `date`";
            Finding::stop("servers", what, next).seen(why)
        }
    }
}
