//! Files of the machine as people and programs leave them: each reader of `facts/` finds the same in all of them.

use super::{apt, filters, os, reach, resolver};
use crate::host::{Host, files};
use std::path::Path;

/// How a file comes to look otherwise.
type Decorated = (&'static str, fn(&str) -> Vec<u8>);

/// What can stand around the same content, and changes nothing of it for whoever owns the file.
const DECORATIONS: [Decorated; 8] = [
    ("as it is", |text| text.into()),
    ("CRLF", |text| text.replace('\n', "\r\n").into()),
    ("no last newline", |text| text.trim_end().into()),
    ("comments", |text| format!("# one\n#two = \"x\nnothing\n{text}# three\n").replace("nothing\n", "").into()),
    ("blank lines in front and behind", |text| format!("\n\n{text}\n\n").into()),
    ("a comment in UTF-8", |text| format!("# größe 机\n{text}").into()),
    ("a comment in Latin-1", |text| [b"# gr\xf6\xdfe\n", text.as_bytes()].concat()),
    ("blanks behind lines", |text| text.replace('\n', "  \n").into()),
];

/// A file, its content, and what is read of it.
type Read = (&'static str, &'static str, fn(&Host) -> String);

const FILES: [Read; 7] = [
    ("/etc/resolv.conf", "search a.example\nnameserver 192.0.2.53 # campus\nnameserver 2001:db8::53\n", |host| {
        resolver::name_servers(host).unwrap().beyond.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }),
    ("/etc/os-release", "ID=ubuntu\nVERSION_ID=\"24.04\"\nPRETTY_NAME='Ubuntu 24.04'\n", |host| {
        let os = os::read(host).unwrap();
        format!("{} {}", os.label(), os.pretty_name)
    }),
    ("/etc/ufw/ufw.conf", "LOGLEVEL=low\nENABLED=\"yes\"\n", ufw),
    ("/etc/default/ufw", "IPV6=yes\nDEFAULT_FORWARD_POLICY=\"ACCEPT\"\n", |host| {
        files::write(host, Path::new("/etc/ufw/ufw.conf"), b"ENABLED=yes\n", 0o644, None).unwrap();
        ufw(host)
    }),
    ("/etc/pip.conf", "[global]\nindex-url = https://index.example/simple\n", |host| {
        reach::pip_index(host).unwrap().unwrap_or_default()
    }),
    ("/etc/apt/sources.list", "deb [arch=amd64] http://mirror.example/debian trixie main\n", |host| {
        apt::urls(host).unwrap().join(" ")
    }),
    (
        "/etc/apt/sources.list.d/x.sources",
        "Types: deb\nURIs: http://mirror.example/debian\n http://other.example/debian\nSuites: trixie\n",
        |host| apt::urls(host).unwrap().join(" "),
    ),
];

fn ufw(host: &Host) -> String {
    filters::read(host).unwrap().dropping.iter().map(|filter| format!("{} {}; ", filter.owner, filter.hook)).collect()
}

#[test]
fn what_stands_around_the_content_changes_nothing() {
    for (path, text, read) in FILES {
        let found = DECORATIONS.map(|(how, decorated)| {
            let dir = tempfile::tempdir().unwrap();
            let host = Host::at(dir.path());
            files::write(&host, Path::new(path), &decorated(text), 0o644, None).unwrap();
            (how, read(&host))
        });
        assert!(!found[0].1.is_empty(), "{path}: nothing was read");
        for (how, value) in &found {
            assert_eq!(value, &found[0].1, "{path}, {how}");
        }
    }
}
