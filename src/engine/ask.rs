//! What the probes ask of the services below the APIs: the disk that a service writes to, MariaDB, RabbitMQ, memcached,
//! OVN, libvirt. (Which service is asked what: `probe.rs`.)

use super::service::{Answer, Service};
use crate::cloud::PROBE_LIMIT;
use crate::complaint::Complaint;
use crate::finding::bytes;
use crate::host::command::Command;
use crate::host::{Host, RoomError, files, ovs, rabbitmq, sql};
use crate::paths::VOLUME_GROUP;
use nix::sys::statvfs::FsFlags;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long a plain connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Less than this counts as a full disk: databases and queues stop at about that.
const FULL: u64 = 32 << 20;
/// memcached's port.
pub const CACHE_PORT: u16 = 11211;
/// Where OVN's southbound database answers (ovn-sb(5)).
const SOUTHBOUND_PORT: u16 = 6642;

/// A disk that is full or read-only is named before anything that follows from it.
pub(super) fn has_room(host: &Host, service: &Service) -> Answer {
    service.stores.iter().map(Path::new).filter(|path| files::exists(host, path)).try_for_each(|path| {
        // Who cannot be measured is asked all the same.
        let Ok(found) = files::filesystem(host, path) else { return Ok(()) };
        let below = path.display();
        if found.flags().contains(FsFlags::ST_RDONLY) {
            let what = format!("the disk below {below} is mounted read-only");
            let next = format!("dmesg says why; then: mount -o remount,rw $(findmnt -nT {below} -o TARGET)");
            return Err(Complaint::lasting(what).mended_by(next));
        }
        let free = found.blocks_available() * found.fragment_size();
        let (full, what) = match found.files() > 0 && found.files_free() == 0 {
            true => (true, format!("the disk below {below} has no room for another file")),
            false => (free < FULL, format!("the disk below {below} is full: {} are free", bytes(free))),
        };
        if full {
            Err(Complaint::lasting(what).mended_by(format!("free space there: df -h {below}; df -i {below}")))
        } else {
            Ok(())
        }
    })
}

pub(super) fn sql() -> Answer {
    let Some(sql) = sql::connect_within(PROBE_LIMIT).map_err(complaint_of)? else {
        return Err(Complaint::passing("MariaDB does not answer"));
    };
    let state = sql.state().map_err(complaint_of)?;
    if let Some(setting) = state.read_only {
        return Err(Complaint::lasting(format!("MariaDB takes no changes: {setting} is on"))
            .mended_by(sql::Cause::ReadOnly.next()));
    }
    if state.is_crowded() {
        let what = format!("all {} connections of MariaDB are taken", state.max_connections);
        return Err(Complaint::passing(what).mended_by(sql::Cause::Crowded.next()));
    }
    Ok(())
}

/// Whom MariaDB refuses it will refuse again; a connection that breaks may come from a start.
fn complaint_of(error: sql::SqlError) -> Complaint {
    let next = RoomError::next(&error).unwrap_or_default();
    let evidence = RoomError::evidence(&error).unwrap_or_default();
    let complaint = match error {
        sql::SqlError::Denied { .. } => Complaint::lasting(error.to_string()),
        _ => Complaint::passing(error.to_string()),
    };
    complaint.seen(evidence).mended_by(next)
}

/// RabbitMQ takes our login and then is silent: in alarm, it reads nothing more from whoever sends.
pub(super) fn blocked(host: &Host) -> Complaint {
    let alarms = rabbitmq::alarms(host).unwrap_or_default();
    let Some(first) = alarms.first() else {
        return Complaint::passing("RabbitMQ takes our login, but no message")
            .mended_by("rabbitmqctl status says more");
    };
    let all: Vec<&str> = alarms.iter().map(|alarm| alarm.what.as_str()).collect();
    Complaint::lasting(format!("it blocks all senders: {}", all.join("; "))).mended_by(&first.next)
}

/// It says the same while it starts; not so where it knows of no such account.
pub(super) fn refused(host: &Host, user: &str, why: &str) -> Complaint {
    let complaint = Complaint::passing("RabbitMQ refuses our login").seen(why);
    match (rabbitmq::alarms(host), rabbitmq::lacks(host, user)) {
        (Ok(alarms), _) if !alarms.is_empty() => complaint.seen(&alarms[0].what).mended_by(&alarms[0].next),
        (_, Ok(Some(lacks))) => Complaint::lasting(lacks).seen(why).mended_by("gpucloud-install apply makes it again"),
        (_, Ok(None)) => complaint.mended_by("gpucloud-install apply sets its password again"),
        (_, Err(_)) => complaint,
    }
}

/// Asks memcached for its version: one that has no connection left takes another and says nothing.
///
/// # Errors
/// Nobody is there, or somebody who does not speak its text protocol without a login.
pub fn cache(port: u16) -> Answer {
    let mut stream = connect(port)?;
    let silent = |error| Complaint::passing("memcached takes connections and does not answer").seen(error);
    let mut answer = [0_u8; 8];
    stream.set_read_timeout(Some(CONNECT_LIMIT)).map_err(silent)?;
    stream
        .write_all(b"version\r\n")
        .and_then(|()| stream.read_exact(&mut answer))
        .map_err(|error| silent(error).mended_by("systemctl restart memcached; journalctl -u memcached -n 30"))?;
    match &answer {
        b"VERSION " => Ok(()),
        _ => Err(Complaint::lasting(format!("what listens on port {port} is no memcached that all may use"))
            .mended_by("take -S (SASL) and -B binary out of /etc/memcached.conf; systemctl restart memcached")),
    }
}

pub(super) fn northd(host: &Host) -> Answer {
    connect(SOUTHBOUND_PORT)?;
    for database in ["nb-connection-status", "sb-connection-status"] {
        ovn(host, "ovn-northd", database, "connected")?;
    }
    ovn(host, "ovn-northd", "status", "active")
}

/// Whether a daemon of OVN says the `wanted` word of itself.
pub(super) fn ovn(host: &Host, daemon: &str, question: &str, wanted: &str) -> Answer {
    let asked = ovs::ask_daemon(host, daemon, question);
    let unit = if daemon == "ovn-northd" { "ovn-central" } else { "ovn-host" };
    let next = format!("systemctl restart {unit}; journalctl -u {daemon} -n 30");
    let said = asked.map_err(|error| {
        let said = error.evidence().unwrap_or_else(|| error.to_string());
        Complaint::passing(format!("{daemon} does not answer")).seen(said.trim()).mended_by(&next)
    })?;
    match said.trim().rsplit("Status: ").next() {
        Some(word) if word == wanted => Ok(()),
        word => {
            let (of, word) = (question.trim_end_matches("-connection-status"), word.unwrap_or_default());
            let of = match of {
                "nb" => " to the northbound database",
                "sb" => " to the southbound database",
                _ => "",
            };
            Err(Complaint::passing(format!("{daemon} is {word}{of}, not {wanted}")).mended_by(next))
        }
    }
}

/// A group whose disk is gone is not listed, or misses one.
pub(super) fn volume_group(host: &Host) -> Answer {
    let asked = Command::new("vgs").args(["--noheadings", "--options", "vg_missing_pv_count", VOLUME_GROUP]);
    let next = "lsblk shows whether its disk is there; then: systemctl restart gpucloud-volumes";
    match asked.limit(PROBE_LIMIT).quiet().read(host) {
        Ok(missing) if missing.trim() == "0" => Ok(()),
        Ok(_) => Err(Complaint::lasting(format!("volume group {VOLUME_GROUP} misses a disk")).mended_by(next)),
        Err(error) => {
            let said = error.evidence().unwrap_or_else(|| error.to_string());
            Err(Complaint::lasting(format!("there is no volume group {VOLUME_GROUP}"))
                .seen(said.trim())
                .mended_by(next))
        }
    }
}

/// libvirt says what it could start an instance with: nothing without an emulator, or without KVM where that is asked
/// for (`virsh domcapabilities`).
pub(super) fn emulator(host: &Host, kvm: bool) -> Answer {
    let kind: &[&str] = if kvm { &["--virttype", "kvm"] } else { &[] };
    let asked =
        Command::new("virsh").args(["--connect", "qemu:///system", "domcapabilities"]).args(kind.iter().copied());
    let Err(error) = asked.limit(PROBE_LIMIT).quiet().read(host) else { return Ok(()) };
    let said = error.evidence().unwrap_or_else(|| error.to_string());
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let said = said.trim().trim_start_matches("error: ").to_owned();
    let (what, next) = match () {
        () if said.contains("accel 'kvm'") || said.contains("KVM is not") => {
            ("KVM does not work any more", "switch on VT-x or AMD-V in the firmware; modprobe kvm_intel or kvm_amd")
        }
        () if said.contains("emulator") => {
            let next = "gpucloud-install apply; where apt believes that it is there: apt-get install --reinstall qemu-system-x86";
            ("libvirt finds no emulator", next)
        }
        () => ("libvirt does not answer", "systemctl restart libvirtd; journalctl -u libvirtd -n 30"),
    };
    Err(Complaint::passing(what).seen(said).mended_by(next))
}

pub(super) fn connect(port: u16) -> Result<TcpStream, Complaint> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |error| Complaint::passing(format!("{address} does not answer")).seen(error);
    TcpStream::connect_timeout(&address, CONNECT_LIMIT).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What is said of a cache that answers `words` and stays; nothing where it is silent.
    fn answered(words: &'static [u8]) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(words).unwrap();
            let _ = stream.read(&mut [0; 64]);
            std::thread::sleep(if words.is_empty() { CONNECT_LIMIT * 2 } else { Duration::ZERO });
        });
        let answer = cache(port);
        drop(server);
        answer
    }

    #[test]
    fn a_cache_that_takes_connections_and_is_silent_does_not_work() {
        assert_eq!(answered(b"VERSION 1.6.38\r\n"), Ok(()));
        assert!(answered(b"").unwrap_err().what.contains("does not answer"));
        let other = answered(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        assert!(!other.wait && other.next.contains("/etc/memcached.conf"), "{other:?}");
    }

    #[test]
    fn a_database_that_refuses_is_not_waited_for_one_that_is_silent_is() {
        let denied = complaint_of(sql::SqlError::Denied { said: "Access denied".into() });
        assert!(!denied.wait && denied.next.contains("ALTER USER") && denied.evidence == "Access denied", "{denied:?}");
        let cause = sql::Cause::Crowded;
        let crowded = sql::SqlError::Failed { what: "let root in".into(), said: "Too many connections".into(), cause };
        assert!(complaint_of(crowded).wait);
    }
}
