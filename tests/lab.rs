//! The whole installation, for real, in lab hosts: killed, watched, rebooted, saved, taken back.
//!
//! Trials come in groups (`tests/groups/`). Those of a group build on each other and run in their order; each group begins
//! with a host of its own, most with the cloud that the group `install` leaves, or goes on where the one before it ended. `GPUCLOUD_TEST_ONLY=network,damage` runs
//! these groups alone (`./test.sh --only network,damage`). They need root on a Debian or Ubuntu machine, systemd-nspawn
//! (which the program installs) and the package registries; elsewhere they are counted as ignored, with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod browser;
mod groups;
mod machine;
mod scenario;

use groups::Begins::{BehindAll, WhereTheLastEnded, WithNothing, WithTheCloud};
use groups::{Group, One, Verdict};
use libtest_mimic::Arguments;
use scenario::resources::{self, NATIVE};
use scenario::{
    FRESH, LAB, SECOND, cards, cloud, damage, dashboard, debian12, devstack, documents, fresh, install, keys, last,
    long, moved, named_files, network, notebooks, package, removal, silent, standing, strangers, terminal, together,
    tunnel, ubuntu_like, upgrade, vm,
};

/// Which groups are wanted, if not all.
const ONLY: &str = "GPUCLOUD_TEST_ONLY";
/// Says that what takes an hour is wanted as well.
const LONG: &str = "GPUCLOUD_TEST_LONG";

fn trial(name: &'static str, test: fn() -> Verdict) -> One {
    One { name, test, why_not: None }
}

/// Needs a browser on this machine.
fn browser_trial(name: &'static str, test: fn() -> Verdict) -> One {
    One { name, test, why_not: browser::why_not() }
}

/// Takes too long for every run, which has an hour.
fn long_trial(name: &'static str, test: fn() -> Verdict) -> One {
    let short = || Some(format!("takes an hour: {LONG}=1, which is ./test.sh --long"));
    One { name, test, why_not: std::env::var_os(LONG).is_none().then(short).flatten() }
}

/// Needs something else, too: `why_not` says what is missing.
fn needing(why_not: fn() -> Option<String>, one: One) -> One {
    One { why_not: one.why_not.or_else(why_not), ..one }
}

/// Around the cloud's life; one after the other, since their hosts have one address.
fn around_the_cloud() -> Vec<Group> {
    vec![
        Group {
            name: "install",
            begins: WithNothing,
            labs: &[LAB],
            trials: vec![
                trial("an_installation_killed_ten_times_goes_on", install::killed_ten_times),
                trial("a_closed_terminal_does_not_end_the_run_and_a_second_apply_watches_it", install::terminal_closed),
                trial("nothing_is_doubled_and_everything_is_healthy", install::nothing_doubled),
                trial("a_saved_host_comes_back_from_its_boot_as_it_was", install::saved_and_booted),
            ],
        },
        Group {
            name: "cloud",
            begins: WithTheCloud,
            labs: &[LAB, SECOND],
            trials: vec![
                trial("the_hands_speak_to_real_servers", cloud::hands),
                trial("a_second_apply_changes_nothing", cloud::second_apply),
                trial("documents_are_as_they_are_documented", documents::of_a_standing_cloud),
                trial("the_stock_client_lists_services_and_endpoints", cloud::stock_client),
                browser_trial("the_administrator_logs_in_with_a_browser", dashboard::administrator),
                browser_trial("user_and_administrator_see_the_resources_in_a_browser", dashboard::of_the_resources),
                trial("a_second_host_does_not_disturb_the_first", cloud::side_by_side),
                trial("secrets_are_in_no_file_they_must_not_be_in", cloud::secrets_nowhere),
                trial("other_accounts_read_nothing", strangers::read_nothing),
                trial("other_accounts_take_no_lock", strangers::take_no_lock),
            ],
        },
        Group {
            name: "resources",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![
                trial("the_declared_instance_answers_from_host_and_lan", || resources::answers(&NATIVE)),
                trial("a_second_apply_writes_nothing_to_the_cloud_and_lists_agree", || resources::agree(&NATIVE)),
                trial("resources_changed_by_hand_are_named_and_mended", || resources::mended(&NATIVE)),
                trial("the_everyday_verbs_work_and_explain", || resources::verbs(&NATIVE)),
                trial("what_is_wrong_with_a_resource_is_said", || resources::said(&NATIVE)),
                trial("what_a_user_has_on_our_network_is_kept", || resources::kept_for_users(&NATIVE)),
                trial("what_is_declared_later_is_made_and_taken_back", || resources::declared_later(&NATIVE)),
                trial("what_others_have_under_a_declared_name_is_told", || resources::of_others(&NATIVE)),
                trial("instances_are_called_as_users_like", || resources::named_by_users(&NATIVE)),
                trial("links_in_an_administrator_s_home_lead_nowhere", || keys::links_in_a_home(LAB)),
                trial("a_private_key_stays_here_and_other_forms_of_public_ones_are_taken", || {
                    named_files::keys(&NATIVE)
                }),
                long_trial("disks_of_other_hypervisors_are_taken_or_named", || named_files::disks(&NATIVE)),
                trial("an_api_that_is_away_is_waited_for", || resources::patient(&NATIVE)),
                long_trial("apis_that_stop_in_the_middle_are_waited_for", || resources::stopped_in_the_middle(&NATIVE)),
            ],
        },
        Group {
            name: "notebooks",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![
                trial("a_notebook_is_built_and_made", notebooks::made),
                long_trial("cells_run_in_a_notebook_from_this_machine", notebooks::worked_in),
                trial("a_student_comes_by_the_portal_and_nobody_else_does", notebooks::by_the_portal),
                trial("a_notebook_reaches_nothing_of_this_machine_and_nobody_else_reaches_it", notebooks::closed),
                // Four minutes each of a continuous integration that has an hour.
                long_trial("a_home_and_a_token_outlive_a_notebook", notebooks::kept),
                long_trial("a_notebook_is_there_again_after_a_boot", notebooks::back_after_a_boot),
            ],
        },
        Group {
            name: "cards",
            begins: WithTheCloud,
            labs: &[LAB],
            // Four minutes with its host; what binds cards is tried in `vm` each time.
            trials: vec![long_trial("one_two_and_four_cards_are_placed_and_a_shortage_is_said", cards::placed)],
        },
        Group {
            name: "damage",
            begins: WithTheCloud,
            labs: &[LAB],
            trials: vec![
                trial("a_foreign_enable_restarts_nothing", damage::foreign_enable),
                trial("damage_is_found_and_mended", damage::found_and_mended),
                trial("what_answers_and_does_not_work_is_named", damage::answers_and_does_not_work),
                // The group `debian12` loses them each time.
                long_trial("lost_secrets_are_made_anew", damage::lost_secrets),
                trial("a_lost_journal_is_said_and_harms_nothing", damage::lost_journal),
                trial("what_is_down_comes_back", standing::recovered),
                trial("a_keystone_that_never_answers_is_named_in_time", silent::keystone),
            ],
        },
        Group {
            name: "upgrade",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![
                trial("a_changed_fixed_answer_is_refused", standing::changed_fixed_answer),
                trial("a_newer_program_changes_only_what_differs", standing::newer_program),
                trial("a_changed_answer_restarts_what_reads_it", standing::changed_answer),
                trial("a_second_command_beside_an_apply_watches_or_refuses", together::during_an_apply),
                trial("an_upgrade_killed_during_a_migration_is_put_back", upgrade::killed_in_the_middle),
                long_trial("an_upgrade_stopped_during_a_migration_ends_it", upgrade::stopped_during_a_migration),
                trial("a_run_stopped_while_dpkg_works_leaves_nothing_half", upgrade::stopped_while_dpkg_works),
            ],
        },
        Group {
            name: "network",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![
                trial("the_network_is_kept_in_its_state", || network::kept(LAB, 1)),
                trial("the_cloud_s_ports_are_closed_to_all_but_administrators", network::closed),
                trial("a_change_that_cuts_the_machine_off_is_taken_back", network::never_locked_out),
                trial("a_second_card_becomes_a_port_of_the_bridge", network::bridged),
                trial("other_firewalls_are_named_and_lived_with", network::beside_firewalls),
            ],
        },
        Group {
            name: "moved",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![
                trial("a_renamed_host_keeps_its_cloud", moved::renamed),
                trial("a_cloud_moves_with_its_host_s_address", moved::moved),
            ],
        },
        Group {
            name: "tunnel",
            begins: WhereTheLastEnded,
            labs: &[LAB],
            trials: vec![long_trial("a_tunnel_comes_waits_for_its_token_and_goes", tunnel::comes_and_goes)],
        },
        Group {
            name: "uninstall",
            begins: WithTheCloud,
            labs: &[LAB],
            trials: vec![
                trial("rules_made_by_hand_are_adopted", network::adopted),
                trial("what_users_have_is_not_destroyed", removal::holdings),
                trial("what_users_make_during_the_question_is_not_destroyed", removal::made_during_the_question),
                trial("an_uninstall_that_may_lose_instances_leaves_nothing", removal::lose_all_instances),
            ],
        },
    ]
}

/// What needs no such cloud: beside the others, in hosts of their own.
fn beside_the_cloud() -> Vec<Group> {
    vec![
        Group {
            name: "fresh",
            begins: WithNothing,
            labs: &[FRESH, SECOND],
            trials: vec![
                trial("a_host_boots_in_which_nothing_is_installed", fresh::host_boots),
                trial("wrong_answers_are_refused_and_change_nothing", fresh::wrong_answers),
                trial("unfit_machines_are_refused_and_stay_as_they_are", fresh::unfit_machines),
                trial("the_wizard_asks_shows_every_change_and_a_no_changes_nothing", fresh::wizard),
                trial("ctrl_c_at_each_question_changes_nothing", terminal::interrupted),
                trial("the_wizard_refuses_wrong_values_and_goes_back", terminal::wrong_and_back),
                trial("a_resized_terminal_asks_on", terminal::resized),
                trial("a_plain_terminal_gets_plain_text", terminal::plain),
                trial("a_run_goes_on_by_itself_after_a_reboot", fresh::goes_on_after_reboot),
            ],
        },
        Group {
            name: "midway",
            begins: WithNothing,
            labs: &[SECOND],
            trials: vec![
                trial("own_services_a_held_lock_and_broken_mirrors_are_explained", fresh::met_on_the_way),
                trial("a_disk_that_fills_up_stops_a_run_midway", fresh::full_disk),
            ],
        },
        Group {
            name: "devstack",
            begins: WithNothing,
            labs: &[devstack::LAB],
            trials: vec![trial("stack_sh_is_started_watched_and_explained", devstack::around_stack_sh)],
        },
        Group {
            name: "package",
            begins: WithNothing,
            labs: &[package::LAB],
            trials: vec![trial("a_package_installs_without_a_toolchain", package::without_a_toolchain)],
        },
        Group {
            name: "vm",
            begins: WithNothing,
            labs: &[vm::LAB, vm::AGAIN],
            trials: vec![
                trial("a_virtual_machine_boots_with_its_board", vm::boots_with_its_board),
                trial("a_virtual_machine_is_entered_like_a_container", vm::is_entered),
                trial("cards_are_claimed_and_taken_at_the_next_boot", vm::cards_are_claimed),
                trial("a_virtual_machine_boots_again_after_reboot_and_power_cut", vm::boots_again),
                trial("cards_go_back_to_their_drivers", vm::cards_are_given_back),
                trial("a_virtual_machine_is_saved_as_it_runs", vm::is_saved_and_restored),
            ],
        },
        Group {
            name: "debian12",
            begins: WithNothing,
            labs: &[debian12::LAB],
            trials: vec![trial("debian_12_is_installed_and_left_as_it_was", debian12::from_nothing_to_nothing)],
        },
        Group {
            name: "long",
            begins: WithNothing,
            labs: &[resources::DEVSTACK.lab, long::LAB, ubuntu_like::LAB, vm::CLOUD],
            trials: vec![
                long_trial("a_cloud_comes_up_on_a_kernel_of_its_own", vm::with_a_cloud),
                long_trial("two_routers_instances_reach_each_other_s_addresses", vm::with_two_routers),
                long_trial("volumes_outlive_a_power_cut", vm::with_volumes),
                needing(vm::not_nested, long_trial("a_home_on_a_volume_outlives_its_notebook", vm::with_homes)),
                long_trial("a_card_reaches_an_instance", vm::with_cards),
                long_trial("a_debian_with_ubuntu_s_habits_below_networkd", ubuntu_like::networkd),
                long_trial("a_debian_with_ubuntu_s_habits_below_networkmanager", ubuntu_like::network_manager),
                needing(
                    resources::no_mirror,
                    long_trial("a_real_devstack_has_the_same_resources", resources::on_devstack),
                ),
                long_trial("forty_installations_killed_once_each_go_on", long::single_kills),
            ],
        },
    ]
}

/// Behind all others.
fn the_end() -> Group {
    Group {
        name: "end",
        begins: BehindAll,
        labs: &[LAB, FRESH, SECOND, package::LAB, devstack::LAB, debian12::LAB, vm::LAB],
        trials: vec![
            trial("no_secret_was_on_a_command_line", last::no_secret_on_a_command_line),
            trial("the_suite_s_labs_leave_no_trace_on_this_machine", last::nothing_is_left),
        ],
    }
}

/// The groups that are wanted; a name that no group has is an error.
fn wanted(streams: [Vec<Group>; 2]) -> Vec<Vec<Group>> {
    let Ok(only) = std::env::var(ONLY) else { return streams.into() };
    let only: Vec<&str> = only.split(',').collect();
    let known: Vec<&str> = streams.iter().flatten().map(|group| group.name).collect();
    assert!(only.iter().all(|name| known.contains(name)), "{ONLY}: {only:?}; there are the groups {known:?}");
    let is_wanted = |group: &Group| only.contains(&group.name);
    streams.into_iter().map(|stream| stream.into_iter().filter(is_wanted).collect()).collect()
}

/// What cannot run here is said; nothing can where no lab host can be made.
fn mark(group: &mut Group, no_lab: Option<&String>) {
    for one in &mut group.trials {
        if let (None, Some(reason)) = (no_lab, &one.why_not) {
            eprintln!("ignored: {}: {reason}", one.name);
        }
        one.why_not = no_lab.cloned().or(one.why_not.take());
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let no_lab = machine::why_not();
    if let Some(reason) = &no_lab {
        eprintln!("ignored: {reason}");
    }
    let mut streams = wanted([around_the_cloud(), beside_the_cloud()]);
    streams.push(vec![the_end()]);
    streams.iter_mut().flatten().for_each(|group| mark(group, no_lab.as_ref()));
    let _alone = (no_lab.is_none() && !arguments.list).then(|| {
        let alone = machine::alone();
        last::begin();
        alone
    });
    groups::run(&arguments, streams).exit();
}
