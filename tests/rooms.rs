//! Data goes one way through the house: a room imports only rooms that stand below it. The order is one list, shown in
//! CONTRIBUTING.md.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of `room`: `src/room.rs`, and all below `src/room/`.
fn files_of(room: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{room}.rs"))];
    let mut dirs = vec![src.join(room)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() { dirs.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "rs") && file.is_file());
    files
}

/// The rooms, lowest first, as CONTRIBUTING.md shows them.
fn order() -> Vec<String> {
    let text = include_str!("../CONTRIBUTING.md");
    let (_, list) = text.split_once("<!-- rooms, lowest first -->\n```text\n").expect("no list of rooms");
    let (list, _) = list.split_once("\n```").expect("an open list of rooms");
    list.lines().flat_map(|line| line.split("  ").next().unwrap_or_default().split(' ')).map(str::to_owned).collect()
}

/// Rooms that a file's code names: `crate::room`, alone or in braces. Comments, and tests at a file's end, do not count.
fn named_in(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = &group[..group.find(';').unwrap_or(group.len())];
                named
                    .extend(group.split([',', '{', '}']).map(|part| word(part.trim())).filter(|part| !part.is_empty()));
            }
            None => _ = named.insert(word(rest)),
        }
    }
    named
}

#[test]
fn every_room_has_its_place_in_the_order() {
    let order: BTreeSet<String> = order().into_iter().collect();
    let lib = include_str!("../src/lib.rs");
    let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned);
    assert_eq!(rooms.collect::<BTreeSet<_>>(), order);
}

#[test]
fn no_room_imports_one_that_stands_above_it() {
    let order = order();
    let mut up = Vec::new();
    for (place, room) in order.iter().enumerate() {
        for file in files_of(room) {
            let named = named_in(&std::fs::read_to_string(&file).unwrap());
            let above = order[place + 1..].iter().filter(|above| named.contains(*above));
            up.extend(above.map(|above| format!("{} names {above}", file.display())));
        }
    }
    assert!(up.is_empty(), "these reach up:\n{}", up.join("\n"));
}

#[test]
fn names_are_found_alone_in_braces_and_not_in_comments() {
    let text =
        "use crate::{one, two::{x, y}};\n// crate::three\nlet a = crate::four::F;\n#[cfg(test)]\nuse crate::five;";
    let named = named_in(text);
    assert!(["one", "two", "four"].iter().all(|name| named.contains(*name)), "{named:?}");
    assert!(["three", "five"].iter().all(|name| !named.contains(*name)), "{named:?}");
}

/// What a person reads is words: `{:?}` prints types and quotes. (A hash may be of anything.)
#[test]
fn nothing_for_people_is_printed_as_rust_prints_it_for_us() {
    let mut found = Vec::new();
    for room in order() {
        for file in files_of(&room).iter().filter(|file| !file.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let printed = code.lines().filter(|line| line.contains(":?}") && !line.contains("files::hash("));
            found.extend(printed.map(|line| format!("{}: {}", file.display(), line.trim())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
