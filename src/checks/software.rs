//! What is on the machine already.

use super::Subject;
use crate::finding::Finding;

pub(super) fn other_clouds(s: &Subject) -> Vec<Finding> {
    let clouds = &s.facts.software.clouds;
    let finding = |(name, path): &(String, String)| {
        Finding::stop(
            "other-cloud",
            format!("there are traces of {name} here"),
            format!("remove it with its own means, then what is left: rm -r {path}"),
        )
        .seen(path)
    };
    if clouds.is_empty() {
        vec![Finding::pass("other-cloud", "no other cloud here")]
    } else {
        clouds.iter().map(finding).collect()
    }
}

pub(super) fn own_databases(s: &Subject) -> Vec<Finding> {
    let databases = &s.facts.software.databases;
    if s.is_begun() || databases.is_empty() {
        return Vec::new();
    }
    let what = "MariaDB here holds databases of another OpenStack, which would be used as ours";
    let next = "if nobody needs them any more: mariadb-dump them away, then drop them";
    vec![Finding::stop("own-databases", what, next).seen(databases.join(", "))]
}

pub(super) fn shared_services(s: &Subject) -> Vec<Finding> {
    // Without a journal nobody can tell whose they are: they were taken for ours when the cloud was made.
    let known = |name: &String| s.our_packages.contains(name) || s.journal_is_lost();
    let shared: Vec<_> = s.facts.software.shared.iter().filter(|(name, _)| !known(name)).collect();
    if shared.is_empty() {
        return Vec::new();
    }
    if shared.iter().any(|(name, _)| name == "rabbitmq-server") {
        let next = "remove it, or use another machine";
        return vec![Finding::stop(
            "own-services",
            "a RabbitMQ of your own is here: the cloud would rename its node",
            next,
        )];
    }
    let names: Vec<String> = shared.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let seen = names.join(", ");
    vec![if s.config.host.share_services {
        Finding::warn(
            "own-services",
            "the cloud will use services that were here before",
            "make a backup of them first",
        )
        .seen(seen)
    } else {
        let next = "remove them, or say share_services = true under [host] to let the cloud use them";
        Finding::stop("own-services", "services of your own would be used by the cloud", next).seen(seen)
    }]
}

/// A cloud that stands cannot do without its passwords.
pub(super) fn lost_secrets(s: &Subject) -> Vec<Finding> {
    let ours = s.facts.software.ours;
    if !ours.applied || ours.secrets {
        return Vec::new();
    }
    let what = "the passwords of this cloud are lost (secrets.toml); new ones can be made, the old ones cannot be told";
    let next =
        "gpucloud-install apply makes new ones and restarts what uses them; clients take /etc/openstack/clouds.yaml";
    vec![Finding::warn("secrets", what, next)]
}

/// And cannot be removed without its journal.
pub(super) fn lost_journal(s: &Subject) -> Vec<Finding> {
    if !s.journal_is_lost() {
        return Vec::new();
    }
    let what = "the journal of this cloud is lost: what was here before it cannot be told any more, and not put back";
    let next =
        "the cloud works on; put /var/lib/gpucloud back from a backup, or keep in mind that uninstall removes nothing";
    vec![Finding::warn("journal", what, next)]
}

/// Volumes that nobody will make.
pub(super) fn volumes(s: &Subject) -> Vec<Finding> {
    let count = s.config.resources.volumes.len();
    if count == 0 || s.seen.has_volumes {
        return Vec::new();
    }
    let what = format!("this cloud has no volume service: {count} declared volumes are skipped");
    vec![Finding::warn("volumes", what, "engine devstack with devstack.services = [\"cinder\"] has one")]
}

/// Before anything is changed: a private key goes nowhere, and a file that is no image spoils no run.
pub(super) fn files(s: &Subject) -> Vec<Finding> {
    let finding = |file: &crate::resources::named_files::WrongFile| {
        Finding::stop(super::FILES, format!("{}: {}", file.answer, file.problem), file.next.clone())
    };
    s.seen.wrong_files.iter().map(finding).collect()
}
