//! Lines in LVM's configuration that are not ours to replace.

use crate::host::{Host, Result, files};

/// What is in force here as a file, and the administrator's own where it is not ours (lvm.conf(5)): read behind lvm.conf.
const LOCAL: &str = "/etc/lvm/lvmlocal.conf";
/// With this our files begin.
const OURS: &str = "# Written by gpucloud-install";

/// Each line that a file of ours in the place of lvmlocal.conf would take out of force, with its file before it.
pub fn own_lines(host: &Host) -> Result<Vec<String>> {
    let text = |path: &str| files::read_text(host, path).map(Option::unwrap_or_default);
    let (main, local) = (text("/etc/lvm/lvm.conf")?, text(LOCAL)?);
    let filters = settings(&main).filter(|line| line.starts_with("global_filter"));
    let mut found: Vec<String> = filters.map(|line| format!("/etc/lvm/lvm.conf: {line}")).collect();
    if !local.starts_with(OURS) {
        found.extend(settings(&local).map(|line| format!("{LOCAL}: {line}")));
    }
    Ok(found)
}

/// Lines that set something: no comments, no heads and ends of sections.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn lines_of_the_administrator_are_found_and_the_packages_comments_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let write = |path: &str, text: &str| {
            files::write(&host, Path::new(path), text.as_bytes(), 0o644, None).unwrap();
        };
        write("/etc/lvm/lvm.conf", "devices {\n\t# global_filter = [ \"a|.*|\" ]\n\tscan = [ \"/dev\" ]\n}\n");
        write(LOCAL, "# This is a local\nlocal {\n\t# system_id = \"\"\n}\n");
        assert_eq!(own_lines(&host).unwrap(), Vec::<String>::new());
        write(LOCAL, "# Written by gpucloud-install\ndevices {\n\tscan_lvs = 0\n}\n");
        assert_eq!(own_lines(&host).unwrap(), Vec::<String>::new());
        write("/etc/lvm/lvm.conf", "devices {\n\tglobal_filter = [ \"r|/dev/sdz|\" ]\n}\n");
        write(LOCAL, "local {\n\tsystem_id = \"box\"\n}\n");
        let found = own_lines(&host).unwrap();
        assert!(found.len() == 2 && found[0].contains("/dev/sdz") && found[1].contains("system_id"), "{found:?}");
    }
}
