//! nftables by netlink; what the kernel then has is read by `nft`.

use crate::in_own_namespace;
use gpucloud::host::nft::{
    Base, Chain, ChainKind, Family, Hook, MAX_OBJECTS, MAX_PURPOSE_BYTES, Match, NftError, Policy, Rule, Ruleset,
    Verdict, delete, replace, table_exists, tables,
};
use ipnet::Ipv4Net;
use std::process::{Command, Stdio};

/// What `nft` prints for the arguments, in this thread's namespace.
fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn nft_reads(text: &str) {
    use std::io::Write;
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{text}");
}

fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<Base> {
    let policy = Policy::Accept;
    Some(Base { kind, hook, priority, policy })
}

fn rule(purpose: &str, matches: Vec<Match>, verdict: Verdict) -> Rule {
    let purpose = purpose.to_owned();
    Rule { purpose, matches, counter: false, verdict }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn sample(family: Family) -> Ruleset {
    let (from, to) = (net("172.24.4.0/24"), net("10.1.2.3/20"));
    let bridge = || "br-ex".to_owned();
    let forward = vec![
        rule("answers", vec![Match::Established], Verdict::Accept),
        rule(
            "from the cloud",
            vec![Match::InInterface(bridge()), Match::SourceNet(from)],
            Verdict::Jump("wanted".into()),
        ),
        Rule { counter: true, ..rule("no spoofing", vec![Match::InInterface(bridge())], Verdict::Drop) },
    ];
    let wanted = vec![
        rule("both nets", vec![Match::SourceNet(from), Match::DestinationNet(to)], Verdict::Accept),
        rule("one host", vec![Match::DestinationNet(net("192.0.2.7/32"))], Verdict::Drop),
        rule("out there", vec![Match::OutInterface("uplink".into())], Verdict::Accept),
    ];
    let nat = vec![Rule {
        counter: true,
        ..rule(
            "masquerade floating pool",
            vec![Match::SourceNet(from), Match::NotOutInterface(bridge())],
            Verdict::Masquerade,
        )
    }];
    let chain = |name: &str, base, rules| Chain { name: name.into(), base, rules };
    Ruleset {
        family,
        table: "gpucloud".into(),
        chains: vec![
            chain("forward", base(ChainKind::Filter, Hook::Forward, -5), forward),
            chain("wanted", None, wanted),
            chain("nat", base(ChainKind::Nat, Hook::Postrouting, 100), nat),
        ],
    }
}

const TEXT: &str = r#"table ip gpucloud {
	chain forward {
		type filter hook forward priority filter - 5; policy accept;
		ct state established,related accept comment "answers"
		iifname "br-ex" ip saddr 172.24.4.0/24 jump wanted comment "from the cloud"
		iifname "br-ex" counter drop comment "no spoofing"
	}

	chain wanted {
		ip saddr 172.24.4.0/24 ip daddr 10.1.0.0/20 accept comment "both nets"
		ip daddr 192.0.2.7 drop comment "one host"
		oifname "uplink" accept comment "out there"
	}

	chain nat {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.24.4.0/24 oifname != "br-ex" counter masquerade comment "masquerade floating pool"
	}
}
"#;

pub fn text_is_nft_text() {
    assert_eq!(sample(Family::Ip).to_string(), TEXT);
}

pub fn kernel_has_what_the_text_says() {
    for family in [Family::Ip, Family::Inet] {
        in_own_namespace(move || {
            let ruleset = sample(family);
            replace(&ruleset).unwrap();
            let list = ["--stateless", "list", "ruleset"];
            let loaded = nft(&list);
            assert_eq!(loaded, ruleset.to_string());
            delete(family, "gpucloud").unwrap();
            nft_reads(&ruleset.to_string());
            assert_eq!(nft(&list), loaded);
        });
    }
}

pub fn priorities_read_as_nft_says_them() {
    in_own_namespace(|| {
        let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Postrouting];
        let priorities = [-310, -300, -161, -150, -111, -100, -90, -11, -10, 0, 7, 50, 61, 95, 100];
        let chains = hooks.iter().flat_map(|hook| priorities.map(|at| (*hook, at)));
        let alike = |at: &(Hook, i32)| at.0 != Hook::Input || at.1 < 90;
        let chains = chains.filter(alike);
        let chains = chains.map(|(hook, at)| Chain {
            name: format!("{hook}{}", at + 1000),
            base: base(ChainKind::Filter, hook, at),
            rules: Vec::new(),
        });
        let table = "t".to_owned();
        let ruleset = Ruleset { family: Family::Inet, table, chains: chains.collect() };
        replace(&ruleset).unwrap();
        let loaded = nft(&["list", "ruleset"]);
        assert_eq!(loaded, ruleset.to_string());
    });
}

pub fn every_prefix_length_reads_back() {
    in_own_namespace(|| {
        let nets = (0..=32).map(|bits| Ipv4Net::new([203, 0, 113, 77].into(), bits).unwrap());
        let rules = nets.map(|net| rule("x", vec![Match::SourceNet(net)], Verdict::Accept));
        let mut ruleset = sample(Family::Inet);
        ruleset.chains[1].rules = rules.collect();
        replace(&ruleset).unwrap();
        let loaded = nft(&["--stateless", "list", "ruleset"]);
        assert_eq!(loaded, ruleset.to_string());
    });
}

pub fn replacing_leaves_nothing_of_the_old() {
    in_own_namespace(|| {
        let mut ruleset = sample(Family::Inet);
        replace(&ruleset).unwrap();
        ruleset.chains.remove(2);
        replace(&ruleset).unwrap();
        replace(&ruleset).unwrap();
        let loaded = nft(&["--stateless", "list", "ruleset"]);
        assert_eq!(loaded, ruleset.to_string());
    });
}

pub fn refused_rule_is_named_and_changes_nothing() {
    in_own_namespace(|| {
        let good = sample(Family::Inet);
        replace(&good).unwrap();
        let mut bad = good.clone();
        let wrong = rule("masquerade too early", Vec::new(), Verdict::Masquerade);
        bad.chains[0].rules.insert(1, wrong);
        let error = replace(&bad).unwrap_err().to_string();
        let expected = "add rule `masquerade too early` to chain forward of table inet gpucloud";
        assert!(error.contains(expected), "{error}");
        let loaded = nft(&["--stateless", "list", "ruleset"]);
        assert_eq!(loaded, good.to_string());
    });
}

pub fn jump_to_a_missing_chain_is_named() {
    in_own_namespace(|| {
        let mut ruleset = sample(Family::Ip);
        ruleset.chains.remove(1);
        let error = replace(&ruleset).unwrap_err().to_string();
        assert!(error.contains("rule `from the cloud`"), "{error}");
        assert!(!table_exists(Family::Ip, "gpucloud").unwrap());
    });
}

pub fn delete_is_fine_without_a_table_and_spares_others() {
    in_own_namespace(|| {
        delete(Family::Inet, "gpucloud").unwrap();
        assert_eq!(tables().unwrap(), Vec::<String>::new());
        let other = Ruleset { table: "theirs".into(), ..sample(Family::Ip) };
        replace(&other).unwrap();
        replace(&sample(Family::Inet)).unwrap();
        assert_eq!(tables().unwrap(), ["gpucloud", "theirs"]);
        assert!(table_exists(Family::Inet, "gpucloud").unwrap());
        assert!(!table_exists(Family::Ip, "gpucloud").unwrap());
        delete(Family::Ip, "gpucloud").unwrap();
        delete(Family::Inet, "gpucloud").unwrap();
        assert_eq!(tables().unwrap(), ["theirs"]);
    });
}

pub fn largest_table_passes_and_one_more_is_refused() {
    in_own_namespace(|| {
        let mut ruleset = sample(Family::Inet);
        let long = "p".repeat(MAX_PURPOSE_BYTES);
        let filler = rule(&long, vec![Match::InInterface("x".repeat(15))], Verdict::Accept);
        let present: usize = ruleset.chains.iter().map(|chain| 1 + chain.rules.len()).sum();
        let more = std::iter::repeat_n(filler.clone(), MAX_OBJECTS - present);
        ruleset.chains[1].rules.extend(more);
        replace(&ruleset).unwrap();
        assert_eq!(nft(&["--stateless", "list", "ruleset"]), ruleset.to_string());
        ruleset.chains[1].rules.push(filler);
        assert!(matches!(replace(&ruleset), Err(NftError::TooMany { .. })));
    });
}

pub fn bad_text_is_refused() {
    in_own_namespace(|| {
        let refused = |ruleset: &Ruleset| matches!(replace(ruleset), Err(NftError::Text { .. }));
        for bad in ["", "1a", "a b", "a;b", "a{", "é", &"a".repeat(33)] {
            let ruleset = Ruleset { table: bad.into(), ..sample(Family::Ip) };
            assert!(refused(&ruleset), "{bad}");
        }
        for bad in ["", "a\"b", "eth*", "a b", "0123456789abcdef", "a/b"] {
            let mut ruleset = sample(Family::Ip);
            ruleset.chains[0].rules[2].matches = vec![Match::InInterface(bad.into())];
            assert!(refused(&ruleset), "{bad}");
        }
        for bad in ["say \"hi\"", "two\nlines", &"p".repeat(MAX_PURPOSE_BYTES + 1)] {
            let mut ruleset = sample(Family::Ip);
            ruleset.chains[0].rules[0].purpose = bad.into();
            assert!(refused(&ruleset), "{bad}");
        }
    });
}
