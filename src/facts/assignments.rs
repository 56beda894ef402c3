//! Files of `KEY=value` lines as a shell reads them: os-release(5), `/etc/default/*`, `ufw.conf`.

use std::collections::HashMap;

/// The assignments of `text`; of several of one key the last counts, as in a shell. What is no assignment is left out.
pub(super) fn read(text: &str) -> HashMap<String, String> {
    text.trim_start_matches('\u{feff}').lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (key, value) = line.split_once('=')?;
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then(|| (key.to_owned(), value_of(value)))
}

/// Its first word, without the quotes; where a quote is not closed, all of it.
fn value_of(text: &str) -> String {
    match shlex::split(text) {
        // What stands behind a blank would be a command.
        Some(words) if !text.starts_with(char::is_whitespace) => words.into_iter().next().unwrap_or_default(),
        Some(_) => String::new(),
        None => text.trim_matches(['"', '\'']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_a_shell_makes_of_them() {
        let text = "\u{feff}# a comment\r\nID=debian\r\nVERSION_ID=\"12\"   # why\nPRETTY_NAME='x y'\n  export A=b\nB=\"a \\\"b\\\" c\"\n\
                    ID=ubuntu\n#C=d\nnothing\nD=\nE= f\nF=\"open\nG=ü";
        let read = read(text);
        let of = |key: &str| read.get(key).map(String::as_str);
        assert_eq!((of("ID"), of("VERSION_ID"), of("PRETTY_NAME")), (Some("ubuntu"), Some("12"), Some("x y")));
        assert_eq!((of("A"), of("B"), of("C")), (Some("b"), Some("a \"b\" c"), None));
        assert_eq!((of("D"), of("E"), of("F"), of("G")), (Some(""), Some(""), Some("open"), Some("ü")));
    }
}
