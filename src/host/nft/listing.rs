//! What the kernel has of a table, read back through `nft -j` as a [`Ruleset`], with its counters.
//!
//! Only our own table is asked for: others may hold statements that this `nft` cannot print (netavark issue 942). Keys
//! that we do not know are passed over.

use super::{Base, Chain, ChainKind, Family, Hook, Match, Policy, Rule, Ruleset, Transport, Verdict};
use crate::host::command::Command;
use crate::host::{Error, Host, Result, files};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What a rule with a counter has let through or stopped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The rule's purpose.
    pub purpose: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A table as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its chains and rules. Where somebody put statements into it that we never make, a rule of another purpose stands
    /// in their place, so that the table differs from every one of ours.
    pub ruleset: Ruleset,
    /// Its counters, in the order of the rules.
    pub counts: Vec<Count>,
}

/// Reads a table; `None` where it is not loaded.
pub fn read(host: &Host, family: Family, table: &str) -> Result<Option<Loaded>> {
    if !super::table_exists(family, table)? {
        return Ok(None);
    }
    let text = Command::new("nft").args(["-j", "list", "table", &family.to_string(), table]).read(host)?;
    parse(&text, family, table).map(Some).map_err(|why| Error::protocol("read nft's list", why))
}

/// A table as it was read last, in which namespace, and at which generation of the rules.
type Known = (PathBuf, u32, Option<Ruleset>);

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// The chains and rules of a table; `nft` is asked only where the rules have changed since the last time.
pub fn ruleset(host: &Host, family: Family, table: &str) -> Result<Option<Ruleset>> {
    let namespace = files::status(&Host::live(), Path::new("/proc/thread-self/ns/net"))?;
    let namespace = namespace.and_then(|status| status.link).unwrap_or_default();
    let generation = super::generation()?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((place, when, ruleset)) = known.as_ref() {
        let same_table = ruleset.as_ref().is_none_or(|ruleset| ruleset.family == family && ruleset.table == table);
        if *place == namespace && *when == generation && same_table {
            return Ok(ruleset.clone());
        }
    }
    let loaded = read(host, family, table)?.map(|loaded| loaded.ruleset);
    // A change between the two would be taken for known.
    *known = (super::generation()? == generation).then(|| (namespace, generation, loaded.clone()));
    Ok(loaded)
}

fn parse(text: &str, family: Family, table: &str) -> std::result::Result<Loaded, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let objects = document["nftables"].as_array().ok_or("there is no list called nftables")?;
    let rules: Vec<&Value> = objects.iter().filter_map(|object| object.get("rule")).collect();
    let chains = objects.iter().filter_map(|object| object.get("chain")).map(|chain| {
        let name = string(&chain["name"]);
        let own = rules.iter().filter(|rule| rule["chain"] == chain["name"]).map(|rule| read_rule(rule));
        Chain { rules: own.collect(), base: base(chain), name }
    });
    let ruleset = Ruleset { family, table: table.to_owned(), chains: chains.collect() };
    Ok(Loaded { ruleset, counts: rules.iter().filter_map(|rule| count(rule)).collect() })
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn counter(rule: &Value) -> Option<&Value> {
    rule["expr"].as_array()?.iter().find_map(|statement| statement.get("counter"))
}

fn count(rule: &Value) -> Option<Count> {
    let counter = counter(rule)?;
    let number = |key: &str| counter[key].as_u64().unwrap_or_default();
    Some(Count { purpose: string(&rule["comment"]), packets: number("packets"), bytes: number("bytes") })
}

fn base(chain: &Value) -> Option<Base> {
    Some(Base {
        kind: one_of(&chain["type"], &[ChainKind::Filter, ChainKind::Nat])?,
        hook: one_of(&chain["hook"], &Hook::ALL)?,
        priority: chain["prio"].as_i64()?.try_into().ok()?,
        policy: one_of(&chain["policy"], &[Policy::Accept, Policy::Drop])?,
    })
}

fn one_of<T: Copy + std::fmt::Display>(value: &Value, all: &[T]) -> Option<T> {
    let text = value.as_str()?;
    all.iter().copied().find(|one| one.to_string() == text)
}

fn read_rule(rule: &Value) -> Rule {
    let purpose = string(&rule["comment"]);
    let counted = counter(rule).is_some();
    match statements(rule) {
        Some((matches, verdict)) => Rule { purpose, matches, counter: counted, verdict },
        None => {
            let purpose = format!("somebody else's: {}", rule["expr"]);
            Rule { purpose, matches: Vec::new(), counter: counted, verdict: Verdict::Accept }
        }
    }
}

fn statements(rule: &Value) -> Option<(Vec<Match>, Verdict)> {
    let all = rule["expr"].as_array()?.iter().filter(|statement| statement.get("counter").is_none());
    let (last, rest) = all.collect::<Vec<_>>().split_last().map(|(last, rest)| (*last, rest.to_vec()))?;
    let matches: Option<Vec<Match>> = rest.into_iter().map(|statement| read_match(statement.get("match")?)).collect();
    Some((matches?, verdict(last)?))
}

fn read_match(value: &Value) -> Option<Match> {
    let (left, right, equal) = (&value["left"], &value["right"], value["op"] == "==");
    let payload = |protocol: &str, field: &str| {
        left["payload"]["protocol"] == protocol && left["payload"]["field"] == field && equal
    };
    let link = || right.as_str().map(str::to_owned);
    let port = || right.as_u64().and_then(|port| u16::try_from(port).ok());
    match left["meta"]["key"].as_str() {
        Some("iifname") if equal => return Some(Match::InInterface(link()?)),
        Some("oifname") if equal => return Some(Match::OutInterface(link()?)),
        Some("oifname") if value["op"] == "!=" => return Some(Match::NotOutInterface(link()?)),
        _ => {}
    }
    if payload("ip", "saddr") {
        return Some(Match::SourceNet(net(right)?));
    }
    if payload("ip", "daddr") {
        return Some(Match::DestinationNet(net(right)?));
    }
    if let Some(transport) =
        [Transport::Tcp, Transport::Udp].into_iter().find(|transport| payload(&transport.to_string(), "dport"))
    {
        return Some(Match::DestinationPort(transport, port()?));
    }
    let states: Vec<&str> = right.as_array()?.iter().filter_map(Value::as_str).collect();
    (left["ct"]["key"] == "state" && states == ["established", "related"]).then_some(Match::Established)
}

fn net(value: &Value) -> Option<Ipv4Net> {
    if let Some(address) = value.as_str() {
        return Some(Ipv4Net::from(address.parse::<Ipv4Addr>().ok()?));
    }
    let prefix = &value["prefix"];
    let bits = u8::try_from(prefix["len"].as_u64()?).ok()?;
    Ipv4Net::new(prefix["addr"].as_str()?.parse().ok()?, bits).ok()
}

fn verdict(value: &Value) -> Option<Verdict> {
    let (name, detail) = value.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "masquerade" if detail.is_null() => Verdict::Masquerade,
        "jump" => Verdict::Jump(detail["target"].as_str()?.to_owned()),
        "dnat" => {
            let port = u16::try_from(detail["port"].as_u64()?).ok()?;
            Verdict::Dnat(detail["addr"].as_str()?.parse().ok()?, port)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "t", "handle": 1}},
        {"chain": {"family": "inet", "table": "t", "name": "c", "handle": 1, "type": "filter", "hook": "forward",
                   "prio": 0, "policy": "accept", "new": 7}},
        {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 2, "comment": "one", "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "br-ex"}},
            {"counter": {"packets": 3, "bytes": 252}}, {"drop": null}]}}]}"#;

    #[test]
    fn a_listing_becomes_the_ruleset_that_made_it() {
        let loaded = parse(PRINTED, Family::Inet, "t").unwrap();
        let base = Base { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0, policy: Policy::Accept };
        let matches = vec![Match::InInterface("br-ex".into())];
        let rule = Rule { purpose: "one".into(), matches, counter: true, verdict: Verdict::Drop };
        let chain = Chain { name: "c".into(), base: Some(base), rules: vec![rule] };
        assert_eq!(loaded.ruleset, Ruleset { family: Family::Inet, table: "t".into(), chains: vec![chain] });
        assert_eq!(loaded.counts, [Count { purpose: "one".into(), packets: 3, bytes: 252 }]);
    }

    #[test]
    fn a_statement_that_we_never_make_differs_from_all_of_ours() {
        let loaded = parse(&PRINTED.replace("\"drop\": null", "\"log\": null"), Family::Inet, "t").unwrap();
        assert!(loaded.ruleset.chains[0].rules[0].purpose.starts_with("somebody else's"));
    }
}
