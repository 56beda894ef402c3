//! Packet filters beside ours: what drops packets that this machine should forward or take, and whose it is; and NAT
//! rules that somebody made by hand. Only read; `checks/filters.rs` judges them.

use super::assignments;
use crate::host::command::Command;
use crate::host::{Host, Result, files, iptables, nft};
use serde::Serialize;
use serde_json::Value;

/// A program that filters packets here, or a chain of nobody we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// "ufw", "Docker", "firewalld", or "table ip filter".
    pub owner: String,
    /// Where it drops: "forward", "input".
    pub hook: String,
    /// What proves it: "chain FORWARD of table ip filter has the policy drop".
    pub evidence: String,
}

/// What filters packets here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Filters {
    /// What drops by default, in the kernel now or, in a captured tree, by its own settings.
    pub dropping: Vec<Filter>,
    /// Rules of iptables' nat table that masquerade, as `iptables -S` prints them: made by hand or by DevStack.
    pub masquerades: Vec<String>,
    /// Owners that were told to let the external bridge through.
    pub opened: Vec<String>,
    /// Whether rules are loaded by the old kernel interface, which nft does not show.
    pub legacy: bool,
    /// Why what is loaded in the kernel could not be listed, if so: then only settings are known.
    pub unread: Option<String>,
}

impl Filters {
    /// Whoever drops what is forwarded, and was not told to let the external bridge through.
    pub fn against_forwarding(&self) -> impl Iterator<Item = &Filter> {
        self.dropping.iter().filter(|filter| filter.hook == "forward" && !self.opened.contains(&filter.owner))
    }
}

/// Reads them; in a captured tree only settings are known.
pub fn read(host: &Host) -> Result<Filters> {
    if !host.is_live() {
        let unread = Some("a captured tree has no loaded rules".to_owned());
        return Ok(Filters { dropping: by_settings(host)?, opened: opened(host)?, unread, ..Filters::default() });
    }
    let mut dropping = by_settings(host)?;
    // Where there is no table but ours, there is nothing to list.
    let alone = nft::tables()?.iter().all(|table| table == crate::paths::TABLE);
    let (listed, unread) = if alone { (Vec::new(), None) } else { list(host) };
    for filter in in_listing(&listed) {
        if !dropping.iter().any(|known| known.owner == filter.owner && known.hook == filter.hook) {
            dropping.push(filter);
        }
    }
    let mut opened = opened(host)?;
    // Docker's own chain for the administrator; what stands in it is nft's or iptables' to print.
    opened.extend(rules_name_bridge(&listed, "DOCKER-USER").then(|| "Docker".to_owned()));
    opened.extend(rules_name_bridge(&listed, "filter_FORWARD").then(|| "firewalld".to_owned()));
    Ok(Filters {
        dropping,
        masquerades: iptables::masquerades(host),
        opened,
        legacy: iptables::has_legacy_tables(host)?,
        unread,
    })
}

/// All tables, as `nft` lists them; where it cannot, why not.
fn list(host: &Host) -> (Vec<Value>, Option<String>) {
    match Command::new("nft").args(["-j", "list", "ruleset"]).quiet().read(host) {
        Ok(listed) => (objects(&listed), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    }
}

fn objects(listed: &str) -> Vec<Value> {
    let document = serde_json::from_str(listed).unwrap_or(Value::Null);
    document["nftables"].as_array().cloned().unwrap_or_default()
}

/// `ufw route allow` writes its rules here (ufw-framework(8)).
fn opened(host: &Host) -> Result<Vec<String>> {
    let rules = files::read_text(host, "/etc/ufw/user.rules")?.unwrap_or_default();
    let lets = |line: &str| line.starts_with("-A ufw-user-forward") && line.contains(crate::paths::BRIDGE);
    Ok(rules.lines().any(lets).then(|| "ufw".to_owned()).into_iter().collect())
}

/// Whether a rule of a chain whose name begins so speaks of the external bridge.
fn rules_name_bridge(listed: &[Value], chain: &str) -> bool {
    let rules = listed.iter().filter_map(|object| object.get("rule"));
    let mut named = rules.filter(|rule| rule["chain"].as_str().is_some_and(|name| name.starts_with(chain)));
    named.any(|rule| rule["expr"].to_string().contains(crate::paths::BRIDGE))
}

/// ufw is on when its own file says so; Docker sets the policy of the forward chain to drop when it starts
/// (docs.docker.com, "Packet filtering and firewalls").
fn by_settings(host: &Host) -> Result<Vec<Filter>> {
    let filter = |owner: &str, hook: &str, evidence: &str| Filter {
        owner: owner.into(),
        hook: hook.into(),
        evidence: evidence.into(),
    };
    let mut found = Vec::new();
    if setting(host, "/etc/ufw/ufw.conf", "ENABLED")?.eq_ignore_ascii_case("yes") {
        found.push(filter("ufw", "input", "/etc/ufw/ufw.conf says ENABLED=yes"));
        if !setting(host, "/etc/default/ufw", "DEFAULT_FORWARD_POLICY")?.eq_ignore_ascii_case("accept") {
            found.push(filter("ufw", "forward", "DEFAULT_FORWARD_POLICY in /etc/default/ufw is not ACCEPT"));
        }
    }
    if !host.is_live() && files::exists(host, "/var/lib/docker") {
        found.push(filter("Docker", "forward", "/var/lib/docker is there"));
    }
    Ok(found)
}

/// The value of a key in a file that a shell reads; ufw reads its own without regard to case (ufw/backend.py).
fn setting(host: &Host, path: &str, key: &str) -> Result<String> {
    let read = assignments::read(&files::read_text(host, path)?.unwrap_or_default());
    Ok(read.get(key).cloned().unwrap_or_default())
}

/// Base chains of others that drop: by their policy, or because their last rule rejects everything (firewalld).
fn in_listing(listed: &[Value]) -> Vec<Filter> {
    let of = |kind: &'static str| listed.iter().filter_map(move |object| object.get(kind));
    let chains = of("chain").filter(|chain| {
        chain["type"] == "filter"
            && (chain["hook"] == "forward" || chain["hook"] == "input")
            && chain["table"] != crate::paths::TABLE
    });
    let found = chains.filter_map(|chain| {
        let (table, name) = (chain["table"].as_str()?, chain["name"].as_str()?);
        let place = format!("chain {name} of table {} {table}", chain["family"].as_str()?);
        let last = of("rule").rfind(|rule| rule["table"] == chain["table"] && rule["chain"] == chain["name"]);
        let evidence = if chain["policy"] == "drop" {
            format!("{place} has the policy drop")
        } else if last.is_some_and(refuses_everything) {
            format!("the last rule of {place} refuses everything")
        } else {
            return None;
        };
        let names = of("chain").filter(|other| other["table"] == chain["table"]).filter_map(|c| c["name"].as_str());
        let owner = owner(table, &names.collect::<Vec<_>>(), chain["family"].as_str()?);
        Some(Filter { owner, hook: chain["hook"].as_str()?.to_owned(), evidence })
    });
    found.collect()
}

fn refuses_everything(rule: &Value) -> bool {
    let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refuses = |statement: &Value| statement.get("reject").is_some() || statement.get("drop").is_some();
    let matches = statements.iter().any(|statement| statement.get("match").is_some());
    !matches && statements.iter().any(refuses)
}

fn owner(table: &str, chains: &[&str], family: &str) -> String {
    let has = |prefix: &str| chains.iter().any(|chain| chain.starts_with(prefix));
    match table {
        "firewalld" => "firewalld".into(),
        _ if has("ufw-") => "ufw".into(),
        _ if has("DOCKER") => "Docker".into(),
        _ => format!("table {family} {table}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"nftables": [
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0,
                   "policy": "drop"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}},
        {"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD", "type": "filter",
                   "hook": "forward", "prio": 10, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "expr": [
            {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "expr": [
            {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}},
        {"chain": {"family": "inet", "table": "own", "name": "in", "type": "filter", "hook": "input", "prio": 0,
                   "policy": "drop"}},
        {"chain": {"family": "inet", "table": "gpucloud", "name": "forward", "type": "filter", "hook": "forward",
                   "prio": 0, "policy": "drop"}}]}"#;

    #[test]
    fn whoever_drops_is_named() {
        let found: Vec<(String, String)> =
            in_listing(&objects(LISTED)).into_iter().map(|f| (f.owner, f.hook)).collect();
        let expected = [("Docker", "forward"), ("firewalld", "forward"), ("table inet own", "input")];
        assert_eq!(found, expected.map(|(owner, hook)| (owner.to_owned(), hook.to_owned())));
    }
}
