//! The declared state of the network: forwarding, bridge address, proxy ARP, nftables table. One change, because it is
//! guarded as one: what could cut this machine off is taken back unless somebody still answers.

use crate::action::undo::NetworkOriginal;
use crate::action::{Action, ActionId, Applied, Change, Checked, History, Originals, Undo};
use crate::facts::network::Network;
use crate::host::links::{self, neighbours};
use crate::host::{Host, Result, nft, ovs, sysctl};
use crate::network::consent::Confirmation;
use crate::network::guard::Guard;
use crate::network::live::{self, Ownership};
use crate::network::state::{Bridge, NetworkState, beyond, changes};
use crate::paths::{BRIDGE, TABLE};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Bring the network into a state.
pub struct DeclaredNetwork {
    /// The state.
    pub desired: NetworkState,
    /// What may be changed on the way there.
    pub owned: Ownership,
    /// The machine's network, for who is asked whether it is still reachable.
    pub facts: Network,
    /// Who says yes.
    pub confirmation: Confirmation,
}

impl DeclaredNetwork {
    fn original(&self, host: &Host) -> Result<NetworkOriginal> {
        let now = live::current(host, &self.desired, &self.owned)?;
        let bridge = self.desired.bridge.clone();
        let parts = |bridge: Option<Bridge>| {
            bridge.map(|b| (b.addresses, b.ports.into_keys().collect::<BTreeSet<_>>())).unwrap_or_default()
        };
        let ((addresses, ports), before) = (parts(bridge), parts(now.bridge));
        Ok(NetworkOriginal {
            sysctls: now.sysctls.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
            proxies: beyond(&self.desired.proxies, &now.proxies),
            ports: ports.difference(&before.1).cloned().collect(),
            addresses: addresses.difference(&before.0).copied().collect(),
        })
    }
}

impl Action for DeclaredNetwork {
    fn id(&self) -> ActionId {
        ActionId::new("network", "state")
    }

    fn describe(&self) -> String {
        "Bring the network into its state".into()
    }

    fn asks_the_running_system(&self) -> bool {
        true
    }

    fn changes_the_running_system_only(&self) -> bool {
        true
    }

    fn check(&self, host: &Host, _history: &History) -> Result<Checked> {
        if self.confirmation == Confirmation::Witnesses && Guard::of(host).records().pending()?.is_some() {
            return Ok(Checked::needed("take back the change that nobody confirmed, before anything else"));
        }
        let now = live::current(host, &self.desired, &self.owned)?;
        let changes = changes(&now, &self.desired);
        if changes.is_empty() {
            return Ok(Checked::Done);
        }
        let summary: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let (before, after) = (now.to_string(), self.desired.to_string());
        let diff = similar::TextDiff::from_lines(&before, &after);
        let diff = diff.unified_diff().context_radius(2).header("network (now)", "network (planned)").to_string();
        Ok(Checked::Needed(Change { summary: summary.join("; "), diff: Some(diff) }))
    }

    fn prepare(&self, host: &Host, _originals: &Originals) -> Result<Undo> {
        Ok(Undo::Network(self.original(host)?))
    }

    /// What was there before the first time, and what came with this one.
    fn prepare_again(&self, host: &Host, earlier: &Undo) -> Result<Undo> {
        let Undo::Network(earlier) = earlier else { return Ok(earlier.clone()) };
        let mut all = self.original(host)?;
        all.sysctls.extend(earlier.sysctls.clone());
        for (link, addresses) in &earlier.proxies {
            all.proxies.entry(link.clone()).or_default().extend(addresses);
        }
        all.ports.extend(earlier.ports.clone());
        all.addresses.extend(&earlier.addresses);
        Ok(Undo::Network(all))
    }

    fn apply(&self, host: &Host, _history: &History) -> Result<Applied> {
        Guard::of(host).bring_about(&self.desired, &self.owned, &self.facts, self.confirmation)?;
        Ok(Applied::Done)
    }
}

/// Puts the network back: rules last, so that nothing is open meanwhile.
pub fn restore(host: &Host, original: &NetworkOriginal) -> Result<()> {
    let guard = Guard::of(host);
    let lock = guard.records().lock()?;
    guard.forget(&lock)?;
    let links = links::links()?;
    let exists = |name: &str| links.iter().any(|link| link.name == name);
    for port in &original.ports {
        ovs::delete_port(host, BRIDGE, port)?;
    }
    for address in original.addresses.iter().filter(|_| exists(BRIDGE)) {
        links::delete_address(BRIDGE, IpAddr::V4(address.addr()), address.prefix_len())?;
    }
    for (link, addresses) in original.proxies.iter().filter(|(link, _)| exists(link)) {
        let addresses: Vec<Ipv4Addr> = addresses.iter().copied().collect();
        neighbours::delete_proxies(link, &addresses)?;
    }
    for (key, value) in &original.sysctls {
        if sysctl::read(host, key)?.is_some_and(|now| now != *value) {
            sysctl::write(host, key, value)?;
        }
    }
    Ok(nft::delete(nft::Family::Inet, TABLE)?)
}
