//! Packet filters beside ours. An accept in our table cannot overrule a drop in another: whose it is, and how to open
//! it, is said instead.

use super::{Outcome, Subject};
use crate::facts::filters::Filter;
use crate::finding::{Finding, Unasked};
use crate::paths::BRIDGE;

const ID: &str = "packet-filter";

/// What drops what should pass, and rules that `nft` does not show. Where loaded rules are unknown and settings say
/// nothing, nobody knows.
pub(super) fn all(s: &Subject) -> Outcome {
    let findings: Vec<Finding> = [forwarding(s), incoming(s), legacy(s)].into_iter().flatten().collect();
    match &s.facts.filters.unread {
        Some(why) if findings.is_empty() => Err(Unasked::unread(why)),
        _ => Ok(findings),
    }
}

fn forwarding(s: &Subject) -> Vec<Finding> {
    if !s.config.network.is_routed_here() {
        return Vec::new();
    }
    let warn = |filter: &Filter| {
        let what =
            format!("{} drops what this machine should forward: instances would not reach the world", filter.owner);
        Finding::warn(ID, what, open_forwarding(&filter.owner)).seen(&filter.evidence)
    };
    s.facts.filters.against_forwarding().map(warn).collect()
}

fn open_forwarding(owner: &str) -> String {
    match owner {
        "ufw" => format!("ufw route allow in on {BRIDGE}; ufw route allow out on {BRIDGE}"),
        "Docker" => format!(
            "iptables -I DOCKER-USER -i {BRIDGE} -j ACCEPT; iptables -I DOCKER-USER -o {BRIDGE} -j ACCEPT (and at every \
             boot: docs/network.md)"
        ),
        "firewalld" => format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={BRIDGE}; firewall-cmd --permanent \
             --new-policy=gpucloud (docs/network.md); firewall-cmd --reload"
        ),
        other => format!("let {BRIDGE} through in {other}: docs/network.md"),
    }
}

fn incoming(s: &Subject) -> Vec<Finding> {
    let input = s.facts.filters.dropping.iter().filter(|filter| filter.hook == "input");
    let warn = |filter: &Filter| {
        let what = format!("{} is on: other machines reach neither dashboard nor APIs", filter.owner);
        let link = &s.config.host.interface;
        let next = match filter.owner.as_str() {
            "ufw" => format!("open what they need: ufw allow in on {link} to any port 8080 proto tcp"),
            "firewalld" => {
                "open what they need: firewall-cmd --permanent --add-port=8080/tcp; firewall-cmd --reload".into()
            }
            other => format!("open what they need in {other}: `gpucloud-install network report` lists the ports"),
        };
        Finding::warn(ID, what, next).seen(&filter.evidence)
    };
    input.map(warn).collect()
}

/// Rules of the old kernel interface see packets too, and `nft list ruleset` does not show them.
fn legacy(s: &Subject) -> Vec<Finding> {
    if !s.facts.filters.legacy {
        return Vec::new();
    }
    let what = "iptables-legacy has rules here, which filter packets beside nftables and are not shown by it";
    let next = "look at them: iptables-legacy-save; move them to nftables: iptables-legacy-save | iptables-restore";
    vec![Finding::warn(ID, what, next)]
}
