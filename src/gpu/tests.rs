//! Machines as strangers have them, each with the verdicts that its cards should get.

mod machine;

use super::claim::State;
use super::verdict::Verdict;
use super::*;
use crate::config::gpu::{AllReady, CardChoice};
use machine::{Machine, address};
use std::fmt::Write;
use std::path::PathBuf;

fn descriptions() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn look(machine: &Machine) -> Inventory {
    let root = tempfile::tempdir().unwrap();
    inventory(&machine.write(root.path()), &machine.also).unwrap()
}

#[test]
fn each_machine_gets_its_verdicts() {
    let mut told = String::new();
    for path in descriptions() {
        let machine = Machine::load(&path);
        let found = look(&machine);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let verdicts: Vec<(String, String)> = found
            .cards
            .iter()
            .map(|(card, judgement)| (card.function.address.clone(), judgement.verdict.name().to_owned()))
            .collect();
        let expected: Vec<(String, String)> =
            machine.expect.iter().map(|(at, verdict)| (address(at), verdict.clone())).collect();
        assert_eq!(verdicts, expected, "{name}");
        writeln!(told, "{name}").unwrap();
        for (card, judgement) in &found.cards {
            let verdict = judgement.verdict.name();
            writeln!(told, "  {} {verdict}: {}", card.function.address, judgement.reason).unwrap();
            writeln!(told, "    next: {}", judgement.next).unwrap();
            if !judgement.companions.is_empty() || !judgement.arguments.is_empty() {
                writeln!(told, "    with {:?}, arguments {:?}", judgement.companions, judgement.arguments).unwrap();
            }
        }
        for other in &found.apart {
            writeln!(told, "  {} apart: {}", other.address, other.why).unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

fn all_ready() -> CardChoice {
    CardChoice::Word(AllReady::AllReady)
}

/// A machine with these functions: class, slot, group, and what the machine needs of it.
fn made_up(functions: &[(u8, u8, u8, u8)]) -> Machine {
    let mut machine = Machine { processor: "GenuineIntel".into(), table: Some("DMAR".into()), ..Machine::default() };
    for (n, (class, slot, group, need)) in functions.iter().enumerate() {
        let (class, ids) = match class % 5 {
            0 => ("0300", "10de:2204"),
            1 => ("0403", "10de:1aef"),
            2 => ("0108", "144d:a80a"),
            3 => ("0200", "8086:1533"),
            _ => ("0302", "10de:20b5"),
        };
        let at = format!("{:02x}:00.{}", slot % 6 + 1, n % 8);
        if machine.function.iter().any(|other| other.at == at) {
            continue;
        }
        let mut function = machine::Function { at, class: class.into(), ids: ids.into(), ..Default::default() };
        function.group = Some(u32::from(group % 8));
        match (need % 8, class) {
            (0 | 1, _) => {
                let disk = format!("sd{}", char::from(b'a' + n as u8));
                let (below, mapped) = (format!("{disk}1"), format!("dm-{n}"));
                machine.stacks.insert(mapped.clone(), vec![below]);
                machine.mounts.insert(mapped, if n % 2 == 0 { "/".into() } else { format!("/data{n}") });
                function.disk = Some(disk);
            }
            (2, "0200") => {
                let link = format!("eno{n}");
                machine.links.entry("bond0".into()).or_default().push(link.clone());
                machine.uplink = Some("bond0".into());
                function.link = Some(link);
            }
            (3, "0300") => function.console = true,
            _ => {}
        }
        machine.function.push(function);
    }
    machine
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_that_the_machine_needs_is_ever_bound(
        functions in proptest::collection::vec(proptest::prelude::any::<(u8, u8, u8, u8)>(), 1..24)
    ) {
        let machine = made_up(&functions);
        let found = look(&machine);
        let (claims, _) = claim::wanted(&all_ready(), &found, &Claims::default(), &[]);
        let needs: Vec<&machine::Function> = machine
            .function
            .iter()
            .filter(|one| one.console || one.disk.is_some() || one.link.is_some())
            .collect();
        for claim in &claims.claims {
            for member in claim.members() {
                proptest::prop_assert!(needs.iter().all(|one| address(&one.at) != member.address), "{}", member.address);
            }
            let group = machine.function.iter().find(|one| address(&one.at) == claim.card.address).unwrap().group;
            proptest::prop_assert!(needs.iter().all(|one| one.group != group), "{} shares its group", claim.card.address);
        }
    }
}

#[test]
fn a_claim_holds_only_as_long_as_all_is_where_it_was() {
    let path = descriptions().into_iter().find(|path| path.ends_with("stand-ins.toml")).unwrap();
    let machine = Machine::load(&path);
    let (claims, _) = claim::wanted(&all_ready(), &look(&machine), &Claims::default(), &[]);
    let addresses: Vec<&str> = claims.claims.iter().map(|claim| claim.card.address.as_str()).collect();
    assert_eq!(addresses, ["0000:01:00.0", "0000:04:00.0", "0000:05:00.0"]);
    let state = |machine: &Machine, n: usize| claim::state(&claims.claims[n], &look(machine).scene.functions);
    let held = |at: &str, driver: &str| (at.to_owned(), driver.to_owned());
    let expected = vec![held("0000:01:00.0", "bochs-drm"), held("0000:01:00.1", "snd_hda_intel")];
    assert_eq!(state(&machine, 0), State::Held(expected));

    let with = |change: fn(&mut Machine)| {
        let mut other = machine.clone();
        change(&mut other);
        other
    };
    let bound = with(|machine| machine.function.iter_mut().for_each(|one| one.driver = Some("vfio-pci".into())));
    assert_eq!(state(&bound, 0), State::Bound);
    let free = with(|machine| machine.function.iter_mut().for_each(|one| one.driver = None));
    assert_eq!(state(&free, 2), State::Free(vec!["0000:05:00.0".into()]));
    let off = with(|machine| machine.function.iter_mut().for_each(|one| one.group = None));
    assert_eq!(state(&off, 2), State::NoGroup);
    let renumbered = with(|machine| {
        for one in &mut machine.function {
            one.at = one.at.replace("05:00.0", "06:00.0");
        }
    });
    let State::Moved(what) = state(&renumbered, 2) else { panic!("{:?}", state(&renumbered, 2)) };
    assert!(what.contains("nothing is at 0000:05:00.0") && what.contains("0000:06:00.0"), "{what}");
    let replaced = with(|machine| {
        for one in machine.function.iter_mut().filter(|one| one.at == "05:00.0") {
            one.ids = "144d:a80a".into();
        }
    });
    let State::Moved(what) = state(&replaced, 2) else { panic!() };
    assert!(what.contains("is 144d:a80a now"), "{what}");
    let crowded = with(|machine| {
        for one in machine.function.iter_mut().filter(|one| one.at == "04:00.0") {
            one.group = Some(12);
        }
    });
    let State::Moved(what) = state(&crowded, 2) else { panic!() };
    assert_eq!(what, "0000:04:00.0 has come into the group of 0000:05:00.0");
}

#[test]
fn what_the_kernel_was_told_stays_told_and_a_card_in_use_stays_claimed() {
    let path = descriptions().into_iter().find(|path| path.ends_with("kernel-off.toml")).unwrap();
    let mut machine = Machine::load(&path);
    let (before, refused) = claim::wanted(&all_ready(), &look(&machine), &Claims::default(), &[]);
    assert_eq!((before.claims.len(), refused.len()), (1, 0));
    assert_eq!(before.arguments.iter().collect::<Vec<_>>(), ["intel_iommu=on", "iommu=pt"]);
    for one in machine.function.iter_mut().filter(|one| one.at.starts_with("01:")) {
        (one.group, one.driver) = (Some(4), Some("vfio-pci".into()));
    }
    machine.users.insert("01:00.0".into(), "instance-00000001".into());
    let mut found = look(&machine);
    assert_eq!(found.cards[0].1.verdict, Verdict::InUse);
    let (lost, refused) = claim::wanted(&all_ready(), &found, &before, &[]);
    assert!(lost.claims.is_empty() && refused.is_empty());
    found.cards[0].0.claimed = true;
    let (after, _) = claim::wanted(&all_ready(), &found, &before, &[]);
    assert_eq!(after, before);
}

#[test]
fn a_card_that_is_named_and_cannot_be_claimed_is_refused_with_the_reason() {
    let path = descriptions().into_iter().find(|path| path.ends_with("chipset-group.toml")).unwrap();
    let these = CardChoice::These(["05:00.0", "09:00.0"].map(|at| at.parse().unwrap()).to_vec());
    let (claims, refused) = claim::wanted(&these, &look(&Machine::load(&path)), &Claims::default(), &[]);
    assert!(claims.claims.is_empty());
    assert!(refused[0].reason.contains("the network (enp6s0)"), "{refused:?}");
    assert_eq!((refused[1].address.as_str(), refused[1].reason.as_str()), ("0000:09:00.0", "there is no card"));
}

fn described(name: &str) -> Machine {
    Machine::load(&descriptions().into_iter().find(|path| path.ends_with(format!("{name}.toml"))).unwrap())
}

fn these(addresses: &[&str]) -> CardChoice {
    CardChoice::These(addresses.iter().map(|at| at.parse().unwrap()).collect())
}

#[test]
fn what_stands_where_another_card_was_claimed_is_not_claimed_in_its_place() {
    let machine = described("a100-4");
    let chosen = these(&["41:00.0"]);
    let (noted, _) = claim::wanted(&chosen, &look(&machine), &Claims::default(), &[]);
    let mut other = machine.clone();
    // One more card: what was on 40:01.0 is at 81:00.0 now, and an equal one of another port at 41:00.0.
    for one in &mut other.function {
        one.under = match one.at.as_str() {
            "41:00.0" => Some("80:01.0".into()),
            "81:00.0" => Some("40:01.0".into()),
            _ => one.under.take(),
        };
    }
    let found = look(&other);
    let (claims, refused) = claim::wanted(&chosen, &found, &noted, &[]);
    assert!(claims.claims.is_empty() && refused[0].reason.contains("in another slot"), "{refused:?}");
    assert!(matches!(claim::state(&noted.claims[0], &found.scene.functions), State::Moved(_)));
    let (claims, refused) = claim::wanted(&chosen, &found, &noted, &["0000:41:00.0".into()]);
    assert_eq!((claims.claims.len(), refused.len()), (1, 0));
    let gone =
        Machine { function: machine.function.iter().filter(|one| one.at != "41:00.0").cloned().collect(), ..machine };
    let (_, refused) = claim::wanted(&chosen, &look(&gone), &noted, &[]);
    assert!(refused[0].reason.contains("the same is at 0000:01:00.0"), "{refused:?}");
}

/// Buses are renumbered, slots are not: the other one of two equal cards behind one switch is not what was claimed.
#[test]
fn an_equal_card_at_the_claimed_address_is_told_by_its_way() {
    let before = described("two-behind-one-switch");
    let (claims, _) = claim::wanted(&these(&["04:00.0"]), &look(&before), &Claims::default(), &[]);
    let mut after = before.clone();
    let one = |at: &str, under: &str, ids: &str, class: &str, group| machine::Function {
        at: at.into(),
        under: Some(under.into()),
        ids: ids.into(),
        class: class.into(),
        group: Some(group),
        ..Default::default()
    };
    after.function.retain(|one| one.class != "0302");
    after.function.push(one("02:04.0", "01:00.0", "10b5:8747", "0604", 60));
    after.function.push(one("03:00.0", "02:04.0", "144d:a80a", "0108", 61));
    after.function.push(one("04:00.0", "02:08.0", "10de:2230", "0302", 41));
    after.function.push(one("05:00.0", "02:10.0", "10de:2230", "0302", 51));
    let found = look(&after);
    let State::Moved(what) = claim::state(&claims.claims[0], &found.scene.functions) else { panic!() };
    assert!(what.contains("another 10de:2230 now, in another slot") && what.contains("at 0000:05:00.0"), "{what}");
    let older = Claims { claims: claims.claims.iter().map(without_way).collect(), ..claims.clone() };
    assert!(!matches!(claim::state(&older.claims[0], &look(&before).scene.functions), State::Moved(_)));
}

fn without_way(claim: &claim::Claim) -> claim::Claim {
    let mut claim = claim.clone();
    claim.card.way = None;
    claim
}

/// What changed around a claimed card is claimed anew by a person alone; a sound device that was switched off is no change.
#[test]
fn new_companions_wait_for_a_person_and_lost_ones_are_not_missed() {
    let machine = described("sound-server");
    let (claims, _) = claim::wanted(&all_ready(), &look(&machine), &Claims::default(), &[]);
    let claimed = |machine: &Machine, renewed: &[String]| {
        let mut found = look(machine);
        for (card, _) in &mut found.cards {
            card.claimed = true;
            card.moved = match claim::state(&claims.claims[0], &found.scene.functions) {
                State::Moved(what) => Some(what),
                _ => None,
            };
        }
        let (after, refused) = claim::wanted(&all_ready(), &found, &claims, renewed);
        (after.claims.len(), refused.into_iter().map(|one| one.reason).collect::<Vec<_>>())
    };
    let mut silent = machine.clone();
    silent.function.retain(|one| one.at != "01:00.1");
    assert_eq!(claimed(&silent, &[]), (1, Vec::new()));
    let mut more = machine.clone();
    let usb = machine.function.iter().find(|one| one.at == "01:00.1").unwrap().clone();
    let usb = machine::Function { at: "01:00.2".into(), ids: "10de:1aec".into(), class: "0c03".into(), ..usb };
    more.function.push(usb);
    let (count, refused) = claimed(&more, &[]);
    assert!(count == 0 && refused[0].contains("has come into the group"), "{refused:?}");
    assert_eq!(claimed(&more, &["0000:01:00.0".into()]).0, 1);
    let mut gone = machine.clone();
    gone.function.retain(|one| !one.at.starts_with("01:"));
    let (_, refused) = claimed(&gone, &[]);
    assert!(refused[0].contains("nothing is at 0000:01:00.0 any more"), "{refused:?}");
}

/// They go with the driver at the boot that binds the card.
#[test]
fn virtual_functions_of_a_card_do_not_keep_it_from_its_claim() {
    let machine = described("own-virtual-functions");
    let found = look(&machine);
    let (claims, refused) = claim::wanted(&all_ready(), &found, &Claims::default(), &[]);
    assert_eq!((claims.claims.len(), refused.len()), (1, 0));
    let held = claim::state(&claims.claims[0], &found.scene.functions);
    assert_eq!(held, State::Held(vec![("0000:01:00.0".into(), "nvidia".into())]));
    let mut gone = machine.clone();
    gone.function.retain(|one| one.of.is_none());
    gone.function.iter_mut().for_each(|one| one.driver = Some("vfio-pci".into()));
    assert_eq!(claim::state(&claims.claims[0], &look(&gone).scene.functions), State::Bound);
}

#[test]
fn a_board_of_cards_is_claimed_whole_and_kept_when_one_is_lost() {
    let machine = described("h100-8-hgx");
    let (claims, refused) = claim::wanted(&these(&["19:00.0"]), &look(&machine), &Claims::default(), &[]);
    assert!(claims.claims.is_empty() && refused[0].reason.contains("1 of 8"), "{refused:?}");
    let (all, refused) = claim::wanted(&all_ready(), &look(&machine), &Claims::default(), &[]);
    assert_eq!((all.claims.len(), refused.len()), (8, 0));
    let mut lost = described("h100-7-hgx");
    for one in lost.function.iter_mut().filter(|one| one.class == "0302") {
        one.driver = Some("vfio-pci".into());
    }
    let mut found = look(&lost);
    found.cards.iter_mut().for_each(|(card, _)| card.claimed = true);
    let (kept, _) = claim::wanted(&all_ready(), &found, &all, &[]);
    assert_eq!(kept.claims.len(), 7);
}

#[test]
fn a_capture_tells_the_same_and_names_nobody() {
    for path in descriptions() {
        let machine = Machine::load(&path);
        let (root, unpacked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = machine.write(root.path());
        let found = inventory(&host, &machine.also).unwrap();
        let archive = capture::archive(&host, &found).unwrap();
        let plain = flate2::read::GzDecoder::new(archive.as_slice());
        tar::Archive::new(plain).unpack(unpacked.path()).unwrap();
        let again = inventory(&Host::at(unpacked.path()), &machine.also).unwrap();
        let nameless = |cards: &[(Card, verdict::Judgement)]| {
            let verdict = |(card, judgement): &(Card, verdict::Judgement)| (card.clone(), judgement.verdict);
            cards.iter().map(verdict).collect::<Vec<_>>()
        };
        if !found.scene.users.iter().all(in_use::is_known) {
            // Programs of people's own lose their names.
            assert_eq!(nameless(&again.cards), nameless(&found.cards), "{}", path.display());
            continue;
        }
        assert_eq!(again.cards, found.cards, "{}", path.display());
        assert_eq!((again.apart, again.scene.needed), (found.apart, found.scene.needed), "{}", path.display());
    }
}

#[test]
fn what_a_capture_writes_anew_has_no_names() {
    let (root, unpacked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = described("workstation-1-geforce").write(root.path());
    let put = |path: &str, text: &str| std::fs::write(root.path().join(path), text).unwrap();
    put(
        "proc/cmdline",
        "root=UUID=5eed-secret ip=192.0.2.7::192.0.2.1 intel_iommu=on luks.name=secret rd.lvm.lv=secret-vg/pci\n",
    );
    put(
        "proc/self/mountinfo",
        "1 0 8:1 / /home/secret rw - ext4 /dev/sda1 rw\n2 0 0:44 / /mnt rw - nfs secret:/home rw\n",
    );
    put("proc/net/route", "Iface\tDestination\teno1\neno1\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nserial\t: secret\nflags\t\t: fpu\n");
    let archive = capture::archive(&host, &inventory(&host, &[]).unwrap()).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice())).unpack(unpacked.path()).unwrap();
    let text = |path: &str| std::fs::read_to_string(unpacked.path().join(path)).unwrap();
    assert_eq!(text("proc/cmdline"), "intel_iommu=on\n");
    assert_eq!(text("proc/self/mountinfo"), "1 0 8:1 / /data rw - ext4 /dev/root rw\n");
    for file in ["proc/cmdline", "proc/self/mountinfo", "proc/net/route", "proc/cpuinfo"] {
        assert!(!text(file).contains("secret") && !text(file).contains("0102A8C0"), "{file}: {}", text(file));
    }
}
