//! Each form in which people have keys, and what is said of each other file.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Made by ssh-keygen.
const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIPRrH5UcvwW4wePHbMSIaI4AMRQZWJXwlB7xS6+IPwI";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOi6x/9v416BAVeGYZkoR2d98tDjCnAtNbCcmOR2KYGGumXK5Q2t06TjmOI5yVmlw689plUAKWPwe7cUdMqN8Dw=";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDDZb0dDz+IfBfjbkl+Fppn87Q73ri979wt1AETWcOK8kFHIeTfh+vjm8OsEOAxhpSnsY01HE2E81601HyqiWDHMVzCH2DGPXciYSd49aGNzIp1uCJFr6i5CDwWdiAzVfQ+CiB3znIYwLbtXc8ux/TxoC9/ZkHWugvUuJ/EaRpVjw==";

fn blob_of(fields: &[&[u8]]) -> String {
    let with_length = |field: &&[u8]| [&u32::try_from(field.len()).unwrap().to_be_bytes(), *field].concat();
    STANDARD.encode(fields.iter().flat_map(with_length).collect::<Vec<u8>>())
}

fn point(bytes: usize) -> Vec<u8> {
    [vec![4], vec![7; 2 * bytes]].concat()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    keys_in(bytes)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
        .iter()
        .map(PublicKey::line)
        .collect()
}

fn wide(text: &str, mark: bool, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mark = mark.then_some(0xfeff);
    mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect()
}

#[test]
fn every_type_of_openssh_is_taken() {
    let sk = blob_of(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], b"ssh:"]);
    let sk_ecdsa = blob_of(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &point(32), b"ssh:"]);
    let p384 = blob_of(&[b"ecdsa-sha2-nistp384", b"nistp384", &point(48)]);
    let p521 = blob_of(&[b"ecdsa-sha2-nistp521", b"nistp521", &point(66)]);
    let long_rsa = blob_of(&[b"ssh-rsa", &[1, 0, 1], &[&[0, 0x80][..], &[1; 511]].concat()]);
    for line in [
        ED25519.to_owned(),
        ECDSA.to_owned(),
        RSA.to_owned(),
        format!("ssh-rsa {long_rsa}"),
        format!("ecdsa-sha2-nistp384 {p384}"),
        format!("ecdsa-sha2-nistp521 {p521}"),
        format!("sk-ssh-ed25519@openssh.com {sk}"),
        format!("sk-ecdsa-sha2-nistp256@openssh.com {sk_ecdsa}"),
    ] {
        assert_eq!(lines(line.as_bytes()), std::slice::from_ref(&line));
        assert_eq!(lines(format!("{line} ada@lab\n").as_bytes()), [format!("{line} ada@lab")]);
    }
}

#[test]
fn lines_are_taken_however_they_were_written() {
    let line = format!("{ED25519} ada");
    let utf8 = |text: String| text.into_bytes();
    for bytes in [
        utf8(format!("{line}\r\n")),
        utf8(format!("{ED25519}\tada\r")),
        utf8(format!("\u{feff}{line}\n")),
        utf8(format!("\n\n# ours\n  # indented\n \t {ED25519}  ada  \n\n")),
        utf8(format!("{ED25519}   ada\n\u{c}\n")),
        wide(&line, true, u16::to_le_bytes),
        wide(&format!("{line}\r\n"), true, u16::to_be_bytes),
        wide(&format!("{line}\r\n"), false, u16::to_le_bytes),
    ] {
        assert_eq!(lines(&bytes), std::slice::from_ref(&line), "{bytes:?}");
    }
    assert_eq!(lines(format!("{line}\n# the other\n{ECDSA} eva\n").as_bytes()), [line, format!("{ECDSA} eva")]);
    let german = format!("{ED25519} Jürgen Müller");
    assert_eq!(lines(german.as_bytes()), std::slice::from_ref(&german));
    let latin_1: Vec<u8> = german.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    assert_eq!(lines(&latin_1), [german]);
    assert_eq!(lines(format!("{ED25519} 爱达").as_bytes()), [format!("{ED25519} 爱达")]);
}

#[test]
fn what_puttygen_saves_is_converted() {
    let (_, blob) = RSA.split_once(' ').unwrap();
    let body: Vec<&str> = blob.as_bytes().chunks(64).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    for end in ["\n", "\r\n"] {
        let text = format!(
            "---- BEGIN SSH2 PUBLIC KEY ----{end}Comment: \"rsa-key-\\{end}20261129\"{end}x-note: y{end}{}{end}---- END SSH2 PUBLIC KEY ----{end}",
            body.join(end)
        );
        assert_eq!(lines(text.as_bytes()), [format!("{RSA} rsa-key-20261129")]);
        assert_eq!(lines(format!("{text}{text}").as_bytes()).len(), 2);
        let cut = text.replace(body[1], "");
        assert!(matches!(keys_in(cut.as_bytes()), Err(NoKey::Damaged { .. })));
    }
}

/// Content, a part of what is said, a part of what comes next.
type Case = (Vec<u8>, &'static str, &'static str);

const KEYGEN: &str = "ssh-keygen -y -f /k/x > /k/x.pub";

fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\nMIIBAAAA\n-----END {label}-----\n")
}

fn bytes_of(cases: Vec<(String, &'static str, &'static str)>) -> Vec<Case> {
    cases.into_iter().map(|(text, what, next)| (text.into_bytes(), what, next)).collect()
}

fn private_keys() -> Vec<Case> {
    let forms = ["OPENSSH ", "RSA ", "EC ", "DSA ", "ENCRYPTED ", "", "ED25519 "];
    let in_pem = forms.map(|form| (pem(&format!("{form}PRIVATE KEY")), "holds a private key", KEYGEN));
    let mut all = bytes_of(in_pem.into());
    all.extend(bytes_of(vec![
        (format!("{ED25519} ada\n{}", pem("OPENSSH PRIVATE KEY")), "holds a private key", KEYGEN),
        ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nxx\n".into(), "inside of a private key", KEYGEN),
        ("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAAAA\n".into(), "holds a private key", KEYGEN),
        ("SSH PRIVATE KEY FILE FORMAT 1.1\n\0\0".into(), "SSH 1", "-t ed25519"),
        (
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n".into(),
            ".ppk",
            "puttygen /k/x -O public-openssh -o /k/x.pub",
        ),
    ]));
    all.push((wide(&pem("OPENSSH PRIVATE KEY"), true, u16::to_le_bytes), "holds a private key", KEYGEN));
    all.push((b"openssh-key-v1\0\0\0\0\x04none".to_vec(), "inside of a private key", KEYGEN));
    all
}

fn other_forms() -> Vec<Case> {
    bytes_of(vec![
        (pem("PUBLIC KEY"), "in PEM", "ssh-keygen -i -m PKCS8 -f /k/x > /k/x.pub"),
        (pem("RSA PUBLIC KEY"), "in PEM", "ssh-keygen -i -m PEM -f /k/x > /k/x.pub"),
        (pem("CERTIFICATE"), "X.509 certificate", "openssl x509"),
        (pem("TRUSTED CERTIFICATE"), "X.509 certificate", "openssl x509"),
        (pem("CERTIFICATE REQUEST"), "request", "openssl req"),
        (pem("DH PARAMETERS"), "PEM file (DH PARAMETERS)", ".pub file"),
        (pem("PGP PUBLIC KEY BLOCK"), "public key of PGP", "gpg --export-ssh-key"),
        (pem("PGP PRIVATE KEY BLOCK"), "private key of PGP", "gpg --export-ssh-key"),
    ])
}

fn other_lines() -> Vec<Case> {
    let cert = blob_of(&[b"ssh-ed25519-cert-v01@openssh.com", b"x"]);
    bytes_of(vec![
        (format!("from=\"192.0.2.0/24\",no-pty {ED25519} ada"), "options before the key in line 1 (from=", "grep -oE"),
        (format!("# x\ncommand=\"echo hi there\" {ED25519}"), "options before the key in line 2", "grep -oE"),
        (format!("Restrict,pty {ED25519}"), "options", "grep -oE"),
        (format!("cert-authority {ED25519}"), "options", "grep -oE"),
        (format!("{ED25519} ada\nno-pty {ECDSA}"), "options before the key in line 2", "grep -oE"),
        (format!("gate.example,192.0.2.1 {ED25519}"), "known_hosts", ".pub file"),
        (format!("[192.0.2.1]:2222 {ED25519}"), "known_hosts", ".pub file"),
        (format!("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {ED25519}"), "known_hosts", ".pub file"),
        (format!("@cert-authority *.example {ED25519}"), "known_hosts", ".pub file"),
        (format!("- {ED25519}"), "`-` before the key", "grep -oE"),
        (format!("ssh_authorized_keys: {ED25519}"), "before the key", "grep -oE"),
        (format!("ssh-ed25519-cert-v01@openssh.com {cert} ada"), "certificate", "without -cert"),
        ("ssh-dss AAAAB3NzaC1kc3M= ada".into(), "DSA", "-t ed25519"),
        ("ssh-xmss@openssh.com AAAA x".into(), "type ssh-xmss@openssh.com", ".pub file"),
    ])
}

fn broken_lines_and_others() -> Vec<Case> {
    let (_, blob) = ED25519.split_once(' ').unwrap();
    let halves = blob.split_at(40);
    let mut all = bytes_of(vec![
        (format!("1024 35 {} ada", "13576".repeat(30)), "SSH 1", "-t ed25519"),
        ("256 SHA256:zcIeoK+6SSUY0xD7mu5QP2rdzQ6EDk8L ada (ED25519)".into(), "fingerprint", ".pub file"),
        (format!("ssh-ed25519 {}\n{} ada\n", halves.0, halves.1), "broken into several lines", "tr -d"),
        (format!("ssh-ed25519 {} {} ada\n", halves.0, halves.1), "broken into several", "tr -d"),
        (format!("ssh-ed25519\n{blob}\n"), "broken into several lines", "tr -d"),
        (format!("ssh-ed25519 {} ada\n", halves.0), "cut off", ".pub file"),
        (format!("ssh-ed25519 {} ada\n", &blob[..41]), "cut off", ".pub file"),
        ("ssh-ed25519".into(), "has a type and no key", ".pub file"),
        (format!("ssh-rsa {blob} ada"), "is called ssh-rsa, but is of the type ssh-ed25519", ".pub file"),
        (format!("ssh-rsa {}", blob_of(&[b"ssh-rsa", &[1, 0, 1], &[0x80; 64]])), "has 512 bits", ".pub file"),
        (blob.to_owned(), "`ssh-ed25519` is missing", "sed 's/^AAAA/ssh-ed25519 &/'"),
        (String::new(), "is empty", ".pub file"),
        (" \r\n\t\n".into(), "is empty", ".pub file"),
        ("# nothing yet\n".into(), "comments and no key", ".pub file"),
        ("<!DOCTYPE html><html>Sign in</html>".into(), "web page", ".pub file"),
        ("{\"message\": \"Not Found\"}".into(), "JSON", ".pub file"),
        ("[\n {\"key\": 1}]".into(), "JSON", ".pub file"),
        ("{\\rtf1\\ansi}".into(), "word processor", ".pub file"),
        ("ada's key, please".into(), "no key in line 1", ".pub file"),
        ("#!/bin/sh\nssh-keygen -t ed25519\n".into(), "no key in line 2", ".pub file"),
        ("PK\u{3}\u{4}\0\0".into(), "binary", ".pub file"),
    ]);
    all.push((vec![0x30, 0x82, 1, 0x0a, 0, 0xff], "binary", ".pub file"));
    all
}

#[test]
fn what_is_no_key_is_named_with_the_command_that_makes_one_of_it() {
    let all = [private_keys(), other_forms(), other_lines(), broken_lines_and_others()].concat();
    for (bytes, what, next) in all {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let problem = keys_in(&bytes).expect_err(&shown);
        assert!(problem.to_string().contains(what), "{shown}\n{problem}");
        assert!(problem.next(Path::new("/k/x")).contains(next), "{shown}\n{}", problem.next(Path::new("/k/x")));
    }
}

#[test]
fn nothing_of_a_private_key_is_said() {
    for (bytes, ..) in private_keys() {
        if let Err(problem @ NoKey::Private { .. }) = keys_in(&bytes) {
            let said = format!("{problem} {}", problem.next(Path::new("/k/x")));
            assert!(!said.contains("MII") && !said.contains("b3Bl") && !said.contains("BEGIN"), "{said}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (host, home) = (Host::at(dir.path()), Home::own("/root"));
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("it's"), pem_like()).unwrap();
    std::fs::write(dir.path().join("long"), vec![b'a'; 2 << 20]).unwrap();
    for (path, what, next) in [
        ("/none/k.pub", "/none/k.pub is not there", "ls /none;"),
        ("/d", "/d is a directory", "ls /d/*.pub"),
        ("/it's", "/it's holds a private key", r"ssh-keygen -y -f '/it'\''s' > '/it'\''s.pub'"),
        ("/long", "/long is no text", ".pub file"),
    ] {
        let refused = read(&host, &home, Path::new(path)).unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
        let said = crate::host::RoomError::next(&refused).unwrap();
        assert!(said.contains(next), "{said}");
    }
}

fn pem_like() -> &'static str {
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_key_or_a_refusal(bytes in proptest::collection::vec(0_u8.., 0..400)) {
        let _ = keys_in(&bytes);
    }

    #[test]
    fn a_part_of_a_line_is_never_taken_for_a_key(length in 0..ECDSA.len() - 1) {
        proptest::prop_assert!(keys_in(&ECDSA.as_bytes()[..length]).is_err());
    }
}
