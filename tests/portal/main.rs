//! The portal, as a process, in front of a real JupyterLab from the lock that notebooks have: who is let in and who is not,
//! what is worked in through it, and the same in a real browser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../browser/mod.rs"]
mod browser;
mod encrypted;
mod eyes;
#[cfg(feature = "test-ngrok")]
mod ngrok;
mod outside;
mod strangers;
mod work;
mod world;

use gpucloud::config::tunnel::TunnelKind::{Ngrok, Pagekite};
use libtest_mimic::{Arguments, Failed, Trial};

type Test = fn() -> Result<(), Failed>;

fn trials(why_not: Option<&String>, tests: &[(&'static str, Test)]) -> Vec<Trial> {
    if let (Some(reason), Some((first, _))) = (why_not, tests.first()) {
        eprintln!("ignored: {first} and {} more: {reason}", tests.len() - 1);
    }
    let one = |(name, test): &(&'static str, Test)| Trial::test(*name, *test).with_ignored_flag(why_not.is_some());
    tests.iter().map(one).collect()
}

fn main() {
    let no_jupyter = world::why_not();
    let mut all = trials(
        no_jupyter.as_ref(),
        &[
            ("who_is_not_logged_in_sees_no_notebook", strangers::without_a_session),
            ("a_wrong_token_opens_nothing_and_a_right_one_is_always_taken", strangers::tokens),
            ("a_notebook_is_its_owner_s_alone", strangers::of_others),
            ("other_sites_change_nothing_and_open_no_socket", strangers::from_other_sites),
            ("a_login_leads_to_no_other_host", strangers::led_away),
            ("what_a_notebook_says_stays_below_its_own_pages", strangers::cookies_of_a_notebook),
            ("requests_that_two_could_read_differently_are_refused", strangers::smuggled),
            ("what_is_too_long_or_too_slow_is_ended_and_disturbs_nobody", strangers::long_and_slow),
            ("cells_run_through_the_portal_and_end_with_the_session", work::cells),
            ("another_token_ends_sessions_and_sockets", work::another_token),
            ("large_files_go_through_and_stay_out_of_memory", work::large_files),
            ("a_notebook_that_is_away_is_said_in_words", work::away),
            ("a_restart_keeps_everybody_logged_in", work::restarted),
            ("two_hundred_work_while_some_stall", work::many),
            ("nothing_is_had_without_tls_where_there_is_tls", encrypted::led_there),
            ("a_certificate_is_what_its_fingerprint_says", encrypted::certificate),
            ("another_certificate_is_shown_without_a_restart", encrypted::renewed),
            ("who_begins_no_handshake_keeps_nobody_out", encrypted::stalled),
        ],
    );
    let no_tunnel = no_jupyter.clone().or_else(outside::why_not);
    all.extend(trials(
        no_tunnel.as_ref(),
        &[
            ("a_student_outside_works_through_the_tunnel", || outside::worked_in(Pagekite)),
            ("a_tunnel_is_back_soon_after_any_outage", || outside::outages(Pagekite)),
            ("a_tunnel_that_is_refused_stops_and_says_so", || outside::refused(Pagekite)),
        ],
    ));
    let no_ngrok = no_jupyter.clone().or_else(outside::why_no_ngrok);
    all.extend(trials(
        no_ngrok.as_ref(),
        &[
            ("a_student_outside_works_through_ngrok", || outside::worked_in(Ngrok)),
            ("ngrok_is_back_soon_after_any_outage", || outside::outages(Ngrok)),
            ("ngrok_s_refusal_stops_it_and_is_said", || outside::refused(Ngrok)),
        ],
    ));
    let no_eyes = no_jupyter.or_else(browser::why_not);
    all.extend(trials(
        no_eyes.as_ref(),
        &[("a_student_works_in_a_browser", eyes::a_student), ("pages_fit_a_telephone", eyes::on_a_telephone)],
    ));
    // All share one JupyterLab; each has a portal of its own. Much of their time is waiting.
    let arguments = Arguments { test_threads: Some(3), ..Arguments::from_args() };
    let conclusion = libtest_mimic::run(&arguments, all);
    world::end();
    conclusion.exit();
}
