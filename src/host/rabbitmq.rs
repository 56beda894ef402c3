//! What RabbitMQ says of itself, by `rabbitmqctl`: it starts Erlang and takes a second, so it is asked only where
//! something is known to be wrong (`amqp.rs`).

use super::command::Command;
use super::{Host, Result};
use crate::finding::bytes;
use serde::Deserialize;
use std::time::Duration;

/// What a healthy one answers within a second.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// `rabbitmqctl` for a change.
fn change(args: &[&str]) -> Command {
    // It waits for ever where it misses something on standard input; with --quiet it misses a password that is there
    // (RabbitMQ 4.0.5).
    Command::new("rabbitmqctl").args(args.iter().copied()).limit(Duration::from_secs(60))
}

/// Gives `user` this password, and the virtual host `/`; makes what of it is not there.
///
/// # Errors
/// RabbitMQ does not run, or does not take it.
pub fn give_account(host: &Host, user: &str, password: &str) -> Result<()> {
    if !change(&["list_vhosts", "--silent"]).read(host)?.lines().any(|name| name == "/") {
        change(&["add_vhost", "/"]).run(host)?;
    }
    let users = change(&["list_users", "--silent"]).read(host)?;
    let is_known = users.lines().any(|line| line.split('\t').next() == Some(user));
    let verb = if is_known { "change_password" } else { "add_user" };
    // Without a password as an argument, it is read from standard input.
    change(&[verb, user]).stdin(format!("{password}\n")).run(host)?;
    change(&["set_permissions", user, ".*", ".*", ".*"]).run(host)
}

fn look(args: &[&str]) -> Command {
    Command::new("rabbitmqctl").arg("--silent").args(args.iter().copied()).limit(LOOK_LIMIT).quiet()
}

/// Why RabbitMQ blocks whoever sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// "free disk 1.0 GiB is below its limit 2.0 GiB".
    pub what: String,
    /// What ends it.
    pub next: String,
}

#[derive(Deserialize)]
struct Status {
    alarms: Vec<Raised>,
    #[serde(default)]
    disk_free: serde_json::Value,
    #[serde(default)]
    disk_free_limit: u64,
    #[serde(default)]
    vm_memory_high_watermark_limit: u64,
    #[serde(default)]
    memory: Memory,
    #[serde(default)]
    file_descriptors: Descriptors,
    #[serde(default)]
    data_directory: String,
}

#[derive(Deserialize)]
struct Raised {
    #[serde(default)]
    resource: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct Memory {
    #[serde(default)]
    strategy: String,
    #[serde(default)]
    total: serde_json::Value,
}

#[derive(Deserialize, Default)]
struct Descriptors {
    #[serde(default)]
    total_used: u64,
    #[serde(default)]
    total_limit: u64,
}

/// The alarms that are raised now.
///
/// # Errors
/// It does not run, or does not answer within ten seconds.
pub fn alarms(host: &Host) -> Result<Vec<Alarm>> {
    Ok(alarms_in(&look(&["status", "--formatter", "json"]).read(host)?))
}

/// `file_descriptor_limit` is an alarm that blocks nobody who is connected, but lets nobody in.
fn alarms_in(json: &str) -> Vec<Alarm> {
    let Ok(status) = serde_json::from_str::<Status>(json) else { return Vec::new() };
    status.alarms.iter().map(|raised| status.alarm(raised)).collect()
}

impl Status {
    fn alarm(&self, raised: &Raised) -> Alarm {
        match raised.resource.as_str() {
            "disk" => self.disk(),
            "memory" => self.memory(),
            _ if raised.kind.contains("file_descriptor") => self.descriptors(),
            other => Alarm {
                what: format!("it is in alarm: {other} {}", raised.kind).trim_end().to_owned(),
                next: "rabbitmqctl status says more".into(),
            },
        }
    }

    fn disk(&self) -> Alarm {
        let free = self.disk_free.as_u64().map_or_else(|| "(not known)".into(), bytes);
        let below = if self.data_directory.is_empty() { "/var/lib/rabbitmq" } else { &self.data_directory };
        Alarm {
            what: format!("free disk {free} is below its limit {}", bytes(self.disk_free_limit)),
            next: format!(
                "free space there (df -h {below}), it goes on by itself then; or a lower limit: rabbitmqctl \
                 set_disk_free_limit 50MB"
            ),
        }
    }

    fn memory(&self) -> Alarm {
        let total = &self.memory.total;
        let used = total.as_u64().or_else(|| total.get(&self.memory.strategy)?.as_u64());
        let used = used.map_or_else(String::new, |used| format!("{} ", bytes(used)));
        Alarm {
            what: format!("its memory {used}is above its limit {}", bytes(self.vm_memory_high_watermark_limit)),
            next:
                "rabbitmqctl list_queues name messages consumers shows what piles up; or a higher limit: rabbitmqctl \
                   set_vm_memory_high_watermark 0.6"
                    .into(),
        }
    }

    fn descriptors(&self) -> Alarm {
        let Descriptors { total_used, total_limit } = self.file_descriptors;
        Alarm {
            what: format!("it has no file descriptors left ({total_used} of {total_limit})"),
            next:
                "systemctl edit rabbitmq-server: LimitNOFILE=65536 under [Service]; systemctl restart rabbitmq-server"
                    .into(),
        }
    }
}

/// Why `user` may not use the virtual host `/`, as far as accounts and permissions tell; `None` where they are right.
///
/// # Errors
/// As [`alarms`].
pub fn lacks(host: &Host, user: &str) -> Result<Option<String>> {
    let asked = look(&["list_permissions", "--vhost", "/", "--formatter", "json"]).output(host)?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned() + &String::from_utf8_lossy(&asked.stdout);
    if said.contains("does not exist") || said.contains("no_such_vhost") {
        return Ok(Some("the virtual host `/` is gone".into()));
    }
    if !asked.status.success() {
        let why = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("rabbitmqctl failed").trim().to_owned();
        return Err(super::Error::protocol("ask RabbitMQ for its permissions", why));
    }
    Ok(lacks_in(&String::from_utf8_lossy(&asked.stdout), user))
}

fn lacks_in(json: &str, user: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Permission {
        user: String,
        write: String,
    }
    let all: Vec<Permission> = serde_json::from_str(json).unwrap_or_default();
    match all.iter().find(|permission| permission.user == user) {
        None => Some(format!("the account {user} is gone, or may not use the virtual host `/`")),
        Some(permission) if permission.write != ".*" => Some(format!("the account {user} may not send everything")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What RabbitMQ 4.0.5 answers, shortened.
    fn status(alarms: &str) -> String {
        format!(
            r#"{{"memory":{{"atom":1,"total":{{"erlang":1,"rss":1610612736,"allocated":1}},"strategy":"rss"}},
            "alarms":{alarms},"data_directory":"/var/lib/rabbitmq/mnesia/rabbit@localhost",
            "vm_memory_high_watermark_limit":1073741824,"disk_free_limit":900000000000000,"disk_free":60134567936,
            "file_descriptors":{{"total_used":1020,"total_limit":1024,"sockets_limit":0,"sockets_used":0}}}}"#
        )
    }

    #[test]
    fn each_alarm_is_named_with_its_numbers() {
        let one = |alarm: &str| alarms_in(&status(&format!(r#"[{{"node":"rabbit@localhost",{alarm}}}]"#))).remove(0);
        let disk = one(r#""type":"resource_limit","resource":"disk""#);
        assert_eq!(disk.what, "free disk 56.0 GiB is below its limit 818.5 TiB");
        assert!(disk.next.contains("df -h /var/lib/rabbitmq/mnesia"), "{}", disk.next);
        let memory = one(r#""type":"resource_limit","resource":"memory""#);
        assert_eq!(memory.what, "its memory 1.5 GiB is above its limit 1.0 GiB");
        let descriptors = one(r#""type":"file_descriptor_limit""#);
        assert_eq!(descriptors.what, "it has no file descriptors left (1020 of 1024)");
        assert!(alarms_in(&status("[]")).is_empty());
    }

    #[test]
    fn an_account_without_its_rights_is_told_from_one_with_them() {
        let right = r#"[{"user":"openstack","configure":".*","write":".*","read":".*"}]"#;
        assert_eq!(lacks_in(right, "openstack"), None);
        assert!(lacks_in(right, "stackrabbit").unwrap().contains("stackrabbit is gone"));
        assert!(
            lacks_in(&right.replacen(".*\",\"read", "a\",\"read", 1), "openstack").unwrap().contains("may not send")
        );
    }
}
