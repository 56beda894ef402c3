//! A cloud that stands: it is left alone, says what is documented, and keeps its secrets.

use super::{LAB, SECOND, Verdict, main_process};
use crate::groups::saved;
use crate::machine::tree::times;
use crate::machine::{inside, installer, note_secrets, ours, read, root, secrets};
use std::process::Command;

/// `tests/hands` again, where its servers are.
pub fn hands() -> Verdict {
    let before = saved::snapshot();
    let no_run = ["test", "--locked", "--test", "hands", "--no-run", "--message-format=json"];
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package is another environment to build scripts (ring's looks at it): the program itself
    // would be built anew, and the saved cloud be that of another one.
    let of_package = |name: &String| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
    std::env::vars().map(|(name, _)| name).filter(of_package).for_each(|name| _ = cargo.env_remove(name));
    let said = String::from_utf8(cargo.args(no_run).output()?.stdout)?;
    let executable = said.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "hands";
        message["executable"].as_str().filter(|_| ours).map(str::to_owned)
    });
    std::fs::copy(executable.ok_or("cargo built no hands")?, root(LAB).join("root/hands"))?;
    let done = inside(LAB, &["/root/hands", "server-"]).expect(0);
    assert_eq!(saved::snapshot(), before, "the program is another one");
    let ran = !done.out.contains("running 0 tests") && done.out.contains("; 0 failed; 0 ignored;");
    assert!(ran, "{}", done.out);
    Ok(())
}

pub fn second_apply() -> Verdict {
    let before = times(LAB);
    let again = installer(LAB, &["apply", "--yes", "--json"]).expect(0).json();
    assert_eq!(again["changed"], 0);
    let after = times(LAB);
    let touched: Vec<_> = after.iter().filter(|(path, time)| before.get(*path) != Some(time)).collect();
    assert!(touched.is_empty() && before.len() == after.len(), "{touched:?}");
    Ok(())
}

pub fn stock_client() -> Verdict {
    let list = |what: &str| {
        inside(LAB, &["openstack", "--os-cloud", "gpucloud", what, "list", "--format", "json"]).expect(0).json()
    };
    let services = list("service");
    let kinds: Vec<&str> = services.as_array().unwrap().iter().map(|s| s["Type"].as_str().unwrap()).collect();
    for kind in ["identity", "image", "placement", "compute", "network"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert_eq!(list("endpoint").as_array().unwrap().len(), 15);
    Ok(())
}

/// Command lines have a test of their own, behind all groups.
pub fn secrets_nowhere() -> Verdict {
    note_secrets(LAB);
    let secrets = secrets();
    assert!(secrets.len() >= 13, "{} secrets", secrets.len());
    let clean = |what: &str, text: &str| {
        for secret in &secrets {
            assert!(!text.contains(secret), "a secret is in {what}");
        }
    };
    clean("the plan", &installer(LAB, &["plan", "--diff"]).expect(0).out);
    clean("the journal", &read(LAB, "/var/lib/gpucloud/journal.jsonl"));
    clean("the events", &inside(LAB, &["cat", "/run/gpucloud/events.jsonl"]).out);
    for entry in std::fs::read_dir(root(LAB).join("var/log/gpucloud"))?.flatten() {
        clean("a log", &std::fs::read_to_string(entry.path())?);
    }
    for (path, meta) in world_readable() {
        let content = std::fs::read(&path).unwrap_or_default();
        clean(&format!("{} ({meta})", path.display()), &String::from_utf8_lossy(&content));
    }
    Ok(())
}

fn world_readable() -> Vec<(std::path::PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    let mut dirs: Vec<_> = ["etc", "var/lib", "opt/gpucloud", "run", "usr/local", "var/log"]
        .iter()
        .map(|dir| root(LAB).join(dir))
        .collect();
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = std::fs::symlink_metadata(entry.path()) else { continue };
            let open = meta.mode() & 0o005;
            if meta.is_dir() && open == 0o005 && !entry.path().ends_with("site-packages") {
                dirs.push(entry.path());
            } else if meta.is_file() && meta.mode() & 0o004 != 0 && meta.size() < 5_000_000 {
                found.push((entry.path(), format!("{:o}", meta.mode() & 0o7777)));
            }
        }
    }
    found
}

/// A second host comes and goes; the first does not notice.
pub fn side_by_side() -> Verdict {
    let keystone = main_process("gpucloud-keystone.service");
    ours(&["lab", "up", "--name", SECOND, "--no-install", "--yes"]).expect(0);
    let addresses = |lab| inside(lab, &["hostname", "-I"]).expect(0).out;
    assert_ne!(addresses(LAB), addresses(SECOND));
    ours(&["lab", "down", SECOND, "--yes"]).expect(0);
    assert_eq!(main_process("gpucloud-keystone.service"), keystone);
    installer(LAB, &["status"]).expect(0);
    Ok(())
}
