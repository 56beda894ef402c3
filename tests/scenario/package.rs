//! A package of our own.

use super::Verdict;
use crate::machine::{inside, installer, ours, program, root};
use std::process::{Command, Stdio};

/// Its host.
pub const LAB: &str = "suite-deb";

/// A package of our own installs where there is no toolchain, and its program is linked to, not copied.
pub fn without_a_toolchain() -> Verdict {
    let lab = LAB;
    let path = package()?;
    assert!(path.ends_with(".deb"), "{path}");
    // A small host leaves manual pages out when it installs a package: they are looked for in it.
    let content = Command::new("dpkg-deb").args(["--contents", &path]).output()?;
    let content = String::from_utf8_lossy(&content.stdout).into_owned();
    for help in ["man/man1/gpucloud-install-apply.1.gz", "bash-completion/completions/gpucloud-install"] {
        assert!(content.contains(help), "{help} is missing");
    }
    ours(&["lab", "up", "--name", lab, "--no-install", "--yes"]).expect(0);
    std::fs::remove_file(root(lab).join("usr/local/bin/gpucloud-install"))?;
    std::fs::copy(path, root(lab).join("root/own.deb"))?;
    inside(lab, &["sh", "-c", "apt-get -qq update && apt-get -qq -y install /root/own.deb >/dev/null 2>&1"]).expect(0);
    installer(lab, &["init", "--profile", "lab"]).expect(0);
    let plan = installer(lab, &["plan", "--json"]).expect(0).out;
    assert!(plan.contains("link:/usr/local/bin/gpucloud-install"), "{plan}");
    inside(lab, &["apt-get", "-qq", "-y", "purge", "gpucloud-install"]).expect(0);
    assert!(!root(lab).join("usr/bin/gpucloud-install").exists());
    ours(&["lab", "down", lab, "--yes"]).expect(0);
    Ok(())
}

/// Makes it of the program under test, and returns its path.
fn package() -> std::io::Result<String> {
    let made = Command::new("./bootstrap.sh").arg("--package").arg(program()).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
}
