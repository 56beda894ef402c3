//! This machine's place in the network of the notebooks, as an action: Neutron's port, bound to this host, becomes a link
//! here (`network/class_port.rs`), which the network's boot unit keeps.

use super::{CLASSROOM, PORTAL, reach};
use crate::action::task::Task;
use crate::action::{ActionId, Checked, Undo};
use crate::cloud::resource::port::{self, ListedPort, OwnPort};
use crate::cloud::resource::{Kind, needed, network};
use crate::cloud::{ApiError, Session, SharedSession};
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

/// Makes the port a link of this machine.
pub fn bound(input: PortInput) -> Task {
    let again = input.clone();
    let probe = move |host: &Host| {
        let Some(noted) = class_port::noted(host)? else { return Ok(Checked::needed(format!("make {CLASS_LINK}"))) };
        match input.user.look(host, |session| port::find(session, PORTAL)) {
            Ok(Some(found)) if found.entry.id.as_str() == noted.id => {
                let missing = class_port::missing(&noted)?;
                Ok(Checked::done_if(missing.is_empty(), missing.join(", ")))
            }
            Ok(Some(_)) => Ok(Checked::needed(format!("make {CLASS_LINK} anew: its port is another one"))),
            Ok(None) => Ok(Checked::Later(format!("when port {PORTAL} is there"))),
            Err(error) if error.is_transient() || error.is_unauthorized() => {
                Ok(Checked::Later("when the cloud answers".into()))
            }
            Err(error) => Err(error.into()),
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
    let (found, own, mtu) = input.user.ask(described)?;
    input.admin.ask(|session| port::bind(session, &found.entry.id, &input.host_name))?;
    let address = found.address().and_then(|address| Ipv4Net::new(address, input.bits).ok());
    let address = address.ok_or_else(|| Error::protocol("bind the classroom's port", "it has no address"))?;
    class_port::make(host, &ClassPort { id: found.entry.id.to_string(), mac: own.mac_address, address, mtu })?;
    host.wait_while(&format!("port {PORTAL}"), ACTIVE_LIMIT, POLL, || {
        let status = input.user.ask(|session| port::own(session, &found.entry.id))?.status;
        Ok((status != "ACTIVE").then_some(status))
    })
}

fn described(session: &Session) -> std::result::Result<(ListedPort, OwnPort, u32), ApiError> {
    let found = needed(port::find(session, PORTAL)?, Kind::Port, PORTAL)?;
    let own = port::own(session, &found.entry.id)?;
    let network = needed(network::find(session, CLASSROOM)?, Kind::Network, CLASSROOM)?;
    let mtu = network::mtu(session, &network.id)?;
    Ok((found, own, mtu))
}
