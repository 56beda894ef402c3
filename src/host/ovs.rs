//! Open vSwitch, through `ovs-vsctl`: bridges with their datapath, ports, settings; and what OVN's daemons say of
//! themselves.

use super::command::Command;
use super::{Error, Host, Result, files};
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Where the daemon of the database answers.
const SOCKET: &str = "/run/openvswitch/db.sock";

/// Which code moves a bridge's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Datapath {
    /// The kernel's module.
    System,
    /// The daemon itself: slower, works without the module.
    Netdev,
}

impl Datapath {
    /// As Open vSwitch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Datapath::System => "system",
            Datapath::Netdev => "netdev",
        }
    }
}

/// Whether the database answers, as far as a socket tells.
pub fn is_running(host: &Host) -> bool {
    files::exists(host, SOCKET)
}

/// `ovs-vsctl` for a change. Without a limit it waits for ever for a daemon that does not run.
pub fn change(args: &[&str]) -> Command {
    Command::new("ovs-vsctl").arg("--timeout=30").args(args.iter().copied())
}

/// What `ovs-vsctl` says; `None` while Open vSwitch is not installed or does not run.
pub fn ask(host: &Host, args: &[&str]) -> Result<Option<String>> {
    if !is_running(host) {
        return Ok(None);
    }
    match Command::new("ovs-vsctl").arg("--timeout=5").args(args.iter().copied()).read(host) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Failed { .. } | Error::Start { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where OVN's daemons note their numbers, and answer.
const OVN: &str = "/run/ovn";
/// How long a daemon may take for a word about itself.
const WORD_LIMIT: Duration = Duration::from_secs(5);

/// One word of a daemon of OVN about itself (ovn-northd(8), ovn-controller(8), "RUNTIME MANAGEMENT COMMANDS"). It is asked
/// on its own socket, as `ovn-appctl` does (ovs-appctl(8): JSON-RPC), without a process for each question.
///
/// # Errors
/// It does not run, or does not answer.
pub fn ask_daemon(host: &Host, daemon: &str, question: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Said {
        result: Option<String>,
        error: Option<String>,
    }
    let Some(pid) = files::read_text(host, format!("{OVN}/{daemon}.pid"))? else {
        // One that was built to run elsewhere knows where.
        return Command::new("ovn-appctl").args(["--timeout=5", "--target", daemon, question]).quiet().read(host);
    };
    let path = PathBuf::from(format!("{OVN}/{daemon}.{}.ctl", pid.trim()));
    let broken = |source| Error::Io { doing: "ask at", path: path.clone(), source };
    let mut stream = UnixStream::connect(host.real(&path)).map_err(broken)?;
    stream.set_read_timeout(Some(host.limit(WORD_LIMIT))).map_err(broken)?;
    let order = json!({"id": 0, "method": question, "params": []}).to_string();
    stream.write_all(order.as_bytes()).map_err(broken)?;
    let said = serde_json::Deserializer::from_reader(stream).into_iter::<Said>().next();
    match said.transpose().map_err(|error| broken(error.into()))? {
        Some(Said { result: Some(word), .. }) => Ok(word),
        said => Err(Error::protocol(format!("ask {daemon}"), said.and_then(|said| said.error).unwrap_or_default())),
    }
}

/// Makes a bridge; one that is there gets this datapath.
pub fn add_bridge(host: &Host, name: &str, datapath: Datapath) -> Result<()> {
    let set = format!("datapath_type={}", datapath.name());
    change(&["--may-exist", "add-br", name, "--", "set", "Bridge", name, &set]).run(host)
}

/// The ports of a bridge that are links of this machine, without the bridge itself and OVN's patches.
pub fn links_of(host: &Host, bridge: &str) -> Result<Vec<String>> {
    let ports = ask(host, &["list-ports", bridge])?.unwrap_or_default();
    let is_link = |name: &&str| files::exists(host, format!("/sys/class/net/{name}"));
    Ok(ports.lines().map(str::trim).filter(is_link).map(str::to_owned).collect())
}

/// Makes a link a port of a bridge.
pub fn add_port(host: &Host, bridge: &str, link: &str) -> Result<()> {
    change(&["--may-exist", "add-port", bridge, link]).run(host)
}

/// Makes a new link that is a port of a bridge.
pub fn add_internal_port(host: &Host, bridge: &str, link: &str) -> Result<()> {
    change(&["--may-exist", "add-port", bridge, link, "--", "set", "Interface", link, "type=internal"]).run(host)
}

/// Makes a new link that is a port of a bridge and has a hardware address, and ids by which OVN knows whose it is
/// (ovn-controller(8), "external_ids:iface-id"). The address is Open vSwitch's own matter, so that it outlives a restart.
pub fn add_bound_port(host: &Host, bridge: &str, link: &str, mac: &str, mtu: u32, ids: &[(&str, &str)]) -> Result<()> {
    // A colon means something to ovs-vsctl, unless it is quoted.
    let mut settings = vec!["type=internal".to_owned(), format!("mac=\"{mac}\""), format!("mtu_request={mtu}")];
    settings.extend(ids.iter().map(|(key, value)| format!("external_ids:{key}=\"{value}\"")));
    let make = ["--may-exist", "add-port", bridge, link, "--", "set", "Interface", link];
    change(&make).args(settings).run(host)
}

/// Takes a port out of a bridge; a missing one is fine.
pub fn delete_port(host: &Host, bridge: &str, port: &str) -> Result<()> {
    change(&["--if-exists", "del-port", bridge, port]).run(host)
}
