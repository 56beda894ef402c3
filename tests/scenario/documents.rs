//! `docs/json.md`, row by row, against what the program prints.

use super::{LAB, Verdict};
use crate::machine::{installer, ours};
use serde_json::Value;

/// Rows of the table: command, key.
fn rows() -> Vec<(String, String)> {
    let text = include_str!("../../docs/json.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| ")).map(cells).filter(|cells| cells[2] != "key");
    rows.map(|cells| (cells[1].clone(), cells[2].clone())).collect()
}

/// Whether `value` has `key`; `a[].b`: an element of the list `a` has `b`.
fn has(value: &Value, key: &str) -> bool {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let below = |value: &Value| rest.is_none_or(|rest| has(value, rest));
    match first.strip_suffix("[]") {
        None => value.get(first).is_some_and(below),
        Some(list) => value.get(list).and_then(Value::as_array).is_some_and(|list| list.iter().any(below)),
    }
}

/// Holds the documents of a standing cloud against the table; `uninstall` has its own call.
pub fn of_a_standing_cloud() -> Verdict {
    for (command, document) in [
        ("plan", installer(LAB, &["plan", "--json"]).expect(0).json()),
        ("apply", installer(LAB, &["apply", "--yes", "--json"]).expect(0).json()),
        ("status", installer(LAB, &["status", "--json"]).expect(0).json()),
        ("recover", installer(LAB, &["recover", "--json"]).expect(0).json()),
        ("doctor", installer(LAB, &["doctor", "--json"]).expect(0).json()),
        ("doctor --list", installer(LAB, &["doctor", "--list", "--json"]).expect(0).json()),
        ("inventory", installer(LAB, &["inventory", "--json"]).expect(0).json()),
        ("init", installer(LAB, &["init", "--json", "--output", "/root/other.toml"]).expect(0).json()),
        ("network show", installer(LAB, &["network", "show", "--json"]).expect(0).json()),
        ("network plan", installer(LAB, &["network", "plan", "--json"]).expect(0).json()),
        ("network apply", installer(LAB, &["network", "apply", "--yes", "--json"]).expect(0).json()),
        ("network revert", installer(LAB, &["network", "revert", "--json"]).expect(0).json()),
        ("network confirm", installer(LAB, &["network", "confirm", "--json"]).expect(0).json()),
        ("network probe", installer(LAB, &["network", "probe", "--json"]).expect(0).json()),
        ("network report", installer(LAB, &["network", "report", "--json"]).expect(0).json()),
        ("instance list", installer(LAB, &["instance", "list", "--json"]).expect(0).json()),
        ("instance show", installer(LAB, &["instance", "show", "demo", "--json"]).expect(0).json()),
        ("instance console", installer(LAB, &["instance", "console", "demo", "--json"]).expect(0).json()),
        ("image list", installer(LAB, &["image", "list", "--json"]).expect(0).json()),
        ("flavor list", installer(LAB, &["flavor", "list", "--json"]).expect(0).json()),
        ("quota show", installer(LAB, &["quota", "show", "--json"]).expect(0).json()),
        ("lab list", ours(&["lab", "list", "--json"]).expect(0).json()),
        ("failed", installer(LAB, &["init", "--json"]).expect(3).json()),
    ] {
        check(command, &document);
    }
    Ok(())
}

/// Every row of `command` must be in `document`.
pub fn check(command: &str, document: &Value) {
    let rows: Vec<String> =
        rows().into_iter().filter(|(c, _)| c == command || c == "all").map(|(_, key)| key).collect();
    assert!(rows.len() > 2, "no row of {command}");
    for key in rows {
        assert!(has(document, &key), "{command} has no {key}: {document}");
    }
}
