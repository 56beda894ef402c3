//! The wizard: at most eight questions, each with a detected default and one line of why; all of them before the first
//! change. A new question is a function here and its line in [`QUESTIONS`], of which eight apply at once already.

use crate::config::gpu::{AllReady, CardAddress, CardChoice};
use crate::config::network::{self, Access};
use crate::config::profile::{self, PROFILES};
use crate::config::values::{InterfaceName, UserName, ipv4_network};
use crate::config::{Config, Virt};
use crate::facts::{Facts, kvm::Kvm};
use crate::failure::Failure;
use crate::gpu::Card;
use crate::gpu::verdict::{Judgement, Verdict};
use crate::host::accounts;
use crate::ui::Ui;
use crate::ui::prompt::{Answer, Prompter};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// What the questions are asked with, and the answers so far.
struct Interview<'a> {
    ui: &'a Ui,
    prompter: &'a dyn Prompter,
    facts: &'a Facts,
    /// Cards that instances can have, and what was found about each.
    cards: Vec<(Card, Judgement)>,
    config: Config,
    /// Whether the answers so far are those of an earlier time.
    again: bool,
}

/// One question: when it makes sense, and what asks it.
struct Question {
    applies: fn(&Interview) -> bool,
    ask: fn(&mut Interview) -> Result<Answer<()>, Failure>,
}

const QUESTIONS: &[Question] = &[
    Question { applies: |interview| !interview.again, ask: ask_profile },
    Question { applies: |_| true, ask: ask_address },
    // A machine with cards has KVM, or hands no card on.
    Question { applies: |interview| interview.cards.is_empty(), ask: ask_virt },
    Question { applies: |interview| !interview.cards.is_empty(), ask: ask_cards },
    Question { applies: |_| true, ask: ask_dashboard },
    Question { applies: |_| true, ask: ask_access },
    Question { applies: |_| true, ask: ask_range },
    Question { applies: |_| true, ask: ask_administrators },
    Question { applies: |interview| !interview.facts.software.shared.is_empty(), ask: ask_sharing },
];

/// Asks everything; `earlier` answers are the defaults where there are some.
pub fn ask(
    ui: &Ui,
    prompter: &dyn Prompter,
    facts: &Facts,
    cards: Vec<(Card, Judgement)>,
    earlier: Option<Config>,
) -> Result<Config, Failure> {
    let again = earlier.is_some();
    if !again {
        ui.notes(&profile::notes(PROFILES[0].0, facts));
    }
    let config = earlier.map_or_else(|| profile::answers(PROFILES[0].0, facts), Ok)?;
    let mut interview = Interview { ui, prompter, facts, cards, config, again };
    let questions: Vec<&Question> = QUESTIONS.iter().filter(|question| (question.applies)(&interview)).collect();
    ui.say("Enter takes what is offered. Esc goes back; where you type, `<` does. Ctrl-C ends without a change.\n");
    let mut n = 0;
    while let Some(question) = questions.get(n) {
        n = match (question.ask)(&mut interview)? {
            Answer::Given(()) => n + 1,
            Answer::Back => n.saturating_sub(1),
        };
    }
    Ok(interview.config)
}

fn ask_profile(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("A profile sets what the following questions offer first.");
    let names: Vec<String> = PROFILES.iter().map(|(name, text)| format!("{name}: {}", first_comment(text))).collect();
    let chosen = i.prompter.select("What is this machine for?", &names, 0)?;
    chosen.try_take(|chosen| {
        i.config = profile::answers(PROFILES[chosen].0, i.facts)?;
        Ok(())
    })
}

fn first_comment(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']).trim_end_matches('.')
}

fn ask_address(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("The cloud's services will answer at this address; it must never change.");
    let choices = addresses(i.facts);
    let labels: Vec<String> =
        choices.iter().map(|(address, link, note)| format!("{address} on {link}{note}")).collect();
    let default = choices.iter().position(|(address, ..)| *address == i.config.host.address).unwrap_or(0);
    i.prompter.select("Which address?", &labels, default)?.try_take(|chosen| {
        let (address, link, _) = &choices[chosen];
        i.config.host.address = *address;
        i.config.host.interface = link.parse().map_err(|what: String| Failure::usage(what, "choose another link"))?;
        Ok(())
    })
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

fn ask_virt(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say(match *i.facts.kvm {
        Kvm::Works => "KVM works here: a small machine was run on it.",
        _ => "KVM does not work here: instances would be emulated.",
    });
    let items = ["automatic: KVM where it works, else emulation", "KVM, or stop", "emulation, ten times slower"]
        .map(str::to_owned);
    let kinds = [Virt::Auto, Virt::Kvm, Virt::Qemu];
    let default = kinds.iter().position(|kind| *kind == i.config.compute.virt).unwrap_or(0);
    let chosen = i.prompter.select("How are instances run?", &items, default)?;
    Ok(chosen.take(|chosen| i.config.compute.virt = kinds[chosen]))
}

fn ask_cards(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("An instance gets a card whole. Those that are chosen are taken from this machine, at its next boot:");
    for (card, judgement) in &i.cards {
        let (address, name) = (&card.function.address, &card.name);
        i.ui.say(format!("  {address}  {name}: {}, {}", judgement.verdict.name(), judgement.reason));
    }
    let can_be: Vec<&str> = i
        .cards
        .iter()
        .filter(|(card, judgement)| card.claimed || judgement.verdict > Verdict::InUse)
        .map(|(card, _)| card.function.address.as_str())
        .collect();
    let mut choices = vec![CardChoice::Word(AllReady::AllReady), CardChoice::default()];
    let mut labels = vec![format!("all that can be given away: {}", can_be.join(", ")), "none".to_owned()];
    if can_be.is_empty() {
        (choices, labels) = (vec![CardChoice::default()], vec!["none: none of them can be given away now".to_owned()]);
    }
    if !choices.contains(&i.config.gpu.cards) {
        labels.push(match &i.config.gpu.cards {
            CardChoice::Word(_) => "as it is: all that can be given away, as soon as they can".to_owned(),
            CardChoice::These(these) => {
                let these: Vec<&str> = these.iter().map(CardAddress::as_str).collect();
                format!("as it is: {}", these.join(", "))
            }
        });
        choices.push(i.config.gpu.cards.clone());
    }
    let kept = choices.iter().position(|choice| *choice == i.config.gpu.cards);
    let default = if i.again { kept.unwrap_or(0) } else { 0 };
    let chosen = i.prompter.select("Which cards do instances get?", &labels, default)?;
    Ok(chosen.take(|chosen| i.config.gpu.cards = choices[chosen].clone()))
}

fn ask_dashboard(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("Horizon shows the cloud in a browser; it takes about 250 MB of memory.");
    let chosen = i.prompter.confirm("Install the dashboard?", i.config.cloud.dashboard)?;
    Ok(chosen.take(|chosen| i.config.cloud.dashboard = chosen))
}

fn ask_access(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("How do people reach the instances? (docs/network.md has a picture of each way.)");
    let ways = ways(i);
    let label = |(way, links): &Way| match links.as_slice() {
        [] => format!("{}: {}", way.name(), way.meaning()),
        links => format!("{} by {}: {}", way.name(), names(links), way.meaning()),
    };
    let labels: Vec<String> = ways.iter().map(label).collect();
    let now = (i.config.network.access, i.config.network.bridge_links.clone());
    let default = ways.iter().position(|way| *way == now).unwrap_or(0);
    i.prompter.select("Which way?", &labels, default)?.try_take(|chosen| {
        let (access, links) = ways[chosen].clone();
        let network = &mut i.config.network;
        if network.access != access {
            network.port_maps.clear();
        }
        (network.access, network.bridge_links) = (access, links);
        Ok(())
    })
}

/// A way to reach instances, and the links that it puts into the bridge.
type Way = (Access, Vec<InterfaceName>);

fn names(links: &[InterfaceName]) -> String {
    links.iter().map(InterfaceName::as_str).collect::<Vec<_>>().join(", ")
}

/// What suits this machine: `bridged` once for each card that carries nothing else, and as it is now.
fn ways(i: &Interview) -> Vec<Way> {
    let mut ways: Vec<Way> = [Access::Nat, Access::ProxyArp, Access::Routed].map(|way| (way, Vec::new())).to_vec();
    let spare = i.facts.network.nics.iter().filter(|nic| nic.driver.is_some() && nic.controller.is_none());
    let spare = spare.filter(|nic| nic.ipv4().next().is_none());
    ways.extend(spare.filter_map(|nic| Some((Access::Bridged, vec![nic.name.parse().ok()?]))));
    let now = (i.config.network.access, i.config.network.bridge_links.clone());
    if !ways.contains(&now) {
        ways.push(now);
    }
    ways
}

/// A part of the LAN with neither this machine nor its router: an eighth of it, near its end.
fn part_of_lan(i: &Interview) -> Option<Ipv4Net> {
    let (_, own) = i.facts.network.owner(i.config.host.address)?;
    let lan = own.ipv4()?.trunc();
    let router = i.facts.network.default_route.as_ref().and_then(|route| route.gateway);
    let taken = |part: &Ipv4Net| {
        part.contains(&i.config.host.address)
            || router
                .is_some_and(|router| IpAddr::V4(part.network()) <= router && router <= IpAddr::V4(part.broadcast()))
    };
    let parts: Vec<Ipv4Net> = lan.subnets((lan.prefix_len() + 3).min(29)).ok()?.collect();
    parts.into_iter().rev().skip(1).find(|part| !taken(part))
}

fn ask_range(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say(match i.config.network.access {
        Access::Nat => "Instances get addresses of a range that only this machine knows.",
        Access::ProxyArp => "Instances get addresses of a part of the LAN that its DHCP server must leave free.",
        Access::Routed => "Instances get addresses of a range that the campus router sends here.",
        Access::Bridged => "Instances get addresses of the network behind the second card.",
    });
    let check = |text: &str| with_range(&i.config, text).map(drop);
    let part = if i.config.network.access == Access::ProxyArp && !i.again { part_of_lan(i) } else { None };
    let offered = part.unwrap_or(i.config.network.range).to_string();
    let text = i.prompter.input("Which range?", &offered, &check)?;
    text.try_take(|text| {
        i.config = with_range(&i.config, &text).map_err(|what| Failure::usage(what, "try again"))?;
        Ok(())
    })
}

/// The answers with another range, and gateway and pool in it; those of the same range stay.
fn with_range(config: &Config, text: &str) -> Result<Config, String> {
    let range = ipv4_network(text)?;
    let mut config = config.clone();
    if config.network.range != range {
        config.network.range = range;
        config.network.gateway = network::default_gateway(&range);
        config.network.pool = network::default_pool(&range);
        config.network.port_maps.clear();
    }
    config.check()?;
    Ok(config)
}

fn ask_administrators(i: &mut Interview) -> Result<Answer<()>, Failure> {
    i.ui.say("These accounts may use the cloud as its administrator (group gpucloud-admin); blank for root alone.");
    let default: Vec<&str> = i.config.host.administrators.iter().map(UserName::as_str).collect();
    let check = |text: &str| parse_accounts(text).map(drop);
    let text = i.prompter.input("Administrators, separated by commas?", &default.join(", "), &check)?;
    text.try_take(|text| {
        i.config.host.administrators = parse_accounts(&text).map_err(|what| Failure::usage(what, "try again"))?;
        Ok(())
    })
}

/// Between commas; where that is no account, between blanks: names of directories may have some.
fn parse_accounts(text: &str) -> Result<Vec<UserName>, String> {
    let is_account = |name: &str| matches!(accounts::find_user(name), Ok(Some(_)));
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let names = parts.flat_map(|part| if is_account(part) { vec![part] } else { part.split_whitespace().collect() });
    names
        .map(|name| if is_account(name) { name.parse() } else { Err(format!("there is no account {name} here")) })
        .collect()
}

fn ask_sharing(i: &mut Interview) -> Result<Answer<()>, Failure> {
    let names: Vec<&str> = i.facts.software.shared.iter().map(|(name, _)| name.as_str()).collect();
    let here = names.join(", ");
    i.ui.say(format!("Already here: {here}. The cloud would put its own databases and settings into them."));
    let chosen = i.prompter.confirm("May the cloud use them?", i.config.host.share_services)?;
    Ok(chosen.take(|chosen| i.config.host.share_services = chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::pci::{Details, Function};
    use crate::host::Host;
    use std::cell::RefCell;

    /// Answers from a list; `None` goes back. An empty text takes the default.
    struct Script(RefCell<std::vec::IntoIter<Option<&'static str>>>, RefCell<Vec<String>>);

    impl Script {
        fn of(answers: Vec<Option<&'static str>>) -> Self {
            Self(RefCell::new(answers.into_iter()), RefCell::default())
        }

        fn next(&self, question: &str) -> Option<&'static str> {
            self.1.borrow_mut().push(question.to_owned());
            self.0.borrow_mut().next().unwrap()
        }
    }

    impl Prompter for Script {
        fn select(&self, question: &str, items: &[String], default: usize) -> Result<Answer<usize>, Failure> {
            assert!(default < items.len(), "{question} offers {default} of {items:?}");
            Ok(Answer::from(self.next(question).map(|text| text.parse().unwrap_or(default))))
        }

        fn input(
            &self,
            question: &str,
            default: &str,
            check: &dyn Fn(&str) -> Result<(), String>,
        ) -> Result<Answer<String>, Failure> {
            let text = self.next(question).map(|text| if text.is_empty() { default } else { text });
            text.iter().for_each(|text| check(text).unwrap());
            Ok(Answer::from(text.map(str::to_owned)))
        }

        fn confirm(&self, question: &str, default: bool) -> Result<Answer<bool>, Failure> {
            Ok(Answer::from(self.next(question).map(|text| if text.is_empty() { default } else { text == "y" })))
        }
    }

    fn facts() -> (tempfile::TempDir, Facts) {
        use crate::facts::network::{DefaultRoute, Network, Nic, NicAddress};
        let dir = tempfile::tempdir().unwrap();
        let address = NicAddress { address: "192.0.2.10".parse().unwrap(), prefix_len: 24, dynamic: false };
        let nic = Nic { name: "eno1".into(), up: true, carrier: true, addresses: vec![address], ..Nic::default() };
        let default_route = Some(DefaultRoute { interface: "eno1".into(), gateway: None, source: None });
        let facts = Facts::gather(&Host::at(dir.path())).unwrap();
        let mut os = facts.os.clone();
        os.host_name = "gpubox".into();
        (dir, Facts { os, network: Network { nics: vec![nic], default_route, ..Network::default() }, ..facts })
    }

    fn ui() -> Ui {
        use clap::Parser;
        Ui::new(&crate::cli::Cli::parse_from(["gpucloud-install", "--json"]).global)
    }

    #[test]
    fn going_back_asks_again_and_the_later_answer_counts() {
        let (_dir, facts) = facts();
        let answers = ["1", "", "2", "<", "0", "n", "0", "10.7.0.0/24", ""];
        let script = Script::of(answers.map(|text| (text != "<").then_some(text)).to_vec());
        let config = ask(&ui(), &script, &facts, Vec::new(), None).unwrap();
        assert_eq!((config.compute.virt, config.cloud.dashboard), (Virt::Auto, false));
        assert_eq!(config.network.gateway, Ipv4Addr::new(10, 7, 0, 1));
        let asked = script.1.borrow();
        assert_eq!(asked.iter().filter(|question| *question == "How are instances run?").count(), 2);
    }

    #[test]
    fn proxy_arp_is_offered_a_part_of_the_lan() {
        let (_dir, facts) = facts();
        let script = Script::of(["", "", "", "", "1", "", ""].map(Some).to_vec());
        let config = ask(&ui(), &script, &facts, Vec::new(), None).unwrap();
        assert_eq!(config.network.range, "192.0.2.192/27".parse().unwrap());
        assert!(config.check().is_ok());
    }

    #[test]
    fn back_at_the_first_question_asks_it_again() {
        let (_dir, facts) = facts();
        let earlier = profile::answers("lab", &facts).unwrap();
        let script = Script::of(vec![None, Some(""), Some(""), Some(""), Some(""), Some(""), Some("")]);
        assert_eq!(ask(&ui(), &script, &facts, Vec::new(), Some(earlier.clone())).unwrap(), earlier);
    }

    #[test]
    fn cards_are_offered_with_their_verdicts_and_the_answer_of_an_earlier_time_stays() {
        let (_dir, facts) = facts();
        let card = |address: &str, verdict| {
            let function = Function { address: address.into(), ..Function::default() };
            let (details, name) = (Details::default(), "H100".to_owned());
            let (companions, arguments) = (Vec::new(), Vec::new());
            let judgement = Judgement { verdict, reason: String::new(), next: String::new(), companions, arguments };
            (Card { function, details, name, mig: false, claimed: false, moved: None }, judgement)
        };
        let cards = || vec![card("0000:41:00.0", Verdict::Ready), card("0000:c1:00.0", Verdict::Blocked)];
        let chosen_of = |cards, answer: &'static str, earlier: Option<CardChoice>| {
            let earlier = earlier.map(|cards| {
                let mut config = profile::answers("lab", &facts).unwrap();
                config.gpu.cards = cards;
                config
            });
            let first = earlier.is_none().then_some(Some(""));
            let script = Script::of(first.into_iter().chain(["", answer, "", "", "", ""].map(Some)).collect());
            ask(&ui(), &script, &facts, cards, earlier).unwrap().gpu.cards
        };
        let chosen = |answer, earlier| chosen_of(cards(), answer, earlier);
        // None can be given away now: the earlier answer stays all the same.
        let all = CardChoice::Word(AllReady::AllReady);
        assert_eq!(chosen_of(vec![card("0000:c1:00.0", Verdict::Blocked)], "", Some(all.clone())), all);
        let these = CardChoice::These(vec!["0000:41:00.0".parse().unwrap()]);
        assert_eq!(chosen("", None), CardChoice::Word(AllReady::AllReady));
        assert!(chosen("1", None).is_none());
        assert_eq!(chosen("", Some(these.clone())), these);
        assert!(chosen("", Some(CardChoice::default())).is_none());
    }

    #[test]
    fn there_are_at_most_eight_questions() {
        // Cards and the way to run instances are never asked both.
        assert!(QUESTIONS.len() <= 8 + 1);
    }
}
