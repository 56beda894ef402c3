//! One nftables table of ours, as a plain value: shown as nft text, loaded through netlink.
//!
//! What holds here:
//! - A table is replaced whole and atomically: packets see the old rules or the new ones. A batch
//!   that the kernel refuses changes nothing, and the error names the rule.
//! - [`Ruleset`]'s text is what `nft --stateless list table` prints for it and what `nft -f` reads.
//! - No other table is read or written. An `accept` here cannot overrule another table's drop.
//! - Rules cannot be read back: nftnl 0.9 lists table names only.
//!
//! Everything acts on the network namespace of the calling thread.

mod kernel;
mod text;

use std::io;

use ipnet::Ipv4Net;

/// The most rules and chains in one table: the kernel queues an answer for each before we read
/// the first, and 400 overflow the default socket buffer (ENOBUFS, seen on 6.18 with 208 KiB).
pub const MAX_OBJECTS: usize = 150;

/// The longest purpose: libnftnl has 128 bytes (`NFTNL_UDATA_COMMENT_MAXLEN`) for it, a header of
/// two and the NUL.
pub const MAX_PURPOSE_BYTES: usize = 125;

/// What can go wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// A name or purpose that nft could not print or read back.
    #[error("{kind} `{text}` cannot be used in nftables: {why}")]
    Text {
        /// What the text is for.
        kind: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// More rules and chains than one batch may have.
    #[error("table {table} has {count} chains and rules; at most {MAX_OBJECTS} can be loaded")]
    TooMany {
        /// The table's name.
        table: String,
        /// Its chains and rules.
        count: usize,
    },
    /// The kernel refused. Nothing was changed.
    #[error("nftables could not {what}: {source}")]
    Kernel {
        /// What was refused: the rule by its purpose.
        what: String,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 only.
    Ip,
}

/// A table with all its chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Which packets it sees.
    pub family: Family,
    /// The table's name, unique within the family.
    pub table: String,
    /// Its chains, in the order in which they are listed.
    pub chains: Vec<Chain>,
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The name, unique within the table.
    pub name: String,
    /// Where packets enter it; `None` for a chain that only a [`Verdict::Jump`] reaches.
    pub base: Option<Base>,
    /// The rules, first to last.
    pub rules: Vec<Rule>,
}

/// Where a chain is attached, and what befalls a packet that no rule decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What the chain is for.
    pub kind: ChainKind,
    /// The point in the kernel.
    pub hook: Hook,
    /// The order among the chains of one hook, lowest first: 0 is `filter`, 100 `srcnat`.
    pub priority: i32,
    /// For a packet that no rule decided on.
    pub policy: Policy,
}

/// What a base chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Accepts and drops.
    Filter,
    /// Translates addresses; sees the first packet of a connection only.
    Nat,
}

/// A point in the kernel's packet path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// For this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
}

/// What befalls a packet that no rule of a base chain decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is lost.
    Drop,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Why it is there: its comment, and its name in errors.
    pub purpose: String,
    /// All must hold.
    pub matches: Vec<Match>,
    /// Whether packets and bytes are counted.
    pub counter: bool,
    /// What befalls the packet.
    pub verdict: Verdict,
}

/// What a packet must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Came in by this link.
    InInterface(String),
    /// Leaves by this link.
    OutInterface(String),
    /// Leaves by any other link.
    NotOutInterface(String),
    /// From an address in this net.
    SourceNet(Ipv4Net),
    /// To an address in this net.
    DestinationNet(Ipv4Net),
    /// Belongs or relates to a connection that was let through before.
    Established,
}

/// What befalls a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves this base chain; chains of a higher priority still see it.
    Accept,
    /// It is lost.
    Drop,
    /// It gets the address of the link it leaves by. Only in `nat` chains of postrouting.
    Masquerade,
    /// It goes on in this chain of the same table, and comes back at that chain's end.
    Jump(String),
}

/// Loads `ruleset`; a table of that family and name is replaced, whatever it held.
pub fn replace(ruleset: &Ruleset) -> Result<(), NftError> {
    ruleset.to_batch()?.send()
}

/// Removes a table with all it holds; a missing one is fine.
pub fn delete(family: Family, table: &str) -> Result<(), NftError> {
    kernel::deletion(family, table)?.send()
}

/// The names of all tables of all families, sorted, each once.
pub fn tables() -> Result<Vec<String>, NftError> {
    kernel::table_names(None)
}

/// Whether a table of this family and name is loaded.
pub fn table_exists(family: Family, table: &str) -> Result<bool, NftError> {
    Ok(kernel::table_names(Some(family))?.iter().any(|name| name == table))
}

impl Ruleset {
    /// `table inet gpucloud`, as in nft.
    pub fn title(&self) -> String {
        format!("table {} {}", self.family, self.table)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Runs `test` in a network namespace of its own, or says why not.
    fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
        let run = move || match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            Ok(()) => test(),
            Err(_) => eprintln!("skipped: needs root"),
        };
        std::thread::spawn(run).join().unwrap();
    }

    /// What `nft` prints for the arguments, in this thread's namespace; `None` without nft.
    fn nft(arguments: &[&str]) -> Option<String> {
        let output = match Command::new("nft").args(arguments).output() {
            Err(_) => {
                eprintln!("not compared: needs nft");
                return None;
            }
            Ok(output) => output,
        };
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    fn nft_reads(text: &str) {
        use std::io::Write;
        let started = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
        let Ok(mut nft) = started else { return };
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

    #[test]
    fn text_is_nft_text() {
        assert_eq!(sample(Family::Ip).to_string(), TEXT);
    }

    #[test]
    fn kernel_has_what_the_text_says() {
        for family in [Family::Ip, Family::Inet] {
            in_own_namespace(move || {
                let ruleset = sample(family);
                replace(&ruleset).unwrap();
                let list = ["--stateless", "list", "ruleset"];
                let Some(loaded) = nft(&list) else { return };
                assert_eq!(loaded, ruleset.to_string());
                delete(family, "gpucloud").unwrap();
                nft_reads(&ruleset.to_string());
                assert_eq!(nft(&list).unwrap(), loaded);
            });
        }
    }

    #[test]
    fn priorities_read_as_nft_says_them() {
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
            let Some(loaded) = nft(&["list", "ruleset"]) else {
                return;
            };
            assert_eq!(loaded, ruleset.to_string());
        });
    }

    #[test]
    fn every_prefix_length_reads_back() {
        in_own_namespace(|| {
            let nets = (0..=32).map(|bits| Ipv4Net::new([203, 0, 113, 77].into(), bits).unwrap());
            let rules = nets.map(|net| rule("x", vec![Match::SourceNet(net)], Verdict::Accept));
            let mut ruleset = sample(Family::Inet);
            ruleset.chains[1].rules = rules.collect();
            replace(&ruleset).unwrap();
            let Some(loaded) = nft(&["--stateless", "list", "ruleset"]) else {
                return;
            };
            assert_eq!(loaded, ruleset.to_string());
        });
    }

    #[test]
    fn replacing_leaves_nothing_of_the_old() {
        in_own_namespace(|| {
            let mut ruleset = sample(Family::Inet);
            replace(&ruleset).unwrap();
            ruleset.chains.remove(2);
            replace(&ruleset).unwrap();
            replace(&ruleset).unwrap();
            let Some(loaded) = nft(&["--stateless", "list", "ruleset"]) else {
                return;
            };
            assert_eq!(loaded, ruleset.to_string());
        });
    }

    #[test]
    fn refused_rule_is_named_and_changes_nothing() {
        in_own_namespace(|| {
            let good = sample(Family::Inet);
            replace(&good).unwrap();
            let mut bad = good.clone();
            let wrong = rule("masquerade too early", Vec::new(), Verdict::Masquerade);
            bad.chains[0].rules.insert(1, wrong);
            let error = replace(&bad).unwrap_err().to_string();
            let expected = "add rule `masquerade too early` to chain forward of table inet gpucloud";
            assert!(error.contains(expected), "{error}");
            let Some(loaded) = nft(&["--stateless", "list", "ruleset"]) else {
                return;
            };
            assert_eq!(loaded, good.to_string());
        });
    }

    #[test]
    fn jump_to_a_missing_chain_is_named() {
        in_own_namespace(|| {
            let mut ruleset = sample(Family::Ip);
            ruleset.chains.remove(1);
            let error = replace(&ruleset).unwrap_err().to_string();
            assert!(error.contains("rule `from the cloud`"), "{error}");
            assert!(!table_exists(Family::Ip, "gpucloud").unwrap());
        });
    }

    #[test]
    fn delete_is_fine_without_a_table_and_spares_others() {
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

    #[test]
    fn largest_table_passes_and_one_more_is_refused() {
        in_own_namespace(|| {
            let mut ruleset = sample(Family::Inet);
            let long = "p".repeat(MAX_PURPOSE_BYTES);
            let filler = rule(&long, vec![Match::InInterface("x".repeat(15))], Verdict::Accept);
            let present: usize = ruleset.chains.iter().map(|chain| 1 + chain.rules.len()).sum();
            let more = std::iter::repeat_n(filler.clone(), MAX_OBJECTS - present);
            ruleset.chains[1].rules.extend(more);
            replace(&ruleset).unwrap();
            if let Some(loaded) = nft(&["--stateless", "list", "ruleset"]) {
                assert_eq!(loaded, ruleset.to_string());
            }
            ruleset.chains[1].rules.push(filler);
            assert!(matches!(replace(&ruleset), Err(NftError::TooMany { .. })));
        });
    }

    #[test]
    fn bad_text_is_refused() {
        let refused = |ruleset: &Ruleset| matches!(ruleset.to_batch(), Err(NftError::Text { .. }));
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
    }
}
