//! Machines as strangers have them, each with the verdicts that its cards should get.

mod machine;

use super::*;
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
