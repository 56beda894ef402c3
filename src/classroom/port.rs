//! This machine's place in the network of the notebooks, as an action: Neutron's port, bound to this host, becomes a link
//! here (`network/class_port.rs`), which `network/keep.rs` brings back at each
//! boot.

use super::{CLASSROOM, PORTAL, reach};
use crate::action::originals::Original;
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::cloud::resource::port;
use crate::cloud::resource::{Kind, needed, network};
use crate::cloud::resource_action::not_yet;
use crate::cloud::{ApiError, Id, Session, SharedSession};
use crate::config::Config;
use crate::host::{Error, Host, Result};
use crate::network::class_port::{self, BRIDGE, ClassPort};
use crate::paths::CLASS_LINK;
use ipnet::Ipv4Net;
use std::time::Duration;

/// How long OVN may take to see the link.
const ACTIVE_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(300);

/// What the action works from.
#[derive(Clone)]
pub struct PortInput {
    /// The user of the classroom's project, whose port it is.
    pub user: SharedSession,
    /// The administrator, who may bind it.
    pub admin: SharedSession,
    /// What Neutron calls this machine.
    pub host_name: String,
    /// The size of the network, in bits.
    pub bits: u8,
}

impl PortInput {
    /// By the answers.
    pub fn new(config: &Config, user: SharedSession, admin: SharedSession) -> Self {
        let bits = reach::subnet(config).prefix_len();
        Self { user, admin, host_name: config.host.name.to_string(), bits }
    }
}

/// Binds the port to this machine: a link, which `noted` gives its address.
pub fn bound(input: PortInput) -> Task {
    let again = input.clone();
    let probe = move |host: &Host| {
        let make = || Ok(Checked::needed(format!("make {CLASS_LINK}")));
        match input.user.look(host, wanted(input.bits)) {
            Ok(port) if class_port::is_bound(&port)? => Ok(Checked::Done),
            Ok(_) => make(),
            Err(error) => not_yet(error),
        }
    };
    let remove = ["ovs-vsctl", "--timeout=30", "--if-exists", "del-port", BRIDGE, CLASS_LINK];
    let undo = Undo::Program { argv: remove.map(str::to_owned).into() };
    let id = ActionId::new("class-port", CLASS_LINK);
    Task::new(id, format!("Make {CLASS_LINK}, by which this machine reaches notebooks"), probe, move |host| {
        bind(host, &again)
    })
    .undone_by(undo)
    .asking_the_running_system()
}

fn bind(host: &Host, input: &PortInput) -> Result<()> {
    let port = input.user.ask(wanted(input.bits))?;
    let id = Id::try_from(port.id.clone()).map_err(|error| Error::protocol("bind the classroom's port", error))?;
    input.admin.ask(|session| port::bind(session, &id, &input.host_name))?;
    class_port::bind(host, &port)?;
    host.wait_while(&format!("port {PORTAL}"), ACTIVE_LIMIT, POLL, || {
        let status = input.user.ask(|session| port::own(session, &id))?.status;
        Ok((status != "ACTIVE").then_some(status))
    })
}

/// Notes the port, so that each boot brings back what the link loses: it is switched on, with its address. Taken back ahead
/// of the link itself, or the next look would make that anew.
pub fn noted(input: PortInput) -> Task {
    let again = input.clone();
    let probe = move |host: &Host| match input.user.look(host, wanted(input.bits)) {
        Ok(port) if class_port::noted(host)?.as_ref() != Some(&port) => Ok(Checked::needed("note it")),
        Ok(port) => {
            let missing = class_port::missing(&port)?;
            Ok(Checked::done_if(missing.is_empty(), missing.join(", ")))
        }
        Err(error) => not_yet(error),
    };
    let undo = Undo::Path { path: class_port::note(), original: Original::Absent, made: Vec::new() };
    let id = ActionId::new("class-port-note", class_port::note().display());
    Task::new(id, format!("Give {CLASS_LINK} its address, now and at each boot"), probe, move |host| {
        class_port::keep(host, &again.user.ask(wanted(again.bits))?)
    })
    .undone_by(undo)
    .asking_the_running_system()
}

/// What Neutron says of the port.
fn wanted(bits: u8) -> impl Fn(&Session) -> std::result::Result<ClassPort, ApiError> {
    move |session| {
        let found = needed(port::find(session, PORTAL)?, Kind::Port, PORTAL)?;
        let own = port::own(session, &found.entry.id)?;
        let network = needed(network::find(session, CLASSROOM)?, Kind::Network, CLASSROOM)?;
        let address = found.address().and_then(|address| Ipv4Net::new(address, bits).ok());
        let address =
            address.ok_or_else(|| ApiError::unexpected("network", format!("port {PORTAL} has no address")))?;
        let mtu = network::mtu(session, &network.id)?;
        Ok(ClassPort { id: found.entry.id.to_string(), mac: own.mac_address, address, mtu })
    }
}
