//! `lab box`: a box for Vagrant.

use crate::cli::LabBox;
use crate::command::{Invocation, absolute};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::lab::base::Base;
use crate::lab::{lifecycle, vagrant_box};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) fn run(invocation: &Invocation, options: &LabBox) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let file = target(host, &options.file)?;
    let key = key(host, options.key.as_deref())?;
    let base = Base { system: options.os, has_kernel: true };
    invocation.consent(&format!("Make a box with {} in {}?", options.os.name(), file.display()), true)?;
    lifecycle::prepare_disks(host, base, &invocation.ui.display(), usize::from(invocation.global.jobs))?;
    vagrant_box::make(host, base, &key, &file, |part| invocation.ui.say(part))?;
    let name = format!("gpucloud-{}", options.os.name());
    invocation.ui.document("lab", json!({"box": file, "system": options.os.name()}));
    invocation.ui.say(format!("{} is made.", file.display()));
    invocation.ui.say(format!("Add it      vagrant box add --name {name} --provider libvirt {}", file.display()));
    invocation.ui.say(format!("Use it      LAB_BOX={name} vagrant up, in vagrant/ (README.md there)"));
    Ok(Ending::Done)
}

/// Where the box will lie.
fn target(host: &Host, file: &Path) -> Result<PathBuf, Failure> {
    let file = absolute(file);
    if files::exists(host, &file) {
        let what = format!("{} is there already", file.display());
        return Err(Failure::new(what, "", "remove it, or choose another name").with(Ending::Refused));
    }
    let folder = file.parent().unwrap_or(&file);
    if !files::exists(host, folder) {
        let next = format!("mkdir -p {}", folder.display());
        return Err(Failure::usage(format!("there is no folder {}", folder.display()), next));
    }
    Ok(file)
}

/// The public keys that log in.
fn key(host: &Host, file: Option<&Path>) -> Result<String, Failure> {
    let Some(file) = file else {
        let missing = || {
            let evidence = "no package `vagrant` is installed here, which would have Vagrant's own";
            let next = "apt-get install vagrant; or --key FILE: a public key, whose other half is \
                        config.ssh.private_key_path of the Vagrantfile";
            Failure::new("there is no key that would log in to the box", evidence, next).with(Ending::Refused)
        };
        return vagrant_box::known_key(host)?.ok_or_else(missing);
    };
    let file = absolute(file);
    match files::read_text(host, &file)? {
        Some(text) if vagrant_box::are_public_keys(&text) => Ok(text),
        _ => Err(Failure::usage(
            format!("{} has no public keys", file.display()),
            "--key: a file like ~/.ssh/id_ed25519.pub",
        )),
    }
}
