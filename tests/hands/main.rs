//! The hands against the real thing: netlink and nf_tables in network namespaces of their own, MariaDB and RabbitMQ
//! where they run. What this machine cannot do is counted as ignored, with the reason; `tests/lab.rs` runs this program
//! again inside a host where all of it is at hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod links;
mod nft;
mod servers;

use libtest_mimic::{Arguments, Trial};

/// Runs `test` in a network namespace of its own.
fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

/// What tests of the kernel's network need.
fn why_no_namespaces() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("network namespaces need root".into());
    }
    let missing =
        ["ip", "nft"].into_iter().find(|program| std::process::Command::new(program).arg("-V").output().is_err());
    missing.map(|program| format!("{program} is not installed"))
}

/// A group of tests that need the same.
fn group(name: &str, why_not: Option<String>, tests: &[(&'static str, fn())]) -> Vec<Trial> {
    if let Some(reason) = &why_not {
        eprintln!("ignored: {name}: {reason}");
    }
    let trial = |(test, run): &(&'static str, fn())| {
        let run = *run;
        Trial::test(format!("{name}::{test}"), move || {
            run();
            Ok(())
        })
        .with_ignored_flag(why_not.is_some())
    };
    tests.iter().map(trial).collect()
}

/// Each named function as a test of this name.
macro_rules! tests {
    ($module:ident: $($test:ident),+ $(,)?) => { &[$((stringify!($test), $module::$test as fn())),+] };
}

fn main() {
    let mut trials = group(
        "nft",
        why_no_namespaces(),
        tests![nft: text_is_nft_text, kernel_has_what_the_text_says, priorities_read_as_nft_says_them, every_prefix_length_reads_back, replacing_leaves_nothing_of_the_old, refused_rule_is_named_and_changes_nothing, jump_to_a_missing_chain_is_named, delete_is_fine_without_a_table_and_spares_others, largest_table_passes_and_one_more_is_refused, bad_text_is_refused],
    );
    trials.extend(group("links", why_no_namespaces(), tests![links: links_are_read, both_ends_up_make_a_carrier, mtu_is_set_or_refused_by_name, address_is_added_once, expiring_peer_and_host_addresses_are_told_apart, routes_are_read, ipv6_and_several_ways_are_read, deleting_takes_the_peer_and_may_be_repeated, missing_link_is_named]));
    let mariadb = tests![
        servers: databases_come_and_go, accounts_come_and_go_with_password_and_grants, a_dump_brings_back_what_was, refusal_says_what_was_to_be_done, only_our_whole_mark_makes_a_thing_ours
    ];
    trials.extend(group("server-mariadb", servers::why_no_mariadb(), mariadb));
    let rabbitmq = tests![servers: right_password_is_let_in_and_wrong_ones_are_not];
    trials.extend(group("server-rabbitmq", servers::why_no_rabbitmq(), rabbitmq));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
