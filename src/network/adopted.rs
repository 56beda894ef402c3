//! NAT rules that somebody typed, or DevStack made, for what our own table does now: taken out while we are here, put
//! back by uninstall.

use crate::action::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result, iptables};
use ipnet::Ipv4Net;

/// Adopt masquerade rules of iptables that do the same as ours.
#[derive(Debug, Clone)]
pub struct AdoptedMasquerades {
    /// The link to the world.
    pub uplink: String,
    /// The cloud's external network.
    pub range: Ipv4Net,
    /// Whether a rule for whoever leaves by the uplink serves the cloud alone: no other network is behind this machine.
    pub alone: bool,
}

impl AdoptedMasquerades {
    fn here(&self, host: &Host) -> Vec<String> {
        iptables::masquerades(host).into_iter().filter(|line| self.does_the_same(line)).collect()
    }

    /// `-A POSTROUTING [-s NET] [-o UPLINK] -j MASQUERADE`, for our range, or for everything where that is only us.
    fn does_the_same(&self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, conditions @ .., _, _] = words.as_slice() else { return false };
        let for_range = conditions.contains(&"-s");
        (for_range || self.alone)
            && conditions.chunks(2).all(|condition| match condition {
                ["-o", link] => *link == self.uplink,
                ["-s", net] => net.parse() == Ok(self.range),
                _ => false,
            })
    }
}

impl Action for AdoptedMasquerades {
    fn id(&self) -> ActionId {
        ActionId::new("iptables", "nat-masquerade")
    }

    fn describe(&self) -> String {
        "Adopt masquerade rules made by hand".into()
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        let here = self.here(host);
        Ok(Checked::done_if(here.is_empty(), format!("take out, as ours do the same: {}", here.join("; "))))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Iptables { table: "nat".into(), rules: self.here(host) })
    }

    /// What a script adds at every boot is counted once, however often it was adopted.
    fn prepare_again(&self, host: &Host, earlier: &Undo) -> Result<Undo> {
        let Undo::Iptables { table, rules } = earlier else { return Ok(earlier.clone()) };
        let mut rules = rules.clone();
        let here = self.here(host);
        for (n, line) in here.iter().enumerate() {
            let times = |all: &[String]| all.iter().filter(|other| *other == line).count();
            if times(&here[..=n]) > times(&rules) {
                rules.push(line.clone());
            }
        }
        Ok(Undo::Iptables { table: table.clone(), rules })
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        for line in self.here(host) {
            iptables::delete(host, "nat", &line)?;
        }
        Ok(Applied::Done)
    }
}

/// Puts rules back, as often as they were there.
pub fn restore(host: &Host, table: &str, rules: &[String]) -> Result<()> {
    let here = iptables::masquerades(host);
    for (n, rule) in rules.iter().enumerate() {
        let wanted = rules.iter().take(n + 1).filter(|other| *other == rule).count();
        if here.iter().filter(|other| *other == rule).count() < wanted {
            iptables::add(host, table, rule)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_the_same_is_adopted() {
        let range = "172.24.4.0/24".parse().unwrap();
        let adopted = AdoptedMasquerades { uplink: "eno1".into(), range, alone: true };
        let same = |conditions: &str| adopted.does_the_same(&format!("-A POSTROUTING {conditions}-j MASQUERADE"));
        assert!(same("-o eno1 ") && same("-s 172.24.4.0/24 -o eno1 ") && same(""));
        assert!(!same("-s 172.17.0.0/16 ! -o docker0 ") && !same("-o eno2 ") && !same("-s 10.0.0.0/8 -o eno1 "));
        let beside = AdoptedMasquerades { alone: false, ..adopted.clone() };
        assert!(!beside.does_the_same("-A POSTROUTING -o eno1 -j MASQUERADE"), "somebody else's clients need it");
        assert!(beside.does_the_same("-A POSTROUTING -s 172.24.4.0/24 -o eno1 -j MASQUERADE"));
    }
}
