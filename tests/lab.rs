//! The whole installation, for real, in lab hosts: killed, watched, rebooted, saved, taken back.
//!
//! The tests build on each other and run in this order. They need root on a Debian or Ubuntu machine, systemd-nspawn
//! (which the program installs) and the package registries; elsewhere they are counted as ignored, with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod browser;
mod machine;
mod scenario;

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use scenario::resources::{self, NATIVE};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first test that fails: what builds on it cannot succeed, and would hide it.
static FAILED: AtomicBool = AtomicBool::new(false);

fn in_order(test: fn() -> Result<(), Failed>) -> Result<(), Failed> {
    // Set before the test, so that a panic counts as well.
    if FAILED.swap(true, Ordering::SeqCst) {
        return Err("an earlier test failed".into());
    }
    test()?;
    FAILED.store(false, Ordering::SeqCst);
    Ok(())
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let reason = machine::why_not();
    if let Some(reason) = &reason {
        eprintln!("ignored: {reason}");
    }
    let trial = |name: &'static str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, move || in_order(test)).with_ignored_flag(reason.is_some())
    };
    let no_browser = browser::why_not();
    if let Some(reason) = &no_browser {
        eprintln!("ignored: the_administrator_logs_in_with_a_browser: {reason}");
    }
    let browser_trial = |name: &'static str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, move || in_order(test)).with_ignored_flag(reason.is_some() || no_browser.is_some())
    };
    let long = std::env::var_os("GPUCLOUD_TEST_LONG").is_some();
    if !long {
        eprintln!(
            "ignored: what takes too long (forty installations killed once each, a real DevStack): ./test.sh --long"
        );
    }
    let long_trial = |name: &'static str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, move || in_order(test)).with_ignored_flag(reason.is_some() || !long)
    };
    let no_mirror = resources::no_mirror().filter(|_| long);
    if let Some(reason) = &no_mirror {
        eprintln!("ignored: a_real_devstack_has_the_same_resources: {reason}");
    }
    let no_devstack = reason.is_some() || !long || no_mirror.is_some();
    let trials = vec![
        trial("a_host_boots_in_which_nothing_is_installed", scenario::host_boots),
        trial("wrong_answers_are_refused_and_change_nothing", scenario::wrong_answers),
        trial("unfit_machines_are_refused_and_stay_as_they_are", scenario::unfit_machines),
        trial("the_wizard_asks_shows_every_change_and_a_no_changes_nothing", scenario::wizard),
        trial("ctrl_c_at_each_question_changes_nothing", scenario::terminal::interrupted),
        trial("the_wizard_refuses_wrong_values_and_goes_back", scenario::terminal::wrong_and_back),
        trial("a_resized_terminal_asks_on", scenario::terminal::resized),
        trial("a_plain_terminal_gets_plain_text", scenario::terminal::plain),
        trial("an_installation_killed_ten_times_goes_on", scenario::killed_ten_times),
        trial("a_closed_terminal_does_not_end_the_run_and_a_second_apply_watches_it", scenario::terminal_closed),
        trial("nothing_is_doubled_and_everything_is_healthy", scenario::nothing_doubled),
        trial("the_hands_speak_to_real_servers", scenario::hands),
        trial("a_second_apply_changes_nothing", scenario::second_apply),
        trial("documents_are_as_they_are_documented", scenario::documents::of_a_standing_cloud),
        trial("the_stock_client_lists_services_and_endpoints", scenario::stock_client),
        browser_trial("the_administrator_logs_in_with_a_browser", scenario::dashboard),
        trial("the_declared_instance_answers_from_host_and_lan", || resources::answers(&NATIVE)),
        trial("a_second_apply_writes_nothing_to_the_cloud_and_lists_agree", || resources::agree(&NATIVE)),
        browser_trial("user_and_administrator_see_the_resources_in_a_browser", scenario::dashboard_of_the_resources),
        trial("resources_changed_by_hand_are_named_and_mended", || resources::mended(&NATIVE)),
        trial("the_everyday_verbs_work_and_explain", || resources::verbs(&NATIVE)),
        trial("what_is_wrong_with_a_resource_is_said", || resources::said(&NATIVE)),
        trial("what_a_user_has_on_our_network_is_kept", || resources::kept_for_users(&NATIVE)),
        trial("what_is_declared_later_is_made_and_taken_back", || resources::declared_later(&NATIVE)),
        trial("an_api_that_is_away_is_waited_for", || resources::patient(&NATIVE)),
        trial("apis_that_stop_in_the_middle_are_waited_for", || resources::stopped_in_the_middle(&NATIVE)),
        trial("secrets_are_found_nowhere_they_must_not_be", scenario::secrets_nowhere),
        trial("damage_is_found_and_mended", scenario::damage::found_and_mended),
        trial("lost_secrets_are_made_anew", scenario::damage::lost_secrets),
        trial("a_lost_journal_is_said_and_harms_nothing", scenario::damage::lost_journal),
        trial("the_network_is_kept_in_its_state", scenario::network::kept),
        trial("the_cloud_s_ports_are_closed_to_all_but_administrators", scenario::network::closed),
        trial("a_change_that_cuts_the_machine_off_is_taken_back", scenario::network::never_locked_out),
        trial("a_second_card_becomes_a_port_of_the_bridge", scenario::network::bridged),
        trial("rules_made_by_hand_are_adopted", scenario::network::adopted),
        trial("a_changed_answer_restarts_what_reads_it", scenario::changed_answer),
        trial("a_newer_program_changes_only_what_differs", scenario::newer_program),
        trial("a_changed_fixed_answer_is_refused", scenario::changed_fixed_answer),
        trial("what_users_have_is_not_destroyed", scenario::holdings),
        trial("after_a_reboot_the_cloud_is_healthy", scenario::reboot),
        trial("what_is_down_comes_back", scenario::recovered),
        trial("a_second_host_does_not_disturb_the_first", scenario::side_by_side),
        trial("stack_sh_is_started_watched_and_explained", scenario::devstack::around_stack_sh),
        trial("a_package_installs_without_a_toolchain", scenario::package),
        trial("debian_12_is_installed_and_left_as_it_was", scenario::debian12),
        trial("a_saved_host_is_restored", scenario::save_and_restore),
        trial("an_uninstall_killed_three_times_leaves_nothing", scenario::uninstall),
        trial("a_run_goes_on_by_itself_after_a_reboot", scenario::goes_on_after_reboot),
        trial("lab_down_leaves_no_trace_on_this_machine", scenario::down),
        long_trial("a_real_devstack_has_the_same_resources", resources::on_devstack).with_ignored_flag(no_devstack),
        long_trial("forty_installations_killed_once_each_go_on", scenario::long::single_kills),
    ];
    let conclusion: Conclusion = libtest_mimic::run(&arguments, trials);
    conclusion.exit();
}
