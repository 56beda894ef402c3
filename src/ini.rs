//! Single keys of an INI file as OpenStack's services read it, set without touching the rest: comments, order and
//! repeated keys stay. (The parsers that crates offer write a file anew, without its comments.)

/// One key, with its values: more than one where it is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// "DEFAULT".
    pub section: String,
    /// "resume_guests_state_on_host_boot".
    pub name: String,
    /// One line for each.
    pub values: Vec<String>,
}

impl Key {
    /// One with one value.
    pub fn new(section: &str, name: &str, value: impl Into<String>) -> Self {
        Self { section: section.into(), name: name.into(), values: vec![value.into()] }
    }

    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.values.iter().map(|value| format!("{} = {value}", self.name))
    }
}

/// The values of a key in `text`.
pub fn values<'a>(text: &'a str, section: &str, name: &str) -> Vec<&'a str> {
    let mut here = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match header(line) {
            Some(other) => here = other == section,
            None if here => found.extend(assignment(line).filter(|(key, _)| *key == name).map(|(_, value)| value)),
            None => {}
        }
    }
    found
}

/// `text` with `key` set: in the place where it stands first, else at the head of its section, else in a new section.
pub fn set(text: &str, key: &Key) -> String {
    if values(text, &key.section, &key.name) == key.values {
        return text.to_owned();
    }
    let is_there = !values(text, &key.section, &key.name).is_empty();
    let (mut here, mut written) = (false, false);
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(section) = header(line) {
            here = section == key.section;
            out.push(line.to_owned());
            if here && !is_there && !written {
                out.extend(key.lines());
                written = true;
            }
        } else if here && assignment(line).is_some_and(|(name, _)| name == key.name) {
            if !written {
                out.extend(key.lines());
                written = true;
            }
        } else {
            out.push(line.to_owned());
        }
    }
    if !written && !key.values.is_empty() {
        out.push(format!("[{}]", key.section));
        out.extend(key.lines());
    }
    out.join("\n") + "\n"
}

fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim())
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    if line.trim_start().starts_with(['#', ';']) {
        return None;
    }
    // Either sign, as Python's configparser and oslo.config have it.
    line.split_once(['=', ':']).map(|(name, value)| (name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Of nova.\n[DEFAULT]\n# A comment\ndebug = True\nalias = a\nalias = b\n\n[pci]\nalias = x\n";

    #[test]
    fn a_key_is_changed_in_its_place_and_nothing_else_is() {
        let set = set(TEXT, &Key::new("DEFAULT", "debug", "False"));
        assert_eq!(set, TEXT.replace("True", "False"));
    }

    #[test]
    fn repeated_keys_are_replaced_together_and_only_in_their_section() {
        let key = Key { section: "DEFAULT".into(), name: "alias".into(), values: vec!["c".into()] };
        assert_eq!(set(TEXT, &key), TEXT.replace("alias = a\nalias = b", "alias = c"));
        let none = Key { values: Vec::new(), ..key };
        assert_eq!(set(TEXT, &none), TEXT.replace("alias = a\nalias = b\n", ""));
    }

    #[test]
    fn what_is_new_gets_a_place_of_its_own() {
        let in_section = set(TEXT, &Key::new("pci", "report", "1"));
        assert!(in_section.contains("[pci]\nreport = 1\nalias = x"));
        let new_section = set(TEXT, &Key::new("ovn", "dns_servers", "192.0.2.1"));
        assert!(new_section.ends_with("[ovn]\ndns_servers = 192.0.2.1\n"));
    }

    #[test]
    fn what_is_set_stays_as_it_is() {
        let key = Key::new("DEFAULT", "debug", "True");
        assert_eq!(set(TEXT, &key), TEXT);
        assert_eq!(
            set(&set(TEXT, &Key::new("a", "b", "c")), &Key::new("a", "b", "c")),
            set(TEXT, &Key::new("a", "b", "c"))
        );
    }
}
